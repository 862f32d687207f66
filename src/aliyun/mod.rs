//! The Alibaba Living cloud API. Each resource has one file with its routes at the top; this file only lists them.

mod accounts;
mod auth;
mod bindings;
mod commands;
mod devices;
mod params;
mod products;
mod regions;
mod reply;
pub mod sign;
mod things;
mod timelines;
mod token;

use std::sync::Arc;

use axum::routing::any;
use axum::{Router, middleware};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::domain::Cloud;
use crate::domain::binding::BoundDevices;
use crate::http::{Bodies, Rendered, Requests, document};
use devices::UserDevicesText;
use reply::{Failure, Gate};

/// The first segments of this dialect's paths. Unknown paths below them are answered by this dialect.
const AREAS: [&str; 9] = ["account", "app", "awss", "cloud", "iotx", "living", "thing", "uc", "user"];

/// The state that all routes of this dialect share.
pub struct Aliyun {
    cloud: Arc<Cloud>,
    explain: bool,
    hmac_sha1: bool,
    require_timestamp: bool,
    sharee_owned: u8,
    mqtt_endpoint: String,
    bodies: Arc<Bodies>,
    requests: Arc<Requests>,
    user_devices: Rendered<BoundDevices, UserDevicesText>,
}

/// The settings of this dialect.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether a refusal explains which part of the request was wrong.
    pub explain: bool,
    /// Whether signatures with HmacSHA1 are accepted.
    pub hmac_sha1: bool,
    /// Whether a request must carry a time.
    pub require_timestamp: bool,
    /// The value of `owned` for a sharee.
    pub sharee_owned: u8,
    /// The address for devices that clients are given. Empty: the host of the client's request, port 1883.
    pub mqtt_endpoint: String,
}

impl Aliyun {
    /// Creates the dialect. `bodies` limits the memory of request bodies; `requests` counts and logs requests.
    pub fn new(cloud: Arc<Cloud>, options: Options, bodies: Arc<Bodies>, requests: Arc<Requests>) -> Self {
        let Options { explain, hmac_sha1, require_timestamp, sharee_owned, mqtt_endpoint } = options;
        let user_devices = Rendered::default();
        Self {
            cloud,
            explain,
            hmac_sha1,
            require_timestamp,
            sharee_owned,
            mqtt_endpoint,
            bodies,
            requests,
            user_devices,
        }
    }
}

/// All routes, and the answer to every other path below this dialect's areas.
pub fn router(aliyun: Aliyun) -> Router {
    let aliyun = Arc::new(aliyun);
    let (mut router, _) = routes().split_for_parts();
    for area in AREAS {
        router = router.route(&format!("/{area}"), any(unknown_api));
        router = router.route(&format!("/{area}/{{*rest}}"), any(unknown_api));
    }
    router
        .method_not_allowed_fallback(unknown_api)
        .layer(middleware::from_fn_with_state(aliyun.clone(), reply::finish))
        .with_state(aliyun)
}

/// The OpenAPI document of all routes.
pub fn openapi() -> OpenApi {
    let (_, mut document) = routes().split_for_parts();
    document::describe(
        &mut document,
        "Ingle: the Alibaba Living cloud API",
        "Every call is a signed POST (X-Ca-Key, X-Ca-Signature) of the vendor's envelope. A refused signature has a \
         status and X-Ca-Error-Message; everything else is HTTP 200 with a `code`, which is 200 for a success.",
    );
    document::refuses::<reply::FailureEnvelope<'_>>(&mut document, &reply::STATUSES, |_| true);
    document
}

fn routes() -> OpenApiRouter<Arc<Aliyun>> {
    OpenApiRouter::new()
        .merge(token::routes())
        .merge(accounts::routes())
        .merge(devices::routes())
        .merge(bindings::routes())
        .merge(things::routes())
        .merge(commands::routes())
        .merge(timelines::routes())
        .merge(products::routes())
        .merge(regions::routes())
}

async fn unknown_api() -> Failure {
    Failure::at_gate(Gate::API, "no such path and method here; docs/compatibility.md lists what is")
}
