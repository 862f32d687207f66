//! Requests that a test can modify, sent byte for byte.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A request that can be modified before it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub explain: Option<String>,
    pub content_type: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Request {
    /// A request without headers.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// Sets a header and replaces one with the same name.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self
    }
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The vendor's code, or 0 if the answer has none.
    pub fn code(&self) -> i64 {
        self.body["code"].as_i64().unwrap_or(0)
    }
}

/// Sends a request byte for byte on a new connection and checks the answer against the OpenAPI document of its operation.
pub fn send(api: SocketAddr, request: &Request) -> Answer {
    send_over(TcpStream::connect(api).unwrap(), api, request)
}

/// Like [`send`], from another address of this machine, such as 127.0.0.2.
pub fn send_from(source: IpAddr, api: SocketAddr, request: &Request) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source, 0)).unwrap();
        socket.connect(api).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    send_over(stream, api, request)
}

fn send_over(mut stream: TcpStream, api: SocketAddr, request: &Request) -> Answer {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {api}\r\nconnection: close\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !request.body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", request.body.len()));
    }
    head.push_str("\r\n");
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The server may answer and close the connection before everything was sent.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&request.body));
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request:?}: {text:?}"));
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let headers: Vec<(String, String)> = lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect();
    let header =
        |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let answer = Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        explain: header("x-ingle-explain"),
        content_type: header("content-type").unwrap_or_default(),
        headers: headers.clone(),
        body: serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON for {request:?}: {text:?}")),
    };
    super::schema::check(request, &answer);
    answer
}
