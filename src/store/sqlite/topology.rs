//! Gateways and what is behind them, and devices that are made as they come.

use std::collections::HashSet;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteRegistry;
use super::device::{COLUMNS, FROM, place_of_local_key, place_of_secret};
use super::owner::{Owners, bind, owner_of};
use super::product::node_type_text;
use super::world::place_of_product_secret;
use crate::domain::handover::{HistoryCuts, Moves};
use crate::domain::store::TopologyStore;
use crate::domain::topology::{NewSubDevice, ProductSecret};
use crate::domain::{Device, DeviceNo, Error, NodeType, Result};
use crate::store::mint;
use crate::store::seal::Seal;

#[async_trait]
impl TopologyStore for SqliteRegistry {
    async fn product_secret(&self, key: &str) -> Result<Option<ProductSecret>> {
        let found: Option<(i64, Vec<u8>)> = self.readers.run(|connection| {
            connection
                .prepare_cached("SELECT product_no, product_secret_sealed FROM product WHERE product_key = ?1")
                .and_then(|mut statement| {
                    statement.query_row(params![key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
                })
                .map_err(Error::store)
        })?;
        let Some((no, sealed)) = found else { return Ok(None) };
        let Some(product) = self.product(no)? else { return Ok(None) };
        let secret = self.seal.unseal(&sealed, &place_of_product_secret(product.id.as_str()))?;
        Ok(Some(ProductSecret { product, secret }))
    }

    async fn make_device(
        &self,
        device: &NewSubDevice,
        gateway: Option<DeviceNo>,
        max: usize,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Option<Device>, Moves)> {
        let (device, seal) = (device.clone(), self.seal.clone());
        let work = move |owners: &Owners<'_>| make(owners, &seal, &device, gateway, max);
        let (made, moves) = self.change_owners(cuts, now_ms, work).await?;
        let Some(no) = made else { return Ok((None, moves)) };
        let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE d.device_no = ?2");
        let made = self.readers.run(|connection| self.first(connection, &sql, params![None::<i64>, no]))?;
        Ok((made, moves))
    }

    async fn attach(
        &self,
        subs: &[DeviceNo],
        gateway: DeviceNo,
        max: usize,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(bool, Moves)> {
        let subs = subs.to_vec();
        let work = move |owners: &Owners<'_>| {
            let behind = owners.numbers("SELECT device_no FROM device WHERE gateway_no = ?1", gateway.0)?;
            let together: HashSet<i64> = behind.into_iter().chain(subs.iter().map(|sub| sub.0)).collect();
            if together.len() > max {
                return Ok(false);
            }
            subs.iter().try_for_each(|sub| put_behind(owners, sub.0, gateway))?;
            Ok(true)
        };
        self.change_owners(cuts, now_ms, work).await
    }

    async fn detach(&self, subs: &[DeviceNo], gateway: DeviceNo, now_ms: i64) -> Result<bool> {
        let subs = subs.to_vec();
        let write = move |connection: &Connection| -> rusqlite::Result<bool> {
            let is_behind = "SELECT 1 FROM device WHERE device_no = ?1 AND gateway_no = ?2";
            for sub in &subs {
                if !connection.prepare_cached(is_behind)?.exists(params![sub.0, gateway.0])? {
                    return Ok(false);
                }
            }
            let leave = "UPDATE device SET gateway_no = NULL, updated_ms = ?2 WHERE device_no = ?1";
            for sub in &subs {
                connection.prepare_cached(leave)?.execute(params![sub.0, now_ms])?;
            }
            Ok(true)
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }

    async fn behind(&self, gateway: DeviceNo, limit: usize) -> Result<Vec<Device>> {
        let sql =
            format!("SELECT {COLUMNS} FROM {FROM} WHERE d.gateway_no = ?2 ORDER BY d.created_ms, d.device_id LIMIT ?3");
        self.readers.run(|connection| self.all(connection, &sql, params![None::<i64>, gateway.0, limit]))
    }
}

/// What comes behind a gateway of the same project is its owner's, unless somebody has it or it was removed.
fn put_behind(owners: &Owners<'_>, sub_no: i64, gateway: DeviceNo) -> Result<()> {
    let (connection, now_ms) = (owners.connection, owners.now_ms);
    let sql = "UPDATE device SET gateway_no = ?2, updated_ms = ?3
               WHERE device_no = ?1 AND gateway_no IS NOT ?2";
    connection.execute(sql, params![sub_no, gateway.0, now_ms]).map_err(Error::store)?;
    let sql = "SELECT 1 FROM device s JOIN device g ON g.project_no = s.project_no
               WHERE s.device_no = ?1 AND g.device_no = ?2 AND s.removed = 0
               AND NOT EXISTS (SELECT 1 FROM binding b WHERE b.device_no = s.device_no AND b.owned = 1)";
    let is_free = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.exists(params![sub_no, gateway.0]))
        .map_err(Error::store)?;
    match is_free.then(|| owner_of(connection, gateway.0)).transpose()?.flatten() {
        Some(owner) => owners.hand_over(sub_no, owner, false).map(drop),
        None => Ok(()),
    }
}

/// The number of the device, made when there is none.
fn make(
    owners: &Owners<'_>,
    seal: &Seal,
    device: &NewSubDevice,
    gateway: Option<DeviceNo>,
    max: usize,
) -> Result<Option<i64>> {
    let (connection, now_ms) = (owners.connection, owners.now_ms);
    // Behind a gateway: a product for sub-devices, of the project whose product the gateway is.
    let sql = "SELECT product_no, name FROM product p WHERE product_id = ?1 AND (?2 IS NULL OR (node_type = ?3
               AND project_no = (SELECT project_no FROM device WHERE device_no = ?2)))";
    let gateway_no = gateway.map(|gateway| gateway.0);
    let values = params![device.product.as_str(), gateway_no, node_type_text(NodeType::Sub)];
    let product = connection.query_row(sql, values, |row| Ok((row.get(0)?, row.get(1)?))).optional();
    let Some((product_no, name)): Option<(i64, String)> = product.map_err(Error::store)? else { return Ok(None) };

    let owner = |no: Option<i64>| -> Result<Option<i64>> {
        let sql = "SELECT user_no FROM binding WHERE device_no = ?1 AND owned = 1";
        connection.query_row(sql, params![no], |row| row.get(0)).optional().map_err(Error::store)
    };
    let gateways_owner = owner(gateway_no)?;
    let sql = "SELECT device_no, gateway_no, active_ms, removed FROM device WHERE product_no = ?1 AND device_name = ?2";
    let known = connection
        .query_row(sql, params![product_no, device.name], |row| {
            Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, i64>(2)?, row.get::<_, bool>(3)?))
        })
        .optional();
    if let Some((no, behind, active_ms, removed)) = known.map_err(Error::store)? {
        // A name is no proof: only what nobody else has and what never was anywhere is there for the taking.
        let is_free = behind.is_none()
            && active_ms == 0
            && !removed
            && owner(Some(no))?.is_none_or(|owner| Some(owner) == gateways_owner);
        if behind != gateway_no && !is_free {
            return Ok(None);
        }
        if let Some(gateway) = gateway {
            put_behind(owners, no, gateway)?;
        }
        return Ok(Some(no));
    }
    // Also those that it had and that were taken from it count.
    let made = match gateway_no {
        Some(gateway_no) => ("SELECT count(*) FROM device WHERE made_by = ?1 OR gateway_no = ?1", gateway_no),
        None => ("SELECT count(*) FROM device WHERE made_by = 0 AND product_no = ?1", product_no),
    };
    let made: usize = connection.query_row(made.0, params![made.1], |row| row.get(0)).map_err(Error::store)?;
    if made >= max {
        return Ok(None);
    }
    let id = mint::device_id()?;
    connection
        .execute(
            "INSERT INTO device (product_no, project_no, device_id, secret_sealed, local_key_sealed, uuid, iot_id,
             device_name, name, ip, time_zone, gateway_no, node_id, home_id, is_virtual, removed, created_ms,
             active_ms, updated_ms, history_from_ms, made_by, local_key_given)
             SELECT p.product_no, p.project_no, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '', coalesce(g.time_zone, '+00:00'), ?9, ?10,
             g.home_id, 0, 0, ?11, 0, ?11, 0, coalesce(?9, 0), 0
             FROM product p LEFT JOIN device g ON g.device_no = ?9 WHERE p.product_no = ?1",
            params![
                product_no,
                id,
                seal.seal(&mint::device_secret()?, &place_of_secret(&id))?,
                seal.seal(&mint::device_secret()?, &place_of_local_key(&id))?,
                mint::device_secret()?,
                mint::iot_id()?,
                device.name,
                name,
                gateway_no,
                device.node_id,
                now_ms
            ],
        )
        .map_err(Error::store)?;
    let no = connection.last_insert_rowid();
    if let Some(owner_no) = gateways_owner {
        bind(connection, no, owner_no, true, now_ms)?;
    }
    Ok(Some(no))
}
