//! Users of a device, such as the people who use a body scale.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::SqliteRegistry;
use super::connection::Reader;
use crate::domain::device_user::{DeviceUser, DeviceUserProfile};
use crate::domain::store::DeviceUserStore;
use crate::domain::{Device, DeviceUserId, Error, Result};
use crate::store::generate;

/// The number of digits of an id, as in the vendor's example.
const ID_DIGITS: usize = 7;

#[async_trait]
impl DeviceUserStore for SqliteRegistry {
    async fn add_device_user(
        &self,
        device: &Device,
        profile: DeviceUserProfile,
        max: usize,
    ) -> Result<Option<DeviceUserId>> {
        let device = device.found.no();
        let write = move |connection: &Connection| {
            let (count, ordinal): (usize, i64) = connection
                .query_row(
                    "SELECT count(*), coalesce(max(ordinal), 0) + 1 FROM device_user WHERE device_no = ?1",
                    params![device.0],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .map_err(Error::store)?;
            if count >= max {
                return Ok(None);
            }
            loop {
                let id = generate::digits(ID_DIGITS)?;
                let added = connection
                    .execute(
                        "INSERT OR IGNORE INTO device_user
                         (device_no, user_id, ordinal, nick_name, sex, birthday_ms, height_cm, weight_g, contact)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                        params![
                            device.0,
                            id,
                            ordinal,
                            profile.nick_name,
                            profile.sex,
                            profile.birthday_ms,
                            profile.height_cm,
                            profile.weight_g,
                            profile.contact
                        ],
                    )
                    .map_err(Error::store)?;
                if added == 1 {
                    return Ok(Some(DeviceUserId(id)));
                }
            }
        };
        self.writer.run(write).await
    }

    async fn update_device_user(&self, device: &Device, id: &DeviceUserId, profile: DeviceUserProfile) -> Result<bool> {
        let (device, id) = (device.found.no(), id.clone());
        let write = move |connection: &Connection| {
            let updated = connection.execute(
                "UPDATE device_user SET nick_name = ?3, sex = ?4, birthday_ms = ?5, height_cm = ?6, weight_g = ?7,
                 contact = coalesce(?8, contact) WHERE device_no = ?1 AND user_id = ?2",
                params![
                    device.0,
                    id.0,
                    profile.nick_name,
                    profile.sex,
                    profile.birthday_ms,
                    profile.height_cm,
                    profile.weight_g,
                    profile.contact
                ],
            );
            Ok(updated.map_err(Error::store)? == 1)
        };
        self.writer.run(write).await
    }

    async fn remove_device_user(&self, device: &Device, id: &DeviceUserId) -> Result<bool> {
        let (device, id) = (device.found.no(), id.clone());
        let write = move |connection: &Connection| {
            let delete = "DELETE FROM device_user WHERE device_no = ?1 AND user_id = ?2";
            Ok(connection.execute(delete, params![device.0, id.0]).map_err(Error::store)? == 1)
        };
        self.writer.run(write).await
    }

    async fn device_users(&self, device: &Device, limit: usize) -> Result<Vec<DeviceUser>> {
        let no = device.found.no();
        let read = move |reader: &Reader<'_>| {
            reader
                .prepare_cached(
                    "SELECT user_id, nick_name, sex, birthday_ms, height_cm, weight_g, contact
                     FROM device_user WHERE device_no = ?1 ORDER BY ordinal LIMIT ?2",
                )
                .and_then(|mut statement| statement.query_map(params![no.0, limit], device_user)?.collect())
                .map_err(Error::store)
        };
        self.readers.run(read).await
    }
}

fn device_user(row: &Row<'_>) -> rusqlite::Result<DeviceUser> {
    Ok(DeviceUser {
        id: DeviceUserId(row.get("user_id")?),
        profile: DeviceUserProfile {
            nick_name: row.get("nick_name")?,
            sex: row.get("sex")?,
            birthday_ms: row.get("birthday_ms")?,
            height_cm: row.get("height_cm")?,
            weight_g: row.get("weight_g")?,
            contact: row.get("contact")?,
        },
    })
}
