//! The visual login of Tuya IoT on Alibaba Cloud, and calls that read devices with its tokens.

mod devices;
mod login;
mod reply;
mod token;

use std::sync::Arc;

use axum::http::{Extensions, StatusCode};
use axum::{Router, middleware};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa_axum::router::OpenApiRouter;

use crate::domain::Cloud;
use crate::http::{self, Bodies, Peer, Requests, document};
use reply::{Failure, FailureEnvelope};

/// The state that all routes of this dialect share.
pub struct Visual {
    cloud: Arc<Cloud>,
    explain: bool,
    plain_http: bool,
    bodies: Arc<Bodies>,
    requests: Arc<Requests>,
}

impl Visual {
    /// Creates the dialect. With `explain`, a refusal explains which part of the request was wrong. With `plain_http`,
    /// passwords and tokens are accepted from other machines without TLS. `bodies` limits the memory of request bodies;
    /// `requests` counts and logs requests.
    pub fn new(
        cloud: Arc<Cloud>,
        explain: bool,
        plain_http: bool,
        bodies: Arc<Bodies>,
        requests: Arc<Requests>,
    ) -> Self {
        Self { cloud, explain, plain_http, bodies, requests }
    }
}

/// All routes.
pub fn router(visual: Visual) -> Router {
    let visual = Arc::new(visual);
    let (router, _) = routes().split_for_parts();
    router
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(visual.clone(), reply::finish))
        .with_state(visual)
}

/// The OpenAPI document of all routes.
pub fn openapi() -> OpenApi {
    let (_, mut document) = routes().split_for_parts();
    document::describe(
        &mut document,
        "Ingle: the visual login",
        "A login with a password gives a token for each device that is named: a JWT (ES256) whose signature anybody can \
         check. The token opens that device's reads.",
    );
    let common = [
        (200, "What was asked for, or why it was refused"),
        (403, "Passwords and tokens are not taken in the clear from another machine"),
        (429, "Too many failed logins, or more requests than the server takes at once"),
        (500, "The server failed"),
    ];
    let of_login = [(400, "The body is not a JSON object"), (503, "More bodies than the server takes at once")];
    let of_devices = [(401, "The token does not open this device")];
    let is = |name: &'static str| move |operation: &Operation| operation.operation_id.as_deref() == Some(name);
    let (is_login, is_public) = (is("login"), is("jwks"));
    document::refuses::<FailureEnvelope>(&mut document, &common, |operation| !is_public(operation));
    document::refuses::<FailureEnvelope>(&mut document, &of_login, &is_login);
    document::refuses::<FailureEnvelope>(&mut document, &of_devices, |other| !is_login(other) && !is_public(other));
    document::refuses::<FailureEnvelope>(&mut document, &[(500, "The server failed")], is_public);
    document
}

fn routes() -> OpenApiRouter<Arc<Visual>> {
    OpenApiRouter::new().merge(login::routes()).merge(devices::routes())
}

async fn unknown_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "no such method here", "docs/compatibility.md lists what is")
}

/// The client's address. Refuses a client that would send passwords or tokens unencrypted over a network.
fn peer(visual: &Visual, extensions: &Extensions) -> Result<Peer, Failure> {
    let peer = http::peer(extensions);
    if peer.encrypted || peer.address.is_loopback() || visual.plain_http {
        return Ok(peer);
    }
    let text = "use https, or let the operator set visual.plain_http";
    Err(Failure::new(StatusCode::FORBIDDEN, "passwords and tokens are not taken in the clear", text))
}
