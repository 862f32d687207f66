//! The audit, for the operator.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Refusal;
use crate::domain::audit::{AuditQuery, AuditRow};
use crate::domain::{Cloud, Error};

/// What `ingle audit` asks for. Names without a value select everything.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditParams {
    /// Only rows before the one with this number.
    pub before_no: Option<i64>,
    /// Only objects of this project.
    pub project: Option<String>,
    /// Only objects of this kind.
    pub kind: Option<String>,
    /// Only the object with this id.
    pub object: Option<String>,
    /// Only changes by this actor.
    pub actor: Option<String>,
    /// Only changes at this time or later, milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// The maximal number of rows.
    pub limit: usize,
}

/// A row of the audit.
#[derive(Serialize, Deserialize)]
pub struct AuditView {
    /// Its number.
    pub no: i64,
    /// The number that all rows of one operation have in common.
    pub change: i64,
    /// Milliseconds since 1970.
    pub time: i64,
    /// `operator`, `project`, `user`, `device` or `server`.
    pub actor_kind: String,
    /// The name of the actor.
    pub actor: String,
    /// From where.
    pub origin: String,
    /// The call.
    pub call: String,
    /// The project to which the object belongs.
    pub project: Option<String>,
    /// The kind of object.
    pub kind: String,
    /// The id of the object.
    pub object: String,
    /// `create`, `change`, `delete`, or the name of another operation.
    pub operation: String,
    /// The changed members before.
    pub before: Option<Box<RawValue>>,
    /// The changed members afterwards.
    pub after: Option<Box<RawValue>>,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        Self {
            no: row.no,
            change: row.change_no,
            time: row.time_ms,
            actor_kind: row.actor.kind.name().to_owned(),
            actor: row.actor.name,
            origin: row.actor.origin,
            call: row.actor.call,
            project: row.project,
            kind: row.object_kind,
            object: row.object,
            operation: row.operation,
            before: row.before.and_then(|json| RawValue::from_string(json).ok()),
            after: row.after.and_then(|json| RawValue::from_string(json).ok()),
        }
    }
}

/// A page of the audit, newest first.
pub async fn audit(State(cloud): State<Arc<Cloud>>, body: String) -> Result<Response, Refusal> {
    let params: AuditParams =
        serde_json::from_str(&body).map_err(|error| Error::Refused(format!("the query of the audit: {error}")))?;
    let query = AuditQuery {
        before_no: params.before_no,
        project: params.project,
        object_kind: params.kind,
        object: params.object,
        actor: params.actor,
        from_ms: params.from_ms,
        limit: params.limit,
    };
    let rows: Vec<AuditView> = cloud.audit(query).await?.into_iter().map(AuditView::from).collect();
    Ok(serde_json::to_vec(&rows).map_err(Error::store)?.into_response())
}
