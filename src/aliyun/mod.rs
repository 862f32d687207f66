//! The Alibaba Living cloud API. One file a resource, each with its routes on top; this file only names them.

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
use crate::domain::replay::Replays;
use crate::http::{Bodies, Refusals, document};
use reply::{Failure, Gate};

/// Where this dialect's paths begin; all below answers in its words.
const AREAS: [&str; 9] = ["account", "app", "awss", "cloud", "iotx", "living", "thing", "uc", "user"];

/// What the routes of this dialect share.
pub struct Aliyun {
    cloud: Arc<Cloud>,
    explain: bool,
    hmac_sha1: bool,
    require_timestamp: bool,
    sharee_owned: u8,
    mqtt_endpoint: String,
    bodies: Arc<Bodies>,
    refusals: Arc<Refusals>,
    replays: Replays,
    undated: Replays,
}

/// The settings of this dialect.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether a refusal says which part was wrong.
    pub explain: bool,
    /// Whether signatures may be made with HmacSHA1.
    pub hmac_sha1: bool,
    /// Whether a request must say when it was made.
    pub require_timestamp: bool,
    /// What `owned` is for a user to whom a device is shared.
    pub sharee_owned: u8,
    /// Where devices connect, as clients are told. Empty: the host that the client asked, port 1883.
    pub mqtt_endpoint: String,
}

impl Aliyun {
    /// The dialect over a cloud; `bodies` is what the bodies of requests may take, `refusals` where refused ones are
    /// counted and logged.
    pub fn new(cloud: Arc<Cloud>, options: Options, bodies: Arc<Bodies>, refusals: Arc<Refusals>) -> Self {
        let Options { explain, hmac_sha1, require_timestamp, sharee_owned, mqtt_endpoint } = options;
        let (replays, undated) = Default::default();
        Self {
            cloud,
            explain,
            hmac_sha1,
            require_timestamp,
            sharee_owned,
            mqtt_endpoint,
            bodies,
            refusals,
            replays,
            undated,
        }
    }
}

/// Every route, and the answer to every other path of this dialect's areas.
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

/// The description of every route.
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
