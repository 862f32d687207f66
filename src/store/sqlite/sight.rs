//! Who sees what, as SQL.

/// Whether the project `?1` sees the device `d`.
pub const VISIBLE: &str = "d.removed = 0 AND (d.project_no = ?1 OR EXISTS
    (SELECT 1 FROM binding v WHERE v.device_no = d.device_no AND v.project_no = ?1))";

/// Whether the project `?1` may take the device `d` from everybody: as its maker or as its owner's project, not because
/// it is shared to one of its users.
pub const MANAGED: &str = "d.removed = 0 AND (d.project_no = ?1 OR EXISTS
    (SELECT 1 FROM binding v WHERE v.device_no = d.device_no AND v.project_no = ?1 AND v.owned = 1))";

/// The homes that the user `?1` lives in.
pub const LIVES_IN: &str = "SELECT home_id FROM home WHERE owner_no = ?1
    UNION SELECT home_id FROM home_member WHERE user_no = ?1";
