//! The world document as JSON (DESIGN §4). Unknown members are refused by name; members without a value are left out.

mod product;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::domain::world::{World, WorldApp, WorldDevice, WorldHome, WorldProject, WorldUser};
use crate::domain::{Error, Result, UsernameType};
use product::Product;

/// Reads a document.
///
/// # Errors
/// [`Error::Refused`] with line and column, or with the place of a value that cannot be.
pub fn parse(text: &str) -> Result<World> {
    let document: Document = serde_json::from_str(text).map_err(|error| Error::Refused(error.to_string()))?;
    let projects = document.projects.into_iter().map(Project::into_domain).collect::<Result<_>>()?;
    Ok(World { projects })
}

/// Writes a document.
///
/// # Errors
/// [`Error::Store`], never in practice.
pub fn show(world: World) -> Result<String> {
    let projects = world.projects.into_iter().map(Project::from_domain).collect();
    let document = serde_json::to_value(Document { projects }).map_err(Error::store)?;
    serde_json::to_string_pretty(&without_absent(document)).map_err(Error::store)
}

fn without_absent(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let present = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(present.map(|(name, value)| (name, without_absent(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_absent).collect()),
        other => other,
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    projects: Vec<Project>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Project {
    name: String,
    #[serde(default)]
    tuya: Tuya,
    #[serde(default)]
    aliyun: Aliyun,
    #[serde(default)]
    apps: Vec<App>,
    #[serde(default)]
    products: Vec<Product>,
    #[serde(default)]
    users: Vec<User>,
    #[serde(default)]
    homes: Vec<Home>,
    #[serde(default)]
    devices: Vec<Device>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tuya {
    client_id: Option<String>,
    secret: Option<String>,
    legacy_sign: Option<bool>,
    mask_private_fields: Option<bool>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Aliyun {
    project_id: Option<String>,
    app_key: Option<String>,
    app_secret: Option<String>,
    require_cloud_token: Option<bool>,
    keep_cloud_tokens: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct App {
    schema: String,
    app_key: Option<String>,
    name: Option<String>,
    country_codes: Option<Vec<TextOrNumber>>,
}

/// A text that may also be written as a whole number.
#[derive(Serialize)]
struct TextOrNumber(String);

impl<'de> Deserialize<'de> for TextOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(serde::de::Error::custom("a calling code must be text or a whole number")),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    schema: String,
    username: String,
    username_type: Option<i64>,
    country_code: Option<TextOrNumber>,
    password: Option<String>,
    nick_name: Option<String>,
    avatar: Option<String>,
    gender: Option<String>,
    time_zone_id: Option<String>,
    uid: Option<String>,
    identity_id: Option<String>,
    open_id: Option<String>,
    login_id: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    disabled: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Home {
    home_id: Option<i64>,
    name: String,
    owner: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    product_id: String,
    device_id: Option<String>,
    secret: Option<String>,
    local_key: Option<String>,
    uuid: Option<String>,
    sn: Option<String>,
    mac: Option<String>,
    name: Option<String>,
    device_name: Option<String>,
    iot_id: Option<String>,
    gateway: Option<String>,
    node_id: Option<String>,
    owner: Option<String>,
    keep_history: Option<bool>,
    home_id: Option<i64>,
    shared_with: Option<Vec<String>>,
    ip: Option<String>,
    lat: Option<String>,
    lon: Option<String>,
    time_zone: Option<String>,
    #[serde(rename = "virtual")]
    is_virtual: Option<bool>,
    disabled: Option<bool>,
}

impl Project {
    fn into_domain(self) -> Result<WorldProject> {
        Ok(WorldProject {
            name: self.name,
            client_id: self.tuya.client_id,
            secret: self.tuya.secret,
            legacy_sign: self.tuya.legacy_sign,
            mask_private_fields: self.tuya.mask_private_fields,
            aliyun_project_id: self.aliyun.project_id,
            aliyun_app_key: self.aliyun.app_key,
            aliyun_app_secret: self.aliyun.app_secret,
            require_cloud_token: self.aliyun.require_cloud_token,
            keep_cloud_tokens: self.aliyun.keep_cloud_tokens,
            apps: self.apps.into_iter().map(App::into_domain).collect(),
            products: self.products.into_iter().map(Product::into_domain).collect::<Result<_>>()?,
            users: self.users.into_iter().map(User::into_domain).collect::<Result<_>>()?,
            homes: self.homes.into_iter().map(Home::into_domain).collect(),
            devices: self.devices.into_iter().map(Device::into_domain).collect(),
        })
    }

    fn from_domain(world: WorldProject) -> Self {
        Self {
            name: world.name,
            tuya: Tuya {
                client_id: world.client_id,
                secret: world.secret,
                legacy_sign: world.legacy_sign,
                mask_private_fields: world.mask_private_fields,
            },
            aliyun: Aliyun {
                project_id: world.aliyun_project_id,
                app_key: world.aliyun_app_key,
                app_secret: world.aliyun_app_secret,
                require_cloud_token: world.require_cloud_token,
                keep_cloud_tokens: world.keep_cloud_tokens,
            },
            apps: world.apps.into_iter().map(App::from_domain).collect(),
            products: world.products.into_iter().map(Product::from_domain).collect(),
            users: world.users.into_iter().map(User::from_domain).collect(),
            homes: world.homes.into_iter().map(Home::from_domain).collect(),
            devices: world.devices.into_iter().map(Device::from_domain).collect(),
        }
    }
}

impl App {
    fn into_domain(self) -> WorldApp {
        let country_codes = self.country_codes.map(|codes| codes.into_iter().map(|code| code.0).collect());
        WorldApp { schema: self.schema, app_key: self.app_key, name: self.name, country_codes }
    }

    fn from_domain(world: WorldApp) -> Self {
        let country_codes = world.country_codes.map(|codes| codes.into_iter().map(TextOrNumber).collect());
        Self { schema: world.schema, app_key: world.app_key, name: world.name, country_codes }
    }
}

impl User {
    fn into_domain(self) -> Result<WorldUser> {
        Ok(WorldUser {
            schema: self.schema,
            username: self.username,
            username_type: username_type(self.username_type)?,
            country_code: self.country_code.map(|code| code.0),
            password: self.password,
            nick_name: self.nick_name,
            avatar: self.avatar,
            gender: self.gender,
            time_zone_id: self.time_zone_id,
            uid: self.uid,
            identity_id: self.identity_id,
            open_id: self.open_id,
            login_id: self.login_id,
            phone: self.phone,
            email: self.email,
            disabled: self.disabled,
        })
    }

    fn from_domain(world: WorldUser) -> Self {
        Self {
            schema: world.schema,
            username: world.username,
            username_type: world.username_type.map(|kind| kind as i64),
            country_code: world.country_code.map(TextOrNumber),
            password: world.password,
            nick_name: world.nick_name,
            avatar: world.avatar,
            gender: world.gender,
            time_zone_id: world.time_zone_id,
            uid: world.uid,
            identity_id: world.identity_id,
            open_id: world.open_id,
            login_id: world.login_id,
            phone: world.phone,
            email: world.email,
            disabled: world.disabled,
        }
    }
}

impl Home {
    fn into_domain(self) -> WorldHome {
        WorldHome { home_id: self.home_id, name: self.name, owner: self.owner }
    }

    fn from_domain(world: WorldHome) -> Self {
        Self { home_id: world.home_id, name: world.name, owner: world.owner }
    }
}

impl Device {
    fn into_domain(self) -> WorldDevice {
        WorldDevice {
            product_id: self.product_id,
            device_id: self.device_id,
            secret: self.secret,
            local_key: self.local_key,
            uuid: self.uuid,
            sn: self.sn,
            mac: self.mac,
            name: self.name,
            device_name: self.device_name,
            iot_id: self.iot_id,
            gateway: self.gateway,
            node_id: self.node_id,
            owner: self.owner,
            keep_history: self.keep_history,
            home_id: self.home_id,
            shared_with: self.shared_with,
            ip: self.ip,
            lat: self.lat,
            lon: self.lon,
            time_zone: self.time_zone,
            is_virtual: self.is_virtual,
            disabled: self.disabled,
        }
    }

    fn from_domain(world: WorldDevice) -> Self {
        Self {
            product_id: world.product_id,
            device_id: world.device_id,
            secret: world.secret,
            local_key: world.local_key,
            uuid: world.uuid,
            sn: world.sn,
            mac: world.mac,
            name: world.name,
            device_name: world.device_name,
            iot_id: world.iot_id,
            gateway: world.gateway,
            node_id: world.node_id,
            owner: world.owner,
            keep_history: world.keep_history,
            home_id: world.home_id,
            shared_with: world.shared_with,
            ip: world.ip,
            lat: world.lat,
            lon: world.lon,
            time_zone: world.time_zone,
            is_virtual: world.is_virtual,
            disabled: world.disabled,
        }
    }
}

fn username_type(number: Option<i64>) -> Result<Option<UsernameType>> {
    let Some(number) = number else { return Ok(None) };
    let kind = UsernameType::from_number(number);
    Ok(Some(kind.ok_or_else(|| Error::Refused("username_type must be 1, 2 or 3".to_owned()))?))
}
