//! What is kept of a device under a key.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteRegistry;
use crate::domain::fact::{Fact, FactChange, FactKind};
use crate::domain::store::FactStore;
use crate::domain::{DeviceNo, Error, Result};

#[async_trait]
impl FactStore for SqliteRegistry {
    async fn facts(&self, device: DeviceNo, kind: FactKind) -> Result<Vec<Fact>> {
        let read = |connection: &Connection| -> rusqlite::Result<Vec<Fact>> {
            connection
                .prepare_cached(
                    "SELECT key, text, version FROM device_fact WHERE device_no = ?1 AND kind = ?2 ORDER BY key",
                )?
                .query_map(params![device.0, number(kind)], |row| {
                    Ok(Fact { key: row.get(0)?, text: row.get(1)?, version: row.get(2)? })
                })?
                .collect()
        };
        self.readers.run(|connection| read(connection).map_err(Error::store))
    }

    async fn change_facts(
        &self,
        device: DeviceNo,
        kind: FactKind,
        changes: Vec<FactChange>,
        max: usize,
    ) -> Result<bool> {
        let write = move |connection: &Connection| -> rusqlite::Result<bool> {
            // Nothing is kept of a change that is refused.
            connection.execute_batch("SAVEPOINT facts")?;
            let done = change(connection, device, kind, &changes, max)?;
            connection.execute_batch(if done { "RELEASE facts" } else { "ROLLBACK TO facts; RELEASE facts" })?;
            Ok(done)
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }
}

fn change(
    connection: &Connection,
    device: DeviceNo,
    kind: FactKind,
    changes: &[FactChange],
    max: usize,
) -> rusqlite::Result<bool> {
    let place = "device_no = ?1 AND kind = ?2";
    for FactChange { key, text, from_version } in changes {
        if let Some(wanted) = from_version {
            let sql = format!("SELECT version FROM device_fact WHERE {place} AND key = ?3");
            let at: Option<i64> = connection
                .prepare_cached(&sql)?
                .query_row(params![device.0, number(kind), key], |row| row.get(0))
                .optional()?;
            if at.unwrap_or(0) != *wanted {
                return Ok(false);
            }
        }
        match text {
            Some(text) => connection
                .prepare_cached(
                    "INSERT INTO device_fact (device_no, kind, key, text, version) VALUES (?1, ?2, ?3, ?4, 1)
                     ON CONFLICT (device_no, kind, key) DO UPDATE SET text = excluded.text, version = version + 1",
                )?
                .execute(params![device.0, number(kind), key, text])?,
            None => connection
                .prepare_cached(&format!("DELETE FROM device_fact WHERE {place} AND key = ?3"))?
                .execute(params![device.0, number(kind), key])?,
        };
    }
    let count: usize = connection
        .prepare_cached(&format!("SELECT count(*) FROM device_fact WHERE {place}"))?
        .query_row(params![device.0, number(kind)], |row| row.get(0))?;
    Ok(count <= max)
}

/// The number of a kind in the registry.
fn number(kind: FactKind) -> i64 {
    match kind {
        FactKind::Tag => 1,
        FactKind::Firmware => 2,
        FactKind::Desired => 3,
        FactKind::Shadow => 4,
    }
}

/// Forgets what a device should be: who wished it no longer has the device.
pub fn forget_desires(connection: &Connection, devices: &str, value: i64) -> rusqlite::Result<()> {
    let sql = format!("DELETE FROM device_fact WHERE device_no IN ({devices}) AND kind = ?2");
    connection.execute(&sql, params![value, number(FactKind::Desired)])?;
    Ok(())
}

/// Forgets what a device's users and their wishes left; its firmware stays what it is.
pub fn forget_wishes(connection: &Connection, device_no: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM device_fact WHERE device_no = ?1 AND kind <> ?2";
    connection.execute(sql, params![device_no, number(FactKind::Firmware)])?;
    Ok(())
}
