//! The world: what `apply` makes true (DESIGN §4). Every `None` is left as it is, or generated where nothing is yet.

use super::device::Leaving;
use super::product::Registration;
use super::{Cloud, Function, NodeType, Result, UsernameType};

/// Everything that one document describes.
#[derive(Clone, Default, PartialEq)]
pub struct World {
    /// The tenants.
    pub projects: Vec<WorldProject>,
}

/// A tenant, found again by its name.
#[derive(Clone, Default, PartialEq)]
pub struct WorldProject {
    /// Its name.
    pub name: String,
    /// Tuya's Access ID.
    pub client_id: Option<String>,
    /// Tuya's Access Secret.
    pub secret: Option<String>,
    /// Whether business calls may be signed by the old rule.
    pub legacy_sign: Option<bool>,
    /// Whether user lists are masked.
    pub mask_private_fields: Option<bool>,
    /// Alibaba's project id.
    pub aliyun_project_id: Option<String>,
    /// Alibaba's AppKey of the project.
    pub aliyun_app_key: Option<String>,
    /// Alibaba's AppSecret.
    pub aliyun_app_secret: Option<String>,
    /// Whether Alibaba's cloud calls need a cloudToken.
    pub require_cloud_token: Option<bool>,
    /// Whether a cloudToken lives to its end when the next one is fetched.
    pub keep_cloud_tokens: Option<bool>,
    /// Its user pools.
    pub apps: Vec<WorldApp>,
    /// Its types of devices.
    pub products: Vec<WorldProduct>,
    /// The users of its apps.
    pub users: Vec<WorldUser>,
    /// Their homes.
    pub homes: Vec<WorldHome>,
    /// The devices of its products.
    pub devices: Vec<WorldDevice>,
}

/// A user pool, found again by its schema.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WorldApp {
    /// Tuya's name of it.
    pub schema: String,
    /// Alibaba's name of it.
    pub app_key: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// The calling codes it serves; none means every one.
    pub country_codes: Option<Vec<String>>,
}

/// A type of device, found again by its id, or without one by its name.
#[derive(Clone, Default, PartialEq)]
pub struct WorldProduct {
    /// Tuya's id.
    pub product_id: Option<String>,
    /// Alibaba's id.
    pub product_key: Option<String>,
    /// The secret that all its devices share.
    pub product_secret: Option<String>,
    /// What people call it.
    pub name: String,
    /// Tuya's category.
    pub category: String,
    /// The maker's model.
    pub model: Option<String>,
    /// The path of its icon.
    pub icon: Option<String>,
    /// How it reaches the network.
    pub net_type: Option<String>,
    /// Device, gateway or sub-device.
    pub node_type: Option<NodeType>,
    /// The vendor's business type.
    pub biz_type: Option<i64>,
    /// Which devices may ask for their secret with the product's.
    pub registration: Option<Registration>,
    /// Whether a report with a value off the specification is refused as a whole.
    pub strict: Option<bool>,
    /// What it can do and report.
    pub functions: Option<Vec<Function>>,
}

/// A user, found again by schema and name.
#[derive(Clone, PartialEq, Eq)]
pub struct WorldUser {
    /// The app.
    pub schema: String,
    /// The name.
    pub username: String,
    /// What kind of name it is.
    pub username_type: Option<UsernameType>,
    /// The country's calling code.
    pub country_code: Option<String>,
    /// The password, which is never given back.
    pub password: Option<String>,
    /// What other people see.
    pub nick_name: Option<String>,
    /// The address of a picture.
    pub avatar: Option<String>,
    /// As the vendor has it.
    pub gender: Option<String>,
    /// An IANA time zone.
    pub time_zone_id: Option<String>,
    /// Tuya's id.
    pub uid: Option<String>,
    /// Alibaba's id.
    pub identity_id: Option<String>,
    /// The id that an app knows the user by: a linked third party's, or else the login id.
    pub open_id: Option<String>,
    /// Alibaba's number of the account.
    pub login_id: Option<String>,
    /// A phone number besides the name.
    pub phone: Option<String>,
    /// An email address besides the name.
    pub email: Option<String>,
    /// Whether the account is shut out.
    pub disabled: Option<bool>,
}

/// A home, found again by its id, or without one by owner and name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WorldHome {
    /// Its id.
    pub home_id: Option<i64>,
    /// What people call it.
    pub name: String,
    /// The owner's user name.
    pub owner: String,
}

/// A device, found again by its id, or without one by product and device name. Without either, the k-th such device
/// of a product in the document is called `<product_id>-<k>`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WorldDevice {
    /// The product's Tuya id.
    pub product_id: String,
    /// Its id in both clouds.
    pub device_id: Option<String>,
    /// The secret it connects with.
    pub secret: Option<String>,
    /// The key for the local network.
    pub local_key: Option<String>,
    /// The maker's unique id.
    pub uuid: Option<String>,
    /// Serial number.
    pub sn: Option<String>,
    /// Hardware address.
    pub mac: Option<String>,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Alibaba's name of it, unique in its product.
    pub device_name: Option<String>,
    /// Alibaba's id of it.
    pub iot_id: Option<String>,
    /// The gateway's device id.
    pub gateway: Option<String>,
    /// Its address behind the gateway.
    pub node_id: Option<String>,
    /// The owner's user name.
    pub owner: Option<String>,
    /// Whether another owner than the last one gets what there is: history, names and people.
    pub keep_history: Option<bool>,
    /// The home it stands in.
    pub home_id: Option<i64>,
    /// Exactly these users have it shared to them.
    pub shared_with: Option<Vec<String>>,
    /// The address it was last seen at.
    pub ip: Option<String>,
    /// Latitude.
    pub lat: Option<String>,
    /// Longitude.
    pub lon: Option<String>,
    /// Offset from UTC.
    pub time_zone: Option<String>,
    /// Whether this server plays the device itself.
    pub is_virtual: Option<bool>,
    /// Whether the device is shut out.
    pub disabled: Option<bool>,
}

impl Cloud {
    /// Makes a world true and gives it back with everything generated filled in, passwords aside.
    ///
    /// # Errors
    /// [`super::Error::Refused`] with the place in the document; nothing is changed then.
    pub async fn apply(&self, mut world: World) -> Result<World> {
        world.check()?;
        let ((world, ended), moves) = self.registry.apply(world, self, self.now_ms()).await?;
        for device in ended {
            self.downlink.end_session(device).await;
        }
        self.follow(moves, Leaving::Removed).await?;
        self.end_listeners(None).await?;
        Ok(world)
    }
}
