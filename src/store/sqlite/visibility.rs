//! Who sees what, as SQL.

/// Whether the project `?1` sees the device `d`.
pub const VISIBLE: &str = "d.removed = 0 AND (d.project_no = ?1 OR EXISTS
    (SELECT 1 FROM binding v WHERE v.device_no = d.device_no AND v.project_no = ?1))";

/// Whether the project `?1` may take the device `d` from everybody: as its maker or as its owner's project, not because
/// it is shared to one of its users.
pub const MANAGED: &str = "d.removed = 0 AND (d.project_no = ?1 OR EXISTS
    (SELECT 1 FROM binding v WHERE v.device_no = d.device_no AND v.project_no = ?1 AND v.owned = 1))";

/// Whether the device `d` is another project's for the project `?1`: its people are or were last, and none of the asking
/// project's.
/// `?1` may be NULL, for the device's own session and the operator.
macro_rules! abroad {
    () => {
        "(?1 IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM binding m WHERE m.device_no = d.device_no AND m.project_no = ?1)
        AND (EXISTS (SELECT 1 FROM binding f WHERE f.device_no = d.device_no AND f.project_no <> ?1)
            OR EXISTS (SELECT 1 FROM home h WHERE h.home_id = d.home_id AND h.project_no <> ?1)
            OR EXISTS (SELECT 1 FROM app_user l WHERE l.user_no = d.last_owner_no AND l.project_no <> ?1)))"
    };
}
pub(super) use abroad;

/// As a text: see [`abroad`].
pub const ABROAD: &str = abroad!();

/// The homes that the user `?1` lives in.
pub const LIVES_IN: &str = "SELECT home_id FROM home WHERE owner_no = ?1
    UNION SELECT home_id FROM home_member WHERE user_no = ?1";

/// Whether the device `d`, whose owner's binding is `o`, shows the local key of the gateway `g` that it is behind as its own,
/// by which clients of the local network find that gateway: it was given none, and whoever sees it has the gateway too, as
/// both are one user's in one home.
macro_rules! shows_gateways_key {
    () => {
        "(d.local_key_given = 0 AND g.device_no IS NOT NULL AND g.home_id IS d.home_id
        AND (SELECT k.user_no FROM binding k WHERE k.device_no = g.device_no AND k.owned = 1) IS o.user_no
        AND (o.user_no IS NOT NULL OR g.project_no = d.project_no))"
    };
}
pub(super) use shows_gateways_key;
