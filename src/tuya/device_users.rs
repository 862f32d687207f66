//! Persons that are registered with a device (seed 003; contract tuya §3.15).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::Call;
use super::reply::{Envelope, Failure, Reply};
use crate::domain::DeviceUserId;
use crate::domain::device_user::{DeviceUser, DeviceUserProfile};

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(add_device_user))
        .routes(routes!(update_device_user))
        .routes(routes!(remove_device_user))
        .routes(routes!(device_user))
        .routes(routes!(device_users))
}

/// A person known to a device.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct DeviceUserBody {
    nick_name: String,
    /// 1 male, 2 female.
    sex: i64,
    /// Milliseconds since 1970.
    birthday: Option<i64>,
    /// Centimetres.
    height: Option<i64>,
    /// Grams.
    weight: Option<i64>,
    contact: Option<String>,
}

/// A person known to a device. Facts that were not given are left out.
#[derive(Serialize, ToSchema)]
struct DeviceUserView<'a> {
    device_id: &'a str,
    user_id: String,
    nick_name: String,
    /// 1 male, 2 female.
    sex: i64,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    birthday: Option<i64>,
    /// Centimetres.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<i64>,
    /// Grams.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<i64>,
    contact: String,
}

/// Adds a user to a device, at most 100; the result is the user's id.
#[utoipa::path(post, path = "/v1.0/devices/{device_id}/user", tag = "device_users",
    params(("device_id" = String, Path, description = "The device")), request_body = DeviceUserBody,
    responses((status = 200, body = Envelope<String>)))]
async fn add_device_user(call: Call) -> Reply {
    let profile = profile(&call)?;
    let id = call.cloud().add_device_user(&call.caller, &call.device_id(), profile).await?;
    call.answer(id.as_str())
}

/// Replaces the details of a user of a device.
#[utoipa::path(put, path = "/v1.0/devices/{device_id}/users/{user_id}", tag = "device_users",
    params(("device_id" = String, Path, description = "The device"),
        ("user_id" = String, Path, description = "The person")),
    request_body = DeviceUserBody, responses((status = 200, body = Envelope<bool>)))]
async fn update_device_user(call: Call) -> Reply {
    let profile = profile(&call)?;
    call.done(call.cloud().update_device_user(&call.caller, &call.device_id(), &user_id(&call), profile).await)
}

/// Removes a user of a device.
#[utoipa::path(delete, path = "/v1.0/devices/{device_id}/users/{user_id}", tag = "device_users",
    params(("device_id" = String, Path, description = "The device"),
        ("user_id" = String, Path, description = "The person")),
    responses((status = 200, body = Envelope<bool>)))]
async fn remove_device_user(call: Call) -> Reply {
    call.done(call.cloud().remove_device_user(&call.caller, &call.device_id(), &user_id(&call)).await)
}

/// One user of a device.
#[utoipa::path(get, path = "/v1.0/devices/{device_id}/users/{user_id}", tag = "device_users",
    params(("device_id" = String, Path, description = "The device"),
        ("user_id" = String, Path, description = "The person")),
    responses((status = 200, body = Envelope<DeviceUserView>)))]
async fn device_user(call: Call) -> Reply {
    let user = call.cloud().device_user(&call.caller, &call.device_id(), &user_id(&call)).await?;
    call.answer(view(call.path("device_id"), user))
}

/// The users of a device, each with a `user_id`.
#[utoipa::path(get, path = "/v1.0/devices/{device_id}/users", tag = "device_users",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<Vec<DeviceUserView>>)))]
async fn device_users(call: Call) -> Reply {
    let users = call.cloud().device_users(&call.caller, &call.device_id()).await?;
    call.answer(users.into_iter().map(|user| view(call.path("device_id"), user)).collect::<Vec<_>>())
}

/// The attributes of a person in a body. The seed gives no ranges; these only refuse absurd values.
fn profile(call: &Call) -> Result<DeviceUserProfile, Failure> {
    const BIRTHDAYS_MS: std::ops::RangeInclusive<i64> = -5_000_000_000_000..=9_999_999_999_999;
    let body = call.body()?;
    Ok(DeviceUserProfile {
        nick_name: body.required_text("nick_name", 64)?,
        sex: body.required_integer("sex", 1..=2)?,
        birthday_ms: body.integer("birthday", BIRTHDAYS_MS)?,
        height_cm: body.integer("height", 0..=300)?,
        weight_g: body.integer("weight", 0..=1_000_000)?,
        contact: body.text("contact", 128)?,
    })
}

fn view(device_id: &str, user: DeviceUser) -> DeviceUserView<'_> {
    DeviceUserView {
        device_id,
        user_id: user.id.0,
        nick_name: user.profile.nick_name,
        sex: user.profile.sex,
        birthday: user.profile.birthday_ms,
        height: user.profile.height_cm,
        weight: user.profile.weight_g,
        contact: user.profile.contact.unwrap_or_default(),
    }
}

fn user_id(call: &Call) -> DeviceUserId {
    DeviceUserId::from(call.path("user_id"))
}
