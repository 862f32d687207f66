//! Everything about one person, and its erasure.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tokio::sync::mpsc;

use super::audit::AuditView;
use super::live::row_json;
use super::stream::body_of;
use super::{Refusal, parse};
use crate::domain::{Cloud, DeviceId, Error, Result as DomainResult};

/// The end of a complete export of a person.
pub const PERSON_END: &[u8] = b"\n  ]\n}\n";
/// The number of pieces of an answer that are on their way.
const PIECES_MAX: usize = 4;
/// The length of a piece in bytes.
const PIECE_BYTES: usize = 64 * 1024;

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

/// Streams everything about a person as one JSON object, which ends with [`PERSON_END`].
async fn export(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let PersonRequest { user, project } = parse(&body)?;
    let person = cloud.person(&user, project.as_deref()).await?;
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        // Without its end, the reader sees that the document is not complete.
        if let Err(error) = write(&cloud, &person, &mut Document { sender, text: String::new() }).await {
            tracing::warn!(%error, "the export of a person ended early");
        }
    });
    Ok(Body::new(body_of(pieces)).into_response())
}

/// The text of an export.
struct Document {
    sender: mpsc::Sender<Bytes>,
    text: String,
}

impl Document {
    /// Adds an item of a list.
    async fn item(&mut self, item: &Json, is_first: &mut bool) -> DomainResult<()> {
        let comma = if std::mem::take(is_first) { "" } else { "," };
        self.text.push_str(&format!("{comma}\n    {item}"));
        if self.text.len() >= PIECE_BYTES { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> DomainResult<()> {
        let piece = Bytes::from(std::mem::take(&mut self.text));
        self.sender.send(piece).await.map_err(|_| Error::Busy("the reader of the export is gone"))
    }
}

async fn write(cloud: &Cloud, person: &Map<String, Json>, document: &mut Document) -> DomainResult<()> {
    let parts = serde_json::to_string_pretty(person).map_err(Error::store)?;
    let parts = parts.strip_suffix("\n}").unwrap_or(&parts);
    document.text.push_str(&format!("{parts},\n  \"audit\": ["));
    let (mut audit, mut is_first) = (cloud.person_audit(person).await?, true);
    while let Some(rows) = cloud.next_of_audit(&mut audit).await? {
        for row in rows {
            document.item(&json!(AuditView::from(row)), &mut is_first).await?;
        }
    }
    document.text.push_str("\n  ],\n  \"log\": [");
    let devices = person.get("devices").and_then(Json::as_array).into_iter().flatten();
    let ids: Vec<DeviceId> = devices.filter_map(|row| row["device_id"].as_str()).map(DeviceId::from).collect();
    is_first = true;
    for mut log in cloud.device_logs(&ids).await? {
        cloud.begin_log(&mut log).await?;
        while let Some(rows) = cloud.next_of_log(&mut log).await? {
            for row in rows {
                let content = (row.row.time_ms, row.kind, row.code, row.value);
                document.item(&row_json(log.device_id(), row.source.number(), &content), &mut is_first).await?;
            }
        }
    }
    document.text.push_str(&String::from_utf8_lossy(PERSON_END));
    document.send().await
}

async fn erase(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let PersonRequest { user, project } = parse(&body)?;
    let erasure = cloud.erase_user(&user, project.as_deref()).await?;
    Ok(json!(erasure).to_string().into_response())
}
