//! Users of the world document.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::domain::world::WorldUser;
use crate::domain::{Error, Result, UsernameType};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
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

impl User {
    pub fn into_domain(self) -> Result<WorldUser> {
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

    pub fn from_domain(world: WorldUser) -> Self {
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

fn username_type(number: Option<i64>) -> Result<Option<UsernameType>> {
    let Some(number) = number else { return Ok(None) };
    let kind = UsernameType::from_number(number);
    Ok(Some(kind.ok_or_else(|| Error::Refused("username_type must be 1, 2 or 3".to_owned()))?))
}

/// A text that may also be written as a whole number.
#[derive(Serialize)]
pub struct TextOrNumber(pub String);

impl<'de> Deserialize<'de> for TextOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(serde::de::Error::custom("a calling code must be text or a whole number")),
        }
    }
}
