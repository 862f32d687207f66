//! The world document, which `ingle apply` reads and prints: these types are its JSON form. Unknown members are refused
//! by name. A member that is left out keeps the stored value; if there is none, it gets a default or a generated value.

pub mod compare;
mod document;
mod functions;
pub mod links;
mod members;
mod merge;
mod plan;
mod rules;
mod surroundings;
mod values;
mod write;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use compare::MemberChange;
pub use document::WorldDocument;
pub use plan::{Counts, Difference, WorldPlan};
pub use write::Filled;

use super::device::Removal;
use super::product::Registration;
use super::{Access, Cloud, Error, FunctionType, NodeType, Result, UsernameType};

/// A world document. `D` is a device: read completely, or as its JSON text ([`WorldDocument`]).
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World<D = WorldDevice> {
    /// The projects.
    #[serde(default = "Vec::new")]
    pub projects: Vec<WorldProject<D>>,
}

/// A project, identified by its name.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldProject<D = WorldDevice> {
    /// Its name.
    pub name: String,
    /// Credentials and settings for Tuya's API.
    #[serde(default)]
    pub tuya: WorldTuya,
    /// Credentials and settings for Alibaba's API.
    #[serde(default)]
    pub aliyun: WorldAliyun,
    /// The apps.
    #[serde(default)]
    pub apps: Vec<WorldApp>,
    /// The products.
    #[serde(default)]
    pub products: Vec<WorldProduct>,
    /// The users of its apps.
    #[serde(default)]
    pub users: Vec<WorldUser>,
    /// Their homes.
    #[serde(default)]
    pub homes: Vec<WorldHome>,
    /// The devices of its products.
    #[serde(default = "Vec::new")]
    pub devices: Vec<D>,
}

/// Credentials and settings for Tuya's API.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldTuya {
    /// The Access ID.
    pub client_id: Option<String>,
    /// The Access Secret.
    pub secret: Option<String>,
    /// Whether calls may be signed with the old method.
    pub legacy_sign: Option<bool>,
    /// Whether user lists are masked.
    pub mask_private_fields: Option<bool>,
}

/// Credentials and settings for Alibaba's API.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldAliyun {
    /// The project id.
    pub project_id: Option<String>,
    /// The AppKey of the project.
    pub app_key: Option<String>,
    /// The AppSecret.
    pub app_secret: Option<String>,
    /// Whether cloud calls need a cloudToken.
    pub require_cloud_token: Option<bool>,
    /// Whether a cloudToken remains valid when a new one is issued.
    pub keep_cloud_tokens: Option<bool>,
}

/// An app, identified by its schema.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldApp {
    /// Tuya's id.
    pub schema: String,
    /// Alibaba's AppKey.
    pub app_key: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The calling codes that it serves; empty for all countries.
    #[serde(default, deserialize_with = "calling_codes")]
    pub country_codes: Option<Vec<String>>,
}

/// A product, identified by its id or, without one, by its name.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldProduct {
    /// Tuya's id.
    pub product_id: Option<String>,
    /// Alibaba's id.
    pub product_key: Option<String>,
    /// The secret that all its devices share.
    pub product_secret: Option<String>,
    /// The name.
    pub name: String,
    /// Tuya's category.
    pub category: String,
    /// The manufacturer's model.
    pub model: Option<String>,
    /// The path of its icon.
    pub icon: Option<String>,
    /// The type of its network connection.
    pub net_type: Option<String>,
    /// Device, gateway or sub-device.
    pub node_type: Option<NodeType>,
    /// The vendor's business type.
    pub biz_type: Option<i64>,
    /// Which devices may register: request their own secret with the product's secret.
    #[serde(rename = "dynamic_registration")]
    pub registration: Option<Registration>,
    /// Whether a report with a value off the specification is refused as a whole.
    pub strict: Option<bool>,
    /// The functions.
    pub functions: Option<Vec<WorldFunction>>,
}

/// A function of a product. [`World::parse`] fills in the number and the name, and checks the specification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldFunction {
    /// Its code, unique in the product.
    pub code: String,
    /// The number of the data point on the device.
    pub dp_id: Option<u32>,
    /// The type of its value.
    #[serde(rename = "type")]
    pub kind: FunctionType,
    /// The specification of its value: an object, or its JSON text.
    #[serde(default)]
    pub values: Value,
    /// The name.
    pub name: Option<String>,
    /// The vendor's printed form. It is accepted, so that a printed function can be pasted, but not stored.
    #[serde(default, skip_serializing)]
    pub desc: IgnoredAny,
    /// Whether it can be commanded, reported, or both.
    #[serde(default)]
    pub access: Access,
}

/// A user, identified by schema and name.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldUser {
    /// The app.
    pub schema: String,
    /// The name.
    pub username: String,
    /// The kind of that name: the number of a [`UsernameType`].
    pub username_type: Option<i64>,
    /// The country's calling code.
    #[serde(default, deserialize_with = "calling_code")]
    pub country_code: Option<String>,
    /// The password, which is never printed.
    pub password: Option<String>,
    /// The name that other users see.
    pub nick_name: Option<String>,
    /// The URL of a picture.
    pub avatar: Option<String>,
    /// In the vendor's form.
    pub gender: Option<String>,
    /// An IANA time zone.
    pub time_zone_id: Option<String>,
    /// Tuya's id.
    pub uid: Option<String>,
    /// Alibaba's id.
    pub identity_id: Option<String>,
    /// The id under which an app knows the user: that of a linked account of a third party, otherwise the login id.
    pub open_id: Option<String>,
    /// Alibaba's number of the account.
    pub login_id: Option<String>,
    /// An additional phone number.
    pub phone: Option<String>,
    /// An additional email address.
    pub email: Option<String>,
    /// Whether the account is disabled.
    pub disabled: Option<bool>,
}

/// A home, identified by its id or, without one, by owner and name.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldHome {
    /// Its id.
    pub home_id: Option<i64>,
    /// The name.
    pub name: String,
    /// The owner's user name.
    pub owner: String,
}

/// A device, identified by its id or, without one, by product and device name. Without either, the k-th such device of
/// a product in the document gets the device name `<product_id>-<k>`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldDevice {
    /// Its place in the document.
    #[serde(skip)]
    pub place: DevicePlace,
    /// The product's Tuya id; empty if the document names the product.
    #[serde(default)]
    pub product_id: String,
    /// The name of the product, among those of the project, instead of its id.
    pub product: Option<String>,
    /// The id in both clouds.
    pub device_id: Option<String>,
    /// The secret with which it connects.
    pub secret: Option<String>,
    /// The key for the local network.
    pub local_key: Option<String>,
    /// The manufacturer's unique id.
    pub uuid: Option<String>,
    /// Serial number.
    pub sn: Option<String>,
    /// MAC address.
    pub mac: Option<String>,
    /// The name that the owner gave.
    pub name: Option<String>,
    /// The device name, unique among the devices of the product.
    pub device_name: Option<String>,
    /// Alibaba's id.
    pub iot_id: Option<String>,
    /// The gateway's device id.
    pub gateway: Option<String>,
    /// Its address at the gateway.
    pub node_id: Option<String>,
    /// The owner's user name.
    pub owner: Option<String>,
    /// Whether a new owner gets history, names and device users of the last one.
    pub keep_history: Option<bool>,
    /// The id of the home that it belongs to.
    pub home_id: Option<i64>,
    /// The user names of its sharees. The list replaces the stored one.
    pub shared_with: Option<Vec<String>>,
    /// The IP address of its last connection.
    pub ip: Option<String>,
    /// Latitude.
    pub lat: Option<String>,
    /// Longitude.
    pub lon: Option<String>,
    /// Offset from UTC.
    pub time_zone: Option<String>,
    /// Whether this server simulates the device.
    #[serde(rename = "virtual")]
    pub is_virtual: Option<bool>,
    /// Whether the device is disabled.
    pub disabled: Option<bool>,
}

/// Where a device is in the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DevicePlace {
    /// Its index in the list of the project's devices.
    pub index: usize,
    /// Its number, from 1, among the devices of its product that have neither an id nor a device name; 0 for any other one.
    pub unnamed: usize,
}

impl World {
    /// Parses a document.
    ///
    /// # Errors
    /// [`Error::Refused`] with line and column, or with the path of a value that is not allowed.
    pub fn parse(text: &str) -> Result<Self> {
        let mut world: Self = serde_json::from_str(text).map_err(|error| Error::Refused(error.to_string()))?;
        for project in &mut world.projects {
            project.complete()?;
            for (index, device) in project.devices.iter_mut().enumerate() {
                device.place.index = index;
            }
        }
        Ok(world)
    }
}

impl<D> WorldProject<D> {
    /// Completes the functions of the products, and checks what can be checked of a part that was just read.
    fn complete(&mut self) -> Result<()> {
        self.products.iter_mut().try_for_each(WorldProduct::complete_functions)?;
        let mut types = self.users.iter().filter_map(|user| user.username_type);
        match types.any(|number| UsernameType::from_number(number).is_none()) {
            true => Err(Error::Refused("username_type must be 1, 2 or 3".to_owned())),
            false => Ok(()),
        }
    }
}

/// The members of a part of a document that have a value, as JSON.
///
/// # Errors
/// [`Error::Store`], never in practice.
pub fn members_of(part: &impl Serialize) -> Result<Map<String, Value>> {
    match without_absent(serde_json::to_value(part).map_err(Error::store)?) {
        Value::Object(members) => Ok(members),
        _ => Ok(Map::new()),
    }
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

/// A calling code, which is a text or a whole number in a document.
struct CallingCode(String);

impl<'de> Deserialize<'de> for CallingCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(D::Error::custom("a calling code must be text or a whole number")),
        }
    }
}

fn calling_code<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<String>, D::Error> {
    Ok(Option::<CallingCode>::deserialize(deserializer)?.map(|code| code.0))
}

fn calling_codes<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Vec<String>>, D::Error> {
    let codes = Option::<Vec<CallingCode>>::deserialize(deserializer)?;
    Ok(codes.map(|codes| codes.into_iter().map(|code| code.0).collect()))
}

impl Cloud {
    /// Applies a document in one transaction and returns it with all generated values, but without passwords. It is for a
    /// small document, and replaces secrets. [`Cloud::plan_world`] is for one of any size.
    ///
    /// # Errors
    /// [`super::Error::Refused`] with the path in the document; nothing is changed then.
    pub async fn apply(&self, mut world: World) -> Result<World> {
        world.check()?;
        let world = self.write_world(world).await?;
        self.end_subscribers(None).await?;
        Ok(world)
    }

    /// Writes a part of a document in one transaction, and carries out the consequences.
    async fn write_world(&self, world: World) -> Result<World> {
        let ((world, ended), moves) = self.registry.apply(world, self, self.now_ms()).await?;
        for device in ended {
            self.downlink.end_session(device).await;
        }
        self.follow(moves, Removal::Removed).await?;
        Ok(world)
    }
}
