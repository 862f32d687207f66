//! Lists, single objects, their changes and their deletion, and the export of the world.

use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::stream::body_of;
use super::{Refusal, parse};
use crate::domain::inventory::{ObjectChange, ObjectKind, ObjectQuery, WorldScope};
use crate::domain::{Cloud, DurationMs, Error};

/// The number of pieces of an export that wait for a slow reader.
const PIECES_MAX: usize = 16;
/// The size at which a piece of an export is sent.
const PIECE_BYTES: usize = 64 * 1024;
/// The time after which an export for a reader that reads nothing ends, because it keeps old pages of the registry.
const READER_TIMEOUT: Duration = Duration::from_secs(60);

/// A list that is requested.
#[derive(Serialize, Deserialize)]
pub struct ListRequest {
    /// The kind of the objects.
    pub kind: ObjectKind,
    /// Which of them.
    pub query: ObjectQuery,
}

/// An object that is requested, or that is to be deleted.
#[derive(Serialize, Deserialize)]
pub struct ObjectRequest {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its id.
    pub id: String,
    /// The name of its project, if its id is one in several projects.
    #[serde(default)]
    pub project: Option<String>,
    /// Whether its secrets are wanted.
    #[serde(default)]
    pub secrets: bool,
}

/// A change that is requested.
#[derive(Serialize, Deserialize)]
pub struct ChangeRequest {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// The change.
    pub change: ObjectChange,
}

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new()
        .route("/objects/list", post(list))
        .route("/objects/show", post(show))
        .route("/objects/put", post(put))
        .route("/objects/losses", post(losses))
        .route("/objects/delete", post(delete))
        .route("/export/world", post(export))
        .route("/projects/rotate-secrets", post(rotate_secrets))
}

fn answer(value: &Json) -> Response {
    value.to_string().into_response()
}

async fn list(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let ListRequest { kind, query } = parse(&body)?;
    let page = cloud.objects(kind, query).await?;
    let rows: Vec<Json> = page.rows.into_iter().map(|row| Json::Object(row.into_json())).collect();
    Ok(answer(&json!({"rows": rows, "next": page.next})))
}

async fn show(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let ObjectRequest { kind, id, project, secrets } = parse(&body)?;
    let row = cloud.object(kind, &id, project.as_deref(), secrets).await?;
    Ok(answer(&Json::Object(row.into_json())))
}

async fn put(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let ChangeRequest { kind, change } = parse(&body)?;
    let row = cloud.put_object(kind, change).await?;
    Ok(answer(&Json::Object(row.into_json())))
}

async fn losses(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let ObjectRequest { kind, id, project, .. } = parse(&body)?;
    let losses = cloud.losses(kind, &id, project.as_deref()).await?;
    Ok(answer(&json!(losses)))
}

async fn delete(State(cloud): State<Arc<Cloud>>, body: String) -> Result<String, Refusal> {
    let ObjectRequest { kind, id, project, .. } = parse(&body)?;
    cloud.delete_object(kind, &id, project.as_deref()).await?;
    Ok("deleted".to_owned())
}

/// New secrets for a project.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationRequest {
    /// The name of the project.
    pub project: String,
    /// How long the old secrets are still accepted, in milliseconds.
    pub grace_ms: i64,
}

/// The answer is the time until which the old secrets are accepted, or null.
async fn rotate_secrets(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let RotationRequest { project, grace_ms } = parse(&body)?;
    let until_ms = cloud.rotate_secrets(&project, DurationMs(grace_ms)).await?;
    Ok(answer(&json!(until_ms)))
}

/// Streams a world document: one line for each object, so that it can be compared line by line.
async fn export(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let scope: WorldScope = parse(&body)?;
    let (sender, pieces) = mpsc::channel::<Bytes>(PIECES_MAX);
    let runtime = Handle::current();
    let (begun, beginning) = tokio::sync::oneshot::channel();
    let write = move || {
        let mut begun = Some(begun);
        let mut document = Document::default();
        let send = |text: &mut String| -> Result<(), Error> {
            let piece = Bytes::from(std::mem::take(text));
            // The timer must be created within the runtime, and this thread is not one of it.
            match runtime.block_on(async { timeout(READER_TIMEOUT, sender.send(piece)).await }) {
                Ok(Ok(())) => Ok(()),
                _ => Err(Error::Busy("the reader of the export does not read")),
            }
        };
        let result = cloud.export_world(&scope, &mut |kind, row| {
            if let Some(begun) = begun.take() {
                let _ = begun.send(Ok(()));
            }
            document.add(kind, &Json::Object(row.members));
            if document.text.len() >= PIECE_BYTES { send(&mut document.text) } else { Ok(()) }
        });
        match (result, begun.take()) {
            // Without its end, the document is not valid JSON, so that an export that failed cannot be taken for a whole one.
            (Err(error), None) => tracing::warn!(%error, "an export of the world ended early"),
            (Err(error), Some(begun)) => drop(begun.send(Err(error))),
            (Ok(()), begun) => {
                if let Some(begun) = begun {
                    let _ = begun.send(Ok(()));
                }
                document.end();
                let _ = send(&mut document.text);
            }
        }
    };
    Builder::new().name("export".to_owned()).spawn(write).map_err(Error::store)?;
    beginning.await.map_err(|_| Error::store("the export did not begin"))??;
    Ok(Body::new(body_of(pieces)).into_response())
}

/// A world document that is written object by object.
#[derive(Default)]
pub(super) struct Document {
    pub(super) text: String,
    /// The section of the project that is open; `None` if no object of it was written yet.
    section: Option<&'static str>,
    has_project: bool,
}

impl Document {
    pub(super) fn add(&mut self, kind: ObjectKind, members: &Json) {
        let Some(section) = kind.section() else {
            self.close_project();
            self.text.push_str(if self.has_project { ",\n" } else { "{\"projects\": [\n" });
            self.has_project = true;
            let project = members.to_string();
            self.text.push_str(project.strip_suffix('}').unwrap_or(&project));
            return;
        };
        match self.section {
            Some(open) if open == section => self.text.push_str(",\n  "),
            open => {
                let end = if open.is_some() { "]" } else { "" };
                self.text.push_str(&format!("{end},\n \"{section}\": [\n  "));
                self.section = Some(section);
            }
        }
        self.text.push_str(&members.to_string());
    }

    fn close_project(&mut self) {
        if self.has_project {
            self.text.push_str(if self.section.take().is_some() { "]}" } else { "}" });
        }
    }

    pub(super) fn end(&mut self) {
        self.close_project();
        self.text.push_str(if self.has_project { "\n]}\n" } else { "{\"projects\": []}\n" });
    }
}
