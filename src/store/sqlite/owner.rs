//! Whose a device is, and where it stands: what changes it, whoever asks for that.

use rusqlite::{Connection, OptionalExtension, params};

use super::fact::{forget_desires, forget_wishes};
use super::world::refused;
use crate::domain::{Error, ProjectNo, Result, Uid};
use crate::store::mint;

/// What a new owner's first home is called.
const FIRST_HOME: &str = "Home";

/// Whose a device is to be, and where it is to stand.
#[derive(Clone, Copy)]
pub struct Owner {
    pub user_no: i64,
    pub home_id: i64,
}

/// Makes a device that nobody else owns a user's. Nobody is left from before, and to somebody new it is as after a
/// reset: `history_from_ms` hides what the one before did.
pub fn hand_over(
    connection: &Connection,
    device_no: i64,
    owner: Owner,
    history_from_ms: i64,
    now_ms: i64,
) -> Result<()> {
    let Owner { user_no, home_id } = owner;
    let sql = "SELECT d.last_owner_no, EXISTS
                   (SELECT 1 FROM binding b WHERE b.device_no = d.device_no AND b.user_no = ?2 AND b.owned = 1)
               FROM device d WHERE d.device_no = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let known = connection.query_row(sql, params![device_no, user_no], read).map_err(Error::store)?;
    let (last_owner_no, is_owner): (Option<i64>, bool) = known;
    let write = || -> rusqlite::Result<()> {
        if !is_owner {
            connection.execute("DELETE FROM binding WHERE device_no = ?1", params![device_no])?;
        }
        if last_owner_no.is_some_and(|last| last != user_no) {
            forget_people(connection, device_no)?;
            let sql = "UPDATE device SET history_from_ms = max(history_from_ms, ?2) WHERE device_no = ?1";
            connection.execute(sql, params![device_no, history_from_ms])?;
        }
        let sql = "UPDATE device SET home_id = ?2, updated_ms = ?3 WHERE device_no = ?1";
        connection.execute(sql, params![device_no, home_id, now_ms])?;
        Ok(())
    };
    write().map_err(Error::store)?;
    bind(connection, device_no, user_no, true, now_ms)
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

/// What is behind a gateway goes with it, when both are the same user's: whoever gets the gateway next gets that too.
pub fn release_behind(connection: &Connection, gateway_no: i64, now_ms: i64) -> rusqlite::Result<()> {
    let behind = "SELECT s.device_no FROM device s JOIN binding b ON b.device_no = s.device_no AND b.owned = 1
                  WHERE s.gateway_no = ?1 AND b.user_no =
                      (SELECT user_no FROM binding WHERE device_no = ?1 AND owned = 1)";
    forget_desires(connection, behind, gateway_no)?;
    let leave = format!("UPDATE device SET home_id = NULL, updated_ms = ?2 WHERE device_no IN ({behind})");
    connection.execute(&leave, params![gateway_no, now_ms])?;
    connection.execute(&format!("DELETE FROM binding WHERE device_no IN ({behind})"), params![gateway_no])?;
    Ok(())
}

/// What goes with a device's owner, however that comes about: what was wished of it, and its place in a network. A
/// gateway no longer has anything behind it.
pub fn forget_owner(connection: &Connection, device_no: i64) -> rusqlite::Result<()> {
    forget_desires(connection, "?1", device_no)?;
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

/// Removes the homes that a condition over `?1` selects, with all that hangs on them; what stood there stands nowhere.
pub fn forget_homes(connection: &Connection, homes: &str, value: i64, now_ms: i64) -> rusqlite::Result<()> {
    forget_desires(connection, &format!("SELECT device_no FROM device WHERE home_id IN ({homes})"), value)?;
    let leave = format!("UPDATE device SET home_id = NULL, updated_ms = ?2 WHERE home_id IN ({homes})");
    connection.execute(&leave, params![value, now_ms])?;
    let pairings = format!("SELECT token_hash FROM pairing WHERE home_id IN ({homes})");
    connection.execute(&format!("DELETE FROM pairing_failure WHERE token_hash IN ({pairings})"), params![value])?;
    for table in ["pairing", "home_member", "home_invitation", "home"] {
        connection.execute(&format!("DELETE FROM {table} WHERE home_id IN ({homes})"), params![value])?;
    }
    Ok(())
}
