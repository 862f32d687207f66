//! The rows of the operator's lists: members as in a world document, and facts. Without a seal they have no secrets.

use rusqlite::Row;
use serde_json::{Map, Value as Json};

use super::product::{node_type, registration};
use super::world::product_secret_aad;
use super::{device as devices, project as projects};
use crate::domain::inventory::ObjectRow;
use crate::domain::world::{
    DevicePlace, WorldAliyun, WorldApp, WorldDevice, WorldHome, WorldProduct, WorldProject, WorldTuya, WorldUser,
    members_of,
};
use crate::domain::{DeviceNo, Error, Result};
use crate::store::functions;
use crate::store::seal::Seal;

/// Reads a column.
fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, column: &str) -> Result<T> {
    row.get(column).map_err(Error::store)
}

/// A secret of a row, if there is a seal.
fn secret(row: &Row<'_>, column: &str, seal: Option<&Seal>, aad: &str) -> Result<Option<String>> {
    seal.map(|seal| seal.unseal(&get::<Vec<u8>>(row, column)?, aad)).transpose()
}

/// A row whose key is a number.
fn object(row: &Row<'_>, members: Map<String, Json>, facts: &[&str]) -> Result<ObjectRow> {
    let numbers = facts.iter().map(|fact| Ok(((*fact).to_owned(), get::<i64>(row, fact)?.into())));
    Ok(ObjectRow {
        cursor: get::<i64>(row, "key")?.to_string(),
        project: get(row, "project_name")?,
        device: None,
        members,
        facts: numbers.collect::<Result<_>>()?,
    })
}

pub fn project(row: &Row<'_>, seal: Option<&Seal>) -> Result<ObjectRow> {
    let name: String = get(row, "name")?;
    let tuya = WorldTuya {
        client_id: get(row, "client_id")?,
        secret: secret(row, "secret_sealed", seal, &projects::secret_aad(&name))?,
        legacy_sign: get(row, "legacy_sign")?,
        mask_private_fields: get(row, "mask_private_fields")?,
    };
    let aliyun = WorldAliyun {
        project_id: get(row, "aliyun_project_id")?,
        app_key: get(row, "aliyun_app_key")?,
        app_secret: secret(row, "aliyun_app_secret_sealed", seal, &projects::app_secret_aad(&name))?,
        require_cloud_token: get(row, "require_cloud_token")?,
        keep_cloud_tokens: get(row, "keep_cloud_tokens")?,
    };
    let mut members = members_of(&WorldProject { name, tuya, aliyun, ..<WorldProject>::default() })?;
    members.retain(|_, value| !value.is_array());
    let mut project = ObjectRow { project: String::new(), ..object(row, members, &[])? };
    let old_until_ms: i64 = get(row, "old_until_ms")?;
    if old_until_ms > 0 {
        project.facts.insert("old_secrets_until_ms".to_owned(), old_until_ms.into());
    }
    Ok(project)
}

pub fn app(row: &Row<'_>, _: Option<&Seal>) -> Result<ObjectRow> {
    let countries: String = get(row, "country_codes")?;
    let app = WorldApp {
        schema: get(row, "schema")?,
        app_key: get(row, "app_key")?,
        name: get(row, "name")?,
        country_codes: Some(countries.split(',').filter(|code| !code.is_empty()).map(str::to_owned).collect()),
    };
    object(row, members_of(&app)?, &["users"])
}

pub fn product(row: &Row<'_>, seal: Option<&Seal>) -> Result<ObjectRow> {
    let id: String = get(row, "product_id")?;
    let product = WorldProduct {
        product_key: get(row, "product_key")?,
        product_secret: secret(row, "product_secret_sealed", seal, &product_secret_aad(&id))?,
        product_id: Some(id),
        name: get(row, "name")?,
        category: get(row, "category")?,
        model: get(row, "model")?,
        icon: get(row, "icon")?,
        net_type: get(row, "net_type")?,
        node_type: Some(node_type(&get::<String>(row, "node_type")?)),
        biz_type: get(row, "biz_type")?,
        registration: Some(registration(&get::<String>(row, "registration")?)),
        strict: get(row, "strict")?,
        functions: Some(functions::decode_for_document(&get::<String>(row, "functions")?)?),
    };
    object(row, members_of(&product)?, &["devices"])
}

pub fn user(row: &Row<'_>, _: Option<&Seal>) -> Result<ObjectRow> {
    let user = WorldUser {
        schema: get(row, "schema")?,
        username: get(row, "username")?,
        username_type: get(row, "username_type")?,
        country_code: get(row, "country_code")?,
        password: None,
        nick_name: get(row, "nick_name")?,
        avatar: get(row, "avatar")?,
        gender: get(row, "gender")?,
        time_zone_id: get(row, "time_zone_id")?,
        uid: get(row, "uid")?,
        identity_id: get(row, "identity_id")?,
        open_id: get(row, "open_id")?,
        login_id: get(row, "login_id")?,
        phone: get(row, "phone")?,
        email: get(row, "email")?,
        disabled: get(row, "disabled")?,
    };
    object(row, members_of(&user)?, &["created_ms", "updated_ms", "last_login_ms"])
}

pub fn home(row: &Row<'_>, _: Option<&Seal>) -> Result<ObjectRow> {
    let home = WorldHome { home_id: get(row, "home_id")?, name: get(row, "name")?, owner: get(row, "owner")? };
    let mut home = object(row, members_of(&home)?, &["devices"])?;
    home.facts.insert("members".to_owned(), list(&get::<String>(row, "members")?)?);
    Ok(home)
}

pub fn device(row: &Row<'_>, seal: Option<&Seal>) -> Result<ObjectRow> {
    let id: String = get(row, "device_id")?;
    let is_owned = get::<Option<i64>>(row, "owner_no")?.is_some();
    let shows_gateways_key: bool = get(row, "shows_gateways_key")?;
    let home_id: Option<i64> = get(row, "home_id")?;
    let sharees = get::<Option<String>>(row, "sharees")?.map(|text| list(&text)).transpose()?;
    let sharees: Vec<String> =
        sharees.map(serde_json::from_value).transpose().map_err(Error::store)?.unwrap_or_default();
    // A document refuses links of a device that its last owner gave up.
    let has_links = !get::<bool>(row, "is_given_up")?;
    let device = WorldDevice {
        place: DevicePlace::default(),
        product: None,
        product_id: get(row, "product_id")?,
        secret: secret(row, "secret_sealed", seal, &devices::secret_aad(&id))?,
        local_key: secret(row, "local_key_sealed", seal.filter(|_| !shows_gateways_key), &devices::local_key_aad(&id))?,
        uuid: get(row, "uuid")?,
        sn: get(row, "sn")?,
        mac: get(row, "mac")?,
        name: get(row, "name")?,
        device_name: get(row, "device_name")?,
        iot_id: get(row, "iot_id")?,
        gateway: get::<Option<String>>(row, "gateway")?.filter(|_| has_links),
        node_id: get(row, "node_id")?,
        owner: if is_owned { get(row, "owner")? } else { None },
        keep_history: None,
        home_id: if is_owned { Some(home_id.unwrap_or(0)) } else { home_id.filter(|_| has_links) },
        shared_with: Some(sharees).filter(|sharees| has_links && !sharees.is_empty()),
        ip: get(row, "ip")?,
        lat: get(row, "lat")?,
        lon: get(row, "lon")?,
        time_zone: get(row, "time_zone")?,
        is_virtual: get(row, "is_virtual")?,
        disabled: get(row, "disabled")?,
        device_id: Some(id),
    };
    let mut object = object(row, members_of(&device)?, &["created_ms", "active_ms", "updated_ms"])?;
    object.device = Some(DeviceNo(get(row, "device_no")?));
    object.facts.insert("removed".to_owned(), get::<bool>(row, "removed")?.into());
    Ok(object)
}

pub fn token(row: &Row<'_>, _: Option<&Seal>) -> Result<ObjectRow> {
    let id: String = get(row, "id")?;
    let mut facts = Map::new();
    for text in ["id", "kind", "uid", "username"] {
        if let Some(value) = get::<Option<String>>(row, text)? {
            facts.insert(text.to_owned(), value.into());
        }
    }
    for time in ["granted_ms", "expires_ms"] {
        if let Some(value) = get::<Option<i64>>(row, time)? {
            facts.insert(time.to_owned(), value.into());
        }
    }
    Ok(ObjectRow { cursor: id, project: get(row, "project_name")?, device: None, members: Map::new(), facts })
}

/// A list that SQLite wrote as JSON.
fn list(text: &str) -> Result<Json> {
    serde_json::from_str(text).map_err(Error::store)
}
