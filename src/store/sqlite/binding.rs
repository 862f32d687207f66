//! Bindings: which users own or share which devices.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::SqliteRegistry;
use super::attribute::delete_desired_values;
use super::connection::Reader;
use super::device::{COLUMNS, FROM};
use super::owner::{Owner, Owners, bind, home_for, user_no};
use super::user;
use super::visibility::{MANAGED, VISIBLE};
use crate::domain::binding::{Bound, BoundDevice, BoundDevices, DeviceHolder, ShareClaim, Shared, Unbound};
use crate::domain::device::FactoryName;
use crate::domain::handover::{HistoryCuts, Moves};
use crate::domain::store::BindingStore;
use crate::domain::user::User;
use crate::domain::{DeviceNo, Error, ProjectNo, Result, Uid, UserNo};
use crate::store::cache::LIST_MAX;

#[async_trait]
impl BindingStore for SqliteRegistry {
    async fn bound_devices(
        &self,
        project: ProjectNo,
        uid: &Uid,
        offset: usize,
        limit: usize,
    ) -> Result<Option<Arc<BoundDevices>>> {
        let key = (project, uid.clone());
        if offset > 0 {
            return self.readers.run(move |reader| read_bound(reader, &key, offset, limit)).await;
        }
        // The cache holds the whole list, independent of the limit.
        let read = move |reader: &Reader<'_>, key: &_| read_bound(reader, key, 0, limit.max(LIST_MAX + 1));
        self.readers.cached(|cache| &cache.bound, key, read).await
    }

    async fn holders(
        &self,
        project: ProjectNo,
        device: DeviceNo,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<DeviceHolder>, u64)> {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let read = move |connection: &Connection| -> rusqlite::Result<(Vec<DeviceHolder>, u64)> {
            let snapshot = connection.unchecked_transaction()?;
            let total = snapshot
                .prepare_cached("SELECT count(*) FROM binding WHERE device_no = ?1 AND project_no = ?2")?
                .query_row(params![device.0, project.0], |row| row.get(0))?;
            let holder =
                |row: &Row<'_>| Ok(DeviceHolder { identity_id: row.get("identity_id")?, owned: row.get("owned")? });
            let holders = snapshot
                .prepare_cached(
                    "SELECT u.identity_id, b.owned FROM binding b JOIN app_user u USING (user_no)
                     WHERE b.device_no = ?1 AND b.project_no = ?2
                     ORDER BY b.owned DESC, b.created_ms, b.user_no LIMIT ?3 OFFSET ?4",
                )?
                .query_map(params![device.0, project.0, limit, offset], holder)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((holders, total))
        };
        self.readers.run_limited(project, move |connection| read(connection).map_err(Error::store)).await
    }

    async fn bind_devices(
        &self,
        project: ProjectNo,
        uid: &Uid,
        devices: &[FactoryName],
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Option<Vec<Bound>>, Moves)> {
        let (uid, devices) = (uid.clone(), devices.to_vec());
        let work = move |owners: &Owners<'_>| {
            let user_no = user_no(owners.connection, project, &uid).map_err(Error::store)?;
            let Some(user_no) = user_no else { return Ok(None) };
            devices.iter().map(|name| bind_to(owners, project, user_no, name)).collect::<Result<_>>().map(Some)
        };
        self.change_owners(cuts, now_ms, work).await
    }

    async fn share_device(
        &self,
        project: ProjectNo,
        by: Option<UserNo>,
        uid: &Uid,
        device: DeviceNo,
        now_ms: i64,
    ) -> Result<Option<Shared>> {
        let uid = uid.clone();
        let write = move |connection: &Connection| {
            // If the owner has lost the device in the meantime, no share may be added.
            let sql = "SELECT 1 FROM binding b JOIN device d USING (device_no) WHERE b.device_no = ?1 AND b.owned = 1
                       AND d.removed = 0 AND b.project_no = ?2 AND (?3 IS NULL OR b.user_no = ?3)";
            let values = params![device.0, project.0, by.map(|user| user.0)];
            let is_owned = connection.prepare_cached(sql).and_then(|mut statement| statement.exists(values));
            if !is_owned.map_err(Error::store)? {
                return Ok(Some(Shared::NotOwned));
            }
            let Some(user_no) = user_no(connection, project, &uid).map_err(Error::store)? else { return Ok(None) };
            let sql =
                "SELECT coalesce(max(owned AND user_no = ?2), 0) AS is_owner,
                     count(*) FILTER (WHERE user_no <> ?2 AND owned = 0) AS others,
                     (SELECT count(*) FROM binding WHERE user_no = ?2 AND owned = 0 AND device_no <> ?1) AS of_user,
                     (SELECT count(*) FROM binding s JOIN binding o USING (device_no) WHERE s.user_no = ?2 AND s.owned = 0
                         AND device_no <> ?1 AND o.owned = 1 AND o.user_no =
                             (SELECT user_no FROM binding WHERE device_no = ?1 AND owned = 1)) AS by_owner
                 FROM binding WHERE device_no = ?1";
            let read = |row: &Row<'_>| {
                let (is_owner, others) = (row.get("is_owner")?, row.get("others")?);
                Ok(ShareClaim { is_owner, others, of_user: row.get("of_user")?, by_owner: row.get("by_owner")? })
            };
            let claim = connection.query_row(sql, params![device.0, user_no], read).map_err(Error::store)?;
            let shared = claim.decide();
            if shared == Shared::Done {
                bind(connection, device.0, user_no, false, now_ms)?;
            }
            Ok(Some(shared))
        };
        self.writer.run(write).await
    }

    async fn withdraw_device(&self, project: ProjectNo, uid: &Uid, device: DeviceNo) -> Result<bool> {
        let uid = uid.clone();
        let write = move |connection: &Connection| -> rusqlite::Result<bool> {
            let Some(user_no) = user_no(connection, project, &uid)? else { return Ok(false) };
            end_share(connection, device, user_no)
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }

    async fn sharees(&self, project: ProjectNo, device: DeviceNo, limit: usize) -> Result<Vec<User>> {
        let sql = format!(
            "SELECT {} FROM {} JOIN binding b ON b.user_no = u.user_no
             WHERE b.device_no = ?1 AND b.project_no = ?2 AND b.owned = 0 ORDER BY b.created_ms, b.user_no LIMIT ?3",
            user::COLUMNS,
            user::FROM
        );
        let read = move |reader: &Reader<'_>| {
            let mut statement = reader.prepare_cached(&sql).map_err(Error::store)?;
            let rows = statement.query_map(params![device.0, project.0, limit], user::user);
            rows.and_then(Iterator::collect).map_err(Error::store)
        };
        self.readers.run(read).await
    }

    async fn unbind_device(
        &self,
        project: ProjectNo,
        uid: &Uid,
        device: DeviceNo,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Unbound, Moves)> {
        let uid = uid.clone();
        let work = move |owners: &Owners<'_>| {
            let connection = owners.connection;
            let Some(user_no) = user_no(connection, project, &uid).map_err(Error::store)? else {
                return Ok(Unbound::Nothing);
            };
            let sql = "SELECT owned FROM binding WHERE device_no = ?1 AND user_no = ?2";
            let found = connection.query_row(sql, params![device.0, user_no], |row| row.get(0)).optional();
            match found.map_err(Error::store)? {
                None => Ok(Unbound::Nothing),
                Some(false) => {
                    end_share(connection, device, user_no).map_err(Error::store)?;
                    Ok(Unbound::Share)
                }
                Some(true) => {
                    owners.release(device.0)?;
                    Ok(Unbound::Owner)
                }
            }
        };
        self.change_owners(cuts, now_ms, work).await
    }

    async fn unbind_everybody(
        &self,
        project: ProjectNo,
        device: DeviceNo,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Unbound, Moves)> {
        let work = move |owners: &Owners<'_>| {
            let connection = owners.connection;
            let exists = |sql: &str, values: &[i64]| -> Result<bool> {
                let mut statement = connection.prepare_cached(sql).map_err(Error::store)?;
                statement.exists(params_from_iter(values)).map_err(Error::store)
            };
            let managed = format!("SELECT 1 FROM device d WHERE d.device_no = ?2 AND {MANAGED}");
            if exists(&managed, &[project.0, device.0])? {
                if !exists("SELECT 1 FROM binding WHERE device_no = ?1", &[device.0])? {
                    return Ok(Unbound::Nothing);
                }
                owners.release(device.0)?;
                return Ok(Unbound::Owner);
            }
            let sql = "DELETE FROM binding WHERE device_no = ?1 AND project_no = ?2";
            if connection.execute(sql, params![device.0, project.0]).map_err(Error::store)? == 0 {
                return Ok(Unbound::Nothing);
            }
            delete_desired_values(connection, "?1", device.0).map_err(Error::store)?;
            Ok(Unbound::Share)
        };
        self.change_owners(cuts, now_ms, work).await
    }
}

/// Makes a user the owner of a device that has no owner.
fn bind_to(owners: &Owners<'_>, project: ProjectNo, user_no: i64, name: &FactoryName) -> Result<Bound> {
    let connection = owners.connection;
    let sql = format!(
        "SELECT d.device_no FROM device d JOIN product p USING (product_no)
         WHERE p.product_key = ?2 AND d.device_name = ?3 AND (d.project_no = ?1 OR {VISIBLE})"
    );
    let values = params![project.0, name.product_key, name.device_name];
    let found = connection.query_row(&sql, values, |row| row.get(0)).optional().map_err(Error::store)?;
    let Some(device_no): Option<i64> = found else { return Ok(Bound::Unknown) };
    let sql = "SELECT user_no FROM binding WHERE device_no = ?1 AND owned = 1";
    let owner = connection.query_row(sql, params![device_no], |row| row.get(0)).optional();
    match owner.map_err(Error::store)? {
        Some(owner_no) if owner_no == user_no => Ok(Bound::Owner),
        Some::<i64>(_) => Ok(Bound::Taken),
        None => {
            let owner = Owner { user_no, home_id: home_for(connection, device_no, user_no)? };
            owners.hand_over(device_no, owner, false)?;
            owners.hand_over_behind(device_no, owner)?;
            Ok(Bound::Owner)
        }
    }
}

/// A page of the devices that a user owns or shares, in the order of binding.
fn read_bound(
    reader: &Reader<'_>,
    (project, uid): &(ProjectNo, Uid),
    offset: usize,
    limit: usize,
) -> Result<Option<Arc<BoundDevices>>> {
    let snapshot = reader.unchecked_transaction().map_err(Error::store)?;
    let user = snapshot
        .prepare_cached("SELECT user_no, identity_id, username FROM app_user WHERE uid = ?1 AND project_no = ?2")
        .and_then(|mut statement| {
            let user = |row: &Row<'_>| Ok((row.get("user_no")?, row.get("identity_id")?, row.get("username")?));
            statement.query_row(params![uid.0, project.0], user).optional()
        })
        .map_err(Error::store)?;
    let Some((user_no, identity_id, username)): Option<(i64, String, String)> = user else {
        return Ok(None);
    };
    let sql = format!(
        "SELECT {COLUMNS}, b.owned, b.created_ms AS bound_ms FROM binding b JOIN {FROM}
         WHERE b.user_no = ?2 AND d.device_no = b.device_no AND d.removed = 0
         ORDER BY b.created_ms, d.created_ms, d.device_id LIMIT ?3 OFFSET ?4"
    );
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    let mut statement = snapshot.prepare_cached(&sql).map_err(Error::store)?;
    let mut rows = statement.query(params![project.0, user_no, limit, offset]).map_err(Error::store)?;
    let mut list = Vec::new();
    while let Some(row) = rows.next().map_err(Error::store)? {
        list.push(BoundDevice {
            device: Arc::new(reader.device_of(row)?),
            owned: row.get("owned").map_err(Error::store)?,
            bound_ms: row.get("bound_ms").map_err(Error::store)?,
        });
    }
    Ok(Some(Arc::new(BoundDevices { identity_id, username, list })))
}

/// Deletes a share and the desired values that the sharee may have set. False if the device was not shared with the user.
fn end_share(connection: &Connection, device: DeviceNo, user_no: i64) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM binding WHERE device_no = ?1 AND user_no = ?2 AND owned = 0";
    let ended = connection.execute(sql, params![device.0, user_no])? == 1;
    if ended {
        delete_desired_values(connection, "?1", device.0)?;
    }
    Ok(ended)
}
