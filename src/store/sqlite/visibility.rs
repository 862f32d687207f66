//! The SQL conditions for who sees which device; there are no others. The rules are in `domain/access.rs`, and the
//! contract suite compares the two.

use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::access::{Holder, HomeUsers, Relations};
use crate::domain::home::HomeRole;
use crate::domain::{DeviceNo, ProjectNo, UserNo};

/// True if the project `?1` sees the device `d`.
pub const VISIBLE: &str = "d.removed = 0 AND (d.project_no = ?1 OR EXISTS
    (SELECT 1 FROM binding v WHERE v.device_no = d.device_no AND v.project_no = ?1))";

/// True if the project `?1` may remove the device `d` from all its users: the project is its maker or the project of its
/// owner. A share is not enough.
pub const MANAGED: &str = "d.removed = 0 AND (d.project_no = ?1 OR EXISTS
    (SELECT 1 FROM binding v WHERE v.device_no = d.device_no AND v.project_no = ?1 AND v.owned = 1))";

/// True if the device `d` is held elsewhere from the view of the project `?1`: users of another project have it or owned it
/// last, and no user of `?1` has it. `?1` is NULL for the device's own session and for the operator.
macro_rules! held_elsewhere {
    () => {
        "(?1 IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM binding m WHERE m.device_no = d.device_no AND m.project_no = ?1)
        AND (EXISTS (SELECT 1 FROM binding f WHERE f.device_no = d.device_no AND f.project_no <> ?1)
            OR EXISTS (SELECT 1 FROM home h WHERE h.home_id = d.home_id AND h.project_no <> ?1)
            OR EXISTS (SELECT 1 FROM app_user l WHERE l.user_no = d.last_owner_no AND l.project_no <> ?1)))"
    };
}
pub(super) use held_elsewhere;

/// The text of [`held_elsewhere`].
pub const HELD_ELSEWHERE: &str = held_elsewhere!();

/// The homes in which the user `?1` is owner or member.
pub const HOMES_OF_USER: &str = "SELECT home_id FROM home WHERE owner_no = ?1
    UNION SELECT home_id FROM home_member WHERE user_no = ?1";

/// The role of the user `?1` in the home `h`, as a number for [`home_role`].
pub const HOME_ROLE: &str = "CASE WHEN h.owner_no = ?1 THEN 2 ELSE
    (SELECT m.is_admin FROM home_member m WHERE m.home_id = h.home_id AND m.user_no = ?1) END";

/// The role for a number from [`HOME_ROLE`].
pub fn home_role(number: i64) -> HomeRole {
    match number {
        2 => HomeRole::Owner,
        1 => HomeRole::Admin,
        _ => HomeRole::Member,
    }
}

/// The numbers of the devices in the homes of the user `?2`, and of the devices that the user owns.
pub const AT_HOME_OF_USER: &str = "SELECT b.device_no FROM binding b WHERE b.user_no = ?2 AND b.owned = 1
    UNION SELECT h.device_no FROM device h JOIN home USING (home_id) WHERE home.owner_no = ?2
    UNION SELECT h.device_no FROM device h JOIN home_member m USING (home_id) WHERE m.user_no = ?2";

/// The numbers of the devices that are shared with the user `?2`.
pub const SHARED_TO_USER: &str = "SELECT b.device_no FROM binding b WHERE b.user_no = ?2 AND b.owned = 0";

/// For each device in `?2`, a JSON list of numbers: whether the user `?1` owns it, belongs to its home, and owns or shares
/// it. The rows are in the order of the list.
pub const RELATION_TO_USER: &str = "SELECT
    EXISTS (SELECT 1 FROM binding b WHERE b.device_no = a.value AND b.user_no = ?1 AND b.owned = 1) AS owns,
    coalesce((SELECT home_id FROM device d WHERE d.device_no = a.value) IN
        (SELECT home_id FROM home WHERE owner_no = ?1 UNION SELECT home_id FROM home_member WHERE user_no = ?1), 0)
        AS is_resident,
    EXISTS (SELECT 1 FROM binding b WHERE b.device_no = a.value AND b.user_no = ?1) AS holds
    FROM json_each(?2) a ORDER BY a.key";

/// The devices `d` that the project `?1` sees and that the user in the parameter `user` owns, shares or has in a home.
pub fn of_user(user: &str) -> String {
    let homes = HOMES_OF_USER.replace("?1", user);
    format!(
        "FROM device d WHERE {VISIBLE} AND d.device_no IN (SELECT device_no FROM binding WHERE user_no = {user}
         UNION SELECT device_no FROM device WHERE home_id IN ({homes}))"
    )
}

/// The devices `d` that the project `?1` sees ([`VISIBLE`]), in two queries with no device in common: devices of its own
/// products, and devices of other projects' products that its users have.
pub const OF_PROJECT: [&str; 2] = [
    "FROM device d WHERE d.removed = 0 AND d.project_no = ?1",
    "FROM device d WHERE d.removed = 0 AND d.device_no IN
     (SELECT device_no FROM binding WHERE project_no = ?1 AND is_foreign = 1)",
];

/// Reads what decides who sees a device. `None` if the device does not exist.
pub fn relations(connection: &Connection, device: DeviceNo) -> rusqlite::Result<Option<Relations>> {
    let sql = "SELECT d.project_no AS maker, d.removed, l.project_no AS last_owner, d.home_id, h.project_no AS home
               FROM device d LEFT JOIN app_user l ON l.user_no = d.last_owner_no LEFT JOIN home h USING (home_id)
               WHERE d.device_no = ?1";
    let mut home_id = None;
    let read = |row: &rusqlite::Row<'_>| {
        home_id = row.get::<_, Option<i64>>("home_id")?;
        let home = row.get::<_, Option<i64>>("home")?.map(ProjectNo);
        Ok(Relations {
            maker: ProjectNo(row.get("maker")?),
            removed: row.get("removed")?,
            last_owner: row.get::<_, Option<i64>>("last_owner")?.map(ProjectNo),
            home: home.map(|project| HomeUsers { project, users: Vec::new() }),
            holders: Vec::new(),
        })
    };
    let found = connection.prepare_cached(sql)?.query_row(params![device.0], read).optional()?;
    let Some(mut relations) = found else { return Ok(None) };
    let holder = |row: &rusqlite::Row<'_>| {
        let (user, project) = (UserNo(row.get("user_no")?), ProjectNo(row.get("project_no")?));
        Ok(Holder { user, project, owned: row.get("owned")? })
    };
    let sql = "SELECT user_no, project_no, owned FROM binding WHERE device_no = ?1";
    relations.holders =
        connection.prepare_cached(sql)?.query_map(params![device.0], holder)?.collect::<Result<_, _>>()?;
    if let Some(home) = &mut relations.home {
        let sql = "SELECT owner_no AS user_no FROM home WHERE home_id = ?1
                   UNION SELECT user_no FROM home_member WHERE home_id = ?1";
        let user = |row: &rusqlite::Row<'_>| row.get("user_no").map(UserNo);
        home.users = connection.prepare_cached(sql)?.query_map(params![home_id], user)?.collect::<Result<_, _>>()?;
    }
    Ok(Some(relations))
}

/// True if the device `d` with the owner binding `o` has the same owner and home as its gateway `g`, so that users who see
/// the device also have the gateway.
macro_rules! is_with_gateway {
    () => {
        "(g.device_no IS NOT NULL AND g.home_id IS d.home_id
        AND (SELECT k.user_no FROM binding k WHERE k.device_no = g.device_no AND k.owned = 1) IS o.user_no
        AND (o.user_no IS NOT NULL OR g.project_no = d.project_no))"
    };
}
pub(super) use is_with_gateway;

/// True if the device `d` shows the local key of its gateway as its own, which clients of the local network need: it is with
/// the gateway and has no assigned key.
macro_rules! shows_gateways_key {
    () => {
        concat!("(d.local_key_given = 0 AND ", $crate::store::sqlite::visibility::is_with_gateway!(), ")")
    };
}
pub(super) use shows_gateways_key;
