//! The members of objects as options. Their names are those of a world document, with hyphens.

use std::path::Path;

use clap::Args;
use serde_json::{Map, Value as Json};

use crate::cli::read_text;

/// How the text of an option becomes a JSON value.
enum Form {
    Text,
    Number,
    Flag,
    /// Texts with commas between.
    List,
    /// JSON, or `@FILE` with JSON in it.
    Json,
}

/// Options that are members of an object.
pub trait Members {
    /// Adds the given options to an object.
    ///
    /// # Errors
    /// The option whose text does not have its form.
    fn put_into(self, object: &mut Map<String, Json>) -> Result<(), String>;
}

fn value(form: &Form, text: String) -> Result<Json, String> {
    match form {
        Form::Text => Ok(Json::String(text)),
        Form::Number => text.parse::<i64>().map(Json::from).map_err(|_| format!("{text:?} is no whole number")),
        Form::Flag => text.parse::<bool>().map(Json::from).map_err(|_| format!("{text:?} is neither true nor false")),
        Form::List => Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Json::from).collect()),
        Form::Json => {
            let text = match text.strip_prefix('@') {
                Some(file) => read_text(Path::new(file))?,
                None => text,
            };
            serde_json::from_str(&text).map_err(|error| format!("no JSON: {error}"))
        }
    }
}

/// Puts a value at a path with dots, such as `tuya.secret`.
fn put(object: &mut Map<String, Json>, path: &str, value: Json) {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), value);
        }
        Some((outer, inner)) => {
            let part = object.entry(outer.to_owned()).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(part) = part {
                put(part, inner, value);
            }
        }
    }
}

macro_rules! members {
    ($name:ident { $($form:ident $field:ident = $path:literal: $help:literal,)* }) => {
        #[derive(Args)]
        pub struct $name {
            $(#[doc = $help] #[arg(long, value_name = "VALUE", allow_hyphen_values = true)] $field: Option<String>,)*
        }

        impl Members for $name {
            fn put_into(self, object: &mut Map<String, Json>) -> Result<(), String> {
                $(if let Some(text) = self.$field {
                    let option = stringify!($field).replace('_', "-");
                    let value = value(&Form::$form, text).map_err(|text| format!("--{option}: {text}"))?;
                    put(object, $path, value);
                })*
                Ok(())
            }
        }
    };
}

members! { ProjectMembers {
    Text name = "name": "The name.",
    Text client_id = "tuya.client_id": "Tuya's Access ID.",
    Text secret = "tuya.secret": "Tuya's Access Secret. Another one revokes all tokens; see also rotate-secret.",
    Flag legacy_sign = "tuya.legacy_sign": "Whether calls may be signed with the old method.",
    Flag mask_private_fields = "tuya.mask_private_fields": "Whether user lists are masked.",
    Text project_id = "aliyun.project_id": "Alibaba's id of the project.",
    Text app_key = "aliyun.app_key": "Alibaba's AppKey.",
    Text app_secret = "aliyun.app_secret": "Alibaba's AppSecret.",
    Flag require_cloud_token = "aliyun.require_cloud_token": "Whether cloud calls need a cloudToken.",
    Flag keep_cloud_tokens = "aliyun.keep_cloud_tokens": "Whether a new cloudToken leaves the others valid.",
} }

members! { AppMembers {
    Text schema = "schema": "The id.",
    Text app_key = "app_key": "Alibaba's AppKey.",
    Text name = "name": "The name.",
    List country_codes = "country_codes": "The calling codes that it serves, with commas between.",
} }

members! { ProductMembers {
    Text product_id = "product_id": "Tuya's id.",
    Text product_key = "product_key": "Alibaba's id.",
    Text product_secret = "product_secret": "The secret that all its devices share.",
    Text name = "name": "The name.",
    Text category = "category": "Tuya's category.",
    Text model = "model": "The manufacturer's model.",
    Text icon = "icon": "The path of its icon.",
    Text net_type = "net_type": "The type of its network connection.",
    Text node_type = "node_type": "device, gateway or sub.",
    Number biz_type = "biz_type": "The vendor's business type.",
    Text dynamic_registration = "dynamic_registration": "off, known or any.",
    Flag strict = "strict": "Whether reports off the specification are refused.",
    Json functions = "functions": "The functions, as JSON or @FILE.",
} }

members! { UserMembers {
    Text schema = "schema": "The app.",
    Text username = "username": "The name for logins.",
    Number username_type = "username_type": "1 mobile number, 2 email address, 3 any other name.",
    Text country_code = "country_code": "The country's calling code.",
    Text password = "password": "The password. Other users of this machine may see the options of a process: prefer --json -.",
    Text nick_name = "nick_name": "The name that other users see.",
    Text avatar = "avatar": "The URL of a picture.",
    Text gender = "gender": "In the vendor's form.",
    Text time_zone_id = "time_zone_id": "An IANA time zone.",
    Text uid = "uid": "Tuya's id.",
    Text identity_id = "identity_id": "Alibaba's id.",
    Text open_id = "open_id": "The id in the account system of the app.",
    Text login_id = "login_id": "Alibaba's number of the account.",
    Text phone = "phone": "An additional phone number.",
    Text email = "email": "An additional email address.",
    Flag disabled = "disabled": "Whether the account is disabled.",
} }

members! { HomeMembers {
    Number home_id = "home_id": "The id.",
    Text name = "name": "The name.",
    Text owner = "owner": "The owner's user name.",
} }

members! { DeviceMembers {
    Text product_id = "product_id": "The product.",
    Text device_id = "device_id": "The id in both clouds.",
    Text secret = "secret": "The secret with which it connects.",
    Text local_key = "local_key": "The key for the local network.",
    Text uuid = "uuid": "The manufacturer's unique id.",
    Text sn = "sn": "The serial number.",
    Text mac = "mac": "The MAC address.",
    Text name = "name": "The name that the owner gave.",
    Text device_name = "device_name": "The device name, unique among the devices of the product.",
    Text iot_id = "iot_id": "Alibaba's id.",
    Text gateway = "gateway": "The gateway's device id.",
    Text node_id = "node_id": "Its address at the gateway.",
    Text owner = "owner": "The owner's user name.",
    Flag keep_history = "keep_history": "Whether a new owner gets history and names of the last one.",
    Number home_id = "home_id": "The id of its home; 0 for none.",
    List shared_with = "shared_with": "The user names of all its sharees, with commas between.",
    Text ip = "ip": "The IP address of its last connection.",
    Text lat = "lat": "Latitude.",
    Text lon = "lon": "Longitude.",
    Text time_zone = "time_zone": "Offset from UTC, such as +01:00.",
    Flag r#virtual = "virtual": "Whether the server itself simulates it.",
    Flag disabled = "disabled": "Whether it is disabled.",
} }
