//! The Tuya Cloud OpenAPI. One file a resource, each with its routes on top; this file only names them.

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

use crate::domain::Cloud;
use crate::domain::replay::Replays;
use crate::http::{Bodies, Refusals, document};
pub use open_hub::FeedAddresses;
use reply::{Code, Failure};

/// What the routes of this dialect share.
pub struct Tuya {
    cloud: Arc<Cloud>,
    explain: bool,
    window_ms: i64,
    feed_addresses: FeedAddresses,
    bodies: Arc<Bodies>,
    refusals: Arc<Refusals>,
    replays: Replays,
}

impl Tuya {
    /// The dialect over a cloud. With `explain` a refusal says which part was wrong; `window_ms` is how far a
    /// request's clock may be off; apps that listen are sent to one of the `feed_addresses`; `bodies` is what the bodies of
    /// requests may take, `refusals` where refused ones are counted and logged.
    pub fn new(
        cloud: Arc<Cloud>,
        explain: bool,
        window_ms: i64,
        feed_addresses: FeedAddresses,
        bodies: Arc<Bodies>,
        refusals: Arc<Refusals>,
    ) -> Self {
        Self { cloud, explain, window_ms, feed_addresses, bodies, refusals, replays: Replays::default() }
    }
}

/// Every route, and the answer to every other path.
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

/// The description of every route.
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
