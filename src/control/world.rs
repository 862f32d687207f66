//! World documents: comparing, applying and filling them in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Request, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::objects::Document;
use super::stream::body_of;
use super::{Refusal, text_of};
use crate::domain::world::{Counts, Difference, Filled, WorldDocument, WorldPlan};
use crate::domain::{Cloud, Error, Result as DomainResult};

/// The maximal size of a document.
const WORLD_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// The number of pieces of a filled document that wait for a slow reader.
const PIECES_MAX: usize = 16;
/// The size at which a piece is sent.
const PIECE_BYTES: usize = 64 * 1024;
/// The time after which sending to a reader that reads nothing ends.
const READER_TIMEOUT: Duration = Duration::from_secs(60);

/// Applies a document. The query may be [`REPLACE_SECRETS`].
pub const APPLY: &str = "/world";
/// Compares a document.
pub const COMPARE: &str = "/world/compare";
/// Fills a document in that was applied.
pub const FILL: &str = "/world/filled";
/// The query that allows a document to replace credentials.
pub const REPLACE_SECRETS: &str = "replace_secrets";

/// What a document changed, or would change.
#[derive(Default, Serialize, Deserialize)]
pub struct Applied {
    /// Its projects, in its order.
    pub projects: Vec<AppliedProject>,
    /// Every difference, if the document was only compared.
    pub differences: Vec<Difference>,
    /// What the operator should know besides.
    pub note: Option<String>,
    /// Why the document that was compared would be refused.
    pub refusal: Option<String>,
}

/// A project of a document.
#[derive(Serialize, Deserialize)]
pub struct AppliedProject {
    /// Its name.
    pub name: String,
    /// Its Access ID; `None` if it does not exist yet.
    pub client_id: Option<String>,
    /// How many objects of each kind the document creates and changes.
    pub counts: BTreeMap<String, Counts>,
}

pub(super) fn routes() -> Router<Arc<Cloud>> {
    Router::new().route(APPLY, post(apply)).route(COMPARE, post(compare)).route(FILL, post(fill))
}

async fn apply(State(cloud): State<Arc<Cloud>>, uri: Uri, request: Request<Body>) -> Result<Response, Refusal> {
    let document = document(request).await?;
    let plan = cloud.plan_world(&document, false).await?;
    if uri.query() != Some(REPLACE_SECRETS) {
        plan.check_replaced()?;
    }
    cloud.write_plan(&document, &plan).await?;
    answer(&applied(&cloud, plan).await?)
}

async fn compare(State(cloud): State<Arc<Cloud>>, uri: Uri, request: Request<Body>) -> Result<Response, Refusal> {
    let document = document(request).await?;
    let mut plan = cloud.plan_world(&document, true).await?;
    let replaces = if uri.query() == Some(REPLACE_SECRETS) { Ok(()) } else { plan.check_replaced() };
    let refusal = plan.check().and(replaces).err();
    let differences = std::mem::take(&mut plan.differences);
    let refusal = refusal.as_ref().map(text_of);
    answer(&Applied { differences, refusal, ..applied(&cloud, plan).await? })
}

async fn applied(cloud: &Cloud, plan: WorldPlan) -> DomainResult<Applied> {
    let note = plan.secrets_note();
    let stored: BTreeMap<String, String> =
        cloud.projects().await?.into_iter().map(|project| (project.name, project.client_id)).collect();
    let project = |(name, counts): (String, BTreeMap<String, Counts>)| {
        let client_id = stored.get(&name).cloned();
        AppliedProject { name, client_id, counts }
    };
    let projects = plan.counts.into_iter().map(project).collect();
    Ok(Applied { projects, note, ..Applied::default() })
}

fn answer(applied: &Applied) -> Result<Response, Refusal> {
    Ok(serde_json::to_vec(applied).map_err(Error::store)?.into_response())
}

/// Streams the document filled in, one line for each object.
async fn fill(State(cloud): State<Arc<Cloud>>, request: Request<Body>) -> Result<Response, Refusal> {
    let document = document(request).await?;
    let (sender, pieces) = mpsc::channel::<Bytes>(PIECES_MAX);
    let write = async move {
        let (mut filled, mut output) = (Filled::of(&cloud, &document), Document::default());
        loop {
            let rows = match filled.next().await {
                Ok(Some(rows)) => rows,
                Ok(None) => break output.end(),
                // Without its end, the document is not valid JSON.
                Err(error) => {
                    tracing::warn!(%error, "a world document could not be filled in completely");
                    return;
                }
            };
            for (kind, members) in rows {
                output.add(kind, &Json::Object(members));
                if output.text.len() >= PIECE_BYTES && !send(&sender, &mut output.text).await {
                    return;
                }
            }
        }
        send(&sender, &mut output.text).await;
    };
    tokio::spawn(write);
    Ok(Body::new(body_of(pieces)).into_response())
}

async fn send(sender: &mpsc::Sender<Bytes>, text: &mut String) -> bool {
    let piece = Bytes::from(std::mem::take(text));
    matches!(timeout(READER_TIMEOUT, sender.send(piece)).await, Ok(Ok(())))
}

/// Reads the document of a request. It is in memory once.
async fn document(request: Request<Body>) -> DomainResult<WorldDocument> {
    let expected = length(request.headers());
    let mut body = request.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Error::store)?;
        let Ok(piece) = frame.into_data() else { continue };
        if text.len() + piece.len() > WORLD_BYTES_MAX {
            let text = format!("a document may have {} MiB at most", WORLD_BYTES_MAX >> 20);
            return Err(Error::Refused(text));
        }
        if text.is_empty() {
            // A document that is complete in one piece is not copied.
            text = Vec::from(piece);
            text.reserve_exact(expected.saturating_sub(text.len()));
        } else {
            text.extend_from_slice(&piece);
        }
    }
    let parse = move || {
        let text = String::from_utf8(text).map_err(|_| Error::Refused("the document is not UTF-8".to_owned()))?;
        WorldDocument::parse(text)
    };
    tokio::task::spawn_blocking(parse).await.map_err(Error::store)?
}

fn length(headers: &HeaderMap) -> usize {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.unwrap_or(0).min(WORLD_BYTES_MAX)
}
