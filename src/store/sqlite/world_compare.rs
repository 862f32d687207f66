//! Reads what is stored of the objects of a world document, to compare both. It reads on the threads for reads, batch by batch.

use std::collections::HashMap;

use rusqlite::{CachedStatement, OptionalExtension, Row, params};

use super::SqliteRegistry;
use super::connection::Reader;
use super::product::node_type;
use super::world_lookup::{DEVICE_COLUMNS, Lookup, SealedSecrets, device_members};
use crate::domain::password::Password;
use crate::domain::world::compare::{FoundDevice, FoundProduct, LinkedDevice, NamedUser, StoredObjects, StoredUser};
use crate::domain::world::links::StoredDevice;
use crate::domain::world::{WorldDevice, WorldHome, WorldProduct, WorldProject, WorldUser};
use crate::domain::{DeviceNo, Error, ProjectNo, Result, UserNo};
use crate::store::password::{PasswordHashes, is_stored, matches};

impl SqliteRegistry {
    pub(super) async fn objects_of(&self, project: WorldProject) -> Result<StoredObjects> {
        let read = move |reader: &Reader<'_>| {
            let mut lookup = Lookup { connection: reader.connection, seal: &reader.readers.seal, project_no: 0 };
            let found = objects(&mut lookup, &project)?;
            Ok((project, found))
        };
        let (project, (mut objects, hashes)) = self.readers.run(read).await?;
        // Verifying is slow on purpose, and needs no connection.
        let verify = move || -> Result<StoredObjects> {
            let users = objects.users.iter_mut().zip(&project.users).zip(&hashes);
            for ((stored, said), hashes) in users {
                if let (Some(stored), Some(password)) = (stored, &said.password) {
                    let password = Password::Clear(password.clone());
                    stored.is_other_password = !is_stored(&password, hashes);
                    // A hash of another form is added without replacing the password.
                    stored.has_password &= stored.is_other_password && !matches(&password, hashes);
                }
            }
            Ok(objects)
        };
        tokio::task::spawn_blocking(verify).await.map_err(Error::store)?
    }

    pub(super) async fn devices_of(
        &self,
        project: ProjectNo,
        devices: Vec<WorldDevice>,
        with_keys: bool,
    ) -> Result<Vec<(WorldDevice, FoundDevice)>> {
        let read = move |reader: &Reader<'_>| {
            // One transaction instead of one for each statement.
            let snapshot = reader.unchecked_transaction().map_err(Error::store)?;
            let lookup = Lookup { connection: &snapshot, seal: &reader.readers.seal, project_no: project.0 };
            let mut batch = Batch::new(&lookup, with_keys)?;
            let mut found = Vec::with_capacity(devices.len());
            for device in devices {
                let stored = batch.device(&device)?;
                found.push((device, stored));
            }
            Ok(found)
        };
        self.readers.run(read).await
    }
}

fn objects(lookup: &mut Lookup<'_>, said: &WorldProject) -> Result<(StoredObjects, Vec<PasswordHashes>)> {
    let stored = lookup.stored_project(&said.name)?;
    lookup.project_no = stored.as_ref().map_or(0, |(no, _)| *no);
    let product = |product: &WorldProduct| match lookup.stored_product(product) {
        Ok(found) => Ok(found.map(|(_, product)| product)),
        // It is another project's. Writing it is refused with the reason.
        Err(Error::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    };
    let user = |user: &WorldUser| {
        let Some(app_no) = lookup.app_no(&user.schema)? else { return Ok(None) };
        lookup.stored_user(app_no, user)
    };
    let home = |home: &WorldHome| {
        let owner = lookup.named_user(&home.owner)?;
        let owner_no = if let NamedUser::One(no) = owner { Some(no.0) } else { None };
        let Some((stored, name)) = lookup.stored_home(home, owner_no)? else { return Ok(None) };
        if stored.project.0 != lookup.project_no {
            return Ok(None);
        }
        let owner =
            if owner_no == Some(stored.owner.0) { home.owner.clone() } else { username(lookup, stored.owner.0)? };
        Ok(Some(WorldHome { home_id: Some(stored.home_id), name, owner }))
    };
    let mut objects = StoredObjects {
        project: stored.map(|(no, project)| (ProjectNo(no), project)),
        apps: said.apps.iter().map(|app| lookup.stored_app(app)).collect::<Result<_>>()?,
        products: said.products.iter().map(product).collect::<Result<_>>()?,
        users: Vec::with_capacity(said.users.len()),
        homes: said.homes.iter().map(home).collect::<Result<_>>()?,
    };
    let mut all = Vec::with_capacity(said.users.len());
    for one in &said.users {
        let found = user(one)?;
        let (user, hashes) = match found {
            Some((_, user, hashes)) => (Some(user), hashes),
            None => (None, PasswordHashes::default()),
        };
        let has_password = hashes != PasswordHashes::default();
        objects.users.push(user.map(|user| StoredUser { user, is_other_password: false, has_password }));
        all.push(hashes);
    }
    Ok((objects, all))
}

fn username(lookup: &Lookup<'_>, user_no: i64) -> Result<String> {
    let sql = "SELECT username FROM app_user WHERE user_no = ?1";
    Ok(lookup.find(sql, params![user_no], |row| row.get(0))?.unwrap_or_default())
}

/// Reads devices with what they name. What many devices name is read once.
struct Batch<'a> {
    lookup: &'a Lookup<'a>,
    with_keys: bool,
    by_id: CachedStatement<'a>,
    by_name: CachedStatement<'a>,
    products: HashMap<String, Option<(i64, FoundProduct)>>,
    users: HashMap<String, NamedUser>,
    names: HashMap<i64, String>,
    homes: HashMap<i64, bool>,
    gateways: HashMap<String, Option<StoredDevice>>,
}

/// A row of a device: its product, what it is, its members with encrypted secrets, and its links.
struct FoundRow {
    device: StoredDevice,
    members: WorldDevice,
    sealed: SealedSecrets,
    is_removed: bool,
    owner_no: Option<i64>,
    home: Option<(i64, bool)>,
    gateway: Option<String>,
}

impl<'a> Batch<'a> {
    fn new(lookup: &'a Lookup<'a>, with_keys: bool) -> Result<Self> {
        let prepare = |condition: &str| {
            let sql = format!(
                "SELECT d.device_no, p.product_id, p.node_type, d.project_no AS maker_no, d.last_owner_no,
                 o.user_no AS owner_no, (SELECT u.project_no FROM app_user u WHERE u.user_no =
                 coalesce(o.user_no, d.last_owner_no)) AS holder_no, d.removed, d.home_id, h.owner_no AS home_owner_no,
                 g.device_id AS gateway_id, {DEVICE_COLUMNS}
                 FROM device d JOIN product p USING (product_no)
                 LEFT JOIN binding o ON o.device_no = d.device_no AND o.owned = 1
                 LEFT JOIN home h ON h.home_id = d.home_id LEFT JOIN device g ON g.device_no = d.gateway_no
                 WHERE {condition}"
            );
            lookup.connection.prepare_cached(&sql).map_err(Error::store)
        };
        let (by_id, by_name) = (prepare("d.device_id = ?1")?, prepare("d.product_no = ?1 AND d.device_name = ?2")?);
        let (products, users, names, homes, gateways) = Default::default();
        Ok(Self { lookup, with_keys, by_id, by_name, products, users, names, homes, gateways })
    }

    fn device(&mut self, said: &WorldDevice) -> Result<FoundDevice> {
        let product = self.product(&said.product_id)?;
        let row = match (&said.device_id, &said.device_name, &product) {
            (Some(id), _, _) => self.by_id.query_row(params![id], found_row).optional(),
            (None, Some(name), Some((no, _))) => self.by_name.query_row(params![no, name], found_row).optional(),
            _ => Ok(None),
        };
        let stored = row.map_err(Error::store)?.map(|row| self.linked(said, row)).transpose()?;
        let owner = said.owner.as_ref().map(|owner| self.user(owner)).transpose()?;
        let named = said.shared_with.iter().flatten();
        let sharees = named.map(|name| self.user(name)).collect::<Result<Vec<NamedUser>>>()?;
        let has_home = said.home_id.map(|home| self.home(home)).transpose()?.unwrap_or_default();
        let gateway = match &said.gateway {
            Some(id) => self.gateway(id)?,
            None => None,
        };
        let product_no = product.as_ref().map(|(no, _)| *no);
        let taken = self.taken(said, product_no, stored.as_ref())?;
        let product = product.map(|(_, product)| product);
        Ok(FoundDevice { product, stored, owner, sharees, has_home, gateway, taken })
    }

    fn linked(&mut self, said: &WorldDevice, row: FoundRow) -> Result<LinkedDevice> {
        let FoundRow { device, mut members, sealed, is_removed, owner_no, home, gateway } = row;
        self.lookup.unseal_device(&mut members, &sealed)?;
        let owner = owner_no.map(|no| Ok::<_, Error>((UserNo(no), self.name(no)?))).transpose()?;
        let gateway_key = match gateway.is_some() && (self.with_keys || said.local_key.is_some()) {
            true => self.lookup.gateway_key(device.no.0)?,
            false => None,
        };
        let mut sharees = Vec::new();
        if said.shared_with.is_some() {
            let sql = "SELECT user_no FROM binding WHERE device_no = ?1 AND owned = 0 ORDER BY user_no";
            let numbers: rusqlite::Result<Vec<i64>> = self
                .lookup
                .connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.query_map(params![device.no.0], |row| row.get(0))?.collect());
            for no in numbers.map_err(Error::store)? {
                sharees.push((UserNo(no), self.name(no)?));
            }
        }
        Ok(LinkedDevice { device, members, is_removed, owner, home, gateway, gateway_key, sharees })
    }

    /// The first unique member whose value another device has.
    fn taken(
        &self,
        said: &WorldDevice,
        product_no: Option<i64>,
        stored: Option<&LinkedDevice>,
    ) -> Result<Option<&'static str>> {
        let no = stored.map(|stored| stored.device.no.0);
        let before = stored.map(|stored| &stored.members);
        if let Some(iot_id) = &said.iot_id
            && before.is_none_or(|before| before.iot_id.as_ref() != Some(iot_id))
        {
            let sql = "SELECT 1 FROM device WHERE iot_id = ?1 AND device_no IS NOT ?2";
            if self.lookup.find(sql, params![iot_id, no], |_| Ok(()))?.is_some() {
                return Ok(Some("iot_id"));
            }
        }
        let name = said.device_name.as_ref();
        let name = if before.is_none() { name.or(said.device_id.as_ref()) } else { name };
        if let Some(name) = name
            && before.is_none_or(|before| before.device_name.as_ref() != Some(name))
        {
            let sql = "SELECT 1 FROM device WHERE product_no = ?1 AND device_name = ?2 AND device_no IS NOT ?3";
            if self.lookup.find(sql, params![product_no, name, no], |_| Ok(()))?.is_some() {
                return Ok(Some("device_name"));
            }
        }
        Ok(None)
    }

    fn product(&mut self, id: &str) -> Result<Option<(i64, FoundProduct)>> {
        if let Some(found) = self.products.get(id) {
            return Ok(found.clone());
        }
        let sql = "SELECT product_no, project_no, node_type FROM product WHERE product_id = ?1";
        let found = self.lookup.find(sql, params![id], |row| {
            let (maker, node_type) =
                (ProjectNo(row.get("project_no")?), node_type(row.get_ref("node_type")?.as_str()?));
            Ok((row.get("product_no")?, FoundProduct { id: id.to_owned(), maker, node_type }))
        })?;
        self.products.insert(id.to_owned(), found.clone());
        Ok(found)
    }

    fn user(&mut self, name: &str) -> Result<NamedUser> {
        if let Some(found) = self.users.get(name) {
            return Ok(*found);
        }
        let found = self.lookup.named_user(name)?;
        self.users.insert(name.to_owned(), found);
        Ok(found)
    }

    fn name(&mut self, user_no: i64) -> Result<String> {
        if let Some(name) = self.names.get(&user_no) {
            return Ok(name.clone());
        }
        let name = username(self.lookup, user_no)?;
        self.names.insert(user_no, name.clone());
        Ok(name)
    }

    fn home(&mut self, home_id: i64) -> Result<bool> {
        if let Some(found) = self.homes.get(&home_id) {
            return Ok(*found);
        }
        let found = match self.lookup.own_home(home_id) {
            Ok(_) => true,
            Err(Error::Refused(_)) => false,
            Err(error) => return Err(error),
        };
        self.homes.insert(home_id, found);
        Ok(found)
    }

    fn gateway(&mut self, id: &str) -> Result<Option<StoredDevice>> {
        if let Some(found) = self.gateways.get(id) {
            return Ok(*found);
        }
        let found = self.lookup.find_device("d.device_id = ?1", id)?;
        self.gateways.insert(id.to_owned(), found);
        Ok(found)
    }
}

fn found_row(row: &Row<'_>) -> rusqlite::Result<FoundRow> {
    let (mut members, sealed) = device_members(row)?;
    members.product_id = row.get("product_id")?;
    let (owner_no, home_id): (Option<i64>, Option<i64>) = (row.get("owner_no")?, row.get("home_id")?);
    let home_owner: Option<i64> = row.get("home_owner_no")?;
    let device = StoredDevice {
        no: DeviceNo(row.get("device_no")?),
        node_type: node_type(row.get_ref("node_type")?.as_str()?),
        maker: ProjectNo(row.get("maker_no")?),
        holder: row.get::<_, Option<i64>>("holder_no")?.map(ProjectNo),
        is_owned: owner_no.is_some(),
        was_owned: owner_no.is_some() || row.get::<_, Option<i64>>("last_owner_no")?.is_some(),
    };
    Ok(FoundRow {
        device,
        members,
        sealed,
        is_removed: row.get("removed")?,
        owner_no,
        home: home_id.map(|home_id| (home_id, home_owner.is_some() && home_owner == owner_no)),
        gateway: row.get("gateway_id")?,
    })
}
