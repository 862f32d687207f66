//! Reading requests as leniently as the vendor's clients need (contract aliyun §2.1): ids and numbers as text or
//! number, an empty value like an absent one, unknown members ignored.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::reply::{Code, Failure, ReplyOptions, new_id};
use crate::http;

const TEXT_CHARS_MAX: usize = 256;
/// Maximum length of a request id.
const ID_CHARS_MAX: usize = 256;

/// A request's body. `params` are the endpoint's own.
#[derive(Deserialize, ToSchema)]
pub struct Body<P> {
    /// Any text or number; it comes back as text.
    #[serde(default)]
    #[schema(value_type = String)]
    pub id: Json,
    /// `1.0`.
    #[serde(default, rename = "version")]
    #[schema(rename = "version")]
    pub _version: Json,
    #[serde(default)]
    pub request: Option<Head>,
    pub params: Option<P>,
}

/// What a request says of itself.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The version of the endpoint, such as `1.0.0`; absent means the newest.
    #[serde(default, deserialize_with = "text")]
    pub api_ver: Option<String>,
    /// From `/cloud/token`.
    #[serde(default, deserialize_with = "text")]
    pub cloud_token: Option<String>,
    /// `zh-CN` for Chinese texts.
    #[serde(default, deserialize_with = "text")]
    pub language: Option<String>,
}

/// A parsed body whose parameters are not parsed yet.
pub struct Envelope {
    /// Values of the request that the answer depends on.
    pub reply_options: ReplyOptions,
    /// The cloudToken, if any.
    pub cloud_token: Option<String>,
    /// The version; the newest one if it is absent or invalid.
    pub version: Version,
    params: Option<Box<RawValue>>,
}

/// A version of an endpoint.
pub type Version = (u32, u32, u32);

const NEWEST: Version = (u32::MAX, 0, 0);

impl Envelope {
    /// Reads a body, whatever its content type.
    ///
    /// # Errors
    /// 400 for anything but a JSON object of the vendor's form.
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        let refuse = |text: &str| Failure::new(Code::REQUEST, format!("the body is not the vendor's envelope: {text}"));
        let body = http::without_mark(body);
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(refuse("an object is wanted"));
        }
        let body: Body<Box<RawValue>> =
            serde_json::from_slice(body).map_err(|error| refuse(&http::json_fault(&error)))?;
        let head = body.request.unwrap_or_default();
        let id = match body.id {
            Json::String(id) if !id.is_empty() && id.chars().count() <= ID_CHARS_MAX => id,
            Json::Number(id) => id.to_string(),
            _ => new_id(),
        };
        let chinese = head.language.as_deref().is_some_and(|language| language.starts_with("zh"));
        Ok(Self {
            reply_options: ReplyOptions { id, chinese },
            cloud_token: head.cloud_token,
            version: head.api_ver.as_deref().and_then(version).unwrap_or(NEWEST),
            params: body.params,
        })
    }

    /// The endpoint's parameters.
    ///
    /// # Errors
    /// Code 460.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P, Failure> {
        let text = self.params.as_ref().map_or("{}", |params| params.get());
        serde_json::from_str(text).map_err(|error| {
            let text = format!("params: {}", http::json_fault(&error));
            Failure::new(Code::PARAM, text)
        })
    }
}

fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// A text, `None` when it is absent, null or empty. A number counts as its digits.
///
/// # Errors
/// For any other type, for control characters, and for more than 256 characters.
pub fn text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let text = match Json::deserialize(input)? {
        Json::Null => return Ok(None),
        Json::String(text) => text,
        Json::Number(number) => number.to_string(),
        _ => return Err(D::Error::custom("a text is wanted")),
    };
    if text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(D::Error::custom(format!(
            "a text must be at most {TEXT_CHARS_MAX} characters, none a control character"
        )));
    }
    Ok((!text.trim().is_empty()).then_some(text))
}

/// An integer, also as text; `None` when it is absent, null or empty.
///
/// # Errors
/// For anything else.
pub fn whole<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    let number = match Json::deserialize(input)? {
        Json::Null => return Ok(None),
        Json::String(text) if text.trim().is_empty() => return Ok(None),
        Json::String(text) => text.trim().parse().ok(),
        Json::Number(number) => number.as_i64(),
        _ => None,
    };
    number.map(Some).ok_or_else(|| D::Error::custom("a whole number is wanted"))
}

/// True or false, also as text or 1 and 0; `None` when it is absent, null or empty.
///
/// # Errors
/// For anything else.
pub fn flag<'de, D: Deserializer<'de>>(input: D) -> Result<Option<bool>, D::Error> {
    match Json::deserialize(input)? {
        Json::Null => Ok(None),
        Json::Bool(flag) => Ok(Some(flag)),
        Json::String(text) if text.trim().is_empty() => Ok(None),
        Json::String(text) if text.eq_ignore_ascii_case("true") || text == "1" => Ok(Some(true)),
        Json::String(text) if text.eq_ignore_ascii_case("false") || text == "0" => Ok(Some(false)),
        Json::Number(number) if number.as_i64() == Some(1) => Ok(Some(true)),
        Json::Number(number) if number.as_i64() == Some(0) => Ok(Some(false)),
        _ => Err(D::Error::custom("true or false is wanted")),
    }
}

/// A required parameter.
///
/// # Errors
/// Code 460.
pub fn required<T>(value: Option<T>, name: &'static str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::new(Code::PARAM, format!("{name} is missing or empty")))
}

/// Converts page number and page size to offset and limit.
///
/// # Errors
/// 460 for a number below 1 or a size outside 1 to `size_max`.
pub fn page(number: Option<i64>, size: Option<i64>, size_max: usize) -> Result<(usize, usize), Failure> {
    let wrong = || Failure::new(Code::PARAM, format!("the page must be 1 or more, its size 1 to {size_max}"));
    let number = usize::try_from(number.unwrap_or(1)).ok().filter(|number| *number >= 1).ok_or_else(wrong)?;
    let size = usize::try_from(size.unwrap_or(20)).ok().filter(|size| (1..=size_max).contains(size));
    let size = size.ok_or_else(wrong)?;
    Ok(((number - 1).saturating_mul(size), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_heads_in_every_form() {
        let id = |body: &str| Envelope::parse(body.as_bytes()).unwrap().reply_options.id;
        assert_eq!(id(r#"{"id":1538185690705015}"#), "1538185690705015");
        assert_eq!(id(r#"{"id":"x","version":1.0,"other":[]}"#), "x");
        for none in ["{}", r#"{"id":null}"#, r#"{"id":""}"#, r#"{"id":[]}"#] {
            assert_eq!(id(none).len(), 36, "{none}");
        }
        assert_eq!(id("\u{feff}{\"id\":\"x\"}"), "x", "after a byte order mark");
        assert_ne!(id("{}"), id("{}"));
        let head = |body: &str| Envelope::parse(body.as_bytes()).unwrap();
        assert_eq!(head(r#"{"request":{"apiVer":"1.0.5","cloudToken":null}}"#).version, (1, 0, 5));
        assert_eq!(head(r#"{"request":null,"params":null}"#).version, NEWEST);
        assert_eq!(head(r#"{"request":{"apiVer":"latest"}}"#).version, NEWEST);
        assert_eq!(head(r#"{"request":{"cloudToken":""}}"#).cloud_token, None);
        for wrong in ["", "x", "[]", r#"["id","1.0",{},{}]"#, r#"{"request":1}"#, &"[".repeat(100_000)] {
            assert!(Envelope::parse(wrong.as_bytes()).is_err(), "{wrong:.20}");
        }
    }
}
