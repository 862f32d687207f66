//! The control socket: a Unix socket in the data folder, through which the command line reaches a running server. The
//! permissions of the folder decide who may use it.

pub mod observe;

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::UnixStream;
use tower::ServiceExt;

use crate::domain::event::Consent;
use crate::domain::world::World;
use crate::domain::{
    Cloud, DeviceId, DeviceNo, Error, EventSource, EventType, NewEvent, Project, Result as DomainResult, Value,
};
use crate::http::HttpService;
use crate::net::{Limits, Listener};
use crate::repeated::Repeated;
use crate::shutdown::Shutdown;

/// The name of the socket in the data folder.
pub const SOCKET_FILE: &str = "control.sock";
/// Maximum number of open connections; further ones wait.
const CONNECTIONS_MAX: usize = 16;
const WORLD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The credentials of a project.
#[derive(Serialize, Deserialize)]
pub struct Credentials {
    /// Its name.
    pub name: String,
    /// Tuya's Access ID.
    pub client_id: String,
    /// Tuya's Access Secret.
    pub secret: String,
    /// Whether business calls may be signed by the old rule.
    pub legacy_sign: bool,
    /// Alibaba's id of the project.
    pub aliyun_project_id: String,
    /// Alibaba's AppKey.
    pub app_key: String,
    /// Alibaba's AppSecret.
    pub app_secret: String,
}

/// The calls of the operator. `addresses` are the addresses of the server, as `serve --json` prints them; `{}` if it
/// does not listen.
pub fn router(cloud: Arc<Cloud>, addresses: String) -> Router {
    Router::new()
        .route("/addresses", get(move || async { addresses }))
        .route("/world", post(apply))
        .route("/events", post(import))
        .route("/events/check", post(check))
        .route("/projects", get(projects))
        .route("/visual-key", post(rotate_visual_key))
        .route("/expire", post(expire))
        .layer(DefaultBodyLimit::max(WORLD_BYTES_MAX))
        .with_state(cloud)
}

struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = match &self.0 {
            Error::Store(cause) => format!("the store failed: {cause}"),
            error => error.to_string(),
        };
        (StatusCode::UNPROCESSABLE_ENTITY, text).into_response()
    }
}

async fn apply(State(cloud): State<Arc<Cloud>>, body: String) -> Result<String, Refusal> {
    let world = cloud.apply(World::parse(&body)?).await?;
    Ok(world.to_json()?)
}

async fn projects(State(cloud): State<Arc<Cloud>>) -> Result<Response, Refusal> {
    let credentials = |project: Project| Credentials {
        name: project.name,
        client_id: project.client_id,
        secret: project.secret,
        legacy_sign: project.legacy_sign,
        aliyun_project_id: project.aliyun_project_id,
        app_key: project.app_key,
        app_secret: project.app_secret,
    };
    let projects: Vec<Credentials> = cloud.projects().await?.into_iter().map(credentials).collect();
    Ok(serde_json::to_vec(&projects).map_err(Error::store)?.into_response())
}

async fn rotate_visual_key(State(cloud): State<Arc<Cloud>>) -> Result<String, Refusal> {
    Ok(cloud.rotate_visual_key().await?)
}

async fn expire(State(cloud): State<Arc<Cloud>>) -> Result<String, Refusal> {
    Ok(cloud.expire_events(Consent::Given).await?.removed.to_string())
}

async fn import(State(cloud): State<Arc<Cloud>>, body: String) -> Result<String, Refusal> {
    let events = events(&cloud, &body).await?;
    let count = events.len();
    cloud.import(events).await?;
    Ok(count.to_string())
}

async fn check(State(cloud): State<Arc<Cloud>>, body: String) -> Result<String, Refusal> {
    let events = events(&cloud, &body).await?;
    Ok(events.len().to_string())
}

/// One line of an import.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    device_id: String,
    time: i64,
    #[serde(rename = "type")]
    kind: i64,
    from: i64,
    code: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// Parses and checks the lines of an import. An error names the first invalid line.
async fn events(cloud: &Cloud, text: &str) -> DomainResult<Vec<NewEvent>> {
    let mut devices: HashMap<String, DeviceNo> = HashMap::new();
    let mut events = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let event = event(cloud, line, &mut devices).await;
        events.push(event.map_err(|error| match error {
            Error::Store(cause) => Error::Store(cause),
            error => Error::Refused(format!("line {}: {error}", index + 1)),
        })?);
    }
    Ok(events)
}

async fn event(cloud: &Cloud, line: &str, devices: &mut HashMap<String, DeviceNo>) -> DomainResult<NewEvent> {
    let refuse = |text: &str| Error::Refused(text.to_owned());
    let line: Line<'_> = serde_json::from_str(line).map_err(|error| Error::Refused(error.to_string()))?;
    let device = match devices.get(&line.device_id) {
        Some(number) => *number,
        None => {
            let device = cloud.device_by_id(&DeviceId(line.device_id.clone())).await?;
            let device = device.ok_or_else(|| Error::Refused(format!("there is no device {:?}", line.device_id)))?;
            devices.insert(line.device_id, device.no);
            device.no
        }
    };
    let value = line.value.filter(|value| value.get() != "null").map(|value| Value::from_json(value.get()));
    let event = NewEvent {
        device,
        time_ms: line.time,
        kind: EventType::from_number(line.kind).ok_or_else(|| refuse("type must be 1 to 11"))?,
        source: EventSource::from_number(line.from).ok_or_else(|| refuse("from must be -1, 1 to 13 or 16"))?,
        code: line.code.map(Arc::from),
        value: value.map(|value| value.ok_or_else(|| refuse("the value is too long"))).transpose()?,
        is_history: true,
    };
    cloud.row_imported(event)
}

/// The socket of a running server.
pub struct Socket {
    listener: Listener,
    path: PathBuf,
}

impl Socket {
    /// Opens the socket of a data folder that the caller has locked. Failures to accept connections are counted in
    /// `failed`.
    ///
    /// # Errors
    /// Errors of the system, for example for a path that is too long.
    pub fn open(folder: &Path, failed: Arc<Repeated>) -> std::io::Result<Self> {
        let path = folder.join(SOCKET_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = Listener::bind_unix(&path, Limits::new(CONNECTIONS_MAX, None), failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Serves until the shutdown begins, completes the requests in progress, and removes the socket.
    pub async fn serve(self, router: Router, shutdown: Shutdown) {
        self.listener.serve(HttpService(router), shutdown).await;
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A client of the control calls: of a running server, or of a cloud that this process has opened.
pub enum Control {
    /// Through the socket.
    Running(PathBuf),
    /// In this process.
    InProcess(Router),
}

impl Control {
    /// Sends a request. With an empty body it is a GET.
    ///
    /// # Errors
    /// The text of a refusal, or why the server could not be reached.
    pub async fn ask(&self, path: &str, body: String) -> Result<Bytes, String> {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let request = Request::builder().method(method).uri(path).header("host", "ingle").body(Body::from(body));
        let request = request.map_err(|error| error.to_string())?;
        let response = match self {
            Self::InProcess(router) => match router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Self::Running(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
                let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
                response.map(Body::new)
            }
        };
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        if status.is_success() { Ok(bytes) } else { Err(String::from_utf8_lossy(&bytes).into_owned()) }
    }
}
