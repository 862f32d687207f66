//! The world document as JSON (DESIGN §4). Unknown members are refused by name; members without a value are left out.

mod device;
mod members;
mod user;
mod values;

use std::collections::HashSet;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::product::{Bounds, Registration};
use crate::domain::world::{World, WorldApp, WorldHome, WorldProduct, WorldProject};
use crate::domain::{Access, Error, Function, FunctionType, NodeType, Result};
use device::Device;
use user::{TextOrNumber, User};

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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    product_id: Option<String>,
    product_key: Option<String>,
    product_secret: Option<String>,
    name: String,
    category: String,
    model: Option<String>,
    icon: Option<String>,
    net_type: Option<String>,
    node_type: Option<Node>,
    biz_type: Option<i64>,
    dynamic_registration: Option<Registering>,
    strict: Option<bool>,
    functions: Option<Vec<FunctionRow>>,
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
struct FunctionRow {
    code: String,
    dp_id: Option<u32>,
    #[serde(rename = "type")]
    kind: Kind,
    /// An object, or its JSON text.
    #[serde(default)]
    values: Value,
    name: Option<String>,
    /// As the vendor prints it; it is not kept.
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "it is read so that a printed row can be pasted")]
    desc: IgnoredAny,
    #[serde(default)]
    access: Rights,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Kind {
    #[serde(alias = "bool")]
    Boolean,
    #[serde(alias = "value")]
    Integer,
    #[serde(alias = "enum")]
    Enum,
    #[serde(alias = "string")]
    String,
    #[serde(alias = "json")]
    Json,
    #[serde(alias = "raw")]
    Raw,
    #[serde(alias = "bitmap")]
    Bitmap,
    #[serde(alias = "float")]
    Float,
    #[serde(alias = "double")]
    Double,
    #[serde(alias = "date")]
    Date,
    #[serde(alias = "struct")]
    Struct,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
enum Rights {
    #[default]
    #[serde(rename = "rw")]
    ReadWrite,
    #[serde(rename = "ro")]
    ReadOnly,
    #[serde(rename = "wo")]
    WriteOnly,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Node {
    Device,
    Gateway,
    Sub,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Registering {
    Off,
    Known,
    Any,
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

impl Product {
    fn into_domain(self) -> Result<WorldProduct> {
        Ok(WorldProduct {
            product_id: self.product_id,
            product_key: self.product_key,
            product_secret: self.product_secret,
            category: self.category,
            model: self.model,
            icon: self.icon,
            net_type: self.net_type,
            node_type: self.node_type.map(Node::into_domain),
            biz_type: self.biz_type,
            registration: self.dynamic_registration.map(Registering::into_domain),
            strict: self.strict,
            functions: functions(&self.name, self.functions)?,
            name: self.name,
        })
    }

    fn from_domain(world: WorldProduct) -> Self {
        Self {
            product_id: world.product_id,
            product_key: world.product_key,
            product_secret: world.product_secret,
            name: world.name,
            category: world.category,
            model: world.model,
            icon: world.icon,
            net_type: world.net_type,
            node_type: world.node_type.map(Node::from_domain),
            biz_type: world.biz_type,
            dynamic_registration: world.registration.map(Registering::from_domain),
            strict: world.strict,
            functions: world.functions.map(|rows| rows.into_iter().map(FunctionRow::from_domain).collect()),
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

/// Without a `dp_id` a function gets its place in the list, from 1, or the next number that no other has.
fn functions(product: &str, rows: Option<Vec<FunctionRow>>) -> Result<Option<Vec<Function>>> {
    let Some(rows) = rows else { return Ok(None) };
    let mut taken: HashSet<u32> = rows.iter().filter_map(|row| row.dp_id).collect();
    let mut free = |place: u32| {
        let dp_id = (place..=u32::MAX).find(|dp_id| !taken.contains(dp_id)).unwrap_or(u32::MAX);
        taken.insert(dp_id);
        dp_id
    };
    let function = |(index, row): (usize, FunctionRow)| {
        let place = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let kind = row.kind.into_domain();
        let values = match kind {
            FunctionType::Struct => members::checked(row.values),
            _ => values::checked(&row.code, kind, row.values),
        };
        let place_of = |text| Error::Refused(format!("product {product:?} function {:?}: {text}", row.code));
        Ok(Function {
            dp_id: row.dp_id.unwrap_or_else(|| free(place)),
            kind,
            values: serde_json::to_string(&values.map_err(place_of)?).map_err(Error::store)?,
            name: row.name.unwrap_or_else(|| row.code.clone()),
            access: row.access.into_domain(),
            // The store reads them from the values.
            bounds: Bounds::default(),
            code: row.code,
        })
    };
    rows.into_iter().enumerate().map(function).collect::<Result<_>>().map(Some)
}

impl FunctionRow {
    fn from_domain(function: Function) -> Self {
        Self {
            code: function.code,
            dp_id: Some(function.dp_id),
            kind: Kind::from_domain(function.kind),
            values: serde_json::from_str(&function.values).unwrap_or_default(),
            name: Some(function.name),
            desc: IgnoredAny,
            access: Rights::from_domain(function.access),
        }
    }
}

/// The same names on both sides.
macro_rules! alike {
    ($here:ident = $there:ident { $($name:ident),* }) => {
        impl $here {
            fn into_domain(self) -> $there {
                match self {
                    $(Self::$name => $there::$name,)*
                }
            }

            fn from_domain(value: $there) -> Self {
                match value {
                    $($there::$name => Self::$name,)*
                }
            }
        }
    };
}

alike!(Kind = FunctionType { Boolean, Integer, Enum, String, Json, Raw, Bitmap, Float, Double, Date, Struct });
alike!(Rights = Access { ReadWrite, ReadOnly, WriteOnly });
alike!(Registering = Registration { Off, Known, Any });
alike!(Node = NodeType { Device, Gateway, Sub });
