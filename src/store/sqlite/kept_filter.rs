//! The topic filters of persistent MQTT sessions.

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::SqliteRegistry;
use super::connection::execute;
use crate::domain::store::StoredFilterStore;
use crate::domain::{Device, DeviceNo, Error, Result};

#[async_trait]
impl StoredFilterStore for SqliteRegistry {
    async fn stored_filters(&self, session: &Device) -> Result<Vec<(DeviceNo, Vec<String>)>> {
        let session = session.found.no();
        let read = move |connection: &Connection| -> rusqlite::Result<Vec<(DeviceNo, Vec<String>)>> {
            connection
                .prepare_cached("SELECT device_no, filters FROM kept_filter WHERE session_no = ?1 ORDER BY device_no")?
                .query_map(params![session.0], |row| {
                    let filters: String = row.get("filters")?;
                    Ok((DeviceNo(row.get("device_no")?), filters.lines().map(str::to_owned).collect()))
                })?
                .collect()
        };
        self.readers.run(move |reader| read(reader).map_err(Error::store)).await
    }

    async fn store_filters(&self, session: &Device, filters: Vec<(DeviceNo, Vec<String>)>) -> Result<()> {
        let session = session.found.no();
        let write = move |connection: &Connection| -> rusqlite::Result<()> {
            for (device, filters) in &filters {
                if filters.is_empty() {
                    connection
                        .prepare_cached("DELETE FROM kept_filter WHERE session_no = ?1 AND device_no = ?2")?
                        .execute(params![session.0, device.0])?;
                } else {
                    connection
                        .prepare_cached("INSERT OR REPLACE INTO kept_filter VALUES (?1, ?2, ?3)")?
                        .execute(params![session.0, device.0, filters.join("\n")])?;
                }
            }
            // This limits the rows of a session to the number of devices that a gateway may have.
            connection
                .prepare_cached(
                    "DELETE FROM kept_filter WHERE session_no = ?1 AND device_no <> ?1
                     AND device_no NOT IN (SELECT device_no FROM device WHERE gateway_no = ?1)",
                )?
                .execute(params![session.0])?;
            Ok(())
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }

    async fn delete_filters(&self, session: &Device) -> Result<()> {
        let sql = "DELETE FROM kept_filter WHERE session_no = ?1";
        let session = session.found.no();
        let write = move |connection: &Connection| execute(connection, sql, params![session.0]).map(drop);
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }
}
