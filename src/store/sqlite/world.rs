//! The world document: projects, apps and products. Users and homes are in `world_user`, devices in `world_device`.
//!
//! Every part reads the stored object, applies the members of the document, generates missing ones, writes the result if it
//! differs, and fills in the document. All of this is one transaction.

use std::cell::RefCell;
use std::ops::Deref;
use std::slice::Iter;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Params, params};

use super::connection::Reader;
use super::owner::Owners;
use super::project::{app_secret_aad, secret_aad};
use super::user::{EXACT_FIRST, NAMED, PASSWORD_HASHES, password_hashes};
use super::world_lookup::Lookup;
use super::{SqliteRegistry, product};
use crate::domain::handover::{HistoryCuts, Moves};
use crate::domain::password::Password;
use crate::domain::store::WorldStore;
use crate::domain::world::compare::{FoundDevice, StoredObjects};
use crate::domain::world::{World, WorldApp, WorldDevice, WorldProduct, WorldProject, WorldUser};
use crate::domain::{DeviceNo, Error, ProjectNo, Result};
use crate::store::password::{PasswordHashes, hash_if_changed};
use crate::store::seal::Seal;
use crate::store::{functions, generate};

/// Revokes the tokens of all users of the project `?1`.
const DELETE_USER_TOKENS: &str =
    "DELETE FROM user_token WHERE user_no IN (SELECT user_no FROM app_user WHERE project_no = ?1)";

/// Ends the time of grace of the secrets that the project `?1` had before.
const FORGET_OLD_SECRETS: &str = "UPDATE project SET old_secret_sealed = NULL, old_app_secret_sealed = NULL,
     old_until_ms = 0 WHERE project_no = ?1";

#[async_trait]
impl WorldStore for SqliteRegistry {
    async fn apply(
        &self,
        mut world: World,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<((World, Vec<DeviceNo>), Moves)> {
        let stored = self.stored_hashes(&world).await?;
        let hashed = tokio::task::spawn_blocking(move || {
            // Hashing is slow on purpose, so it happens before the transaction.
            let users = world.projects.iter_mut().flat_map(|project| &mut project.users);
            let hashes = users.zip(stored).map(|(user, stored)| match user.password.take() {
                // The document contains the clear text, even if it looks like a hash.
                Some(password) => hash_if_changed(&Password::Clear(password), &stored),
                None => Ok(None),
            });
            let hashes = hashes.collect::<Result<Vec<_>>>()?;
            Ok::<_, Error>((world, hashes))
        });
        let (world, hashes) = hashed.await.map_err(Error::store)??;
        let seal = self.seal.clone();
        let work = move |owners: &Owners<'_>| {
            let (mut world, mut hashes, mut ended) = (world.clone(), hashes.iter(), Vec::new());
            for (index, project) in world.projects.iter_mut().enumerate() {
                let position = format!("projects[{index}] {:?}", project.name);
                let built = Builder::build(owners, &seal, project, &mut hashes);
                ended.extend(built.map_err(|error| at(&position, error))?);
            }
            Ok((world, ended))
        };
        self.change_owners(cuts, now_ms, work).await
    }

    async fn stored_objects(&self, project: &WorldProject) -> Result<StoredObjects> {
        self.objects_of(project.clone()).await
    }

    async fn stored_devices(
        &self,
        project: ProjectNo,
        devices: Vec<WorldDevice>,
        with_keys: bool,
    ) -> Result<Vec<(WorldDevice, FoundDevice)>> {
        self.devices_of(project, devices, with_keys).await
    }

    async fn products_named(&self, project: &str, name: &str) -> Result<Vec<String>> {
        let (project, name) = (project.to_owned(), name.to_owned());
        let read = move |reader: &Reader<'_>| {
            let mut lookup = Lookup { connection: reader.connection, seal: &reader.readers.seal, project_no: 0 };
            lookup.project_no = lookup.stored_project(&project)?.map_or(0, |(no, _)| no);
            lookup.products_named(&name)
        };
        self.readers.run(read).await
    }
}

impl SqliteRegistry {
    /// The stored password hashes of each user of the document, in its order.
    async fn stored_hashes(&self, world: &World) -> Result<Vec<PasswordHashes>> {
        let sql = format!(
            "SELECT {PASSWORD_HASHES} FROM app_user u JOIN app a USING (app_no) JOIN project p ON
             p.project_no = a.project_no WHERE p.name = ?1 AND {NAMED} AND a.schema = ?3 ORDER BY {EXACT_FIRST} LIMIT 1"
        );
        let users = world.projects.iter().flat_map(|project| project.users.iter().map(move |user| (project, user)));
        let names = |(project, user): (&WorldProject, &WorldUser)| {
            (project.name.clone(), user.username.clone(), user.schema.clone())
        };
        let names: Vec<_> = users.map(names).collect();
        let read = move |reader: &Reader<'_>| {
            let mut statement = reader.prepare_cached(&sql).map_err(Error::store)?;
            let stored = |(project, username, schema)| {
                let values = params![project, username, schema];
                let hashes = statement.query_row(values, password_hashes).optional();
                hashes.map(Option::unwrap_or_default).map_err(Error::store)
            };
            names.into_iter().map(stored).collect()
        };
        self.readers.run(read).await
    }
}

/// Adds the position in the document to the text of a refusal.
pub(super) fn at(position: &str, error: Error) -> Error {
    match error {
        Error::Refused(text) => Error::Refused(format!("{position}: {text}")),
        other => other,
    }
}

/// Refuses a document that uses an id of another object. Other failures are internal errors.
pub(super) fn refused(error: rusqlite::Error) -> Error {
    if let rusqlite::Error::SqliteFailure(failure, Some(text)) = &error
        && failure.code == rusqlite::ErrorCode::ConstraintViolation
    {
        return Error::Refused(format!("an id is in use already ({text})"));
    }
    Error::store(error)
}

/// Builds one project.
pub(super) struct Builder<'a> {
    pub(super) owners: &'a Owners<'a>,
    pub(super) lookup: Lookup<'a>,
    pub(super) now_ms: i64,
    /// Devices whose sessions must end because of a change.
    pub(super) ended: RefCell<Vec<DeviceNo>>,
}

impl<'a> Deref for Builder<'a> {
    type Target = Lookup<'a>;

    fn deref(&self) -> &Lookup<'a> {
        &self.lookup
    }
}

impl<'a> Builder<'a> {
    /// Takes the new password hashes of the project's users from `hashes`.
    fn build(
        owners: &'a Owners<'a>,
        seal: &'a Seal,
        world: &mut WorldProject,
        hashes: &mut Iter<'_, Option<PasswordHashes>>,
    ) -> Result<Vec<DeviceNo>> {
        let (connection, now_ms, ended) = (owners.connection, owners.now_ms, RefCell::default());
        let lookup = Lookup { connection, seal, project_no: 0 };
        let mut builder = Self { owners, lookup, now_ms, ended };
        builder.lookup.project_no = builder.project(world)?;
        for app in &mut world.apps {
            let position = format!("app {:?}", app.schema);
            builder.app(app).map_err(|error| at(&position, error))?;
        }
        for product in &mut world.products {
            let position = format!("product {:?}", product.name);
            builder.product(product).map_err(|error| at(&position, error))?;
        }
        for user in &mut world.users {
            let position = format!("user {:?}", user.username);
            builder.user(user, hashes.next().and_then(Option::as_ref)).map_err(|error| at(&position, error))?;
        }
        for home in &mut world.homes {
            let position = format!("home {:?}", home.name);
            builder.home(home).map_err(|error| at(&position, error))?;
        }
        builder.devices(&mut world.devices)?;
        Ok(builder.ended.into_inner())
    }

    /// Writes one row and returns its number.
    pub(super) fn write(&self, sql: &str, values: impl Params) -> Result<i64> {
        let mut statement = self.connection.prepare_cached(sql).map_err(refused)?;
        statement.execute(values).map_err(refused)?;
        Ok(self.connection.last_insert_rowid())
    }

    fn project(&self, world: &mut WorldProject) -> Result<i64> {
        let stored = self.stored_project(&world.name)?;
        let stored_no = stored.as_ref().map(|(no, _)| *no);
        if let Some((no, stored)) = stored {
            self.end_replaced(no, world.revokes_tokens_of(&stored), world.revokes_cloud_tokens_of(&stored))?;
            world.or_stored(stored.clone());
            if (&world.tuya, &world.aliyun) == (&stored.tuya, &stored.aliyun) {
                return Ok(no);
            }
        }
        let secret = fill(&mut world.tuya.secret, generate::secret)?;
        let by_name = |column: &str| format!("SELECT {column} FROM project WHERE name = ?1");
        let secret = self.sealed(secret, &secret_aad(&world.name), &by_name("secret_sealed"), params![world.name])?;
        let app_secret = fill(&mut world.aliyun.app_secret, generate::secret)?;
        let sql = by_name("aliyun_app_secret_sealed");
        let app_secret = self.sealed(app_secret, &app_secret_aad(&world.name), &sql, params![world.name])?;
        fill(&mut world.tuya.client_id, generate::client_id)?;
        fill(&mut world.aliyun.project_id, generate::aliyun_project_id)?;
        fill(&mut world.aliyun.app_key, generate::app_key)?;
        world.or_default();
        let settings = params![
            world.tuya.client_id,
            secret,
            world.tuya.legacy_sign,
            world.tuya.mask_private_fields,
            world.aliyun.project_id,
            world.aliyun.app_key,
            app_secret,
            world.name,
            world.aliyun.require_cloud_token,
            world.aliyun.keep_cloud_tokens
        ];
        if let Some(no) = stored_no {
            self.write(
                "UPDATE project SET client_id = ?1, secret_sealed = ?2, legacy_sign = ?3, mask_private_fields = ?4,
                 aliyun_project_id = ?5, aliyun_app_key = ?6, aliyun_app_secret_sealed = ?7,
                 require_cloud_token = ?9, keep_cloud_tokens = ?10 WHERE name = ?8",
                settings,
            )?;
            return Ok(no);
        }
        let no = self.write(
            "INSERT INTO project (client_id, secret_sealed, legacy_sign, mask_private_fields, aliyun_project_id,
             aliyun_app_key, aliyun_app_secret_sealed, name, require_cloud_token, keep_cloud_tokens, admin_uid)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, '')",
            settings,
        )?;
        let sql = "UPDATE project SET admin_uid = ?2 WHERE project_no = ?1";
        self.write(sql, params![no, generate::admin_uid(self.now_ms)?])?;
        Ok(no)
    }

    /// Revokes the tokens that were granted with a replaced secret, including those of users, and ends the time of grace of
    /// older secrets.
    fn end_replaced(&self, no: i64, is_new: bool, is_new_app: bool) -> Result<()> {
        if is_new {
            self.write("DELETE FROM token WHERE project_no = ?1", params![no])?;
            self.write(DELETE_USER_TOKENS, params![no])?;
        }
        if is_new_app {
            self.write("DELETE FROM cloud_token WHERE project_no = ?1", params![no])?;
        }
        if is_new || is_new_app {
            self.write(FORGET_OLD_SECRETS, params![no])?;
        }
        Ok(())
    }

    fn app(&self, world: &mut WorldApp) -> Result<()> {
        if let Some(stored) = self.stored_app(world)? {
            world.or_stored(stored);
        }
        fill(&mut world.app_key, generate::app_key)?;
        world.or_default();
        let countries = world.country_codes.as_ref().map(|codes| codes.join(","));
        self.write(
            "INSERT INTO app (project_no, schema, app_key, name, country_codes) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (project_no, schema) DO UPDATE SET app_key = excluded.app_key, name = excluded.name,
             country_codes = excluded.country_codes",
            params![self.project_no, world.schema, world.app_key, world.name, countries],
        )?;
        Ok(())
    }

    fn product(&self, world: &mut WorldProduct) -> Result<()> {
        let Some((no, stored)) = self.stored_product(world)? else { return self.put_product(None, world) };
        world.or_stored(stored.clone());
        self.put_product(Some(no), world)?;
        if world.ends_sessions_of(&stored) {
            let devices = "SELECT device_no FROM device WHERE product_no = ?1 AND removed = 0";
            self.ended.borrow_mut().extend(self.owners.numbers(devices, no)?.into_iter().map(DeviceNo));
        }
        Ok(())
    }

    /// A secret, encrypted. If the stored one that `sql` selects is the same, it is returned as it is, so that nothing changes.
    pub(super) fn sealed(&self, secret: &str, aad: &str, sql: &str, values: impl Params) -> Result<Vec<u8>> {
        match self.find(sql, values, |row| row.get::<_, Vec<u8>>(0))? {
            Some(stored) if self.seal.unseal(&stored, aad)? == secret => Ok(stored),
            _ => self.seal.seal(secret, aad),
        }
    }

    fn put_product(&self, stored_no: Option<i64>, world: &mut WorldProduct) -> Result<()> {
        let id = fill(&mut world.product_id, generate::product_id)?;
        fill(&mut world.product_key, generate::product_key)?;
        let secret = fill(&mut world.product_secret, generate::device_secret)?;
        let sql = "SELECT product_secret_sealed FROM product WHERE product_no = ?1";
        let secret = self.sealed(secret, &product_secret_aad(id), sql, params![stored_no])?;
        world.or_default();
        let node_type = world.node_type.map(product::node_type_text);
        let registration = world.registration.map(product::registration_text);
        let functions = functions::encode(world.functions.as_deref().unwrap_or_default())?;
        self.write(
            "INSERT INTO product (product_no, project_no, product_id, product_key, product_secret_sealed, name,
             category, model, icon, net_type, node_type, biz_type, functions, registration, strict)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (product_no) DO UPDATE SET product_id = excluded.product_id,
             product_key = excluded.product_key, product_secret_sealed = excluded.product_secret_sealed,
             name = excluded.name, category = excluded.category, model = excluded.model, icon = excluded.icon,
             net_type = excluded.net_type, node_type = excluded.node_type, biz_type = excluded.biz_type,
             functions = excluded.functions, registration = excluded.registration,
             strict = excluded.strict",
            params![
                stored_no,
                self.project_no,
                world.product_id,
                world.product_key,
                secret,
                world.name,
                world.category,
                world.model,
                world.icon,
                world.net_type,
                node_type,
                world.biz_type,
                functions,
                registration,
                world.strict
            ],
        )?;
        Ok(())
    }
}

/// Returns the value, which is generated first if it is missing.
pub(super) fn fill<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if slot.is_none() {
        *slot = Some(make()?);
    }
    slot.as_ref().ok_or_else(|| Error::store("a value was not generated"))
}

/// The additional authenticated data of an encrypted product secret.
pub(super) fn product_secret_aad(product_id: &str) -> String {
    format!("product.secret:{product_id}")
}
