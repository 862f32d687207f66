//! The names that users give to the functions of a device.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::SqliteRegistry;
use super::connection::execute;
use crate::domain::name::FunctionName;
use crate::domain::store::NameStore;
use crate::domain::{Device, DeviceNo, Error, Result};

#[async_trait]
impl NameStore for SqliteRegistry {
    async fn name_function(&self, device: &Device, code: &str, name: &str, now_ms: i64) -> Result<()> {
        let (device, code, name) = (device.found.no(), code.to_owned(), name.to_owned());
        let write = move |connection: &Connection| {
            execute(
                connection,
                "INSERT INTO function_name (device_no, code, name) VALUES (?1, ?2, ?3)
                 ON CONFLICT (device_no, code) DO UPDATE SET name = excluded.name",
                params![device.0, code, name],
            )?;
            execute(connection, "UPDATE device SET updated_ms = ?2 WHERE device_no = ?1", params![device.0, now_ms])
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await?;
        Ok(())
    }

    async fn function_names(&self, devices: &[&Device]) -> Result<Vec<Vec<FunctionName>>> {
        let numbers: Vec<DeviceNo> = devices.iter().map(|device| device.found.no()).collect();
        let sql = "SELECT code, name FROM function_name WHERE device_no = ?1 ORDER BY code";
        let name = |row: &Row<'_>| Ok(FunctionName { code: row.get("code")?, name: row.get("name")? });
        let read = move |connection: &Connection| -> rusqlite::Result<Vec<Vec<FunctionName>>> {
            let mut statement = connection.prepare_cached(sql)?;
            numbers.iter().map(|no| statement.query_map(params![no.0], name)?.collect()).collect()
        };
        self.readers.run(move |reader| read(reader).map_err(Error::store)).await
    }
}
