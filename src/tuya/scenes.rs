//! Answers about scenes and cameras, which are not supported, for clients that request them (contract tuya §4.2).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::homes::{home_id, home_in};
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::Error;
use crate::http::document::AnyObject;

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(home_scenes))
        .routes(routes!(home_scenes_of_today))
        .routes(routes!(trigger_scene))
        .routes(routes!(scene_rules))
        .routes(routes!(trigger_rule))
        .routes(routes!(allocate_stream))
}

/// The scenes of a home: none are kept.
#[utoipa::path(get, path = "/v1.0/homes/{home_id}/scenes", tag = "scenes",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<Vec<AnyObject>>)))]
async fn home_scenes(call: AppCall) -> Reply {
    call.cloud().home(&call.caller, home_in(&call)?).await?;
    call.answer(Vec::<String>::new())
}

/// As v1.0.
#[utoipa::path(get, path = "/v1.1/homes/{home_id}/scenes", tag = "scenes",
    params(("home_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<Vec<AnyObject>>)))]
async fn home_scenes_of_today(call: AppCall) -> Reply {
    home_scenes(call).await
}

/// Triggers no scene, as there are none: 2503.
#[utoipa::path(post, path = "/v1.0/homes/{home_id}/scenes/{scene_id}/trigger", tag = "scenes",
    params(("home_id" = String, Path, description = "The home"),
        ("scene_id" = String, Path, description = "The scene")),
    responses((status = 200, body = Envelope<bool>)))]
async fn trigger_scene(call: AppCall) -> Reply {
    call.cloud().home(&call.caller, home_in(&call)?).await?;
    Err(Failure::new(Code::SCENE, "scenes are not supported"))
}

#[derive(Serialize, ToSchema)]
struct RulesView {
    has_more: bool,
    /// Empty: none are kept.
    list: Vec<String>,
    total: u64,
}

/// The scenes and automations of a home: none are kept.
#[utoipa::path(get, path = "/v2.0/cloud/scene/rule", tag = "scenes",
    params(("space_id" = String, Query, description = "The home")),
    responses((status = 200, body = Envelope<RulesView>)))]
async fn scene_rules(call: AppCall) -> Reply {
    let space = call.query.text("space_id").ok_or(Error::Missing("space_id"))?;
    call.cloud().home(&call.caller, home_id(space)?).await?;
    call.answer(RulesView { has_more: false, list: Vec::new(), total: 0 })
}

/// Triggers no scene or automation, as there are none: 2503.
#[utoipa::path(post, path = "/v2.0/cloud/scene/rule/{rule_id}/actions/trigger", tag = "scenes",
    params(("rule_id" = String, Path, description = "The scene or automation")),
    responses((status = 200, body = Envelope<bool>)))]
async fn trigger_rule(_call: AppCall) -> Reply {
    Err(Failure::new(Code::SCENE, "scenes are not supported"))
}

/// Allocates no stream: 2009, as no device here is a camera.
#[utoipa::path(post, path = "/v1.0/devices/{device_id}/stream/actions/allocate", tag = "scenes",
    params(("device_id" = String, Path, description = "The device")),
    responses((status = 200, body = Envelope<AnyObject>)))]
async fn allocate_stream(call: AppCall) -> Reply {
    call.cloud().device(&call.caller, &call.device_id()).await?;
    Err(Failure::new(Code::DEVICE_SUPPORT, "streams of cameras are not passed on here"))
}
