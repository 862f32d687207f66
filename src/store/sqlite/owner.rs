//! Changes of the owners and homes of devices. Every operation that changes them uses this module.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use super::attribute::{delete_desired_values, delete_user_attributes};
use super::visibility::relations;
use super::world::refused;
use crate::domain::handover::{HistoryCuts, LostDevice, Moves};
use crate::domain::ownership::{
    FIRST_HOME, Group, History, NO_HOME, Placement, Step, detached_by_removal, owner_by_gateway,
};
use crate::domain::{DeviceId, DeviceNo, Error, HomeId, ProjectNo, Result, Uid, UserNo};
use crate::store::generate;

/// The maximum number of attempts of one change. It is repeated if the history of further devices must be cut.
const ATTEMPTS_MAX: usize = 8;

/// The new owner of a device and the home for it.
#[derive(Clone, Copy)]
pub struct Owner {
    pub user_no: i64,
    pub home_id: i64,
}

/// Changes of owners within one transaction.
pub struct Owners<'a> {
    pub connection: &'a Connection,
    pub now_ms: i64,
    cuts: &'a HashMap<DeviceNo, i64>,
    wanted: RefCell<Vec<DeviceNo>>,
    released: RefCell<HashSet<i64>>,
    moves: RefCell<Moves>,
}

/// The result of an attempt: it was carried out, or rolled back because the history cuts of these devices are missing.
type Attempt<T> = std::result::Result<(T, Moves), Vec<DeviceNo>>;

impl SqliteRegistry {
    /// Runs a change that may take devices from their owners and give them to others, in one transaction. If devices get a
    /// new owner whose history must be cut, the change is rolled back, the cuts are fetched, and it runs again.
    pub(super) async fn change_owners<T: Send + 'static>(
        &self,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
        work: impl Fn(&Owners<'_>) -> Result<T> + Send + Sync + 'static,
    ) -> Result<(T, Moves)> {
        let work = Arc::new(work);
        let mut cuts_found = HashMap::new();
        for _ in 0..ATTEMPTS_MAX {
            let (work, cuts_so_far) = (work.clone(), cuts_found.clone());
            let attempt = move |connection: &Connection| attempt(connection, &cuts_so_far, now_ms, &*work);
            match self.writer.run(attempt).await? {
                Ok(done) => return Ok(done),
                Err(wanted) => cuts_found.extend(wanted.iter().copied().zip(cuts.history_from_ms(&wanted).await?)),
            }
        }
        Err(Error::Busy("the owners of these devices change too often"))
    }
}

fn attempt<T>(
    connection: &Connection,
    cuts: &HashMap<DeviceNo, i64>,
    now_ms: i64,
    work: impl Fn(&Owners<'_>) -> Result<T>,
) -> Result<Attempt<T>> {
    let (wanted, released, moves) = Default::default();
    let owners = Owners { connection, now_ms, cuts, wanted, released, moves };
    connection.execute_batch("SAVEPOINT owners").map_err(Error::store)?;
    let done = work(&owners)?;
    let wanted = owners.wanted.into_inner();
    let is_done = wanted.is_empty();
    let end = if is_done { "RELEASE owners" } else { "ROLLBACK TO owners; RELEASE owners" };
    connection.execute_batch(end).map_err(Error::store)?;
    let mut moves = owners.moves.into_inner();
    for left in &mut moves.removed {
        let sql = "SELECT history_from_ms FROM device WHERE device_no = ?1";
        let found = connection.query_row(sql, params![left.no.0], |row| row.get(0)).optional();
        // A device that was deleted has no history.
        left.history_from_ms = found.map_err(Error::store)?.unwrap_or(0);
    }
    Ok(if is_done { Ok((done, moves)) } else { Err(wanted) })
}

impl Owners<'_> {
    /// Gives a device to a user. Previous users lose it, and for a new owner it is reset unless `keeps_history`.
    pub fn hand_over(&self, device_no: i64, owner: Owner, keeps_history: bool) -> Result<()> {
        let history = if keeps_history { History::Kept } else { History::EndsForNew };
        let group = self.group(device_no)?;
        self.carry_out(group.hand_over(UserNo(owner.user_no), HomeId(owner.home_id), history))
    }

    fn carry_out(&self, steps: Vec<Step>) -> Result<()> {
        steps.into_iter().try_for_each(|step| match step {
            Step::Release(no) => self.release_one(no.0),
            Step::EndBindings(no) => self.end_bindings(no.0),
            Step::Detach(no) => self.detach(no.0),
            Step::ResetHistory(no) => self.reset(no.0),
            Step::NewOwner(no, user) => {
                let uid = self.uid(user.0)?;
                self.moves.borrow_mut().new_owners.push((no, uid));
                Ok(())
            }
            Step::LeaveHome(no) => {
                self.note_holders(no.0)?;
                delete_desired_values(self.connection, "?1", no.0).map_err(Error::store)
            }
            Step::SetHome(no, home) => {
                let home = Some(home).filter(|home| *home != NO_HOME).map(|home| home.0);
                let sql = "UPDATE device SET home_id = ?2, updated_ms = ?3 WHERE device_no = ?1 AND home_id IS NOT ?2";
                self.connection.execute(sql, params![no.0, home, self.now_ms]).map(drop).map_err(refused)
            }
            Step::Bind(no, user) => bind(self.connection, no.0, user.0, true, self.now_ms),
        })
    }

    /// A device with its gateway and its sub-devices.
    fn group(&self, device_no: i64) -> Result<Group> {
        let gateway = "d.device_no = (SELECT gateway_no FROM device WHERE device_no = ?1)";
        Ok(Group {
            device: self.placement(device_no)?,
            gateway: self.placements(gateway, device_no)?.pop(),
            behind: self.placements("d.gateway_no = ?1", device_no)?,
        })
    }

    /// The owner and home of a device.
    pub fn placement(&self, device_no: i64) -> Result<Placement> {
        let found = self.placements("d.device_no = ?1", device_no)?.pop();
        found.ok_or_else(|| Error::store("a device does not exist"))
    }

    /// The devices `d` that a condition over `?1` selects.
    fn placements(&self, condition: &str, value: i64) -> Result<Vec<Placement>> {
        placements(self.connection, condition, value).map_err(Error::store)
    }

    /// Shares a device with a user.
    pub fn share(&self, device_no: i64, user_no: i64) -> Result<()> {
        let sql = "SELECT EXISTS (SELECT 1 FROM binding WHERE device_no = ?1 AND user_no = ?2)";
        let read = |row: &Row<'_>| row.get(0);
        let has_it: bool = self.connection.query_row(sql, params![device_no, user_no], read).map_err(Error::store)?;
        bind(self.connection, device_no, user_no, false, self.now_ms)?;
        if !has_it {
            self.moves.borrow_mut().shared.push((DeviceNo(device_no), self.uid(user_no)?));
        }
        Ok(())
    }

    fn uid(&self, user_no: i64) -> Result<Uid> {
        let sql = "SELECT uid FROM app_user WHERE user_no = ?1";
        self.connection.query_row(sql, params![user_no], |row| row.get(0)).map(Uid).map_err(Error::store)
    }

    /// Gives the sub-devices of a gateway that have no owner and belong to the same project to the owner of the gateway.
    pub fn hand_over_behind(&self, gateway_no: i64, owner: Owner) -> Result<()> {
        let free = self.group(gateway_no)?.unowned_sub_devices();
        free.into_iter().try_for_each(|device| self.hand_over(device.0, owner, false))
    }

    /// Gives a device that was attached to a gateway to the owner of the gateway, if the device has no owner.
    pub fn hand_over_by_gateway(&self, device_no: i64, gateway_no: i64) -> Result<()> {
        let (sub, gateway) = (self.placement(device_no)?, self.placement(gateway_no)?);
        let sql = "SELECT removed FROM device WHERE device_no = ?1";
        let removed = self.connection.query_row(sql, params![device_no], |row| row.get("removed"));
        let owner = owner_by_gateway(&sub, removed.map_err(Error::store)?, &gateway);
        let Some(UserNo(user_no)) = owner else { return Ok(()) };
        let home_id = gateway.home.map_or_else(|| first_home(self.connection, user_no), |home| Ok(home.0))?;
        self.hand_over(device_no, Owner { user_no, home_id }, false)
    }

    /// Puts a device into a home.
    pub fn move_to_home(&self, device_no: i64, home_id: i64) -> Result<()> {
        let steps = self.group(device_no)?.move_to(HomeId(home_id));
        self.carry_out(steps)
    }

    /// Records the users of a device before a change. Those who lose it are informed after the change.
    pub fn note_holders(&self, device_no: i64) -> Result<()> {
        let left = self.left(device_no).map_err(Error::store)?;
        self.moves.borrow_mut().access_lost.push(left);
        Ok(())
    }

    /// Marks the sessions of these devices to be closed after the change.
    pub fn end(&self, devices: Vec<DeviceNo>) {
        self.moves.borrow_mut().detached.extend(devices);
    }

    /// Detaches a device from its gateway.
    fn detach(&self, device_no: i64) -> Result<()> {
        let sql = "UPDATE device SET gateway_no = NULL, node_id = NULL WHERE device_no = ?1";
        self.connection.execute(sql, params![device_no]).map_err(Error::store)?;
        self.end(vec![DeviceNo(device_no)]);
        Ok(())
    }

    /// Removes all users from a device and from its sub-devices with the same owner.
    pub fn release(&self, device_no: i64) -> Result<()> {
        let steps = self.group(device_no)?.release();
        self.carry_out(steps)
    }

    fn release_one(&self, device_no: i64) -> Result<()> {
        if self.released.borrow_mut().insert(device_no) {
            let left = self.left(device_no).map_err(Error::store)?;
            self.moves.borrow_mut().removed.push(left);
        }
        self.end_bindings(device_no)?;
        let sql = "UPDATE device SET gateway_no = NULL WHERE device_no = ?1 OR gateway_no = ?1";
        self.connection.execute(sql, params![device_no]).map(drop).map_err(Error::store)
    }

    /// Resets a device: deletes the data of its users and its location, and hides its history.
    pub fn reset(&self, device_no: i64) -> Result<()> {
        delete_user_data(self.connection, device_no).map_err(Error::store)?;
        let no = DeviceNo(device_no);
        let cut_ms = self.cuts.get(&no).copied().unwrap_or_else(|| {
            self.wanted.borrow_mut().push(no);
            self.now_ms
        });
        let sql = "UPDATE device SET history_from_ms = max(history_from_ms, ?2), lat = NULL, lon = NULL, ip = '',
                   time_zone = '+00:00', node_id = NULL, updated_ms = ?3 WHERE device_no = ?1";
        self.connection.execute(sql, params![device_no, cut_ms, self.now_ms]).map_err(Error::store)?;
        Ok(())
    }

    /// Removes the bindings, desired values and home of a device, and revokes all visualTokens for it.
    fn end_bindings(&self, device_no: i64) -> Result<()> {
        let write = || -> rusqlite::Result<()> {
            delete_desired_values(self.connection, "?1", device_no)?;
            self.connection.execute("DELETE FROM binding WHERE device_no = ?1", params![device_no])?;
            let sql = "UPDATE device SET home_id = NULL, updated_ms = ?2, access_version = access_version + 1
                       WHERE device_no = ?1";
            self.connection.execute(sql, params![device_no, self.now_ms])?;
            Ok(())
        };
        write().map_err(Error::store)
    }

    /// The users who have a device at present.
    fn left(&self, device_no: i64) -> rusqlite::Result<LostDevice> {
        let sql = "SELECT d.device_id, d.home_id, o.uid, o.project_no FROM device d
                   LEFT JOIN binding b ON b.device_no = d.device_no AND b.owned = 1
                   LEFT JOIN app_user o ON o.user_no = b.user_no WHERE d.device_no = ?1";
        let audience =
            relations(self.connection, DeviceNo(device_no))?.map(|found| found.audience()).unwrap_or_default();
        self.connection.query_row(sql, params![device_no], |row| {
            Ok(LostDevice {
                no: DeviceNo(device_no),
                id: DeviceId(row.get("device_id")?),
                home: row.get::<_, Option<i64>>("home_id")?.map(HomeId),
                owner: row.get::<_, Option<String>>("uid")?.map(Uid),
                owner_project: row.get::<_, Option<i64>>("project_no")?.map(ProjectNo),
                users: audience.users,
                projects: audience.projects,
                history_from_ms: 0,
            })
        })
    }

    /// The numbers that a statement over `?1` selects.
    pub fn numbers(&self, sql: &str, value: i64) -> Result<Vec<i64>> {
        let read = || -> rusqlite::Result<Vec<i64>> {
            self.connection.prepare_cached(sql)?.query_map(params![value], |row| row.get(0))?.collect()
        };
        read().map_err(Error::store)
    }
}

/// The owners and homes of the devices `d` that a condition over `?1` selects.
fn placements(connection: &Connection, condition: &str, value: i64) -> rusqlite::Result<Vec<Placement>> {
    let sql = format!(
        "SELECT d.device_no, d.project_no, o.user_no AS owner_no, d.last_owner_no, d.home_id FROM device d
         LEFT JOIN binding o ON o.device_no = d.device_no AND o.owned = 1 WHERE {condition}"
    );
    let placement = |row: &Row<'_>| {
        Ok(Placement {
            no: DeviceNo(row.get("device_no")?),
            project: ProjectNo(row.get("project_no")?),
            owner: row.get::<_, Option<i64>>("owner_no")?.map(UserNo),
            last_owner: row.get::<_, Option<i64>>("last_owner_no")?.map(UserNo),
            home: row.get::<_, Option<i64>>("home_id")?.map(HomeId),
        })
    };
    connection.prepare_cached(&sql)?.query_map(params![value], placement)?.collect()
}

/// Sub-devices with their gateways, where one of the two is in a home that `homes`, a list or subquery over `?1`, selects.
pub fn behind_gateways(
    connection: &Connection,
    homes: &str,
    value: i64,
) -> rusqlite::Result<Vec<(Placement, Placement)>> {
    let in_homes = format!("SELECT h.device_no FROM device h WHERE h.home_id IN ({homes})");
    let subs = format!("d.gateway_no IS NOT NULL AND (d.device_no IN ({in_homes}) OR d.gateway_no IN ({in_homes}))");
    let found = placements(connection, &subs, value)?;
    let gateway = "d.device_no = (SELECT gateway_no FROM device WHERE device_no = ?1)";
    let with_gateway =
        |sub: Placement| Ok(placements(connection, gateway, sub.no.0)?.pop().map(|gateway| (sub, gateway)));
    found.into_iter().filter_map(|sub| with_gateway(sub).transpose()).collect()
}

/// Binds a device to a user. A device that was removed becomes visible again.
pub fn bind(connection: &Connection, device_no: i64, user_no: i64, owned: bool, now_ms: i64) -> Result<()> {
    connection
        .execute(
            "INSERT INTO binding (device_no, user_no, project_no, app_no, owned, is_foreign, created_ms)
             SELECT ?1, u.user_no, u.project_no, u.app_no, ?3,
             u.project_no <> (SELECT project_no FROM device WHERE device_no = ?1), ?4
             FROM app_user u WHERE u.user_no = ?2
             ON CONFLICT (device_no, user_no) DO UPDATE SET owned = max(owned, excluded.owned)",
            params![device_no, user_no, owned, now_ms],
        )
        .map_err(refused)?;
    let restore = "UPDATE device SET removed = 0 WHERE device_no = ?1 AND removed = 1";
    connection.execute(restore, params![device_no]).map_err(refused)?;
    let sql = "UPDATE device SET last_owner_no = ?2 WHERE device_no = ?1 AND ?3 AND last_owner_no IS NOT ?2";
    connection.execute(sql, params![device_no, user_no, owned]).map_err(refused)?;
    Ok(())
}

/// Deletes what users entered for a device: names, device users, attributes and desired values.
pub fn delete_user_data(connection: &Connection, device_no: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE device SET name = (SELECT name FROM product p WHERE p.product_no = device.product_no)
               WHERE device_no = ?1";
    connection.execute(sql, params![device_no])?;
    connection.execute("DELETE FROM function_name WHERE device_no = ?1", params![device_no])?;
    connection.execute("DELETE FROM device_user WHERE device_no = ?1", params![device_no])?;
    delete_user_attributes(connection, device_no)
}

/// The home of a device if it belongs to the owner, otherwise the owner's first home, which is created if necessary.
pub fn home_for(connection: &Connection, device_no: i64, owner_no: i64) -> Result<i64> {
    let sql = "SELECT h.home_id FROM device d JOIN home h USING (home_id) WHERE d.device_no = ?1 AND h.owner_no = ?2";
    let found = connection.query_row(sql, params![device_no, owner_no], |row| row.get(0)).optional();
    match found.map_err(Error::store)? {
        Some(home_id) => Ok(home_id),
        None => first_home(connection, owner_no),
    }
}

/// The first home of a user, which is created if necessary.
pub fn first_home(connection: &Connection, owner_no: i64) -> Result<i64> {
    let sql = "SELECT home_id FROM home WHERE owner_no = ?1 ORDER BY home_id LIMIT 1";
    let found = connection.query_row(sql, params![owner_no], |row| row.get(0)).optional();
    if let Some(home_id) = found.map_err(Error::store)? {
        return Ok(home_id);
    }
    let sql = "SELECT project_no FROM app_user WHERE user_no = ?1";
    let project_no = connection.query_row(sql, params![owner_no], |row| row.get(0)).map_err(Error::store)?;
    new_home(connection, project_no, owner_no, FIRST_HOME)
}

/// Creates a home with a new id.
pub fn new_home(connection: &Connection, project_no: i64, owner_no: i64, name: &str) -> Result<i64> {
    loop {
        let id = generate::home_id()?;
        let sql = "INSERT OR IGNORE INTO home (home_id, project_no, owner_no, name) VALUES (?1, ?2, ?3, ?4)";
        let mut statement = connection.prepare_cached(sql).map_err(Error::store)?;
        if statement.execute(params![id, project_no, owner_no, name]).map_err(Error::store)? == 1 {
            return Ok(id);
        }
    }
}

/// The number of a user of the project.
pub fn user_no(connection: &Connection, project: ProjectNo, uid: &Uid) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT user_no FROM app_user WHERE uid = ?1 AND project_no = ?2")?
        .query_row(params![uid.0, project.0], |row| row.get(0))
        .optional()
}

/// Deletes the homes that `homes`, a list or subquery over `?1`, selects, with everything that belongs to them. Their devices
/// remain without a home, and without gateways of other owners. Returns the devices whose sessions must end.
pub fn remove_homes(connection: &Connection, homes: &str, value: i64, now_ms: i64) -> rusqlite::Result<Vec<DeviceNo>> {
    let detached = detached_by_removal(&behind_gateways(connection, homes, value)?);
    let detach = "UPDATE device SET gateway_no = NULL, node_id = NULL, updated_ms = ?2 WHERE device_no = ?1";
    for device in &detached {
        connection.prepare_cached(detach)?.execute(params![device.0, now_ms])?;
    }
    delete_desired_values(connection, &format!("SELECT device_no FROM device WHERE home_id IN ({homes})"), value)?;
    let leave = format!("UPDATE device SET home_id = NULL, updated_ms = ?2 WHERE home_id IN ({homes})");
    connection.execute(&leave, params![value, now_ms])?;
    let pairings = format!("SELECT token_hash FROM pairing WHERE home_id IN ({homes})");
    connection.execute(&format!("DELETE FROM pairing_failure WHERE token_hash IN ({pairings})"), params![value])?;
    for table in ["pairing", "home_member", "home_invitation", "home"] {
        connection.execute(&format!("DELETE FROM {table} WHERE home_id IN ({homes})"), params![value])?;
    }
    Ok(detached)
}
