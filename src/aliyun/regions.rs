//! The region of a user: always this server (contract aliyun §5 row 18). Apps then use the endpoints in the answer, so
//! this call directs a phone to this server.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Aliyun;
use super::accounts::AccountParams;
use super::auth::{KeyCall, SignedRequest};
use super::params::Body;
use super::reply::{Envelope, Reply};

/// The port for devices if the settings do not give one.
const MQTT_PORT: u16 = 1883;

pub fn routes() -> OpenApiRouter<Arc<Aliyun>> {
    OpenApiRouter::new().routes(routes!(user_region)).routes(routes!(account_region))
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RegionView {
    region_id: &'static str,
    short_region_id: u8,
    region_english_name: &'static str,
    /// Host and port.
    mqtt_endpoint: String,
    /// Host and port by which this server was reached.
    api_gateway_endpoint: String,
    oa_api_gateway_endpoint: String,
    push_channel_endpoint: String,
}

/// This server's own endpoints, whoever is asked for. It wants no cloudToken.
#[utoipa::path(post, path = "/living/cloud/user/region/get", tag = "regions", request_body = Body<AccountParams>,
    responses((status = 200, body = Envelope<RegionView>)))]
async fn user_region(call: KeyCall) -> Reply {
    here(&call)
}

/// This server's own endpoints, for an app that has no user yet. It wants no cloudToken.
#[utoipa::path(post, path = "/living/account/region/get", tag = "regions", request_body = Body<AccountParams>,
    responses((status = 200, body = Envelope<RegionView>)))]
async fn account_region(call: KeyCall) -> Reply {
    here(&call)
}

fn here(call: &SignedRequest) -> Reply {
    let host = call.host().to_owned();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    let mqtt_endpoint = match call.mqtt_endpoint() {
        "" => format!("{name}:{MQTT_PORT}"),
        endpoint => endpoint.to_owned(),
    };
    call.answer(RegionView {
        region_id: "local",
        short_region_id: 0,
        region_english_name: "Local",
        push_channel_endpoint: mqtt_endpoint.clone(),
        mqtt_endpoint,
        oa_api_gateway_endpoint: host.clone(),
        api_gateway_endpoint: host,
    })
}
