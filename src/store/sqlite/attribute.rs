//! The attributes and the desired values of devices.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use crate::domain::attribute::{Attribute, AttributeChange, AttributeKind, Desired};
use crate::domain::command::Setpoint;
use crate::domain::store::AttributeStore;
use crate::domain::{DeviceNo, Error, Result, Value};

#[async_trait]
impl AttributeStore for SqliteRegistry {
    async fn attributes(&self, device: DeviceNo, kind: AttributeKind) -> Result<Vec<Attribute>> {
        let read = move |connection: &Connection| -> rusqlite::Result<Vec<Attribute>> {
            connection
                .prepare_cached(
                    "SELECT key, text, version FROM device_fact WHERE device_no = ?1 AND kind = ?2 ORDER BY key",
                )?
                .query_map(params![device.0, number(kind)], |row| {
                    Ok(Attribute { key: row.get("key")?, text: row.get("text")?, version: row.get("version")? })
                })?
                .collect()
        };
        self.readers.run(move |reader| read(reader).map_err(Error::store)).await
    }

    async fn change_attributes(
        &self,
        device: DeviceNo,
        kind: AttributeKind,
        changes: Vec<AttributeChange>,
        max: usize,
    ) -> Result<bool> {
        let write = move |connection: &Connection| -> rusqlite::Result<bool> {
            // A refused change must not be stored in part.
            connection.execute_batch("SAVEPOINT attributes")?;
            let done = change(connection, device, kind, &changes, max)?;
            connection.execute_batch(if done {
                "RELEASE attributes"
            } else {
                "ROLLBACK TO attributes; RELEASE attributes"
            })?;
            Ok(done)
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }

    async fn desired(&self, device: DeviceNo) -> Result<Vec<Desired>> {
        let sql =
            "SELECT code, value, version, until_ms, is_told FROM desired_value WHERE device_no = ?1 ORDER BY code";
        let read = move |connection: &Connection| -> rusqlite::Result<Vec<Option<Desired>>> {
            let desired = |row: &Row<'_>| {
                let Some(value) = Value::from_json(row.get_ref("value")?.as_str()?) else { return Ok(None) };
                Ok(Some(Desired {
                    code: row.get("code")?,
                    value,
                    version: row.get("version")?,
                    until_ms: row.get("until_ms")?,
                    is_pushed: row.get("is_told")?,
                }))
            };
            connection.prepare_cached(sql)?.query_map(params![device.0], desired)?.collect()
        };
        let rows = self.readers.run(move |reader| read(reader).map_err(Error::store)).await?;
        Ok(rows.into_iter().flatten().collect())
    }

    async fn put_desired(
        &self,
        device: DeviceNo,
        setpoints: Vec<Setpoint>,
        until_ms: i64,
        is_pushed: bool,
        now_ms: i64,
        max: usize,
    ) -> Result<bool> {
        let write = move |connection: &Connection| -> rusqlite::Result<bool> {
            // A refused change must not be stored in part.
            connection.execute_batch("SAVEPOINT desired")?;
            connection
                .prepare_cached("DELETE FROM desired_value WHERE device_no = ?1 AND until_ms <= ?2")?
                .execute(params![device.0, now_ms])?;
            for (code, value) in &setpoints {
                connection
                    .prepare_cached(
                        "INSERT INTO desired_value (device_no, code, value, until_ms, is_told, version)
                         VALUES (?1, ?2, ?3, ?4, ?5, 1) ON CONFLICT (device_no, code) DO UPDATE SET
                         value = excluded.value, until_ms = excluded.until_ms, is_told = excluded.is_told,
                         version = version + 1",
                    )?
                    .execute(params![device.0, code, value.as_json(), until_ms, is_pushed])?;
            }
            let count: usize = connection
                .prepare_cached("SELECT count(*) FROM desired_value WHERE device_no = ?1")?
                .query_row(params![device.0], |row| row.get(0))?;
            let fits = count <= max;
            connection.execute_batch(if fits { "RELEASE desired" } else { "ROLLBACK TO desired; RELEASE desired" })?;
            Ok(fits)
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }

    async fn remove_desired(&self, device: DeviceNo, versions: Vec<(String, Option<i64>)>) -> Result<()> {
        let write = move |connection: &Connection| -> rusqlite::Result<()> {
            let sql =
                "DELETE FROM desired_value WHERE device_no = ?1 AND code = ?2 AND version = coalesce(?3, version)";
            let mut statement = connection.prepare_cached(sql)?;
            for (code, version) in &versions {
                statement.execute(params![device.0, code, version])?;
            }
            Ok(())
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }
}

fn change(
    connection: &Connection,
    device: DeviceNo,
    kind: AttributeKind,
    changes: &[AttributeChange],
    max: usize,
) -> rusqlite::Result<bool> {
    let of_kind = "device_no = ?1 AND kind = ?2";
    for AttributeChange { key, text, from_version } in changes {
        if let Some(expected) = from_version {
            let sql = format!("SELECT version FROM device_fact WHERE {of_kind} AND key = ?3");
            let version: Option<i64> = connection
                .prepare_cached(&sql)?
                .query_row(params![device.0, number(kind), key], |row| row.get(0))
                .optional()?;
            if version.unwrap_or(0) != *expected {
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
                .prepare_cached(&format!("DELETE FROM device_fact WHERE {of_kind} AND key = ?3"))?
                .execute(params![device.0, number(kind), key])?,
        };
    }
    let count: usize = connection
        .prepare_cached(&format!("SELECT count(*) FROM device_fact WHERE {of_kind}"))?
        .query_row(params![device.0, number(kind)], |row| row.get(0))?;
    Ok(count <= max)
}

/// The number that the registry stores for a kind.
fn number(kind: AttributeKind) -> i64 {
    match kind {
        AttributeKind::Tag => 1,
        AttributeKind::Firmware => 2,
        AttributeKind::Shadow => 4,
    }
}

/// Deletes the desired values of the devices that a subquery over `?1` selects, because some users no longer have them.
pub fn delete_desired_values(connection: &Connection, devices: &str, value: i64) -> rusqlite::Result<()> {
    connection.execute(&format!("DELETE FROM desired_value WHERE device_no IN ({devices})"), params![value])?;
    Ok(())
}

/// Deletes the attributes of a device except its firmware versions, and its desired values.
pub fn delete_user_attributes(connection: &Connection, device_no: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM device_fact WHERE device_no = ?1 AND kind <> ?2";
    connection.execute(sql, params![device_no, number(AttributeKind::Firmware)])?;
    delete_desired_values(connection, "?1", device_no)
}
