//! What an operator observes of a running server and nothing else has: the refusals in its memory and its log level.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;

use super::Refusal as Refused;
use crate::domain::{Cloud, DeviceId, Error};
use crate::logging::LogLevel;
use crate::refusals::RecentRefusals;

/// What the calls need.
#[derive(Clone)]
pub struct Observed {
    /// The cloud, which knows the names of a device.
    pub cloud: Arc<Cloud>,
    /// The last refusals.
    pub recent: Arc<RecentRefusals>,
    /// The level of the log, if this process writes one.
    pub log_level: Option<LogLevel>,
}

/// The calls of the operator.
pub fn router(observed: Observed) -> Router {
    Router::new().route("/refusals", post(refusals)).route("/log-level", post(set_log_level)).with_state(observed)
}

/// The last refusals of the device with the id in the body, or of everything if the body is `*`, as JSON.
async fn refusals(State(observed): State<Observed>, id: String) -> Result<String, Refused> {
    let found = if id == "*" {
        observed.recent.all()
    } else {
        // Requests name a device by its id, by Alibaba's id or by the name that the factory gave.
        let device = observed.cloud.device_by_id(&DeviceId(id.clone())).await?;
        let names = device.map(|device| [device.iot_id, device.device_name]).unwrap_or_default();
        let mut names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
        names.push(&id);
        observed.recent.of_device(&names)
    };
    Ok(serde_json::to_string(&found).map_err(Error::store)?)
}

async fn set_log_level(State(observed): State<Observed>, level: String) -> (StatusCode, String) {
    let Some(log_level) = observed.log_level else {
        return (StatusCode::UNPROCESSABLE_ENTITY, "this server writes no log".to_owned());
    };
    match log_level.set(&level) {
        Ok(()) => {
            tracing::info!(level, "the log level was changed");
            (StatusCode::OK, String::new())
        }
        Err(text) => (StatusCode::UNPROCESSABLE_ENTITY, text),
    }
}
