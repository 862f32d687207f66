//! What is stored of the objects of a world document. Writing a document and comparing it use the same lookups.

use rusqlite::{Connection, OptionalExtension, Params, Row, ToSql, params};

use super::device::{local_key_aad, secret_aad};
use super::product;
use super::project::{app_secret_aad, secret_aad as project_secret_aad};
use super::user::{EXACT_FIRST, NAMED, PASSWORD_HASHES, password_hashes};
use super::visibility::is_with_gateway;
use super::world::product_secret_aad;
use crate::domain::ownership::NO_HOME;
use crate::domain::world::compare::NamedUser;
use crate::domain::world::links::{GatewayKey, StoredDevice, StoredHome};
use crate::domain::world::{
    WorldAliyun, WorldApp, WorldDevice, WorldHome, WorldProduct, WorldProject, WorldTuya, WorldUser,
};
use crate::domain::{DeviceNo, Error, HomeId, ProjectNo, Result, UserNo};
use crate::store::functions;
use crate::store::password::PasswordHashes;
use crate::store::seal::Seal;

/// The columns of [`device_members`] in the table `device d`.
pub const DEVICE_COLUMNS: &str =
    "d.device_id, d.secret_sealed, d.local_key_sealed, d.uuid, d.sn, d.mac, d.name, d.device_name,
    d.iot_id, d.node_id, d.ip, d.lat, d.lon, d.time_zone, d.is_virtual, d.disabled";

/// The encrypted secret and local key of a device.
pub type SealedSecrets = (Vec<u8>, Vec<u8>);

/// Reads what is stored for one project.
pub struct Lookup<'a> {
    pub connection: &'a Connection,
    pub seal: &'a Seal,
    /// The project; 0 if it does not exist.
    pub project_no: i64,
}

impl Lookup<'_> {
    /// Reads one row if it exists.
    pub fn find<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.connection.prepare_cached(sql).map_err(Error::store)?;
        statement.query_row(values, read).optional().map_err(Error::store)
    }

    /// The number, credentials and settings of a project.
    pub fn stored_project(&self, name: &str) -> Result<Option<(i64, WorldProject)>> {
        let sql = "SELECT project_no, client_id, secret_sealed, legacy_sign, mask_private_fields, aliyun_project_id,
                   aliyun_app_key, aliyun_app_secret_sealed, require_cloud_token, keep_cloud_tokens
                   FROM project WHERE name = ?1";
        let found = self.find(sql, params![name], |row| {
            let tuya = WorldTuya {
                client_id: row.get("client_id")?,
                secret: None,
                legacy_sign: row.get("legacy_sign")?,
                mask_private_fields: row.get("mask_private_fields")?,
            };
            let aliyun = WorldAliyun {
                project_id: row.get("aliyun_project_id")?,
                app_key: row.get("aliyun_app_key")?,
                app_secret: None,
                require_cloud_token: row.get("require_cloud_token")?,
                keep_cloud_tokens: row.get("keep_cloud_tokens")?,
            };
            let sealed: (Vec<u8>, Vec<u8>) = (row.get("secret_sealed")?, row.get("aliyun_app_secret_sealed")?);
            Ok((row.get("project_no")?, WorldProject { tuya, aliyun, ..WorldProject::default() }, sealed))
        })?;
        let Some((no, mut project, (secret, app_secret))) = found else { return Ok(None) };
        project.tuya.secret = Some(self.seal.unseal(&secret, &project_secret_aad(name))?);
        project.aliyun.app_secret = Some(self.seal.unseal(&app_secret, &app_secret_aad(name))?);
        Ok(Some((no, project)))
    }

    /// The members of a stored app.
    pub fn stored_app(&self, world: &WorldApp) -> Result<Option<WorldApp>> {
        let sql = "SELECT app_key, name, country_codes FROM app WHERE project_no = ?1 AND schema = ?2";
        self.find(sql, params![self.project_no, world.schema], |row| {
            let countries: String = row.get("country_codes")?;
            let countries = countries.split(',').filter(|code| !code.is_empty()).map(str::to_owned).collect();
            let (app_key, name) = (row.get("app_key")?, row.get("name")?);
            Ok(WorldApp { schema: world.schema.clone(), app_key, name, country_codes: Some(countries) })
        })
    }

    /// The number and the members of a stored product.
    pub fn stored_product(&self, world: &WorldProduct) -> Result<Option<(i64, WorldProduct)>> {
        let columns = "product_no, project_no, product_id, product_key, product_secret_sealed, model, icon, net_type,
                       node_type, biz_type, functions, registration, strict, name, category";
        let mut sealed = Vec::new();
        let read = |row: &Row<'_>| {
            sealed = row.get("product_secret_sealed")?;
            let product = WorldProduct {
                product_id: row.get("product_id")?,
                product_key: row.get("product_key")?,
                product_secret: None,
                name: row.get("name")?,
                category: row.get("category")?,
                model: row.get("model")?,
                icon: row.get("icon")?,
                net_type: row.get("net_type")?,
                node_type: Some(product::node_type(row.get_ref("node_type")?.as_str()?)),
                biz_type: row.get("biz_type")?,
                registration: Some(product::registration(row.get_ref("registration")?.as_str()?)),
                strict: row.get("strict")?,
                functions: None,
            };
            Ok((row.get("product_no")?, ProjectNo(row.get("project_no")?), product, row.get::<_, String>("functions")?))
        };
        let found = match &world.product_id {
            Some(id) => {
                self.find(&format!("SELECT {columns} FROM product WHERE product_id = ?1"), params![id], read)?
            }
            None => self.find(
                &format!("SELECT {columns} FROM product WHERE project_no = ?1 AND name = ?2 ORDER BY product_no"),
                params![self.project_no, world.name],
                read,
            )?,
        };
        let Some((no, project, mut product, functions)) = found else { return Ok(None) };
        let id = product.product_id.as_deref().unwrap_or_default();
        if project.0 != self.project_no {
            return Err(Error::Refused(format!("product_id {id:?} is another project's")));
        }
        product.product_secret = Some(self.seal.unseal(&sealed, &product_secret_aad(id))?);
        product.functions = Some(functions::decode_for_document(&functions)?);
        Ok(Some((no, product)))
    }

    /// The Tuya ids of the products of the project with this name.
    pub fn products_named(&self, name: &str) -> Result<Vec<String>> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let sql = "SELECT product_id FROM product WHERE project_no = ?1 AND name = ?2";
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(params![self.project_no, name], |row| row.get(0))?.collect()
        };
        read().map_err(Error::store)
    }

    /// A stored user of an app, found by the name: the number, the members without the password, and its hashes.
    pub fn stored_user(&self, app_no: i64, world: &WorldUser) -> Result<Option<(i64, WorldUser, PasswordHashes)>> {
        let sql = format!(
            "SELECT user_no, username_type, country_code, {PASSWORD_HASHES}, nick_name, avatar, gender, time_zone_id, uid,
             identity_id, open_id, login_id, phone, email, disabled FROM app_user u WHERE app_no = ?1 AND {NAMED}
             ORDER BY {EXACT_FIRST} LIMIT 1"
        );
        self.find(&sql, params![app_no, world.username], |row| {
            let user = WorldUser {
                schema: world.schema.clone(),
                username: world.username.clone(),
                username_type: row.get("username_type")?,
                country_code: row.get("country_code")?,
                password: None,
                nick_name: row.get("nick_name")?,
                avatar: row.get("avatar")?,
                gender: row.get("gender")?,
                time_zone_id: row.get("time_zone_id")?,
                uid: row.get("uid")?,
                identity_id: row.get("identity_id")?,
                open_id: row.get("open_id")?,
                login_id: row.get("login_id")?,
                phone: row.get("phone")?,
                email: row.get("email")?,
                disabled: row.get("disabled")?,
            };
            Ok((row.get::<_, i64>("user_no")?, user, password_hashes(row)?))
        })
    }

    /// The number of an app of the project.
    pub fn app_no(&self, schema: &str) -> Result<Option<i64>> {
        let sql = "SELECT app_no FROM app WHERE project_no = ?1 AND schema = ?2";
        self.find(sql, params![self.project_no, schema], |row| row.get(0))
    }

    /// A stored home with its name: by its id or, without one, by its owner, if that is known, and its name.
    pub fn stored_home(&self, world: &WorldHome, owner_no: Option<i64>) -> Result<Option<(StoredHome, String)>> {
        const COLUMNS: &str = "SELECT home_id, project_no, owner_no, name FROM home";
        let read = |row: &Row<'_>| {
            let (project, owner) = (ProjectNo(row.get("project_no")?), UserNo(row.get("owner_no")?));
            Ok((StoredHome { home_id: row.get("home_id")?, project, owner }, row.get("name")?))
        };
        match world.home_id {
            Some(id) => self.find(&format!("{COLUMNS} WHERE home_id = ?1"), params![id], read),
            None => {
                let sql = format!("{COLUMNS} WHERE owner_no = ?1 AND name = ?2 ORDER BY home_id");
                self.find(&sql, params![owner_no, world.name], read)
            }
        }
    }

    /// The number, the product and the members that the document can change, without links.
    pub fn stored_device(&self, world: &WorldDevice, product_no: i64) -> Result<Option<(i64, i64, WorldDevice)>> {
        let read = |row: &Row<'_>| Ok((row.get("device_no")?, row.get("product_no")?, device_members(row)?));
        let stored = match (&world.device_id, &world.device_name) {
            (Some(id), _) => {
                self.find(&format!("SELECT device_no, product_no, {DEVICE_COLUMNS} FROM device d WHERE device_id = ?1"), params![id], read)?
            }
            (None, name) => self.find(
                &format!("SELECT device_no, product_no, {DEVICE_COLUMNS} FROM device d WHERE product_no = ?1 AND device_name = ?2"),
                params![product_no, name],
                read,
            )?,
        };
        let Some((no, product, (mut device, sealed))) = stored else { return Ok(None) };
        device.product_id.clone_from(&world.product_id);
        self.unseal_device(&mut device, &sealed)?;
        Ok(Some((no, product, device)))
    }

    /// Decrypts the secrets of a device.
    pub fn unseal_device(&self, device: &mut WorldDevice, sealed: &SealedSecrets) -> Result<()> {
        let id = device.device_id.as_deref().unwrap_or_default();
        let secret = self.seal.unseal(&sealed.0, &secret_aad(id))?;
        let local_key = self.seal.unseal(&sealed.1, &local_key_aad(id))?;
        (device.secret, device.local_key) = (Some(secret), Some(local_key));
        Ok(())
    }

    /// A device of the store.
    pub fn found_device(&self, no: i64) -> Result<StoredDevice> {
        let found = self.find_device("d.device_no = ?1", no)?;
        found.ok_or_else(|| Error::store("a device does not exist"))
    }

    /// The device `d` that a condition over `?1` selects.
    pub fn find_device(&self, condition: &str, value: impl ToSql) -> Result<Option<StoredDevice>> {
        let sql = format!(
            "SELECT d.device_no, p.node_type, d.project_no, d.last_owner_no, o.user_no AS owner_no, (SELECT u.project_no
             FROM app_user u WHERE u.user_no = coalesce(o.user_no, d.last_owner_no)) AS holder
             FROM device d JOIN product p USING (product_no)
             LEFT JOIN binding o ON o.device_no = d.device_no AND o.owned = 1 WHERE {condition}"
        );
        self.find(&sql, params![value], |row| {
            let is_owned = row.get::<_, Option<i64>>("owner_no")?.is_some();
            Ok(StoredDevice {
                no: DeviceNo(row.get("device_no")?),
                node_type: product::node_type(row.get_ref("node_type")?.as_str()?),
                maker: ProjectNo(row.get("project_no")?),
                holder: row.get::<_, Option<i64>>("holder")?.map(ProjectNo),
                is_owned,
                was_owned: is_owned || row.get::<_, Option<i64>>("last_owner_no")?.is_some(),
            })
        })
    }

    /// The local key of a device's gateway, if it has one.
    pub fn gateway_key(&self, no: i64) -> Result<Option<GatewayKey>> {
        let sql = concat!(
            "SELECT g.device_id, g.local_key_sealed, d.local_key_given, ",
            is_with_gateway!(),
            " AS is_together FROM device d JOIN device g ON g.device_no = d.gateway_no
             LEFT JOIN binding o ON o.device_no = d.device_no AND o.owned = 1 WHERE d.device_no = ?1"
        );
        let found = self.find(sql, params![no], |row| {
            let (is_own_given, is_together) = (row.get("local_key_given")?, row.get("is_together")?);
            let sealed: (String, Vec<u8>) = (row.get("device_id")?, row.get("local_key_sealed")?);
            Ok((sealed, GatewayKey { key: String::new(), is_own_given, is_together }))
        })?;
        let unsealed = |((gateway, sealed), key): ((String, Vec<u8>), GatewayKey)| {
            Ok(GatewayKey { key: self.seal.unseal(&sealed, &local_key_aad(&gateway))?, ..key })
        };
        found.map(unsealed).transpose()
    }

    /// Checks that the project has this home. A device can also be in none.
    pub fn own_home(&self, home_id: i64) -> Result<i64> {
        if HomeId(home_id) == NO_HOME {
            return Ok(home_id);
        }
        let sql = "SELECT home_id FROM home WHERE home_id = ?1 AND project_no = ?2";
        let found = self.find(sql, params![home_id, self.project_no], |row| row.get(0))?;
        found.ok_or_else(|| Error::Refused(format!("home_id: the project has no home {home_id}")))
    }

    /// The user with this name in any app of the project, or otherwise with this uid.
    pub fn named_user(&self, username: &str) -> Result<NamedUser> {
        // An exact match has priority over names that differ in case.
        let sql = format!(
            "SELECT min(user_no) AS user_no, count(*) AS count FROM app_user u WHERE {NAMED}
             AND app_no IN (SELECT app_no FROM app WHERE project_no = ?1) GROUP BY u.username = ?2
             ORDER BY u.username = ?2 DESC LIMIT 1"
        );
        let found = self.find(&sql, params![self.project_no, username], |row| {
            Ok((row.get::<_, Option<i64>>("user_no")?, row.get::<_, i64>("count")?))
        })?;
        if let Some((Some(no), 1)) = found {
            return Ok(NamedUser::One(UserNo(no)));
        }
        let sql = "SELECT user_no FROM app_user WHERE uid = ?2 AND project_no = ?1";
        if let Some(no) = self.find(sql, params![self.project_no, username], |row| row.get(0))? {
            return Ok(NamedUser::One(UserNo(no)));
        }
        match found {
            Some((Some(_), count)) => Ok(NamedUser::Several(count)),
            _ => Ok(NamedUser::Nobody),
        }
    }

    /// The number of that user.
    pub fn user_no(&self, username: &str) -> Result<i64> {
        match self.named_user(username)? {
            NamedUser::One(no) => Ok(no.0),
            NamedUser::Several(count) => {
                Err(Error::Refused(format!("{count} apps have a user {username:?}: give the uid of one")))
            }
            NamedUser::Nobody => Err(Error::Refused(format!("there is no user {username:?}"))),
        }
    }
}

/// The members of a device that a document can change, without its product, its secrets and its links.
pub fn device_members(row: &Row<'_>) -> rusqlite::Result<(WorldDevice, SealedSecrets)> {
    let device = WorldDevice {
        device_id: row.get("device_id")?,
        uuid: row.get("uuid")?,
        sn: row.get("sn")?,
        mac: row.get("mac")?,
        name: row.get("name")?,
        device_name: row.get("device_name")?,
        iot_id: row.get("iot_id")?,
        node_id: row.get("node_id")?,
        ip: row.get("ip")?,
        lat: row.get("lat")?,
        lon: row.get("lon")?,
        time_zone: row.get("time_zone")?,
        is_virtual: row.get("is_virtual")?,
        disabled: row.get("disabled")?,
        ..WorldDevice::default()
    };
    Ok((device, (row.get("secret_sealed")?, row.get("local_key_sealed")?)))
}
