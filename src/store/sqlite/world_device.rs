//! The world document: devices and who has them.

use std::collections::HashMap;

use rusqlite::params;

use super::attribute::delete_desired_values;
use super::device::{TIME_ZONE, place_of_local_key, place_of_secret};
use super::owner::{self, Owner};
use super::product::node_type;
use super::visibility::shows_gateways_key;
use super::world::{Builder, at, fill, refused};
use crate::domain::world::WorldDevice;
use crate::domain::{DeviceNo, Error, NodeType, Result};
use crate::store::generate;

impl Builder<'_> {
    /// Devices first, gateways after, so that a document may name a gateway before it describes it.
    pub(super) fn devices(&self, devices: &mut [WorldDevice]) -> Result<()> {
        let mut nameless: HashMap<String, usize> = HashMap::new();
        let mut numbers = Vec::with_capacity(devices.len());
        for (index, device) in devices.iter_mut().enumerate() {
            if device.device_id.is_none() && device.device_name.is_none() {
                let count = nameless.entry(device.product_id.clone()).or_default();
                *count += 1;
                device.device_name = Some(format!("{}-{count}", device.product_id));
            }
            let number = self.device(device).map_err(|error| at(&place(index, device), error))?;
            numbers.push(number);
        }
        for (index, (device, no)) in devices.iter_mut().zip(&numbers).enumerate() {
            let linked = self.link(device, *no);
            linked.map_err(|error| at(&place(index, device), error))?;
        }
        // Only now every gateway has its owner and its home.
        devices.iter_mut().zip(numbers).try_for_each(|(device, no)| self.settle_local_key(device, no))
    }

    fn device(&self, world: &mut WorldDevice) -> Result<i64> {
        // Another project's product is fine: its maker and the owner's project both see the device then.
        let sql = "SELECT product_no FROM product WHERE product_id = ?1";
        let product_no: Option<i64> = self.find(sql, params![world.product_id], |row| row.get(0))?;
        let product_no =
            product_no.ok_or_else(|| Error::Refused(format!("there is no product {:?}", world.product_id)))?;
        let mut known = self.known_device(world, product_no)?;
        if let Some((no, known_product, _)) = known {
            if known_product != product_no {
                return Err(Error::Refused("the device is of another product".to_owned()));
            }
            if self.give(world, no)? {
                // What the document leaves out is what the hand-over left.
                known = self.known_device(world, product_no)?;
            }
        }
        let before = known.map(|(no, _, before)| (no, before));
        let is_held_elsewhere = self.check_sight(world, product_no, before.as_ref())?;
        if let (false, Some((no, _))) = (is_held_elsewhere, &before)
            && world.local_key.is_some()
            && world.local_key == self.key_of_gateway(*no)?
        {
            // The document was printed while it showed the gateway's.
            world.local_key = None;
        }
        let said = is_held_elsewhere.then(|| world.clone());
        let (no, before) = before.unzip();
        if let Some(before) = before.clone() {
            world.or_stored(before);
        }
        let no = self.put_device(no, product_no, before.as_ref(), world)?;
        if let Some(said) = said {
            // What its owner says of it, and the key to that home, is not told to the maker.
            let WorldDevice { name, node_id, ip, lat, lon, time_zone, local_key, .. } = said;
            *world = WorldDevice { name, node_id, ip, lat, lon, time_zone, local_key, ..world.clone() };
        }
        Ok(no)
    }

    /// Number, product and the members that the document can change, links aside.
    fn known_device(&self, world: &WorldDevice, product_no: i64) -> Result<Option<(i64, i64, WorldDevice)>> {
        const COLUMNS: &str = "device_no, product_no, device_id, secret_sealed, local_key_sealed, uuid, sn,
            mac, name, device_name, iot_id, node_id, ip, lat, lon, time_zone, is_virtual, disabled";
        let mut sealed: (Vec<u8>, Vec<u8>) = Default::default();
        let read = |row: &rusqlite::Row<'_>| {
            sealed = (row.get(3)?, row.get(4)?);
            let device = WorldDevice {
                product_id: world.product_id.clone(),
                device_id: row.get(2)?,
                uuid: row.get(5)?,
                sn: row.get(6)?,
                mac: row.get(7)?,
                name: row.get(8)?,
                device_name: row.get(9)?,
                iot_id: row.get(10)?,
                node_id: row.get(11)?,
                ip: row.get(12)?,
                lat: row.get(13)?,
                lon: row.get(14)?,
                time_zone: row.get(15)?,
                is_virtual: row.get(16)?,
                disabled: row.get(17)?,
                ..WorldDevice::default()
            };
            Ok((row.get(0)?, row.get(1)?, device))
        };
        let known = match (&world.device_id, &world.device_name) {
            (Some(id), _) => {
                self.find(&format!("SELECT {COLUMNS} FROM device WHERE device_id = ?1"), params![id], read)?
            }
            (None, name) => self.find(
                &format!("SELECT {COLUMNS} FROM device WHERE product_no = ?1 AND device_name = ?2"),
                params![product_no, name],
                read,
            )?,
        };
        let Some((no, product, mut device)) = known else { return Ok(None) };
        let id = device.device_id.clone().unwrap_or_default();
        device.secret = Some(self.seal.unseal(&sealed.0, &place_of_secret(&id))?);
        device.local_key = Some(self.seal.unseal(&sealed.1, &place_of_local_key(&id))?);
        Ok(Some((no, product, device)))
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
        world.device_name.get_or_insert_with(|| id.clone());
        world.name.get_or_insert_with(|| world.product_id.clone());
        world.ip.get_or_insert_default();
        world.time_zone.get_or_insert_with(|| TIME_ZONE.to_owned());
        world.is_virtual.get_or_insert(false);
        world.disabled.get_or_insert(false);
        if let (Some(no), Some(before)) = (no, before) {
            if *before == world.without_links() {
                return Ok(no);
            }
            // Whoever is connected by what is no longer true has to go.
            if world.ends_sessions_of(before) {
                self.ended.borrow_mut().push(DeviceNo(no));
            }
            if before.secret != world.secret {
                // The gateway that it is behind was shown the old one, and so was whoever had something wished of it.
                self.write("UPDATE device SET gateway_no = NULL WHERE device_no = ?1", params![no])?;
                delete_desired_values(self.connection, "?1", no).map_err(refused)?;
            }
        }
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
                self.seal.seal(&secret, &place_of_secret(&id))?,
                self.seal.seal(&local_key, &place_of_local_key(&id))?,
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

    /// The key of the gateway that a device is behind, where the device shows it as its own.
    fn key_of_gateway(&self, no: i64) -> Result<Option<String>> {
        let sql = concat!(
            "SELECT g.device_id, g.local_key_sealed FROM device d JOIN device g ON g.device_no = d.gateway_no
             LEFT JOIN binding o ON o.device_no = d.device_no AND o.owned = 1 WHERE d.device_no = ?1 AND ",
            shows_gateways_key!()
        );
        let found = self.find(sql, params![no], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        found.map(|(gateway, sealed)| self.seal.unseal(&sealed, &place_of_local_key(&gateway))).transpose()
    }

    /// What a document calls the key of a device behind a gateway: the gateway's, unless it was given another.
    fn settle_local_key(&self, world: &mut WorldDevice, no: i64) -> Result<()> {
        let sql = "SELECT g.device_id, g.local_key_sealed, d.local_key_given FROM device d
                   JOIN device g ON g.device_no = d.gateway_no WHERE d.device_no = ?1";
        let found = self.find(sql, params![no], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
        let found: Option<(String, Vec<u8>, bool)> = found;
        let Some((gateway, sealed, is_given)) = found else { return Ok(()) };
        if !self.is_own(no)? {
            return Ok(());
        }
        let key = self.seal.unseal(&sealed, &place_of_local_key(&gateway))?;
        if is_given && world.local_key.as_ref() == Some(&key) {
            // The gateway's is not its own: behind another gateway, or another owner's, it must not show it.
            let id = world.device_id.clone().unwrap_or_default();
            let own = self.seal.seal(&generate::device_secret()?, &place_of_local_key(&id))?;
            let sql = "UPDATE device SET local_key_sealed = ?2, local_key_given = 0 WHERE device_no = ?1";
            self.write(sql, params![no, own])?;
        }
        if let Some(key) = self.key_of_gateway(no)? {
            world.local_key = Some(key);
        }
        Ok(())
    }

    /// Gives a device to the owner that the document names, in the home that it names or else one of the owner's;
    /// whether somebody had it before.
    fn give(&self, world: &mut WorldDevice, no: i64) -> Result<bool> {
        let Some(owner) = &world.owner else { return Ok(false) };
        let user_no = self.user_no(owner)?;
        let home_id = match world.home_id {
            Some(home_id) => self.own_home(home_id)?,
            None => owner::home_for(self.connection, no, user_no)?,
        };
        world.home_id = Some(home_id);
        let sql = "SELECT 1 FROM binding WHERE device_no = ?1 AND owned = 1 AND user_no = ?2";
        let is_new = self.find(sql, params![no, user_no], |_| Ok(()))?.is_none();
        let owner = Owner { user_no, home_id };
        let had_other_owner = self.owners.hand_over(no, owner, world.keep_history == Some(true))?;
        if is_new {
            self.owners.hand_over_behind(no, owner)?;
        }
        if is_new && had_other_owner {
            self.ended.borrow_mut().push(DeviceNo(no));
        }
        Ok(is_new && had_other_owner)
    }

    /// Whether a device is the project's: one of its users owns it or did last, or nobody and it made the device.
    fn is_own(&self, no: i64) -> Result<bool> {
        let sql = "SELECT coalesce((SELECT u.project_no FROM app_user u WHERE u.user_no = coalesce(
                       (SELECT b.user_no FROM binding b WHERE b.device_no = d.device_no AND b.owned = 1),
                       d.last_owner_no)), d.project_no) = ?2 FROM device d WHERE d.device_no = ?1";
        Ok(self.find(sql, params![no, self.project_no], |row| row.get(0))?.unwrap_or(false))
    }

    /// A document names only what its project has. The maker of a device that is another project's says of it what the
    /// factory knows, and no more; whether it is such a device.
    fn check_sight(&self, world: &WorldDevice, product_no: i64, before: Option<&(i64, WorldDevice)>) -> Result<bool> {
        let sql = "SELECT 1 FROM product WHERE product_no = ?1 AND project_no = ?2";
        let is_maker = self.find(sql, params![product_no, self.project_no], |_| Ok(()))?.is_some();
        let Some((no, before)) = before else {
            let refused = "owner: a device of another project's product needs an owner of this project";
            let is_fine = is_maker || world.owner.is_some();
            return is_fine.then_some(false).ok_or_else(|| Error::Refused(refused.to_owned()));
        };
        if self.is_own(*no)? {
            return Ok(false);
        }
        if !is_maker {
            return Err(Error::Refused("the device is another project's".to_owned()));
        }
        match world.denied_to_maker(before) {
            Some(member) => Err(Error::Refused(format!("{member}: the device is another project's"))),
            None => Ok(true),
        }
    }

    /// A home of the project's.
    fn own_home(&self, home_id: i64) -> Result<i64> {
        let sql = "SELECT home_id FROM home WHERE home_id = ?1 AND project_no = ?2";
        let found = self.find(sql, params![home_id, self.project_no], |row| row.get(0))?;
        found.ok_or_else(|| Error::Refused(format!("home_id: the project has no home {home_id}")))
    }

    /// A gateway of the project's.
    fn own_gateway(&self, gateway: &str) -> Result<i64> {
        let sql = "SELECT d.device_no, p.node_type FROM device d JOIN product p USING (product_no)
                   WHERE d.device_id = ?1";
        let found =
            self.find(sql, params![gateway], |row| Ok((row.get::<_, i64>(0)?, node_type(row.get_ref(1)?.as_str()?))))?;
        match found {
            Some((no, NodeType::Gateway)) if self.is_own(no)? => Ok(no),
            Some((_, NodeType::Gateway)) => Err(Error::Refused(format!("gateway: {gateway:?} is another project's"))),
            _ => Err(Error::Refused(format!("gateway: {gateway:?} is no gateway"))),
        }
    }

    /// What somebody left on a device that nobody owns now is nobody else's to see.
    fn check_owned(&self, no: i64, member: &str) -> Result<()> {
        let sql = "SELECT 1 FROM device d WHERE d.device_no = ?1 AND d.last_owner_no IS NOT NULL AND NOT EXISTS
                   (SELECT 1 FROM binding b WHERE b.device_no = d.device_no AND b.owned = 1)";
        match self.find(sql, params![no], |_| Ok(()))? {
            Some(()) => Err(Error::Refused(format!("{member}: nobody owns the device now: name an owner"))),
            None => Ok(()),
        }
    }

    /// Gateway, home, owner and sharees.
    fn link(&self, world: &mut WorldDevice, no: i64) -> Result<()> {
        self.give(world, no)?;
        if let Some(gateway) = &world.gateway {
            let gateway_no = self.own_gateway(gateway)?;
            let sql = "UPDATE device SET gateway_no = ?2 WHERE device_no = ?1 AND gateway_no IS NOT ?2";
            if self.connection.execute(sql, params![no, gateway_no]).map_err(refused)? > 0 {
                self.ended.borrow_mut().push(DeviceNo(no));
            }
        }
        if let Some(home_id) = world.home_id {
            let home_id = self.own_home(home_id)?;
            self.check_owned(no, "home_id")?;
            self.owners.move_to_home(no, home_id)?;
        }
        if let Some(users) = &world.shared_with {
            if !users.is_empty() {
                self.check_owned(no, "shared_with")?;
            }
            self.owners.is_lost_by_some(no)?;
            let users = users.iter().map(|user| self.user_no(user)).collect::<Result<Vec<i64>>>()?;
            // Those that stay keep the time of their binding, and with it what it gave access to.
            let list = users.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
            let others = format!("DELETE FROM binding WHERE device_no = ?1 AND owned = 0 AND user_no NOT IN ({list})");
            if self.connection.execute(&others, params![no]).map_err(refused)? > 0 {
                delete_desired_values(self.connection, "?1", no).map_err(refused)?;
            }
            for user_no in users {
                self.owners.share(no, user_no)?;
            }
        }
        Ok(())
    }
}

fn place(index: usize, device: &WorldDevice) -> String {
    format!("devices[{index}] {:?}", device.device_id.as_deref().or(device.name.as_deref()).unwrap_or_default())
}
