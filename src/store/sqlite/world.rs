//! The world document: tenants, apps, products, users and homes. Devices are in `world_device`.
//!
//! Every part reads what is there, lays what the document says over it, generates what is still missing, writes what
//! differs, and fills the document in. One transaction holds all of it.

use std::cell::RefCell;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::owner::Owners;
use super::project::{place_of_app_secret, place_of_secret};
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

#[async_trait]
impl WorldStore for SqliteRegistry {
    async fn apply(
        &self,
        mut world: World,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<((World, Vec<DeviceNo>), Moves)> {
        let known = self.known_passwords(&world)?;
        let hashed = tokio::task::spawn_blocking(move || {
            // Hashing is slow on purpose: it happens before the writer is held.
            let users = world.projects.iter_mut().flat_map(|project| &mut project.users);
            for (user, known) in users.zip(known) {
                if let Some(password) = user.password.take() {
                    // The operator writes the text itself, whatever it looks like.
                    user.password = hash_if_changed(&Password::Clear(password), known.as_deref())?;
                }
            }
            Ok::<_, Error>(world)
        });
        let world = hashed.await.map_err(Error::store)??;
        let seal = self.seal.clone();
        let work = move |owners: &Owners<'_>| {
            let (mut world, mut ended) = (world.clone(), Vec::new());
            for (index, project) in world.projects.iter_mut().enumerate() {
                let place = format!("projects[{index}] {:?}", project.name);
                let built = Builder::build(owners, &seal, project);
                ended.extend(built.map_err(|error| at(&place, error))?);
            }
            Ok((world, ended))
        };
        self.change_owners(cuts, now_ms, work).await
    }
}

impl SqliteRegistry {
    /// The password hash of each user of the document, in its order.
    fn known_passwords(&self, world: &World) -> Result<Vec<Option<String>>> {
        let sql = format!(
            "SELECT u.password_hash FROM app_user u JOIN app a USING (app_no) JOIN project p ON
             p.project_no = a.project_no WHERE p.name = ?1 AND {NAMED} AND a.schema = ?3 ORDER BY {EXACT_FIRST} LIMIT 1"
        );
        self.readers.run(|connection| {
            let mut statement = connection.prepare_cached(&sql).map_err(Error::store)?;
            let users = world.projects.iter().flat_map(|project| project.users.iter().map(move |user| (project, user)));
            let mut known = |(project, user): (&WorldProject, &WorldUser)| {
                let values = params![project.name, user.username, user.schema];
                let hash = statement.query_row(values, |row| row.get::<_, Option<String>>(0)).optional();
                hash.map(Option::flatten).map_err(Error::store)
            };
            users.map(&mut known).collect()
        })
    }
}

/// Adds the place in the document to what was refused.
pub(super) fn at(place: &str, error: Error) -> Error {
    match error {
        Error::Refused(text) => Error::Refused(format!("{place}: {text}")),
        other => other,
    }
}

/// A document that asks for somebody else's id is refused; any other failure is the store's.
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
    /// Devices whose sessions are of something that is no longer true.
    pub(super) ended: RefCell<Vec<DeviceNo>>,
}

impl<'a> Builder<'a> {
    fn build(owners: &'a Owners<'a>, seal: &'a Seal, world: &mut WorldProject) -> Result<Vec<DeviceNo>> {
        let (connection, now_ms, ended) = (owners.connection, owners.now_ms, RefCell::default());
        let mut builder = Self { owners, connection, seal, now_ms, project_no: 0, ended };
        builder.project_no = builder.project(world)?;
        for app in &mut world.apps {
            let place = format!("app {:?}", app.schema);
            builder.app(app).map_err(|error| at(&place, error))?;
        }
        for product in &mut world.products {
            let place = format!("product {:?}", product.name);
            builder.product(product).map_err(|error| at(&place, error))?;
        }
        for user in &mut world.users {
            let place = format!("user {:?}", user.username);
            builder.user(user).map_err(|error| at(&place, error))?;
        }
        for home in &mut world.homes {
            let place = format!("home {:?}", home.name);
            builder.home(home).map_err(|error| at(&place, error))?;
        }
        builder.devices(&mut world.devices)?;
        Ok(builder.ended.into_inner())
    }

    /// One row, if there is one.
    pub(super) fn find<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.connection.prepare_cached(sql).map_err(Error::store)?;
        statement.query_row(values, read).optional().map_err(Error::store)
    }

    /// Writes one row and gives its number.
    pub(super) fn write(&self, sql: &str, values: impl Params) -> Result<i64> {
        let mut statement = self.connection.prepare_cached(sql).map_err(refused)?;
        statement.execute(values).map_err(refused)?;
        Ok(self.connection.last_insert_rowid())
    }

    fn project(&self, world: &mut WorldProject) -> Result<i64> {
        let sql = "SELECT project_no, client_id, secret_sealed, legacy_sign, mask_private_fields, aliyun_project_id,
                   aliyun_app_key, aliyun_app_secret_sealed, require_cloud_token, keep_cloud_tokens
                   FROM project WHERE name = ?1";
        let known = self.find(sql, params![world.name], |row| {
            let sealed = (row.get::<_, Vec<u8>>(2)?, row.get::<_, Vec<u8>>(7)?);
            let texts = (row.get(1)?, row.get(5)?, row.get(6)?);
            Ok((row.get::<_, i64>(0)?, texts, sealed, [row.get(3)?, row.get(4)?, row.get(8)?, row.get(9)?]))
        })?;
        let (secret_place, app_secret_place) = (place_of_secret(&world.name), place_of_app_secret(&world.name));
        let known_no = known.as_ref().map(|known| known.0);
        if let Some((no, (client_id, project_id, app_key), (secret, app_secret), settings)) = known {
            let secret = self.seal.unseal(&secret, &secret_place)?;
            let app_secret = self.seal.unseal(&app_secret, &app_secret_place)?;
            world.tuya.client_id.get_or_insert(client_id);
            world.aliyun.project_id.get_or_insert(project_id);
            world.aliyun.app_key.get_or_insert(app_key);
            if *world.tuya.secret.get_or_insert_with(|| secret.clone()) != secret {
                // Whoever signed with it has its tokens, and those of the users who signed in by it.
                self.write("DELETE FROM token WHERE project_no = ?1", params![no])?;
                let users = "SELECT user_no FROM app_user WHERE project_no = ?1";
                self.write(&format!("DELETE FROM user_token WHERE user_no IN ({users})"), params![no])?;
            }
            if *world.aliyun.app_secret.get_or_insert_with(|| app_secret.clone()) != app_secret {
                self.write("DELETE FROM cloud_token WHERE project_no = ?1", params![no])?;
            }
            let [legacy_sign, mask, require_token, keep_tokens] = settings;
            world.tuya.legacy_sign.get_or_insert(legacy_sign);
            world.tuya.mask_private_fields.get_or_insert(mask);
            world.aliyun.require_cloud_token.get_or_insert(require_token);
            world.aliyun.keep_cloud_tokens.get_or_insert(keep_tokens);
        }
        let client_id = fill(&mut world.tuya.client_id, generate::client_id)?;
        let project_id = fill(&mut world.aliyun.project_id, generate::aliyun_project_id)?;
        let app_key = fill(&mut world.aliyun.app_key, generate::app_key)?;
        let secret = self.seal.seal(fill(&mut world.tuya.secret, generate::secret)?, &secret_place)?;
        let app_secret = self.seal.seal(fill(&mut world.aliyun.app_secret, generate::secret)?, &app_secret_place)?;
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
        if let Some(no) = known_no {
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
        let admin_uid = generate::admin_uid(self.now_ms)?;
        self.write("UPDATE project SET admin_uid = ?2 WHERE project_no = ?1", params![no, admin_uid])?;
        Ok(no)
    }

    fn app(&self, world: &mut WorldApp) -> Result<()> {
        let sql = "SELECT app_key, name, country_codes FROM app WHERE project_no = ?1 AND schema = ?2";
        let known = self.find(sql, params![self.project_no, world.schema], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?;
        if let Some((app_key, name, countries)) = known {
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
            Ok(KnownProduct {
                no: row.get(0)?,
                project_no: row.get(1)?,
                id: row.get(2)?,
                key: row.get(3)?,
                secret: row.get(4)?,
                model: row.get(5)?,
                icon: row.get(6)?,
                net_type: row.get(7)?,
                node_type: product::node_type(row.get_ref(8)?.as_str()?),
                biz_type: row.get(9)?,
                functions: row.get(10)?,
                registration: product::registration(row.get_ref(11)?.as_str()?),
                strict: row.get(12)?,
            })
        };
        let known = match &world.product_id {
            Some(id) => {
                self.find(&format!("SELECT {columns} FROM product WHERE product_id = ?1"), params![id], read)?
            }
            None => self.find(
                &format!("SELECT {columns} FROM product WHERE project_no = ?1 AND name = ?2 ORDER BY product_no"),
                params![self.project_no, world.name],
                read,
            )?,
        };
        let known_no = known.as_ref().map(|known| known.no);
        let before = known.as_ref().map(|known| (known.key.clone(), known.functions.clone(), known.strict));
        if let Some(known) = known {
            if known.project_no != self.project_no {
                return Err(Error::Refused(format!("product_id {:?} is another project's", known.id)));
            }
            fill(&mut world.product_secret, || self.seal.unseal(&known.secret, &place_of_product_secret(&known.id)))?;
            world.product_id.get_or_insert(known.id);
            world.product_key.get_or_insert(known.key);
            world.model = world.model.take().or(known.model);
            world.icon.get_or_insert(known.icon);
            world.net_type.get_or_insert(known.net_type);
            world.node_type.get_or_insert(known.node_type);
            world.biz_type.get_or_insert(known.biz_type);
            world.registration.get_or_insert(known.registration);
            world.strict.get_or_insert(known.strict);
            fill(&mut world.functions, || functions::decode_for_document(&known.functions))?;
        }
        self.put_product(known_no, world)?;
        let now = functions::encode(world.functions.as_deref().unwrap_or_default())?;
        let is_other = before.is_some_and(|(key, functions, strict)| {
            functions != now || Some(&key) != world.product_key.as_ref() || Some(strict) != world.strict
        });
        if let (true, Some(no)) = (is_other, known_no) {
            // Sessions go by what the product was when they began.
            let sql = "SELECT device_no FROM device WHERE product_no = ?1 AND removed = 0";
            let mut statement = self.connection.prepare_cached(sql).map_err(Error::store)?;
            let rows = statement.query_map(params![no], |row| row.get(0).map(DeviceNo)).map_err(Error::store)?;
            let devices: Vec<DeviceNo> = rows.collect::<rusqlite::Result<_>>().map_err(Error::store)?;
            self.ended.borrow_mut().extend(devices);
        }
        Ok(())
    }

    fn put_product(&self, known_no: Option<i64>, world: &mut WorldProduct) -> Result<()> {
        let id = fill(&mut world.product_id, generate::product_id)?;
        let key = fill(&mut world.product_key, generate::product_key)?;
        let secret = fill(&mut world.product_secret, generate::device_secret)?;
        let secret = self.seal.seal(secret, &place_of_product_secret(id))?;
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
                known_no,
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

/// The value, made first if there is none.
pub(super) fn fill<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if slot.is_none() {
        *slot = Some(make()?);
    }
    slot.as_ref().ok_or_else(|| Error::store("a value was not made"))
}

struct KnownProduct {
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

/// Where a product's secret is sealed.
pub(super) fn place_of_product_secret(product_id: &str) -> String {
    format!("product.secret:{product_id}")
}
