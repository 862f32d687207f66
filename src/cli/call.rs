//! `ingle call`

use std::path::PathBuf;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Uri};
use clap::Args;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::demo::first_project;
use super::{Outcome, Place, control, print, read_text};
use crate::app::SystemClock;
use crate::control::Credentials;
use crate::domain::Clock;
use crate::tuya::sign::{Claims, SignedParts, sign};

/// Send a signed request to a running server and print its answer.
///
/// The project's credentials come from the data folder, a token is fetched first. The exit code is 1 when the answer
/// is no success.
#[derive(Args)]
pub struct Call {
    /// GET, POST, PUT or DELETE.
    method: String,
    /// The path with its query, such as "/v1.0/devices?page_size=5".
    path: String,
    /// The JSON body; @FILE reads it from a file.
    body: Option<String>,
    /// The server's plain address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7700")]
    url: String,
    /// The data folder of the running server; ./ingle-data or else ./ingle-demo when it is not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Call {
    pub(super) async fn run(self) -> Outcome {
        let data = self.data.clone().unwrap_or_else(|| {
            let real = PathBuf::from("ingle-data");
            if real.exists() { real } else { PathBuf::from("ingle-demo") }
        });
        if !data.exists() {
            return Err(format!("there is no data folder {}: name it with --data", data.display()));
        }
        let (control, _app) = control(&Place { data, config: None }).await?;
        let project = first_project(&control).await?.ok_or("the data folder has no project: `ingle apply` one")?;
        let body = match self.body.as_deref() {
            Some(text) => match text.strip_prefix('@') {
                Some(file) => read_text(file.as_ref())?,
                None => text.to_owned(),
            },
            None => String::new(),
        };
        let (token, _) = self.send(&project, "GET", "/v1.0/token?grant_type=1", "", "").await?;
        let access = token["result"]["access_token"].as_str().ok_or_else(|| format!("no token: {token}"))?;
        let (answer, explain) = self.send(&project, &self.method.to_uppercase(), &self.path, access, &body).await?;
        print(&serde_json::to_string_pretty(&answer).map_err(|error| error.to_string())?);
        if answer["success"] == true {
            return Ok(());
        }
        Err(explain.unwrap_or_else(|| "no success; a server with api.explain says why".to_owned()))
    }

    /// The answer, and the explanation that came with it.
    async fn send(
        &self,
        project: &Credentials,
        method: &str,
        target: &str,
        access_token: &str,
        body: &str,
    ) -> Result<(Value, Option<String>), String> {
        let t = SystemClock.now_ms().to_string();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let claims = Claims { client_id: &project.client_id, sign: "", t: &t, nonce: "", access_token };
        let parts = SignedParts { method, path, query, headers: &HeaderMap::new(), body: body.as_bytes() };
        let signature = sign(&project.secret, &claims, &parts).ok_or("the request could not be signed")?;
        let uri: Uri = self.url.parse().map_err(|error| format!("{}: {error}", self.url))?;
        let host = uri.authority().ok_or_else(|| format!("{} names no host", self.url))?.as_str();
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", host)
            .header("client_id", &project.client_id)
            .header("t", &t)
            .header("sign", signature)
            .header("sign_method", "HMAC-SHA256")
            .header("access_token", access_token)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .map_err(|error| error.to_string())?;
        let unreachable = |error: &dyn std::fmt::Display| format!("{} does not answer: {error}", self.url);
        let stream = TcpStream::connect(host).await.map_err(|error| unreachable(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
        let explain = response.headers().get("x-ingle-explain").and_then(|text| text.to_str().ok()).map(str::to_owned);
        let bytes = response.into_body().collect().await.map_err(|error| unreachable(&error))?.to_bytes();
        let answer = serde_json::from_slice(&bytes).map_err(|error| format!("no JSON: {error}"))?;
        Ok((answer, explain))
    }
}
