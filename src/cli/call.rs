//! `ingle call`

use std::fmt::Display;
use std::path::PathBuf;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, Uri};
use clap::Args;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::demo::{first_project, projects};
use super::{Outcome, Place, control, print, read_text};
use crate::app::SystemClock;
use crate::control::{Control, Credentials};
use crate::domain::Clock;
use crate::simulate::Tls;
use crate::tls::CA_FILE;
use crate::tuya::sign::{Claims, SignedParts, sign};
use crate::{aliyun, hex, random};

/// The type of every body.
const CONTENT_TYPE: (&str, &str) = ("content-type", "application/json");

/// Send a signed request to a running server and print its answer.
///
/// The path decides which API is called: /v1.0/... and /v2.0/... belong to Tuya's, others to Alibaba's, for which the body are the
/// params alone and the method is POST. The credentials of the project and the address of the server are read from the data folder, and
/// a token is requested first. The exit code is 1 if the answer is not a success.
#[derive(Args)]
pub struct Call {
    /// GET, POST, PUT or DELETE.
    method: String,
    /// The path with its query, such as "/v1.0/devices?page_size=5".
    path: String,
    /// The JSON body. @FILE reads it from a file.
    body: Option<String>,
    /// The address of the server, http:// or https://. By default, that of the server that runs on the data folder.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The name of the project. By default, the first project of the data folder.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// The version of an endpoint of Alibaba's API.
    #[arg(long, value_name = "VERSION", default_value = "1.0.0")]
    api_version: String,
    /// A PEM file with the CA of an https server. By default, ca.pem of the data folder.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The data folder of the running server. By default, ./ingle-data if it exists, otherwise ./ingle-demo.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// The server, and the credentials for it.
struct Server {
    url: String,
    ca: PathBuf,
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
        let ca = self.ca.clone().unwrap_or_else(|| data.join(CA_FILE));
        let (control, _app) = control(&Place { data, config: None }).await?;
        let project = self.credentials(&control).await?;
        let url = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => running(&control).await?,
        };
        let server = Server { url, ca };
        let body = match self.body.as_deref() {
            Some(text) => match text.strip_prefix('@') {
                Some(file) => read_text(file.as_ref())?,
                None => text.to_owned(),
            },
            None => String::new(),
        };
        let method = self.method.to_uppercase();
        let (answer, explain) = match is_tuya(&self.path) {
            true => {
                let token = server.tuya(&project, "GET", "/v1.0/token?grant_type=1", "", "").await?.0;
                let access = token["result"]["access_token"].as_str().ok_or_else(|| format!("no token: {token}"))?;
                server.tuya(&project, &method, &self.path, access, &body).await?
            }
            false if method != "POST" => return Err("the method of Alibaba's API is POST".to_owned()),
            false => {
                let params = if body.is_empty() { json!({}) } else { json_of(&body)? };
                let wanted = json!({"grantType": "project", "res": project.aliyun_project_id});
                let token = server.aliyun(&project, "/cloud/token", "1.0.1", None, &wanted).await?.0;
                let access = token["data"]["cloudToken"].as_str().ok_or_else(|| format!("no token: {token}"))?;
                server.aliyun(&project, &self.path, &self.api_version, Some(access), &params).await?
            }
        };
        print(&serde_json::to_string_pretty(&answer).map_err(|error| error.to_string())?);
        if answer["success"] == true || answer["code"] == 200 {
            return Ok(());
        }
        Err(explain
            .unwrap_or_else(|| "the answer is not a success; if api.explain is on, the server explains why".to_owned()))
    }

    async fn credentials(&self, control: &Control) -> Result<Credentials, String> {
        let Some(name) = &self.project else {
            return first_project(control)
                .await?
                .ok_or_else(|| "the data folder has no project: `ingle apply` one".to_owned());
        };
        let mut projects = projects(control).await?;
        match projects.iter().position(|project| project.name == *name) {
            Some(index) => Ok(projects.swap_remove(index)),
            None => {
                let names: Vec<&str> = projects.iter().map(|project| project.name.as_str()).collect();
                Err(format!("the data folder has no project {name:?}, but {}", names.join(", ")))
            }
        }
    }
}

/// Whether a path belongs to Tuya's API. All of its paths begin with a version.
fn is_tuya(path: &str) -> bool {
    path.strip_prefix("/v").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn json_of(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("the body is no JSON: {error}"))
}

/// The address of the server that runs on the data folder, without TLS if it has such a listener.
async fn running(control: &Control) -> Result<String, String> {
    let answer = control.ask("/addresses", String::new()).await?;
    let addresses: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
    let address = addresses["api"].as_str().or_else(|| addresses["api_tls"].as_str());
    let address =
        address.ok_or("no server with a listener for the API runs on the data folder: start one, or give --url")?;
    // A listener at all addresses of the machine is at its own too.
    Ok(address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:"))
}

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Server {
    /// A connection, and the host as its header has it.
    async fn connect(&self) -> Result<(Box<dyn Stream>, String), String> {
        let Self { url, ca } = self;
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let authority =
            uri.authority().ok_or_else(|| format!("{url} names no host: it must begin with http:// or https://"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("{url} must begin with http:// or https://")),
        };
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let host = authority.host().trim_matches(['[', ']']);
        let unreachable = |error: &dyn Display| format!("{url} does not answer: {error}");
        let stream = TcpStream::connect((host, port)).await.map_err(|error| unreachable(&error))?;
        if !is_tls {
            return Ok((Box::new(stream), authority.to_string()));
        }
        let stream = Tls::trusting(ca, host)?.connect(stream).await;
        let untrusted = |error| format!("{url} is not trusted by {}: {error}", ca.display());
        Ok((Box::new(stream.map_err(untrusted)?), authority.to_string()))
    }

    /// The answer of Tuya's API, and the explanation in its header.
    async fn tuya(
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
        let headers = [
            ("client_id", project.client_id.as_str()),
            ("t", &t),
            ("sign", &signature),
            ("sign_method", "HMAC-SHA256"),
            ("access_token", access_token),
        ];
        self.send(method, target, &headers, body).await
    }

    /// The answer of Alibaba's API, and the explanation in its header.
    async fn aliyun(
        &self,
        project: &Credentials,
        target: &str,
        version: &str,
        cloud_token: Option<&str>,
        params: &Value,
    ) -> Result<(Value, Option<String>), String> {
        let t = SystemClock.now_ms().to_string();
        let nonce = hex::encode(random::bytes::<16>().map_err(|error| error.to_string())?);
        let body = json!({"id": nonce, "version": "1.0", "params": params,
            "request": {"apiVer": version, "cloudToken": cloud_token}})
        .to_string();
        let mut headers = vec![
            ("accept", "application/json"),
            ("x-ca-key", &project.app_key),
            ("x-ca-nonce", &nonce),
            ("x-ca-timestamp", &t),
            ("x-ca-signature-headers", "x-ca-key,x-ca-nonce,x-ca-timestamp"),
        ];
        let md5 = aliyun::sign::content_md5(body.as_bytes());
        headers.push(("content-md5", &md5));
        let mut signed = HeaderMap::new();
        for (name, value) in headers.iter().copied().chain([CONTENT_TYPE]) {
            signed.insert(name, HeaderValue::from_str(value).map_err(|error| error.to_string())?);
        }
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let parts = aliyun::sign::SignedParts { method: "POST", path, query, headers: &signed, body: body.as_bytes() };
        let signature = aliyun::sign::sign(&project.app_secret, &parts.string_to_sign());
        headers.push(("x-ca-signature", &signature));
        self.send("POST", target, &headers, &body).await
    }

    async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<(Value, Option<String>), String> {
        let (stream, host) = self.connect().await?;
        let mut request = Request::builder().method(method).uri(target).header("host", host);
        for (name, value) in headers.iter().copied().chain([CONTENT_TYPE]) {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body.to_owned())).map_err(|error| error.to_string())?;
        let unreachable = |error: &dyn Display| format!("{} does not answer: {error}", self.url);
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
