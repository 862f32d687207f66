//! Answers of this dialect: the envelope and the table of codes (contract tuya §2). The HTTP status is always 200.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Tuya;
use crate::domain::Error;
use crate::http;

/// The result of a handler.
pub type Reply = Result<Response, Failure>;

/// The envelope of a success.
#[derive(Serialize, ToSchema)]
pub struct Envelope<T> {
    /// What was asked for.
    pub result: T,
    /// Always `true` here.
    pub success: bool,
    /// The server's time, milliseconds since 1970.
    pub t: i64,
    /// The request's own id, 32 hex digits.
    pub tid: String,
}

/// The envelope of a failure. It has no `result`.
#[derive(Serialize, ToSchema)]
pub struct FailureEnvelope<'a> {
    /// The vendor's code.
    code: u32,
    /// What it means, in English, or in Chinese with `lang: zh`.
    msg: &'a str,
    /// Always `false` here.
    success: bool,
    /// The server's time, milliseconds since 1970.
    t: i64,
    /// The request's own id, 32 hex digits.
    tid: String,
}

/// A success.
pub fn success<T: Serialize>(result: T, now_ms: i64) -> Reply {
    let envelope = Envelope { result, success: true, t: now_ms, tid: tid() };
    http::json(StatusCode::OK, &envelope).ok_or_else(|| Failure::new(Code::SYSTEM, "the answer could not be written"))
}

/// A success whose result `write` appends as JSON, with the members of [`Envelope`].
pub fn success_written(write: impl FnOnce(&mut Vec<u8>), now_ms: i64) -> Response {
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(b"{\"result\":");
    write(&mut bytes);
    bytes.extend_from_slice(format!(r#","success":true,"t":{now_ms},"tid":"{}"}}"#, tid()).as_bytes());
    http::json_response(StatusCode::OK, bytes)
}

/// A request id. The first half is random for each process; the second half is a counter.
fn tid() -> String {
    let (process, count) = http::request_number();
    format!("{process:016x}{count:016x}")
}

/// One row of the vendor's code table.
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
    SYSTEM = 500, "system error,please contact the admin", "系统错误，请联系管理员";
    TOKEN_NULL = 1002, "access_token is null", "access_token 为空";
    GRANT_TYPE = 1003, "grant type invalid", "授权类型无效";
    SIGN = 1004, "sign invalid", "签名无效";
    CLIENT_ID = 1005, "clientId invalid", "clientId 无效";
    TOKEN = 1010, "token invalid", "token 无效";
    TIME = 1013, "request time is invalid", "请求时间无效";
    EMPTY = 1100, "param is empty", "参数为空";
    RANGE = 1101, "params range invalid", "参数范围无效";
    HEADER = 1105, "missing the header", "缺少请求头";
    PERMISSION = 1106, "permission deny", "权限非法";
    PATH = 1108, "uri path invalid", "请求地址无效";
    ILLEGAL = 1109, "param is illegal, please check it", "请求参数非法，请检查";
    BUSY = 1111, "system is busy, please retry later", "系统繁忙，请稍后重试";
    FREQUENT = 1199, "your requests are too frequent", "请求过于频繁";
    OFFLINE = 2001, "device is offline", "设备离线";
    FUNCTION = 2003, "function not support", "不支持该功能点";
    USER = 2006, "user not exist", "用户不存在";
    COMMAND = 2008, "command or value not support", "指令或值不支持";
    DEVICE_SUPPORT = 2009, "not support this device", "不支持该设备";
    MOBILE = 2021, "Illegal phone", "手机号不合法";
    EMAIL = 2022, "Illegal email", "邮箱不合法";
    PASSWORD = 2401, "username or password wrong", "用户名或密码错误";
    NO_COUNTRY = 2402, "country code invalid", "国家码无效";
    COUNTRY = 2403, "country code not support this area", "该区域不支持此国家码";
    REGION = 2406, "skill id invalid", "技能 ID 无效";
    SCENE = 2503, "scene not exist", "场景不存在";
}

/// A refused request: the vendor's code for the caller, and an explanation for clients that may see it.
#[derive(Clone, Debug)]
pub struct Failure {
    code: Code,
    /// Logged instead of the explanation.
    reason: Option<&'static str>,
    explain: String,
}

impl Failure {
    /// A failure of this dialect. The explanation must not contain secrets.
    pub fn new(code: Code, explain: impl Into<String>) -> Self {
        Self { code, reason: None, explain: explain.into() }
    }

    /// A failure whose explanation quotes the request. The quotation must not be logged, so the reason is logged
    /// instead.
    pub fn quoting(code: Code, reason: &'static str, explain: impl Into<String>) -> Self {
        Self { reason: Some(reason), ..Self::new(code, explain) }
    }

    /// The vendor's number and English text, and the explanation.
    pub fn parts(&self) -> (u32, &'static str, &str) {
        (self.code.number, self.code.en, &self.explain)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Missing(_) => Code::EMPTY,
            Error::WrongType { .. } | Error::DamagedCursor(_) | Error::Refused(_) => Code::ILLEGAL,
            Error::OutOfRange { .. } => Code::RANGE,
            Error::NotVisible(_) | Error::NotAllowed(_) | Error::OtherCountry => Code::PERMISSION,
            Error::WrongPassword => Code::PASSWORD,
            Error::TooManyFailures => Code::FREQUENT,
            Error::OtherRegion(_) => Code::REGION,
            Error::InvalidCountry => Code::NO_COUNTRY,
            Error::CountryNotServed(_) => Code::COUNTRY,
            Error::InvalidMobile => Code::MOBILE,
            Error::InvalidEmail => Code::EMAIL,
            Error::NoSuchDeviceUser => Code::USER,
            Error::LogsNotSupported => Code::DEVICE_SUPPORT,
            Error::FunctionNotSupported(_) => Code::FUNCTION,
            Error::CommandNotSupported(_) | Error::Unfit(_) => Code::COMMAND,
            Error::Offline | Error::NoAnswer => Code::OFFLINE,
            Error::TokenInvalid => Code::TOKEN,
            Error::Busy(_) => Code::BUSY,
            Error::Store(cause) => {
                tracing::error!(error.cause = %cause, "the store failed");
                Code::SYSTEM
            }
        };
        Self::new(code, error.to_string())
    }
}

impl IntoResponse for Failure {
    /// An empty response that carries the failure to [`finish`], which adds the time and the language.
    fn into_response(self) -> Response {
        http::carrying(self)
    }
}

/// Writes the failures of all routes, in the caller's language, with the explanation if that is enabled.
pub async fn finish(State(tuya): State<std::sync::Arc<Tuya>>, mut request: Request, next: Next) -> Response {
    let chinese = wants_chinese(request.headers());
    let request_log = http::RequestLog::of(&mut request);
    let mut response = next.run(request).await;
    let Some(failure) = response.extensions_mut().remove::<Failure>() else {
        tuya.requests.answered("tuya", &request_log);
        return response;
    };
    let Failure { code, reason, explain } = failure;
    let now_ms = tuya.cloud.now_ms();
    tuya.requests.refused("tuya", code.number, &request_log, reason.unwrap_or(&explain), now_ms);
    let msg = if chinese { code.zh } else { code.en };
    let envelope = FailureEnvelope { code: code.number, msg, success: false, t: now_ms, tid: tid() };
    let mut response =
        http::json(StatusCode::OK, &envelope).unwrap_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    if tuya.explain {
        http::explain(&mut response, &explain);
    }
    response
}

fn wants_chinese(headers: &HeaderMap) -> bool {
    headers.get("lang").is_some_and(|lang| lang.as_bytes().starts_with(b"zh"))
}
