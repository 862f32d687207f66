//! The world document: projects, apps and products. Users and homes are in `world_user`, devices in `world_device`.
//!
//! Every part reads the stored object, applies the members of the document, generates missing ones, writes the result if it
//! differs, and fills in the document. All of this is one transaction.

use std::cell::RefCell;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::owner::Owners;
use super::project::{app_secret_aad, secret_aad};
use super::user::{EXACT_FIRST, NAMED};
use super::{SqliteRegistry, product};
use crate::domain::handover::{HistoryCuts, Moves};
use crate::domain::password::Password;
use crate::domain::product::Registration;
use crate::domain::store::WorldStore;
use crate::domain::world::{World, WorldApp, WorldProduct, WorldProject, WorldUser};
use crate::domain::{DeviceNo, Error, NodeType, Result};
use crate::store::password::hash_if_changed;
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
        let hashes = self.stored_hashes(&world)?;
        let hashed = tokio::task::spawn_blocking(move || {
            // Hashing is slow on purpose, so it happens before the transaction.
            let users = world.projects.iter_mut().flat_map(|project| &mut project.users);
            for (user, hash) in users.zip(hashes) {
                if let Some(password) = user.password.take() {
                    // The document contains the clear text, even if it looks like a hash.
                    user.password = hash_if_changed(&Password::Clear(password), hash.as_deref())?;
                }
            }
            Ok::<_, Error>(world)
        });
        let world = hashed.await.map_err(Error::store)??;
        let seal = self.seal.clone();
        let work = move |owners: &Owners<'_>| {
            let (mut world, mut ended) = (world.clone(), Vec::new());
            for (index, project) in world.projects.iter_mut().enumerate() {
                let position = format!("projects[{index}] {:?}", project.name);
                let built = Builder::build(owners, &seal, project);
                ended.extend(built.map_err(|error| at(&position, error))?);
            }
            Ok((world, ended))
        };
        self.change_owners(cuts, now_ms, work).await
    }
}

impl SqliteRegistry {
    /// The stored password hash of each user of the document, in its order.
    fn stored_hashes(&self, world: &World) -> Result<Vec<Option<String>>> {
        let sql = format!(
            "SELECT u.password_hash FROM app_user u JOIN app a USING (app_no) JOIN project p ON
             p.project_no = a.project_no WHERE p.name = ?1 AND {NAMED} AND a.schema = ?3 ORDER BY {EXACT_FIRST} LIMIT 1"
        );
        self.readers.run(|connection| {
            let mut statement = connection.prepare_cached(&sql).map_err(Error::store)?;
            let users = world.projects.iter().flat_map(|project| project.users.iter().map(move |user| (project, user)));
            let mut stored = |(project, user): (&WorldProject, &WorldUser)| {
                let values = params![project.name, user.username, user.schema];
                let hash = statement.query_row(values, |row| row.get::<_, Option<String>>(0)).optional();
                hash.map(Option::flatten).map_err(Error::store)
            };
            users.map(&mut stored).collect()
        })
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
    pub(super) connection: &'a Connection,
    pub(super) seal: &'a Seal,
    pub(super) now_ms: i64,
    pub(super) project_no: i64,
    /// Devices whose sessions must end because of a change.
    pub(super) ended: RefCell<Vec<DeviceNo>>,
}

impl<'a> Builder<'a> {
    fn build(owners: &'a Owners<'a>, seal: &'a Seal, world: &mut WorldProject) -> Result<Vec<DeviceNo>> {
        let (connection, now_ms, ended) = (owners.connection, owners.now_ms, RefCell::default());
        let mut builder = Self { owners, connection, seal, now_ms, project_no: 0, ended };
        builder.project_no = builder.project(world)?;
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
            builder.user(user).map_err(|error| at(&position, error))?;
        }
        for home in &mut world.homes {
            let position = format!("home {:?}", home.name);
            builder.home(home).map_err(|error| at(&position, error))?;
        }
        builder.devices(&mut world.devices)?;
        Ok(builder.ended.into_inner())
    }

    /// Reads one row if it exists.
    pub(super) fn find<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.connection.prepare_cached(sql).map_err(Error::store)?;
        statement.query_row(values, read).optional().map_err(Error::store)
    }

    /// Writes one row and returns its number.
    pub(super) fn write(&self, sql: &str, values: impl Params) -> Result<i64> {
        let mut statement = self.connection.prepare_cached(sql).map_err(refused)?;
        statement.execute(values).map_err(refused)?;
        Ok(self.connection.last_insert_rowid())
    }

    fn project(&self, world: &mut WorldProject) -> Result<i64> {
        let sql = "SELECT project_no, client_id, secret_sealed, legacy_sign, mask_private_fields, aliyun_project_id,
                   aliyun_app_key, aliyun_app_secret_sealed, require_cloud_token, keep_cloud_tokens
                   FROM project WHERE name = ?1";
        let stored = self.find(sql, params![world.name], |row| {
            let sealed = (row.get::<_, Vec<u8>>("secret_sealed")?, row.get::<_, Vec<u8>>("aliyun_app_secret_sealed")?);
            let texts = (row.get("client_id")?, row.get("aliyun_project_id")?, row.get("aliyun_app_key")?);
            let settings = (row.get("legacy_sign")?, row.get("mask_private_fields")?);
            let settings = (settings, row.get("require_cloud_token")?, row.get("keep_cloud_tokens")?);
            Ok((row.get::<_, i64>("project_no")?, texts, sealed, settings))
        })?;
        let (secret_label, app_secret_label) = (secret_aad(&world.name), app_secret_aad(&world.name));
        let stored_no = stored.as_ref().map(|stored| stored.0);
        if let Some((no, (client_id, project_id, app_key), (secret, app_secret), settings)) = stored {
            let ((legacy_sign, mask), require_token, keep_tokens) = settings;
            let secret = self.seal.unseal(&secret, &secret_label)?;
            let app_secret = self.seal.unseal(&app_secret, &app_secret_label)?;
            world.tuya.client_id.get_or_insert(client_id);
            world.aliyun.project_id.get_or_insert(project_id);
            world.aliyun.app_key.get_or_insert(app_key);
            let is_new = *world.tuya.secret.get_or_insert_with(|| secret.clone()) != secret;
            let is_new_app = *world.aliyun.app_secret.get_or_insert_with(|| app_secret.clone()) != app_secret;
            self.end_replaced(no, is_new, is_new_app)?;
            world.tuya.legacy_sign.get_or_insert(legacy_sign);
            world.tuya.mask_private_fields.get_or_insert(mask);
            world.aliyun.require_cloud_token.get_or_insert(require_token);
            world.aliyun.keep_cloud_tokens.get_or_insert(keep_tokens);
        }
        let client_id = fill(&mut world.tuya.client_id, generate::client_id)?;
        let project_id = fill(&mut world.aliyun.project_id, generate::aliyun_project_id)?;
        let app_key = fill(&mut world.aliyun.app_key, generate::app_key)?;
        let secret = self.seal.seal(fill(&mut world.tuya.secret, generate::secret)?, &secret_label)?;
        let app_secret = self.seal.seal(fill(&mut world.aliyun.app_secret, generate::secret)?, &app_secret_label)?;
        let legacy_sign = *world.tuya.legacy_sign.get_or_insert(false);
        let mask = *world.tuya.mask_private_fields.get_or_insert(true);
        let require_token = *world.aliyun.require_cloud_token.get_or_insert(true);
        let keep_tokens = *world.aliyun.keep_cloud_tokens.get_or_insert(false);
        let settings = params![
            client_id,
            secret,
            legacy_sign,
            mask,
            project_id,
            app_key,
            app_secret,
            world.name,
            require_token,
            keep_tokens
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
        let sql = "SELECT app_key, name, country_codes FROM app WHERE project_no = ?1 AND schema = ?2";
        let stored = self.find(sql, params![self.project_no, world.schema], |row| {
            let countries: String = row.get("country_codes")?;
            Ok((row.get("app_key")?, row.get("name")?, countries))
        })?;
        if let Some((app_key, name, countries)) = stored {
            world.app_key.get_or_insert(app_key);
            world.name.get_or_insert(name);
            let split = || countries.split(',').filter(|code| !code.is_empty()).map(str::to_owned).collect();
            world.country_codes.get_or_insert_with(split);
        }
        let app_key = fill(&mut world.app_key, generate::app_key)?;
        let name = &*world.name.get_or_insert_with(|| world.schema.clone());
        let countries = world.country_codes.get_or_insert_default().join(",");
        self.write(
            "INSERT INTO app (project_no, schema, app_key, name, country_codes) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (project_no, schema) DO UPDATE SET app_key = excluded.app_key, name = excluded.name,
             country_codes = excluded.country_codes",
            params![self.project_no, world.schema, app_key, name, countries],
        )?;
        Ok(())
    }

    fn product(&self, world: &mut WorldProduct) -> Result<()> {
        let columns = "product_no, project_no, product_id, product_key, product_secret_sealed, model, icon, net_type,
                       node_type, biz_type, functions, registration, strict";
        let read = |row: &Row<'_>| {
            Ok(StoredProduct {
                no: row.get("product_no")?,
                project_no: row.get("project_no")?,
                id: row.get("product_id")?,
                key: row.get("product_key")?,
                secret: row.get("product_secret_sealed")?,
                model: row.get("model")?,
                icon: row.get("icon")?,
                net_type: row.get("net_type")?,
                node_type: product::node_type(row.get_ref("node_type")?.as_str()?),
                biz_type: row.get("biz_type")?,
                functions: row.get("functions")?,
                registration: product::registration(row.get_ref("registration")?.as_str()?),
                strict: row.get("strict")?,
            })
        };
        let stored = match &world.product_id {
            Some(id) => {
                self.find(&format!("SELECT {columns} FROM product WHERE product_id = ?1"), params![id], read)?
            }
            None => self.find(
                &format!("SELECT {columns} FROM product WHERE project_no = ?1 AND name = ?2 ORDER BY product_no"),
                params![self.project_no, world.name],
                read,
            )?,
        };
        let stored_no = stored.as_ref().map(|stored| stored.no);
        let before = stored.as_ref().map(|stored| (stored.key.clone(), stored.functions.clone(), stored.strict));
        if let Some(stored) = stored {
            if stored.project_no != self.project_no {
                return Err(Error::Refused(format!("product_id {:?} is another project's", stored.id)));
            }
            fill(&mut world.product_secret, || self.seal.unseal(&stored.secret, &product_secret_aad(&stored.id)))?;
            world.product_id.get_or_insert(stored.id);
            world.product_key.get_or_insert(stored.key);
            world.model = world.model.take().or(stored.model);
            world.icon.get_or_insert(stored.icon);
            world.net_type.get_or_insert(stored.net_type);
            world.node_type.get_or_insert(stored.node_type);
            world.biz_type.get_or_insert(stored.biz_type);
            world.registration.get_or_insert(stored.registration);
            world.strict.get_or_insert(stored.strict);
            fill(&mut world.functions, || functions::decode_for_document(&stored.functions))?;
        }
        self.put_product(stored_no, world)?;
        let now = functions::encode(world.functions.as_deref().unwrap_or_default())?;
        let is_changed = before.is_some_and(|(key, functions, strict)| {
            functions != now || Some(&key) != world.product_key.as_ref() || Some(strict) != world.strict
        });
        if let (true, Some(no)) = (is_changed, stored_no) {
            // Sessions use the product as it was when they began, so they must end.
            let sql = "SELECT device_no FROM device WHERE product_no = ?1 AND removed = 0";
            let mut statement = self.connection.prepare_cached(sql).map_err(Error::store)?;
            let rows = statement.query_map(params![no], |row| row.get(0).map(DeviceNo)).map_err(Error::store)?;
            let devices: Vec<DeviceNo> = rows.collect::<rusqlite::Result<_>>().map_err(Error::store)?;
            self.ended.borrow_mut().extend(devices);
        }
        Ok(())
    }

    fn put_product(&self, stored_no: Option<i64>, world: &mut WorldProduct) -> Result<()> {
        let id = fill(&mut world.product_id, generate::product_id)?;
        let key = fill(&mut world.product_key, generate::product_key)?;
        let secret = fill(&mut world.product_secret, generate::device_secret)?;
        let secret = self.seal.seal(secret, &product_secret_aad(id))?;
        let icon = &*world.icon.get_or_insert_with(|| format!("smart/product_icon/{}.png", world.category));
        let net_type = &*world.net_type.get_or_insert_with(|| "NET_WIFI".to_owned());
        let node_type = product::node_type_text(*world.node_type.get_or_insert(NodeType::Device));
        let biz_type = *world.biz_type.get_or_insert(0);
        let registration = product::registration_text(*world.registration.get_or_insert_default());
        let strict = *world.strict.get_or_insert(false);
        let functions = functions::encode(world.functions.get_or_insert_default())?;
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
                id,
                key,
                secret,
                world.name,
                world.category,
                world.model,
                icon,
                net_type,
                node_type,
                biz_type,
                functions,
                registration,
                strict
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

struct StoredProduct {
    no: i64,
    project_no: i64,
    id: String,
    key: String,
    secret: Vec<u8>,
    model: Option<String>,
    icon: String,
    net_type: String,
    node_type: NodeType,
    biz_type: i64,
    functions: String,
    registration: Registration,
    strict: bool,
}

/// The additional authenticated data of an encrypted product secret.
pub(super) fn product_secret_aad(product_id: &str) -> String {
    format!("product.secret:{product_id}")
}
