//! Homes and their devices (contract tuya §4.2). Members are in `members`.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::{AppCall, SignedRequest};
use super::devices::{DeviceView, answer_devices, page_or_all};
use super::params::Body;
use super::reply::{Envelope, Reply};
use crate::domain::device::NAME_CHARS_MAX;
use crate::domain::home::{Home, HomePatch, HomeRole};
use crate::domain::{Error, HomeId, Noun, Result, Uid};

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(user_homes))
        .routes(routes!(create_home))
        .routes(routes!(home))
        .routes(routes!(change_home))
        .routes(routes!(remove_home))
        .routes(routes!(home_devices))
        .routes(routes!(home_rooms))
}

/// A home.
#[derive(Serialize, ToSchema)]
struct HomeView<'a> {
    home_id: i64,
    name: &'a str,
    /// What people call the place; may be empty.
    geo_name: &'a str,
    /// 0 when it is not known.
    lat: f64,
    /// 0 when it is not known.
    lon: f64,
    /// Of the user who is asked for: `OWNER`, `ADMIN` or `MEMBER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
}

impl<'a> HomeView<'a> {
    fn of(home: &'a Home, role: Option<&'a str>) -> Self {
        let Home { id, name, geo_name, lat, lon, .. } = home;
        Self { home_id: id.0, name, geo_name, lat: *lat, lon: *lon, role }
    }
}

fn role(role: HomeRole) -> &'static str {
    match role {
        HomeRole::Owner => "OWNER",
        HomeRole::Admin => "ADMIN",
        HomeRole::Member => "MEMBER",
    }
}

/// The homes that a user lives in.
#[utoipa::path(get, path = "/v1.0/users/{uid}/homes", tag = "homes",
    params(("uid" = String, Path, description = "The user")),
    responses((status = 200, body = Envelope<Vec<HomeView>>)))]
async fn user_homes(call: AppCall) -> Reply {
    let homes = call.cloud().homes_of_user(&call.caller, &call.uid()).await?;
    call.answer(homes.iter().map(|(home, is)| HomeView::of(home, Some(role(*is)))).collect::<Vec<_>>())
}

/// A home to make.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct CreateHomeBody {
    /// Whose it will be.
    uid: String,
    home: HomeBody,
    /// Taken and not kept.
    rooms: Option<Vec<String>>,
}

/// What is said of a home.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the body, which is read member by member")]
struct HomeBody {
    name: String,
    geo_name: Option<String>,
    /// Degrees.
    lat: Option<f64>,
    /// Degrees.
    lon: Option<f64>,
}

/// Creates a home for a user, and gives its id. A user may own 100.
#[utoipa::path(post, path = "/v1.0/home/create-home", tag = "homes", request_body = CreateHomeBody,
    responses((status = 200, body = Envelope<i64>)))]
async fn create_home(call: AppCall) -> Reply {
    let body = call.body()?;
    let owner = Uid(body.required_text("uid", 64)?);
    let patch = patch(&body.inner("home")?)?;
    if patch.name.is_none() {
        return Err(Error::Missing("name").into());
    }
    call.answer(call.cloud().make_home(&call.caller, &owner, patch).await?.0)
}

fn patch(body: &Body) -> Result<HomePatch> {
    Ok(HomePatch {
        name: body.text("name", NAME_CHARS_MAX)?,
        geo_name: body.text("geo_name", NAME_CHARS_MAX)?,
        lat: body.degrees("lat", 90.0)?,
        lon: body.degrees("lon", 180.0)?,
    })
}

/// One home.
#[utoipa::path(get, path = "/v1.0/homes/{home_id}", tag = "homes",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<HomeView>)))]
async fn home(call: AppCall) -> Reply {
    let home = call.cloud().home(&call.caller, home_in(&call)?).await?;
    call.answer(HomeView::of(&home, None))
}

/// Changes what is said of a home. A user must own it.
#[utoipa::path(put, path = "/v1.0/homes/{home_id}", tag = "homes",
    params(("home_id" = String, Path, description = "The home")), request_body = HomeBody,
    responses((status = 200, body = Envelope<bool>)))]
async fn change_home(call: AppCall) -> Reply {
    let patch = patch(&call.body()?)?;
    if patch == HomePatch::default() {
        return Err(Error::Missing("name").into());
    }
    call.done(call.cloud().change_home(&call.caller, home_in(&call)?, patch).await)
}

/// Removes a home. Its devices stay their owners', and stand in none. A user must own it.
#[utoipa::path(delete, path = "/v1.0/homes/{home_id}", tag = "homes",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<bool>)))]
async fn remove_home(call: AppCall) -> Reply {
    call.done(call.cloud().remove_home(&call.caller, home_in(&call)?).await)
}

/// The devices that stand in a home. Without paging the first 1,000.
#[utoipa::path(get, path = "/v1.0/homes/{home_id}/devices", tag = "homes",
    params(("home_id" = String, Path, description = "The home"),
        ("page_no" = Option<i64>, Query, description = "From 1"),
        ("page_size" = Option<i64>, Query, description = "1 to 100")),
    responses((status = 200, body = Envelope<Vec<DeviceView>>)))]
async fn home_devices(call: AppCall) -> Reply {
    let (offset, limit) = page_or_all(&call)?;
    let states = call.cloud().devices_of_home(&call.caller, home_in(&call)?, offset, limit).await?;
    answer_devices(&call, &states)
}

/// A home and its rooms.
#[derive(Serialize, ToSchema)]
struct RoomsView<'a> {
    #[serde(flatten)]
    home: HomeView<'a>,
    /// Empty: rooms are not kept.
    rooms: Vec<String>,
}

/// A home and its rooms, of which none are kept.
#[utoipa::path(get, path = "/v1.0/homes/{home_id}/rooms", tag = "homes",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<RoomsView>)))]
async fn home_rooms(call: AppCall) -> Reply {
    let home = call.cloud().home(&call.caller, home_in(&call)?).await?;
    call.answer(RoomsView { home: HomeView::of(&home, None), rooms: Vec::new() })
}

/// The home id in the path.
pub(super) fn home_in(call: &SignedRequest) -> Result<HomeId> {
    home_id(call.path("home_id"))
}

/// A text that is not a number is the id of no home.
pub(super) fn home_id(text: &str) -> Result<HomeId> {
    text.parse().map(HomeId).map_err(|_| Error::NotVisible(Noun::Home))
}
