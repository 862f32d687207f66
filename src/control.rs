//! The control socket: a Unix socket in the data folder, through which the command line reaches a running server. The
//! permissions of the folder decide who may use it.

mod audit;
mod backup;
pub mod connection;
pub mod import;
pub mod live;
pub mod objects;
pub mod observe;
pub mod person;
mod stream;
pub mod world;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Request, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tower::ServiceExt;

use crate::actor;
use crate::domain::audit::{Actor, ActorKind};
use crate::domain::event::Consent;
use crate::domain::{Cloud, Error, Project, Result as DomainResult};
use crate::http::HttpService;
use crate::net::{Limits, Listener, Peer};
use crate::repeated::Repeated;
use crate::shutdown::Shutdown;
use live::Views;

pub use audit::{AuditParams, AuditView};
pub use backup::{DataFolder, PreparedBackup, ReceivedBackup};

/// The name of the socket in the data folder.
pub const SOCKET_FILE: &str = "control.sock";
/// Maximum number of open connections; further ones wait.
const CONNECTIONS_MAX: usize = 16;
/// The timeout for the headers of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximal size of the body of a request, except for a world document.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

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
/// does not listen. `views` are the live views of a running server.
pub fn router(cloud: Arc<Cloud>, folder: Arc<dyn DataFolder>, addresses: String, views: Option<Views>) -> Router {
    let of_folder = Router::new().route(backup::PATH, post(backup::backup)).route("/verify", get(verify));
    let of_folder = of_folder.with_state(folder);
    Router::new()
        .route("/addresses", get(move || async { addresses }))
        .route("/projects", get(projects))
        .route("/visual-key", post(rotate_visual_key))
        .route("/expire", post(expire))
        .route("/audit", post(audit::audit))
        .merge(import::routes())
        .merge(world::routes())
        .merge(objects::routes())
        .merge(connection::routes())
        .merge(person::routes())
        .merge(live::routes(views))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(as_operator))
        .with_state(cloud)
        .merge(of_folder)
}

/// Runs a call as the operator: the account at the other end of the socket, or the one of this process.
async fn as_operator(request: Request<Body>, next: Next) -> Response {
    let account = request.extensions().get::<Peer>().and_then(|peer| peer.account);
    let (account, origin) = match account {
        Some(account) => (account, "control socket"),
        None => (rustix::process::getuid().as_raw(), "command line"),
    };
    let actor = Actor {
        kind: ActorKind::Operator,
        name: format!("account {account}"),
        origin: origin.to_owned(),
        call: format!("{} {}", request.method(), request.uri().path()),
    };
    actor::scope(actor, next.run(request)).await
}

/// Reads the JSON of a request.
fn parse<T: DeserializeOwned>(body: &str) -> DomainResult<T> {
    serde_json::from_str(body).map_err(|error| Error::Refused(error.to_string()))
}

struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::UNPROCESSABLE_ENTITY, text_of(&self.0)).into_response()
    }
}

/// The text of an error for the operator.
fn text_of(error: &Error) -> String {
    match error {
        Error::Store(cause) => format!("the store failed: {cause}"),
        error => error.to_string(),
    }
}

async fn verify(State(folder): State<Arc<dyn DataFolder>>) -> Result<String, Refusal> {
    Ok(tokio::task::spawn_blocking(move || folder.verify()).await.map_err(Error::store)??)
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
    let removed = cloud.expire_events(Consent::Given).await?.removed;
    cloud.record_operation("expire", "events".to_owned(), format!("{{\"files\":{removed}}}")).await?;
    Ok(removed.to_string())
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
        self.listener.serve(HttpService { router, head_timeout: HEAD_TIMEOUT }, shutdown).await;
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
    /// Sends a request and returns the whole answer. With an empty body it is a GET.
    ///
    /// # Errors
    /// The text of a refusal, or why the server could not be reached.
    pub async fn ask(&self, path: &str, body: impl Into<Bytes>) -> Result<Bytes, String> {
        collect(self.send(path, body.into()).await?).await
    }

    /// Sends a request whose answer is streamed, and calls `each` for each piece of it until that returns false.
    ///
    /// # Errors
    /// The text of a refusal, or why the server could not be reached. That the server ended the answer early is no error:
    /// the content shows whether it is complete.
    pub async fn read(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        mut each: impl FnMut(&[u8]) -> bool + Send,
    ) -> Result<(), String> {
        let mut body = self.send(path, body.into()).await?.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if frame.data_ref().is_some_and(|piece| !each(piece)) {
                break;
            }
        }
        Ok(())
    }

    /// Sends a request. The answer is a success.
    async fn send(&self, path: &str, body: Bytes) -> Result<Response, String> {
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
        if response.status().is_success() {
            return Ok(response);
        }
        if response.status() == StatusCode::NOT_FOUND {
            return Err("the running server does not know this command: it is of another version".to_owned());
        }
        let text = collect(response).await?;
        Err(String::from_utf8_lossy(&text).into_owned())
    }
}

async fn collect(response: Response) -> Result<Bytes, String> {
    let collected = response.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok(collected.to_bytes())
}
