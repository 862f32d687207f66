//! The attributes and the desired values of devices.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use super::connection::Reader;
use crate::domain::attribute::{Attribute, AttributeChange, AttributeKind, Desired, DesiredVersions};
use crate::domain::command::Setpoint;
use crate::domain::store::AttributeStore;
use crate::domain::{Device, DeviceNo, Error, Result, Value};

#[async_trait]
impl AttributeStore for SqliteRegistry {
    async fn attributes(&self, device: &Device, kind: AttributeKind) -> Result<Vec<Attribute>> {
        let no = device.found.no();
        self.readers.run(move |reader| attributes(reader, no, kind).map_err(Error::store)).await
    }

    async fn change_attributes(
        &self,
        device: &Device,
        kind: AttributeKind,
        changes: Vec<AttributeChange>,
        max: usize,
    ) -> Result<bool> {
        let device = device.found.no();
        let known = self.readers.run(move |reader| attributes(reader, device, kind).map_err(Error::store)).await?;
        let is_known = |change: &AttributeChange| {
            let found = known.iter().find(|attribute| attribute.key == change.key);
            change.from_version.is_none() && found.map(|attribute| &attribute.text) == change.text.as_ref()
        };
        // Devices report the same at every start, which must not cost a commit.
        if changes.iter().all(is_known) {
            return Ok(true);
        }
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

    async fn desired(&self, devices: &[&Device]) -> Result<Vec<Vec<Desired>>> {
        let numbers: Vec<DeviceNo> = devices.iter().map(|device| device.found.no()).collect();
        let read = move |reader: &Reader<'_>| {
            let desired = numbers.iter().map(|no| desired(reader, *no));
            desired.collect::<rusqlite::Result<_>>().map_err(Error::store)
        };
        self.readers.run(read).await
    }

    async fn put_desired(
        &self,
        device: &Device,
        setpoints: Vec<Setpoint>,
        until_ms: i64,
        is_pushed: bool,
        now_ms: i64,
        max: usize,
    ) -> Result<bool> {
        let device = device.found.no();
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

    async fn remove_desired(&self, values: &[(&Device, DesiredVersions)]) -> Result<()> {
        let one =
            |device: &Device, (code, version): &(String, Option<i64>)| (device.found.no().0, code.clone(), *version);
        let all = values.iter().flat_map(|(device, versions)| versions.iter().map(|value| one(device, value)));
        let all: Vec<(i64, String, Option<i64>)> = all.collect();
        // What is not there must not cost a commit.
        let read = move |reader: &Reader<'_>| {
            let sql = format!("SELECT 1 FROM desired_value WHERE {THIS_DESIRED}");
            let mut statement = reader.prepare_cached(&sql).map_err(Error::store)?;
            let mut stored = Vec::with_capacity(all.len());
            for value in all {
                if statement.exists(params![value.0, value.1, value.2]).map_err(Error::store)? {
                    stored.push(value);
                }
            }
            Ok(stored)
        };
        let all = self.readers.run(read).await?;
        if all.is_empty() {
            return Ok(());
        }
        let write = move |connection: &Connection| -> rusqlite::Result<()> {
            let sql = format!("DELETE FROM desired_value WHERE {THIS_DESIRED}");
            let mut statement = connection.prepare_cached(&sql)?;
            for (device_no, code, version) in &all {
                statement.execute(params![device_no, code, version])?;
            }
            Ok(())
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }
}

/// A desired value by device and code, and by version if one is given.
const THIS_DESIRED: &str = "device_no = ?1 AND code = ?2 AND version = coalesce(?3, version)";

fn attributes(connection: &Connection, device: DeviceNo, kind: AttributeKind) -> rusqlite::Result<Vec<Attribute>> {
    let sql = "SELECT key, text, version FROM device_fact WHERE device_no = ?1 AND kind = ?2 ORDER BY key";
    let attribute =
        |row: &Row<'_>| Ok(Attribute { key: row.get("key")?, text: row.get("text")?, version: row.get("version")? });
    connection.prepare_cached(sql)?.query_map(params![device.0, number(kind)], attribute)?.collect()
}

fn desired(connection: &Connection, device: DeviceNo) -> rusqlite::Result<Vec<Desired>> {
    let sql = "SELECT code, value, version, until_ms, is_told FROM desired_value WHERE device_no = ?1 ORDER BY code";
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
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![device.0], desired)?;
    rows.filter_map(rusqlite::Result::transpose).collect()
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
