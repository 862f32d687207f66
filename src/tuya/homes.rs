//! Homes, and what stands in them (contract tuya §4.2).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::Call;
use super::devices::DeviceView;
use super::reply::{Envelope, Reply};
use crate::domain::home::Home;
use crate::domain::{Error, HomeId, Noun, Result, Uid};

/// Where a home is, is not kept.
const NOWHERE: f64 = 0.0;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(user_homes))
        .routes(routes!(home))
        .routes(routes!(home_devices))
        .routes(routes!(home_members))
        .routes(routes!(home_rooms))
        .routes(routes!(home_scenes))
        .routes(routes!(home_scenes_of_today))
}

/// A home.
#[derive(Serialize, ToSchema)]
struct HomeView<'a> {
    home_id: i64,
    name: &'a str,
    /// Empty: where a home is, is not kept.
    geo_name: &'a str,
    lat: f64,
    lon: f64,
    /// Of the user who is asked for: `OWNER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
}

impl<'a> HomeView<'a> {
    fn of(home: &'a Home, role: Option<&'a str>) -> Self {
        Self { home_id: home.id.0, name: &home.name, geo_name: "", lat: NOWHERE, lon: NOWHERE, role }
    }
}

/// A user's homes.
#[utoipa::path(get, path = "/v1.0/users/{uid}/homes", tag = "homes",
    params(("uid" = String, Path, description = "The user")),
    responses((status = 200, body = Envelope<Vec<HomeView>>)))]
async fn user_homes(call: Call) -> Reply {
    let homes = call.cloud().homes_of_user(&call.caller, &Uid(call.path("uid").to_owned())).await?;
    call.answer(homes.iter().map(|home| HomeView::of(home, Some("OWNER"))).collect::<Vec<_>>())
}

/// One home.
#[utoipa::path(get, path = "/v1.0/homes/{home_id}", tag = "homes",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<HomeView>)))]
async fn home(call: Call) -> Reply {
    let home = call.cloud().home(&call.caller, home_id(&call)?).await?;
    call.answer(HomeView::of(&home, None))
}

/// The devices that stand in a home.
#[utoipa::path(get, path = "/v1.0/homes/{home_id}/devices", tag = "homes",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<Vec<DeviceView>>)))]
async fn home_devices(call: Call) -> Reply {
    let states = call.cloud().devices_of_home(&call.caller, home_id(&call)?).await?;
    call.answer(states.iter().map(DeviceView::of).collect::<Vec<_>>())
}

/// Somebody who lives in a home.
#[derive(Serialize, ToSchema)]
struct MemberView {
    uid: String,
    name: String,
    avatar: String,
    country_code: String,
    member_account: String,
    admin: bool,
    owner: bool,
}

/// Who lives in a home: so far its owner alone.
#[utoipa::path(get, path = "/v1.0/homes/{home_id}/members", tag = "homes",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<Vec<MemberView>>)))]
async fn home_members(call: Call) -> Reply {
    let home = call.cloud().home(&call.caller, home_id(&call)?).await?;
    let owner = call.cloud().user(&call.caller, &home.owner).await?;
    call.answer(vec![MemberView {
        uid: home.owner.0,
        name: owner.nick_name,
        avatar: owner.avatar,
        country_code: owner.country_code,
        member_account: owner.username,
        admin: true,
        owner: true,
    }])
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
async fn home_rooms(call: Call) -> Reply {
    let home = call.cloud().home(&call.caller, home_id(&call)?).await?;
    call.answer(RoomsView { home: HomeView::of(&home, None), rooms: Vec::new() })
}

/// The scenes of a home: none are kept.
#[utoipa::path(get, path = "/v1.0/homes/{home_id}/scenes", tag = "homes",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<Vec<Object>>)))]
async fn home_scenes(call: Call) -> Reply {
    call.cloud().home(&call.caller, home_id(&call)?).await?;
    call.answer(Vec::<String>::new())
}

/// As v1.0.
#[utoipa::path(get, path = "/v1.1/homes/{home_id}/scenes", tag = "homes",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<Vec<Object>>)))]
async fn home_scenes_of_today(call: Call) -> Reply {
    home_scenes(call).await
}

/// What is no number is no home.
fn home_id(call: &Call) -> Result<HomeId> {
    call.path("home_id").parse().map(HomeId).map_err(|_| Error::NotVisible(Noun::Home))
}
