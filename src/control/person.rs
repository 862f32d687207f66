//! Everything about one person, and its erasure.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Refusal, parse};
use crate::domain::Cloud;

/// A person that is meant.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonRequest {
    /// The `uid`, or the user name.
    pub user: String,
    /// The name of the project, if several projects have a user of that name.
    pub project: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new().route("/users/export", post(export)).route("/users/erase", post(erase))
}

async fn export(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let PersonRequest { user, project } = parse(&body)?;
    let person = cloud.person(&user, project.as_deref()).await?;
    Ok(json!(person).to_string().into_response())
}

async fn erase(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let PersonRequest { user, project } = parse(&body)?;
    let erasure = cloud.erase_user(&user, project.as_deref()).await?;
    Ok(json!(erasure).to_string().into_response())
}
