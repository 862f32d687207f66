//! Answers of the visual login: `success`, `msg`, `t`, `data` (seed 001; contract aliyun §7.2).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use super::Visual;
use crate::domain::Error;
use crate::http;

/// The result of a handler.
pub type Reply = Result<Response, Failure>;

/// The envelope of a success.
#[derive(Serialize, ToSchema)]
pub struct Envelope<T> {
    /// Always `true` here.
    success: bool,
    /// Always `null` here.
    #[schema(schema_with = null)]
    msg: (),
    /// The server's time, milliseconds since 1970.
    t: i64,
    /// What was asked for.
    data: T,
}

/// The envelope of a failure.
#[derive(Serialize, ToSchema)]
pub struct FailureEnvelope {
    /// Always `false` here.
    success: bool,
    /// Why.
    msg: &'static str,
    /// The server's time, milliseconds since 1970.
    t: i64,
    /// Always `null` here.
    #[schema(schema_with = null)]
    data: (),
}

fn null() -> Object {
    ObjectBuilder::new().schema_type(Type::Null).build()
}

/// A success.
pub fn success<T: Serialize>(data: T, now_ms: i64) -> Reply {
    Ok(write(StatusCode::OK, &Envelope { success: true, msg: (), t: now_ms, data }))
}

fn write(status: StatusCode, envelope: &impl Serialize) -> Response {
    let Some(mut response) = http::json(status, envelope) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // The answer contains tokens.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A refusal.
#[derive(Clone, Debug)]
pub struct Failure {
    status: StatusCode,
    msg: &'static str,
    explain: String,
}

impl Failure {
    /// A refusal with an explanation for clients. Neither text may contain secrets.
    pub fn new(status: StatusCode, msg: &'static str, explain: impl Into<String>) -> Self {
        Self { status, msg, explain: explain.into() }
    }

    /// An invalid parameter: `success` is false and the HTTP status is 200.
    pub fn param(explain: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, "a parameter is missing or wrong", explain)
    }

    /// An invalid token.
    pub fn token(explain: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "the token does not open this device", explain)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::TokenInvalid => Self::token("its access was ended: unbound, disabled, or another password"),
            Error::Busy(_) => Self::new(StatusCode::TOO_MANY_REQUESTS, "busy, try again later", error.to_string()),
            Error::Store(cause) => {
                tracing::error!(error.cause = %cause, "the store failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed", "the store failed")
            }
            Error::Missing(_)
            | Error::WrongType { .. }
            | Error::OutOfRange { .. }
            | Error::NotVisible(_)
            | Error::InvalidCountry
            | Error::CountryNotServed(_)
            | Error::OtherCountry
            | Error::InvalidMobile
            | Error::InvalidEmail
            | Error::NoSuchDeviceUser
            | Error::LogsNotSupported
            | Error::CommandNotSupported(_)
            | Error::Unfit(_)
            | Error::Offline
            | Error::NoAnswer
            | Error::FunctionNotSupported(_)
            | Error::NotAllowed(_)
            | Error::WrongPassword
            | Error::TooManyFailures
            | Error::OtherRegion(_)
            | Error::DamagedCursor(_)
            | Error::Refused(_) => Self::param(error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    /// An empty response that carries the failure to [`finish`], which adds the time.
    fn into_response(self) -> Response {
        http::carrying(self)
    }
}

/// Writes the failures of every route.
pub async fn finish(State(visual): State<Arc<Visual>>, mut request: Request, next: Next) -> Response {
    let request_log = http::RequestLog::of(&mut request);
    let mut response = next.run(request).await;
    let Some(Failure { status, msg, explain }) = response.extensions_mut().remove() else {
        visual.requests.answered("visual", &request_log);
        return response;
    };
    let now_ms = visual.cloud.now_ms();
    visual.requests.refused("visual", u32::from(status.as_u16()), &request_log, &explain, now_ms);
    let envelope = FailureEnvelope { success: false, msg, t: now_ms, data: () };
    let mut response = write(status, &envelope);
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if visual.explain {
        http::explain(&mut response, &explain);
    }
    response
}
