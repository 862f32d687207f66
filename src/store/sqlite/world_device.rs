//! The world document: devices, their owners and sharees.

use std::collections::HashMap;

use rusqlite::{Row, params};

use super::attribute::delete_desired_values;
use super::device::{local_key_aad, secret_aad};
use super::owner::{self, Owner};
use super::world::{Builder, at, fill, refused};
use crate::domain::world::WorldDevice;
use crate::domain::world::links::{OwnerChange, StoredDevice};
use crate::domain::{DeviceNo, Error, ProjectNo, Result, UserNo};
use crate::store::generate;

impl Builder<'_> {
    /// Writes all devices first and then their links, so that a document may name a gateway before it describes it.
    pub(super) fn devices(&self, devices: &mut [WorldDevice]) -> Result<()> {
        for device in devices.iter_mut() {
            self.find_product(device).map_err(|error| at(&position(device), error))?;
        }
        WorldDevice::name_unnamed(devices.iter_mut(), &mut HashMap::new());
        let mut numbers = Vec::with_capacity(devices.len());
        for device in devices.iter_mut() {
            let number = self.device(device).map_err(|error| at(&position(device), error))?;
            numbers.push(number);
        }
        for (device, no) in devices.iter_mut().zip(&numbers) {
            let linked = self.link(device, *no);
            linked.map_err(|error| at(&position(device), error))?;
        }
        // This comes last, because it needs the owners and homes of all gateways.
        devices.iter_mut().zip(numbers).try_for_each(|(device, no)| self.settle_local_key(device, no))
    }

    /// Replaces the name of a product by its id.
    fn find_product(&self, world: &mut WorldDevice) -> Result<()> {
        let Some(name) = world.product.take() else { return Ok(()) };
        let mut found = self.products_named(&name)?;
        match (found.pop(), found.len()) {
            (Some(id), 0) => world.product_id = id,
            (None, _) => return Err(Error::Refused(format!("there is no product {name:?}"))),
            (Some(_), others) => {
                let text = format!("{} products have the name {name:?}: give the product_id of one", others + 1);
                return Err(Error::Refused(format!("product: {text}")));
            }
        }
        Ok(())
    }

    fn device(&self, world: &mut WorldDevice) -> Result<i64> {
        // The product may belong to another project. Its maker and the owner's project then both see the device.
        let sql = "SELECT product_no, project_no FROM product WHERE product_id = ?1";
        let read = |row: &Row<'_>| Ok((row.get("product_no")?, ProjectNo(row.get("project_no")?)));
        let product: Option<(i64, ProjectNo)> = self.find(sql, params![world.product_id], read)?;
        let (product_no, maker) =
            product.ok_or_else(|| Error::Refused(format!("there is no product {:?}", world.product_id)))?;
        let mut stored = self.stored_device(world, product_no)?;
        if let Some((no, stored_product, _)) = stored {
            if stored_product != product_no {
                return Err(Error::Refused("the device is of another product".to_owned()));
            }
            if self.give(world, no)? {
                // Members that the document omits have the values from after the change of owner.
                stored = self.stored_device(world, product_no)?;
            }
        }
        let before = stored.map(|(no, _, before)| Ok::<_, Error>((self.found_device(no)?, before))).transpose()?;
        let found = before.as_ref().map(|(found, before)| (found, before));
        let is_held_elsewhere = world.check_maker(ProjectNo(self.project_no), maker, found)?;
        if let (false, Some((found, _))) = (is_held_elsewhere, &before)
            && world.local_key.is_some()
            && let Some(key) = self.gateway_key(found.no.0)?
        {
            world.omit_shown_key(&key);
        }
        let said = is_held_elsewhere.then(|| world.clone());
        let (found, before) = before.unzip();
        if let Some(before) = before.clone() {
            world.or_stored(before);
        }
        let no = self.put_device(found.map(|found| found.no.0), product_no, before.as_ref(), world)?;
        if let Some(said) = said {
            *world = std::mem::take(world).shown_to_maker(said);
        }
        Ok(no)
    }

    fn put_device(
        &self,
        no: Option<i64>,
        product_no: i64,
        before: Option<&WorldDevice>,
        world: &mut WorldDevice,
    ) -> Result<i64> {
        let id = fill(&mut world.device_id, generate::device_id)?.clone();
        let is_given = world.local_key.is_some();
        let secret = fill(&mut world.secret, generate::device_secret)?.clone();
        let local_key = fill(&mut world.local_key, generate::device_secret)?.clone();
        fill(&mut world.uuid, generate::device_secret)?;
        fill(&mut world.iot_id, generate::iot_id)?;
        world.or_default();
        if let (Some(no), Some(before)) = (no, before) {
            if *before == world.without_links() {
                return Ok(no);
            }
            // Sessions that were authenticated with changed data must end.
            if world.ends_sessions_of(before) {
                self.ended.borrow_mut().push(DeviceNo(no));
            }
            if before.secret != world.secret {
                // The gateway proved the old secret, and the desired values may be from users of the old device.
                self.write("UPDATE device SET gateway_no = NULL WHERE device_no = ?1", params![no])?;
                delete_desired_values(self.connection, "?1", no).map_err(refused)?;
            }
        }
        let sql = "SELECT secret_sealed FROM device WHERE device_no = ?1";
        let secret = self.sealed(&secret, &secret_aad(&id), sql, params![no])?;
        let sql = "SELECT local_key_sealed FROM device WHERE device_no = ?1";
        let local_key = self.sealed(&local_key, &local_key_aad(&id), sql, params![no])?;
        let written = self.write(
            "INSERT INTO device (device_no, product_no, project_no, device_id, secret_sealed, local_key_sealed, uuid,
             iot_id, device_name, sn, mac, name, ip, lat, lon, time_zone, node_id, is_virtual, removed, created_ms,
             active_ms, updated_ms, history_from_ms, disabled, local_key_given)
             VALUES (?1, ?2, (SELECT project_no FROM product WHERE product_no = ?2), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
             ?12, ?13, ?14, ?15, ?16, ?17, 0, ?18, 0, ?18, 0, ?19, ?20)
             ON CONFLICT (device_no) DO UPDATE SET secret_sealed = excluded.secret_sealed,
             local_key_sealed = excluded.local_key_sealed, local_key_given = local_key_given OR ?21, uuid = excluded.uuid, iot_id = excluded.iot_id,
             device_name = excluded.device_name, sn = excluded.sn, mac = excluded.mac, name = excluded.name,
             ip = excluded.ip, lat = excluded.lat, lon = excluded.lon, time_zone = excluded.time_zone,
             node_id = excluded.node_id, is_virtual = excluded.is_virtual, updated_ms = excluded.updated_ms,
             disabled = excluded.disabled, access_version = access_version + (disabled <> excluded.disabled)",
            params![
                no,
                product_no,
                id,
                secret,
                local_key,
                world.uuid,
                world.iot_id,
                world.device_name,
                world.sn,
                world.mac,
                world.name,
                world.ip,
                world.lat,
                world.lon,
                world.time_zone,
                world.node_id,
                world.is_virtual,
                self.now_ms,
                world.disabled,
                is_given,
                before.is_some_and(|before| before.local_key != world.local_key)
            ],
        )?;
        Ok(no.unwrap_or(written))
    }

    /// Sets the local key of a sub-device in the document, and in the store if it is the gateway's.
    fn settle_local_key(&self, world: &mut WorldDevice, no: i64) -> Result<()> {
        let Some(key) = self.gateway_key(no)? else { return Ok(()) };
        if self.found_device(no)?.is_of(ProjectNo(self.project_no)) && world.settle_local_key(key) {
            let id = world.device_id.clone().unwrap_or_default();
            let own = self.seal.seal(&generate::device_secret()?, &local_key_aad(&id))?;
            let sql = "UPDATE device SET local_key_sealed = ?2, local_key_given = 0 WHERE device_no = ?1";
            self.write(sql, params![no, own])?;
        }
        Ok(())
    }

    /// Gives a device to the owner that the document names, in the home that it names or else in one of the owner's. Returns
    /// true if another user was its last owner.
    fn give(&self, world: &mut WorldDevice, no: i64) -> Result<bool> {
        let Some(owner) = &world.owner else { return Ok(false) };
        let user_no = self.user_no(owner)?;
        let home_id = match world.home_id {
            Some(home_id) => self.own_home(home_id)?,
            None => owner::home_for(self.connection, no, user_no)?,
        };
        world.home_id = Some(home_id);
        let change = OwnerChange::of(&self.owners.placement(no)?, UserNo(user_no));
        let owner = Owner { user_no, home_id };
        self.owners.hand_over(no, owner, world.keep_history == Some(true))?;
        if change.takes_sub_devices {
            self.owners.hand_over_behind(no, owner)?;
        }
        if change.changes_users {
            self.ended.borrow_mut().push(DeviceNo(no));
        }
        Ok(change.changes_users)
    }

    /// Writes owner, gateway, home and sharees.
    fn link(&self, world: &mut WorldDevice, no: i64) -> Result<()> {
        self.give(world, no)?;
        if let Some(gateway) = &world.gateway {
            let found = self.find_device("d.device_id = ?1", gateway)?;
            let gateway_no = StoredDevice::gateway(found, gateway, ProjectNo(self.project_no))?.0;
            let sql = "UPDATE device SET gateway_no = ?2 WHERE device_no = ?1 AND gateway_no IS NOT ?2";
            if self.connection.execute(sql, params![no, gateway_no]).map_err(refused)? > 0 {
                self.ended.borrow_mut().push(DeviceNo(no));
            }
        }
        if let Some(home_id) = world.home_id {
            let home_id = self.own_home(home_id)?;
            self.found_device(no)?.check_owned("home_id")?;
            self.owners.move_to_home(no, home_id)?;
        }
        if let Some(users) = &world.shared_with {
            if !users.is_empty() {
                self.found_device(no)?.check_owned("shared_with")?;
            }
            self.owners.note_holders(no)?;
            let users = users.iter().map(|user| self.user_no(user)).collect::<Result<Vec<i64>>>()?;
            // Remaining sharees keep the time of their binding, on which the validity of visualTokens depends.
            let list = users.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
            let delete_others =
                format!("DELETE FROM binding WHERE device_no = ?1 AND owned = 0 AND user_no NOT IN ({list})");
            if self.connection.execute(&delete_others, params![no]).map_err(refused)? > 0 {
                delete_desired_values(self.connection, "?1", no).map_err(refused)?;
            }
            for user_no in users {
                self.owners.share(no, user_no)?;
            }
        }
        Ok(())
    }
}

/// The position of a device in the document, for refusals.
fn position(device: &WorldDevice) -> String {
    let index = device.place.index;
    format!("devices[{index}] {:?}", device.device_id.as_deref().or(device.name.as_deref()).unwrap_or_default())
}
