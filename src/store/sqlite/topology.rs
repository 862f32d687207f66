//! Gateways, their sub-devices, and devices that are created when they register.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use super::connection::Reader;
use super::device::{COLUMNS, FROM, local_key_aad, secret_aad};
use super::owner::{Owners, bind};
use super::product::node_type;
use super::world::product_secret_aad;
use crate::domain::handover::{HistoryCuts, Moves};
use crate::domain::store::TopologyStore;
use crate::domain::topology::{
    ExistingDevice, NewDeviceClaim, NewDeviceDecision, NewSubDevice, ProductSecret, has_room,
};
use crate::domain::{Device, DeviceNo, Error, ProjectNo, Result, UserNo};
use crate::store::generate;
use crate::store::seal::Seal;

#[async_trait]
impl TopologyStore for SqliteRegistry {
    async fn product_secrets(&self, keys: &[&str]) -> Result<Vec<Option<ProductSecret>>> {
        let sql = "SELECT product_no, product_secret_sealed FROM product WHERE product_key = ?1";
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let read = move |reader: &Reader<'_>| {
            let mut statement = reader.prepare_cached(sql).map_err(Error::store)?;
            let sealed = |row: &Row<'_>| Ok((row.get("product_no")?, row.get("product_secret_sealed")?));
            let mut secret = |key: &String| {
                let found = statement.query_row(params![key], sealed).optional().map_err(Error::store)?;
                let Some((no, sealed)): Option<(i64, Vec<u8>)> = found else { return Ok(None) };
                let Some(product) = reader.readers.product(no)? else { return Ok(None) };
                let secret = reader.readers.seal.unseal(&sealed, &product_secret_aad(product.id.as_str()))?;
                Ok(Some(ProductSecret { product, secret }))
            };
            keys.iter().map(&mut secret).collect()
        };
        self.readers.run(read).await
    }

    async fn make_devices(
        &self,
        devices: &[NewSubDevice],
        gateway: Option<DeviceNo>,
        max: usize,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Vec<Device>, Moves)> {
        let (devices, seal) = (devices.to_vec(), self.seal.clone());
        let work = move |owners: &Owners<'_>| {
            let made = devices.iter().map(|device| make(owners, &seal, device, gateway, max).transpose());
            made.map_while(|made| made).collect::<Result<Vec<i64>>>()
        };
        let (made, moves) = self.change_owners(cuts, now_ms, work).await?;
        let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE d.device_no = ?2");
        let read = move |reader: &Reader<'_>| {
            let device = |no| reader.first(&sql, params![None::<i64>, no]).transpose();
            made.into_iter().filter_map(device).collect::<Result<Vec<_>>>()
        };
        let made = self.readers.run(read).await?;
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
            let behind: Vec<DeviceNo> = behind.into_iter().map(DeviceNo).collect();
            if !has_room(&behind, &subs, max) {
                return Ok(false);
            }
            subs.iter().try_for_each(|sub| attach_one(owners, sub.0, gateway))?;
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
            let detach = "UPDATE device SET gateway_no = NULL, updated_ms = ?2 WHERE device_no = ?1";
            for sub in &subs {
                connection.prepare_cached(detach)?.execute(params![sub.0, now_ms])?;
            }
            Ok(true)
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }

    async fn behind(&self, gateway: DeviceNo, limit: usize) -> Result<Vec<Device>> {
        let sql =
            format!("SELECT {COLUMNS} FROM {FROM} WHERE d.gateway_no = ?2 ORDER BY d.created_ms, d.device_id LIMIT ?3");
        self.readers.run(move |reader| reader.all(&sql, params![None::<i64>, gateway.0, limit])).await
    }
}

/// Attaches a device to a gateway.
fn attach_one(owners: &Owners<'_>, sub_no: i64, gateway: DeviceNo) -> Result<()> {
    let sql = "UPDATE device SET gateway_no = ?2, updated_ms = ?3
               WHERE device_no = ?1 AND gateway_no IS NOT ?2";
    owners.connection.execute(sql, params![sub_no, gateway.0, owners.now_ms]).map_err(Error::store)?;
    owners.hand_over_by_gateway(sub_no, gateway.0)
}

/// Returns the number of the device, which is created if it does not exist.
fn make(
    owners: &Owners<'_>,
    seal: &Seal,
    device: &NewSubDevice,
    gateway: Option<DeviceNo>,
    max: usize,
) -> Result<Option<i64>> {
    let (connection, now_ms) = (owners.connection, owners.now_ms);
    let sql = "SELECT product_no, name, project_no, node_type FROM product p WHERE product_id = ?1";
    let product = connection.query_row(sql, params![device.product.as_str()], |row| {
        let (project, node_type) = (ProjectNo(row.get("project_no")?), node_type(row.get_ref("node_type")?.as_str()?));
        Ok((row.get("product_no")?, row.get("name")?, project, node_type))
    });
    let product = product.optional().map_err(Error::store)?;
    let Some((product_no, name, project, node_type)): Option<(i64, String, _, _)> = product else { return Ok(None) };
    let known = find_device(connection, product_no, &device.name).map_err(Error::store)?;
    // Devices that were created for the gateway and later detached count as well.
    let made = match gateway {
        Some(gateway) => ("SELECT count(*) FROM device WHERE made_by = ?1 OR gateway_no = ?1", gateway.0),
        None => ("SELECT count(*) FROM device WHERE made_by = 0 AND product_no = ?1", product_no),
    };
    let made: usize = connection.query_row(made.0, params![made.1], |row| row.get(0)).map_err(Error::store)?;
    let gateway = gateway.map(|gateway| owners.placement(gateway.0)).transpose()?;
    let claim = NewDeviceClaim { project, node_type, gateway, known, made, max };
    let gateway_no = gateway.map(|gateway| gateway.no.0);
    let gateways_owner = match claim.decide() {
        NewDeviceDecision::Refused => return Ok(None),
        NewDeviceDecision::Existing(no) => {
            gateway.map_or(Ok(()), |gateway| attach_one(owners, no.0, gateway.no))?;
            return Ok(Some(no.0));
        }
        NewDeviceDecision::New(owner) => owner,
    };
    let id = generate::device_id()?;
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
                seal.seal(&generate::device_secret()?, &secret_aad(&id))?,
                seal.seal(&generate::device_secret()?, &local_key_aad(&id))?,
                generate::device_secret()?,
                generate::iot_id()?,
                device.name,
                name,
                gateway_no,
                device.node_id,
                now_ms
            ],
        )
        .map_err(Error::store)?;
    let no = connection.last_insert_rowid();
    if let Some(owner) = gateways_owner {
        bind(connection, no, owner.0, true, now_ms)?;
    }
    Ok(Some(no))
}

fn find_device(connection: &Connection, product_no: i64, name: &str) -> rusqlite::Result<Option<ExistingDevice>> {
    let sql = "SELECT d.device_no, d.gateway_no, d.active_ms, d.removed, o.user_no AS owner_no FROM device d
               LEFT JOIN binding o ON o.device_no = d.device_no AND o.owned = 1
               WHERE d.product_no = ?1 AND d.device_name = ?2";
    let device = |row: &Row<'_>| {
        Ok(ExistingDevice {
            no: DeviceNo(row.get("device_no")?),
            owner: row.get::<_, Option<i64>>("owner_no")?.map(UserNo),
            gateway: row.get::<_, Option<i64>>("gateway_no")?.map(DeviceNo),
            is_active: row.get::<_, i64>("active_ms")? != 0,
            removed: row.get("removed")?,
        })
    };
    connection.query_row(sql, params![product_no, name], device).optional()
}
