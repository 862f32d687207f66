//! Whose a device is, and where it stands: what changes it, whoever asks for that.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteRegistry;
use super::fact::{forget_desires, forget_wishes};
use super::sight::relations;
use super::world::refused;
use crate::domain::handover::{HistoryCuts, Left, Moves};
use crate::domain::{DeviceId, DeviceNo, Error, HomeId, ProjectNo, Result, Uid};
use crate::store::mint;

/// What a new owner's first home is called.
const FIRST_HOME: &str = "Home";
/// How often a change of owners is begun anew because other devices than before go to somebody new.
const ATTEMPTS_MAX: usize = 8;

/// Whose a device is to be, and where it is to stand.
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

/// What an attempt came to: done, or undone for want of the history cuts of these devices.
type Attempt<T> = std::result::Result<(T, Moves), Vec<DeviceNo>>;

impl SqliteRegistry {
    /// Runs a change that may take devices from their owners and give them to others, as a whole or not at all. It is
    /// undone and run again when it is found which devices go to somebody new, so that their history ends for them.
    pub(super) async fn change_owners<T: Send + 'static>(
        &self,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
        work: impl Fn(&Owners<'_>) -> Result<T> + Send + Sync + 'static,
    ) -> Result<(T, Moves)> {
        let work = Arc::new(work);
        let mut known = HashMap::new();
        for _ in 0..ATTEMPTS_MAX {
            let (work, cuts_known) = (work.clone(), known.clone());
            let attempt = move |connection: &Connection| attempt(connection, &cuts_known, now_ms, &*work);
            match self.writer.run(attempt).await? {
                Ok(done) => return Ok(done),
                Err(wanted) => known.extend(wanted.iter().copied().zip(cuts.history_from_ms(&wanted).await?)),
            }
        }
        Err(Error::Busy("the owners of these devices change all the time"))
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
    for left in &mut moves.left {
        let sql = "SELECT history_from_ms FROM device WHERE device_no = ?1";
        left.history_from_ms = connection.query_row(sql, params![left.no.0], |row| row.get(0)).map_err(Error::store)?;
    }
    Ok(if is_done { Ok((done, moves)) } else { Err(wanted) })
}

impl Owners<'_> {
    /// Makes a device a user's; whether somebody else had it before, now or last. Whoever had it loses it, and to
    /// somebody new it is as after a reset, unless the operator keeps what there is.
    pub fn hand_over(&self, device_no: i64, owner: Owner, keeps_history: bool) -> Result<bool> {
        let Owner { user_no, home_id } = owner;
        let sql = "SELECT d.last_owner_no, (SELECT b.user_no FROM binding b WHERE b.device_no = d.device_no
                   AND b.owned = 1) FROM device d WHERE d.device_no = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let known = self.connection.query_row(sql, params![device_no], read).map_err(Error::store)?;
        let (last_owner_no, owner_no): (Option<i64>, Option<i64>) = known;
        let was_anothers = last_owner_no.is_some_and(|last| last != user_no);
        if owner_no.is_some_and(|owner| owner != user_no) {
            self.release(device_no)?;
        }
        if owner_no != Some(user_no) {
            self.end_bindings(device_no)?;
            self.leave_gateway_of_others(device_no, user_no)?;
            self.let_go_of_others(device_no, user_no)?;
            if was_anothers && !keeps_history {
                self.forget_past(device_no)?;
            }
            self.moves.borrow_mut().came.push((DeviceNo(device_no), self.uid(user_no)?));
        }
        self.move_to_home(device_no, home_id)?;
        bind(self.connection, device_no, user_no, true, self.now_ms)?;
        Ok(was_anothers)
    }

    /// Shares a device to a user.
    pub fn share(&self, device_no: i64, user_no: i64) -> Result<()> {
        let sql = "SELECT EXISTS (SELECT 1 FROM binding WHERE device_no = ?1 AND user_no = ?2)";
        let read = |row: &rusqlite::Row<'_>| row.get(0);
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

    /// Makes what is behind a gateway, of the same project and nobody's, its owner's too.
    pub fn hand_over_behind(&self, gateway_no: i64, owner: Owner) -> Result<()> {
        let sql = "SELECT s.device_no FROM device s JOIN device g ON g.device_no = s.gateway_no
                   WHERE s.gateway_no = ?1 AND s.project_no = g.project_no AND NOT EXISTS
                   (SELECT 1 FROM binding b WHERE b.device_no = s.device_no AND b.owned = 1)";
        for device_no in self.numbers(sql, gateway_no)? {
            self.hand_over(device_no, owner, false)?;
        }
        Ok(())
    }

    /// A gateway that somebody else owns does not speak for a user's device by what it proved before.
    fn leave_gateway_of_others(&self, device_no: i64, user_no: i64) -> Result<()> {
        let sql = "UPDATE device SET gateway_no = NULL, node_id = NULL WHERE device_no = ?1 AND EXISTS
                   (SELECT 1 FROM binding b WHERE b.device_no = device.gateway_no AND b.owned = 1 AND b.user_no <> ?2)";
        if self.connection.execute(sql, params![device_no, user_no]).map_err(Error::store)? > 0 {
            self.moves.borrow_mut().ended.push(DeviceNo(device_no));
        }
        Ok(())
    }

    /// A gateway that becomes a user's does not speak for what others own behind it.
    fn let_go_of_others(&self, gateway_no: i64, user_no: i64) -> Result<()> {
        let sql = "UPDATE device SET gateway_no = NULL, node_id = NULL WHERE gateway_no = ?1 AND EXISTS
                   (SELECT 1 FROM binding b WHERE b.device_no = device.device_no AND b.owned = 1 AND b.user_no <> ?2)
                   RETURNING device_no";
        self.detach(sql, params![gateway_no, user_no])
    }

    /// Puts a device into a home. With the one before go the people of that home, what they wished of it, and gateways
    /// there that others own.
    pub fn move_to_home(&self, device_no: i64, home_id: i64) -> Result<()> {
        let sql = "SELECT home_id FROM device WHERE device_no = ?1";
        let before: Option<i64> =
            self.connection.query_row(sql, params![device_no], |row| row.get(0)).map_err(Error::store)?;
        if before.is_some_and(|before| before != home_id) {
            self.is_lost_by_some(device_no)?;
            forget_desires(self.connection, "?1", device_no).map_err(Error::store)?;
            let owner = "(SELECT b.user_no FROM binding b WHERE b.owned = 1 AND b.device_no =";
            let sql = format!(
                "UPDATE device SET gateway_no = NULL, node_id = NULL WHERE (device_no = ?1 OR gateway_no = ?1)
                 AND gateway_no IS NOT NULL AND {owner} device.device_no) <> {owner} device.gateway_no)
                 RETURNING device_no"
            );
            self.detach(&sql, params![device_no])?;
        }
        let sql = "UPDATE device SET home_id = ?2, updated_ms = ?3 WHERE device_no = ?1 AND home_id IS NOT ?2";
        self.connection.execute(sql, params![device_no, home_id, self.now_ms]).map_err(refused)?;
        Ok(())
    }

    /// Notes, before a change, who has a device: those who do not have it after the change are told.
    pub fn is_lost_by_some(&self, device_no: i64) -> Result<()> {
        let left = self.left(device_no).map_err(Error::store)?;
        self.moves.borrow_mut().lost.push(left);
        Ok(())
    }

    /// Sessions of these devices end.
    pub fn end(&self, devices: Vec<DeviceNo>) {
        self.moves.borrow_mut().ended.extend(devices);
    }

    fn detach(&self, sql: &str, values: impl rusqlite::Params) -> Result<()> {
        let run = || -> rusqlite::Result<Vec<DeviceNo>> {
            self.connection.prepare_cached(sql)?.query_map(values, |row| row.get(0).map(DeviceNo))?.collect()
        };
        self.end(run().map_err(Error::store)?);
        Ok(())
    }

    /// Takes a device from everybody, and with it what is behind it and the same owner's.
    pub fn release(&self, device_no: i64) -> Result<()> {
        let sql = "SELECT s.device_no FROM device s JOIN binding b ON b.device_no = s.device_no AND b.owned = 1
                   WHERE s.gateway_no = ?1 AND s.device_no <> ?1 AND b.user_no =
                       (SELECT user_no FROM binding WHERE device_no = ?1 AND owned = 1)";
        for no in self.numbers(sql, device_no)?.into_iter().chain([device_no]) {
            if self.released.borrow_mut().insert(no) {
                let left = self.left(no).map_err(Error::store)?;
                self.moves.borrow_mut().left.push(left);
            }
            self.end_bindings(no)?;
            leave_gateways(self.connection, no).map_err(Error::store)?;
        }
        Ok(())
    }

    /// As a reset: what people said of a device goes, where it stood, and the sight of its history.
    pub fn forget_past(&self, device_no: i64) -> Result<()> {
        forget_people(self.connection, device_no).map_err(Error::store)?;
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

    /// Ends every binding of a device, and with them what was wished of it, the home and all visual tokens.
    fn end_bindings(&self, device_no: i64) -> Result<()> {
        let write = || -> rusqlite::Result<()> {
            forget_desires(self.connection, "?1", device_no)?;
            self.connection.execute("DELETE FROM binding WHERE device_no = ?1", params![device_no])?;
            let sql = "UPDATE device SET home_id = NULL, updated_ms = ?2, access_version = access_version + 1
                       WHERE device_no = ?1";
            self.connection.execute(sql, params![device_no, self.now_ms])?;
            Ok(())
        };
        write().map_err(Error::store)
    }

    /// Who has a device at this moment.
    fn left(&self, device_no: i64) -> rusqlite::Result<Left> {
        let sql = "SELECT d.device_id, d.home_id, o.uid, o.project_no FROM device d
                   LEFT JOIN binding b ON b.device_no = d.device_no AND b.owned = 1
                   LEFT JOIN app_user o ON o.user_no = b.user_no WHERE d.device_no = ?1";
        let audience =
            relations(self.connection, DeviceNo(device_no))?.map(|found| found.audience()).unwrap_or_default();
        self.connection.query_row(sql, params![device_no], |row| {
            Ok(Left {
                no: DeviceNo(device_no),
                id: DeviceId(row.get(0)?),
                home: row.get::<_, Option<i64>>(1)?.map(HomeId),
                owner: row.get::<_, Option<String>>(2)?.map(Uid),
                owner_project: row.get::<_, Option<i64>>(3)?.map(ProjectNo),
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

/// Who owns a device, and where it stands or is to stand.
pub fn owner_of(connection: &Connection, device_no: i64) -> Result<Option<Owner>> {
    let sql = "SELECT user_no FROM binding WHERE device_no = ?1 AND owned = 1";
    let found = connection.query_row(sql, params![device_no], |row| row.get(0)).optional().map_err(Error::store)?;
    let Some(user_no) = found else { return Ok(None) };
    let sql = "SELECT home_id FROM device WHERE device_no = ?1";
    let stands: Option<i64> = connection.query_row(sql, params![device_no], |row| row.get(0)).map_err(Error::store)?;
    let home_id = stands.map_or_else(|| first_home(connection, user_no), Ok)?;
    Ok(Some(Owner { user_no, home_id }))
}

/// Binds a user; the device belongs to somebody again.
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
    let back = "UPDATE device SET removed = 0 WHERE device_no = ?1 AND removed = 1";
    connection.execute(back, params![device_no]).map_err(refused)?;
    let sql = "UPDATE device SET last_owner_no = ?2 WHERE device_no = ?1 AND ?3 AND last_owner_no IS NOT ?2";
    connection.execute(sql, params![device_no, user_no, owned]).map_err(refused)?;
    Ok(())
}

/// What people said of a device: its names, its users, what was wished of it.
pub fn forget_people(connection: &Connection, device_no: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE device SET name = (SELECT name FROM product p WHERE p.product_no = device.product_no)
               WHERE device_no = ?1";
    connection.execute(sql, params![device_no])?;
    connection.execute("DELETE FROM function_name WHERE device_no = ?1", params![device_no])?;
    connection.execute("DELETE FROM device_user WHERE device_no = ?1", params![device_no])?;
    forget_wishes(connection, device_no)
}

/// Ends a device's place in a network: behind a gateway, and of what is behind it as a gateway.
pub fn leave_gateways(connection: &Connection, device_no: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE device SET gateway_no = NULL WHERE device_no = ?1 OR gateway_no = ?1";
    connection.execute(sql, params![device_no])?;
    Ok(())
}

/// Where a device stands in a home of its owner's, or else the owner's first home, which is made if need be.
pub fn home_for(connection: &Connection, device_no: i64, owner_no: i64) -> Result<i64> {
    let sql = "SELECT h.home_id FROM device d JOIN home h USING (home_id) WHERE d.device_no = ?1 AND h.owner_no = ?2";
    let known = connection.query_row(sql, params![device_no, owner_no], |row| row.get(0)).optional();
    match known.map_err(Error::store)? {
        Some(home_id) => Ok(home_id),
        None => first_home(connection, owner_no),
    }
}

/// A user's first home, which is made if need be.
pub fn first_home(connection: &Connection, owner_no: i64) -> Result<i64> {
    let sql = "SELECT home_id FROM home WHERE owner_no = ?1 ORDER BY home_id LIMIT 1";
    let known = connection.query_row(sql, params![owner_no], |row| row.get(0)).optional();
    if let Some(home_id) = known.map_err(Error::store)? {
        return Ok(home_id);
    }
    let sql = "SELECT project_no FROM app_user WHERE user_no = ?1";
    let project_no = connection.query_row(sql, params![owner_no], |row| row.get(0)).map_err(Error::store)?;
    new_home(connection, project_no, owner_no, FIRST_HOME)
}

/// A home with an id that no other has.
pub fn new_home(connection: &Connection, project_no: i64, owner_no: i64, name: &str) -> Result<i64> {
    loop {
        let id = mint::home_id()?;
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

/// Removes the homes that a condition over `?1` selects, with all that hangs on them; what stood there stands nowhere, and
/// not behind a gateway of somebody else's. The devices whose sessions are no longer right.
pub fn forget_homes(connection: &Connection, homes: &str, value: i64, now_ms: i64) -> rusqlite::Result<Vec<DeviceNo>> {
    let owner = "(SELECT b.user_no FROM binding b WHERE b.owned = 1 AND b.device_no =";
    let detach = format!(
        "UPDATE device SET gateway_no = NULL, node_id = NULL, updated_ms = ?2 WHERE gateway_no IS NOT NULL
         AND (home_id IN ({homes}) OR gateway_no IN (SELECT g.device_no FROM device g WHERE g.home_id IN ({homes})))
         AND {owner} device.device_no) <> {owner} device.gateway_no) RETURNING device_no"
    );
    let values = params![value, now_ms];
    let mut statement = connection.prepare_cached(&detach)?;
    let detached = statement.query_map(values, |row| row.get(0).map(DeviceNo))?;
    let detached = detached.collect::<rusqlite::Result<Vec<DeviceNo>>>()?;
    forget_desires(connection, &format!("SELECT device_no FROM device WHERE home_id IN ({homes})"), value)?;
    let leave = format!("UPDATE device SET home_id = NULL, updated_ms = ?2 WHERE home_id IN ({homes})");
    connection.execute(&leave, params![value, now_ms])?;
    let pairings = format!("SELECT token_hash FROM pairing WHERE home_id IN ({homes})");
    connection.execute(&format!("DELETE FROM pairing_failure WHERE token_hash IN ({pairings})"), params![value])?;
    for table in ["pairing", "home_member", "home_invitation", "home"] {
        connection.execute(&format!("DELETE FROM {table} WHERE home_id IN ({homes})"), params![value])?;
    }
    Ok(detached)
}
