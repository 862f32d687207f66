//! The Tuya Cloud OpenAPI. Each resource has one file with its routes at the top; this file only lists them.

mod assets;
mod auth;
mod commands;
mod device_lists;
mod device_users;
mod devices;
pub mod explain;
mod functions;
mod homes;
mod invitations;
mod logins;
mod logs;
mod members;
mod names;
mod open_hub;
mod pairing;
pub mod params;
pub mod reply;
pub mod reserved;
mod row_key;
mod scenes;
mod shares;
pub mod sign;
mod status;
mod things;
mod token;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::domain::{Cloud, Device};
use crate::http::{Bodies, Rendered, Requests, document};
use devices::DeviceTexts;
pub use open_hub::FeedAddresses;
use reply::{Code, Failure};

/// The state that all routes of this dialect share.
pub struct Tuya {
    cloud: Arc<Cloud>,
    explain: bool,
    window_ms: i64,
    feed_addresses: FeedAddresses,
    bodies: Arc<Bodies>,
    requests: Arc<Requests>,
    device_texts: Rendered<Device, DeviceTexts>,
}

impl Tuya {
    /// Creates the dialect. With `explain`, a refusal explains which part of the request was wrong. `window_ms` is the
    /// largest accepted clock difference. Subscribers are given one of the `feed_addresses`. `bodies` limits the memory
    /// of request bodies; `requests` counts and logs requests.
    pub fn new(
        cloud: Arc<Cloud>,
        explain: bool,
        window_ms: i64,
        feed_addresses: FeedAddresses,
        bodies: Arc<Bodies>,
        requests: Arc<Requests>,
    ) -> Self {
        let device_texts = Rendered::default();
        Self { cloud, explain, window_ms, feed_addresses, bodies, requests, device_texts }
    }
}

/// All routes, and the answer to every other path.
pub fn router(tuya: Tuya) -> Router {
    let tuya = Arc::new(tuya);
    let (router, _) = routes().split_for_parts();
    router
        .merge(reserved::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_path)
        .layer(middleware::from_fn_with_state(tuya.clone(), reply::finish))
        .with_state(tuya)
}

/// The OpenAPI document of all routes.
pub fn openapi() -> OpenApi {
    let (_, mut document) = routes().split_for_parts();
    document::describe(
        &mut document,
        "Ingle: the Tuya Cloud OpenAPI",
        "Every call is signed by the vendor's rules and answered with HTTP 200. `success` says whether it succeeded; a \
         refusal has `code` and `msg` instead of `result`.",
    );
    let answers = [(200, "What was asked for, or why it was refused")];
    document::refuses::<reply::FailureEnvelope<'_>>(&mut document, &answers, |_| true);
    document
}

fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .merge(token::routes())
        .merge(logins::routes())
        .merge(users::routes())
        .merge(devices::routes())
        .merge(shares::routes())
        .merge(homes::routes())
        .merge(members::routes())
        .merge(invitations::routes())
        .merge(scenes::routes())
        .merge(assets::routes())
        .merge(pairing::routes())
        .merge(open_hub::routes())
        .merge(device_lists::routes())
        .merge(status::routes())
        .merge(functions::routes())
        .merge(things::routes())
        .merge(commands::routes())
        .merge(names::routes())
        .merge(logs::routes())
        .merge(device_users::routes())
}

async fn unknown_path() -> Failure {
    Failure::new(Code::PATH, "no such path and method here; docs/compatibility.md lists what is")
}
