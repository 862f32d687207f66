//! Answers of this dialect (contract aliyun §1.7, §2). Refusals of the gateway have an HTTP status, header and body of
//! their own; all other answers have HTTP 200 and a code in the envelope.

use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Aliyun;
use crate::domain::{Error, Noun};
use crate::http;

const REQUEST_ID_HEADER: &str = "x-ca-request-id";
const MESSAGE_HEADER: &str = "x-ca-error-message";

/// The result of a handler.
pub type Reply = Result<Response, Failure>;

/// The envelope of a success.
#[derive(Serialize, ToSchema)]
pub struct Envelope<'a, T> {
    /// Always 200 here.
    pub code: u32,
    /// What was asked for.
    pub data: T,
    /// The request's id, as text; a new one when it has none.
    pub id: &'a str,
}

/// The envelope of a failure. It has no `data`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureEnvelope<'a> {
    /// The vendor's code.
    code: u32,
    /// What it means, in English.
    message: &'a str,
    /// The same in the caller's language.
    localized_msg: &'a str,
    /// The request's id, as text; a new one when it has none.
    id: &'a str,
}

/// The HTTP statuses of answers and their meanings. All except 200 are refusals of the gateway, with the header
/// `X-Ca-Error-Message`.
pub const STATUSES: [(u16, &str); 5] = [
    (200, "What was asked for, or why it was refused"),
    (400, "The key, signature, time, nonce or body was refused; X-Ca-Error-Message says which"),
    (403, "More requests or bodies than the server takes at once"),
    (404, "The signature is missing"),
    (500, "The server failed"),
];

/// Values of the request that the answer depends on. They are available once the envelope is parsed, also for a
/// refusal.
#[derive(Clone, Debug, Default)]
pub struct ReplyOptions {
    /// The request id that the answer repeats.
    pub id: String,
    /// Whether messages are in Chinese.
    pub chinese: bool,
}

/// Passes [`ReplyOptions`] from the extractor to [`finish`].
#[derive(Clone, Debug, Default)]
pub struct Slot(pub Arc<OnceLock<ReplyOptions>>);

/// A success.
pub fn success<T: Serialize>(data: T, id: &str) -> Reply {
    http::json(StatusCode::OK, &Envelope { code: 200, data, id })
        .ok_or_else(|| Failure::new(Code::SERVICE, "the answer could not be written"))
}

/// A success whose data is already JSON; `mend` updates it in place.
pub fn success_written(id: &str, data: &[u8], mend: impl FnOnce(&mut [u8])) -> Reply {
    let begin = br#"{"code":200,"data":"#;
    let mut bytes = Vec::with_capacity(data.len() + id.len() + 64);
    bytes.extend_from_slice(begin);
    bytes.extend_from_slice(data);
    mend(&mut bytes[begin.len()..]);
    bytes.extend_from_slice(br#","id":"#);
    serde_json::to_writer(&mut bytes, id).map_err(|error| Failure::new(Code::SERVICE, error.to_string()))?;
    bytes.push(b'}');
    Ok(http::json_response(StatusCode::OK, bytes))
}

/// One row of the table of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    number: u32,
    en: &'static str,
    zh: &'static str,
}

macro_rules! codes {
    ($($name:ident = $number:literal, $en:literal, $zh:literal;)*) => {
        #[allow(missing_docs, reason = "the texts say what each code means")]
        impl Code {
            $(pub const $name: Self = Self { number: $number, en: $en, zh: $zh };)*
        }
    };
}

codes! {
    REQUEST = 400, "request error.", "请求错误";
    AUTH = 401, "request auth error.", "请求认证错误";
    FORBIDDEN = 403, "request forbidden.", "请求被禁止";
    NOT_FOUND = 404, "service not found.", "服务未找到";
    BUSY = 429, "too many requests.", "太多请求";
    PARAM = 460, "request parameter error.", "请求参数错误";
    PAGE = 460, "invalid count or offset!", "无效的count或offset";
    AMOUNT = 460, "batch device amount invalid", "批量设备数量无效";
    SERVICE = 500, "service error.", "服务端错误";
    INVALID = 2000, "param is invalid", "参数无效";
    IDENTITY = 2062, "identityId does not exist.", "身份ID不存在";
    IOT_ID = 2063, "iotId does not exist", "设备不存在";
    NOT_BOUND = 2065, "identityId and iotId not bound", "用户和设备没有绑定";
    OPEN_ID = 2407, "openId invalid", "openId无效";
    OFFLINE = 6205, "device offline", "设备不在线";
    NO_ANSWER = 20056, "gateway timeout", "网关超时";
    TENANT = 28514, "tenant not match", "租户不匹配";
}

/// A refusal of the gateway, before any handler runs: the text of its header and its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    text: &'static str,
    status: StatusCode,
    code: Code,
}

macro_rules! gates {
    ($($name:ident = $text:literal, $status:ident, $code:ident;)*) => {
        #[allow(missing_docs, reason = "the texts say what each refusal means")]
        impl Gate {
            $(pub const $name: Self = Self { text: $text, status: StatusCode::$status, code: Code::$code };)*
        }
    };
}

gates! {
    APP_KEY = "Invalid AppKey", BAD_REQUEST, AUTH;
    EMPTY_SIGNATURE = "Empty Signature", NOT_FOUND, AUTH;
    SIGNATURE = "Invalid Signature, Server StringToSign:", BAD_REQUEST, AUTH;
    MD5 = "Invalid Content-MD5", BAD_REQUEST, AUTH;
    TIMESTAMP = "Invalid Timestamp", BAD_REQUEST, AUTH;
    EXPIRED = "Timestamp Expired", BAD_REQUEST, AUTH;
    NONCE = "Nonce Used", BAD_REQUEST, AUTH;
    API = "API Not Found", BAD_REQUEST, NOT_FOUND;
    BODY = "Invalid Request Body", BAD_REQUEST, REQUEST;
    THROTTLED = "Throttled by APP Flow Control", FORBIDDEN, BUSY;
    INTERNAL = "Internal Error", INTERNAL_SERVER_ERROR, SERVICE;
}

/// A refused request: the vendor's code for the caller, and an explanation for clients that may see it.
#[derive(Clone, Debug)]
pub struct Failure {
    code: Code,
    /// Text and HTTP status of a refusal of the gateway.
    gate: Option<(&'static str, StatusCode)>,
    /// Appended to the text of the gateway's refusal.
    detail: String,
    explain: String,
}

impl Failure {
    /// A failure of a handler. The explanation must not contain secrets.
    pub fn new(code: Code, explain: impl Into<String>) -> Self {
        Self { code, gate: None, detail: String::new(), explain: explain.into() }
    }

    /// A refusal of the gateway.
    pub fn at_gate(gate: Gate, explain: impl Into<String>) -> Self {
        Self { gate: Some((gate.text, gate.status)), ..Self::new(gate.code, explain) }
    }

    /// An invalid signature. The header contains the server's string to sign, with `#` for each line end.
    pub fn signature(string_to_sign: &[u8], explain: impl Into<String>) -> Self {
        let detail = format!("`{}`", http::header_text(&String::from_utf8_lossy(string_to_sign), "#"));
        Self { detail, ..Self::at_gate(Gate::SIGNATURE, explain) }
    }

    /// The reason for the log. The explanation of an invalid signature quotes the request, which must not be logged.
    fn reason(&self) -> &str {
        let is_signature = self.gate.is_some_and(|(text, _)| text == Gate::SIGNATURE.text);
        if is_signature { "the signature is not that of the project's AppSecret" } else { &self.explain }
    }

    /// The same failure with another code.
    pub fn with(self, code: Code) -> Self {
        Self { code, ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Missing(_)
            | Error::WrongType { .. }
            | Error::OutOfRange { .. }
            | Error::DamagedCursor(_)
            | Error::Refused(_)
            | Error::InvalidCountry
            | Error::CountryNotServed(_)
            | Error::OtherCountry
            | Error::InvalidMobile
            | Error::InvalidEmail
            | Error::OtherRegion(_)
            | Error::CommandNotSupported(_)
            | Error::Unfit(_) => Code::PARAM,
            Error::Offline => Code::OFFLINE,
            Error::NoAnswer => Code::NO_ANSWER,
            Error::NotVisible(Noun::Project) | Error::NotAllowed(_) => Code::FORBIDDEN,
            Error::NotVisible(Noun::App) => Code::TENANT,
            Error::NotVisible(Noun::User) | Error::NoSuchDeviceUser => Code::IDENTITY,
            Error::NotVisible(Noun::Device) => Code::IOT_ID,
            Error::NotVisible(Noun::Product | Noun::Home | Noun::Pairing)
            | Error::LogsNotSupported
            | Error::FunctionNotSupported(_) => Code::INVALID,
            Error::TokenInvalid | Error::WrongPassword => Code::AUTH,
            Error::Busy(_) | Error::TooManyFailures => Code::BUSY,
            Error::Store(cause) => {
                tracing::error!(error.cause = %cause, "the store failed");
                Code::SERVICE
            }
        };
        Self::new(code, error.to_string())
    }
}

impl IntoResponse for Failure {
    /// An empty response that carries the failure to [`finish`], which adds the request id and the language.
    fn into_response(self) -> Response {
        http::carrying(self)
    }
}

/// Adds a request id to every answer and writes the failures of all routes.
pub async fn finish(State(aliyun): State<Arc<Aliyun>>, mut request: Request, next: Next) -> Response {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let request_log = http::RequestLog::of(&mut request);
    let mut response = next.run(request).await;
    let request_id = new_id();
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        let now_ms = aliyun.cloud.now_ms();
        aliyun.requests.refused("aliyun", failure.code.number, &request_log, failure.reason(), now_ms);
        response = write(&aliyun, &failure, slot.0.get(), &request_id);
    } else {
        aliyun.requests.answered("aliyun", &request_log);
    }
    if let Ok(value) = HeaderValue::from_str(&request_id.to_ascii_uppercase()) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    response
}

fn write(aliyun: &Aliyun, failure: &Failure, options: Option<&ReplyOptions>, request_id: &str) -> Response {
    let Failure { code, gate, detail, explain, .. } = failure;
    let localized_msg = if options.is_some_and(|options| options.chinese) { code.zh } else { code.en };
    let id = options.map_or(request_id, |options| options.id.as_str());
    let envelope = FailureEnvelope { code: code.number, message: code.en, localized_msg, id };
    let status = gate.map_or(StatusCode::OK, |(_, status)| status);
    let mut response =
        http::json(status, &envelope).unwrap_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    if let Some((text, _)) = gate
        && let Ok(value) = HeaderValue::from_str(&format!("{text}{detail}"))
    {
        response.headers_mut().insert(MESSAGE_HEADER, value);
    }
    if aliyun.explain {
        http::explain(&mut response, explain);
    }
    response
}

/// An id in the form of a UUID, unique for this server.
pub fn new_id() -> String {
    let (process, count) = http::request_number();
    let (a, b, c) = (process >> 32, process >> 16 & 0xffff, process & 0xfff);
    format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", 0x8000 | count >> 48 & 0x3fff, count & 0xffff_ffff_ffff)
}
