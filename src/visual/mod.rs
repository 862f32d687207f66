//! The visual login of Tuya IoT on Alibaba Cloud, and the reads that make its tokens worth having.

mod devices;
mod login;
mod reply;
mod token;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::http::{Extensions, StatusCode};
use axum::{Router, middleware};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::domain::Cloud;
use crate::http::{Bodies, Peer};
use reply::Failure;

/// What the routes of this dialect share.
pub struct Visual {
    cloud: Arc<Cloud>,
    explain: bool,
    plain_http: bool,
    bodies: Arc<Bodies>,
}

impl Visual {
    /// The dialect over a cloud. With `explain` a refusal says which part was wrong; with `plain_http` passwords and
    /// tokens are taken in the clear from other machines too; `bodies` is what the bodies of requests may take.
    pub fn new(cloud: Arc<Cloud>, explain: bool, plain_http: bool, bodies: Arc<Bodies>) -> Self {
        Self { cloud, explain, plain_http, bodies }
    }
}

/// Every route.
pub fn router(visual: Visual) -> Router {
    let visual = Arc::new(visual);
    let (router, _) = routes().split_for_parts();
    router
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(visual.clone(), reply::finish))
        .with_state(visual)
}

/// The description of every route.
pub fn openapi() -> OpenApi {
    let (_, mut document) = routes().split_for_parts();
    document.info.title = "Ingle: the visual login".to_owned();
    document.info.description =
        Some("A password opens single devices, each with a JWT of its own that anybody can check.".to_owned());
    document
}

fn routes() -> OpenApiRouter<Arc<Visual>> {
    OpenApiRouter::new().merge(login::routes()).merge(devices::routes())
}

async fn unknown_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "no such method here", "docs/compatibility.md lists what is")
}

/// Who asks; refused when passwords or tokens would cross a network in the clear.
fn peer(visual: &Visual, extensions: &Extensions) -> Result<Peer, Failure> {
    let unknown = Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), encrypted: false };
    let peer = extensions.get::<Peer>().copied().unwrap_or(unknown);
    if peer.encrypted || peer.address.is_loopback() || visual.plain_http {
        return Ok(peer);
    }
    let text = "come by https, or let the operator set visual.plain_http";
    Err(Failure::new(StatusCode::FORBIDDEN, "passwords and tokens are not taken in the clear", text))
}
