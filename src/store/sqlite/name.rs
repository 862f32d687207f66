//! The names that users give to the functions of a device.

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::SqliteRegistry;
use super::connection::Reader;
use crate::domain::name::FunctionName;
use crate::domain::store::NameStore;
use crate::domain::{DeviceNo, Error, Result};

#[async_trait]
impl NameStore for SqliteRegistry {
    async fn name_function(&self, device: DeviceNo, code: &str, name: &str, now_ms: i64) -> Result<()> {
        let (code, name) = (code.to_owned(), name.to_owned());
        let write = move |connection: &Connection| {
            connection.execute(
                "INSERT INTO function_name (device_no, code, name) VALUES (?1, ?2, ?3)
                 ON CONFLICT (device_no, code) DO UPDATE SET name = excluded.name",
                params![device.0, code, name],
            )?;
            connection.execute("UPDATE device SET updated_ms = ?2 WHERE device_no = ?1", params![device.0, now_ms])
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await?;
        Ok(())
    }

    async fn function_names(&self, device: DeviceNo) -> Result<Vec<FunctionName>> {
        let read = move |reader: &Reader<'_>| {
            reader
                .prepare_cached("SELECT code, name FROM function_name WHERE device_no = ?1 ORDER BY code")
                .and_then(|mut statement| {
                    let rows = statement.query_map(params![device.0], |row| {
                        Ok(FunctionName { code: row.get("code")?, name: row.get("name")? })
                    })?;
                    rows.collect()
                })
                .map_err(Error::store)
        };
        self.readers.run(read).await
    }
}
