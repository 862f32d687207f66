//! What a device needs to connect.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{Refusal, parse};
use crate::domain::session::DeviceClaim;
use crate::domain::{Cloud, DeviceId, Error, NodeType};
use crate::gateway::{Protocol, connect_info};

/// The connection of a device that is requested.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionRequest {
    /// The device.
    pub device_id: String,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
}

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new().route("/devices/connection", post(connection))
}

/// The connection in both protocols. The answer has the MQTT passwords, from which the secret cannot be computed.
async fn connection(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let ConnectionRequest { device_id, is_tls } = parse(&body)?;
    let found = cloud.claimed_device(&DeviceClaim::Id(DeviceId(device_id.clone()))).await?;
    let found = found.ok_or_else(|| Error::Refused(format!("there is no device {device_id:?}")))?;
    let now_ms = cloud.now_ms();
    let of = |protocol| -> Json {
        let info = connect_info(&found, protocol, is_tls, now_ms);
        json!({"client_id": info.client_id, "username": info.username, "password": info.password,
            "report_topic": info.report_topic, "command_filter": info.command_filter,
            "payload": info.payload.to_string()})
    };
    let answer = json!({
        "device_id": device_id, "time_ms": now_ms, "disabled": found.device.disabled,
        "behind_gateway": found.device.product.node_type == NodeType::Sub,
        "tuyalink": of(Protocol::TuyaLink), "linkkit": of(Protocol::LinkKit),
    });
    Ok(answer.to_string().into_response())
}
