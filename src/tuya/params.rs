//! Reading parameters as leniently as the vendor's clients need (contract tuya §3, §1.8): integers as text or number,
//! names in snake_case or camelCase, lists with commas or as `name[0]=`.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json};

use super::reply::{Code, Failure};
use crate::domain::{Error, Result};
use crate::http::without_mark;

/// Maximum number of query parameters.
pub const QUERY_PAIRS_MAX: usize = 100;
/// Maximum length of a country's calling code.
pub const COUNTRY_CHARS_MAX: usize = 16;
/// Maximum number of items in a comma-separated list.
pub const LIST_ITEMS_MAX: usize = 200;

/// The decoded pairs of a query, in the order in which they were sent.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a query.
    ///
    /// # Errors
    /// 1101 for more than [`QUERY_PAIRS_MAX`] parameters, 1109 for text that is not UTF-8.
    pub fn parse(raw: &str) -> std::result::Result<Self, Failure> {
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == QUERY_PAIRS_MAX {
                let text = format!("more than {QUERY_PAIRS_MAX} query parameters");
                return Err(Failure::new(Code::RANGE, text));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                let text = text.replace('+', " ");
                let text = percent_decode_str(&text).decode_utf8().map(|text| text.into_owned());
                text.map_err(|_| Failure::new(Code::ILLEGAL, "the query is not UTF-8"))
            };
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// The text of a parameter, `None` when it is absent or empty.
    pub fn text(&self, name: &'static str) -> Option<&str> {
        let text = self.0.iter().find(|(key, _)| is_name(key, name)).map(|(_, value)| value.as_str());
        text.filter(|text| !text.is_empty())
    }

    /// An integer, `None` when it is absent or empty.
    ///
    /// # Errors
    /// [`Error::WrongType`] for anything else.
    pub fn integer(&self, name: &'static str) -> Result<Option<i64>> {
        let parse = |text: &str| text.trim().parse().map_err(|_| whole_number(name));
        self.text(name).map(parse).transpose()
    }

    /// A required integer.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::WrongType`].
    pub fn required_integer(&self, name: &'static str) -> Result<i64> {
        self.integer(name)?.ok_or(Error::Missing(name))
    }

    /// A time in seconds as milliseconds.
    ///
    /// # Errors
    /// [`Error::WrongType`], or [`Error::OutOfRange`] for a time that does not have 10 digits.
    pub fn seconds(&self, name: &'static str) -> Result<Option<i64>> {
        let Some(seconds) = self.integer(name)? else { return Ok(None) };
        if !(0..=9_999_999_999).contains(&seconds) {
            return Err(Error::OutOfRange { param: name, allowed: "a time in seconds, at most 10 digits".to_owned() });
        }
        Ok(Some(seconds * 1000))
    }

    /// The items of a list, `None` when it is absent or empty.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for more than [`LIST_ITEMS_MAX`].
    pub fn list(&self, name: &'static str) -> Result<Option<Vec<&str>>> {
        let is_item =
            |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('[') && rest.ends_with(']'));
        let texts = self.0.iter().filter(|(key, _)| is_name(key, name) || is_item(key)).map(|(_, value)| value);
        let items = texts.flat_map(|text| text.split(',')).map(str::trim).filter(|item| !item.is_empty());
        let items: Vec<&str> = items.take(LIST_ITEMS_MAX + 1).collect();
        if items.len() > LIST_ITEMS_MAX {
            return Err(Error::OutOfRange { param: name, allowed: format!("at most {LIST_ITEMS_MAX} items") });
        }
        Ok((!items.is_empty()).then_some(items))
    }
}

/// The members of a JSON body.
#[derive(Debug)]
pub struct Body(Json);

impl Body {
    /// Parses a body. An empty one, and `null`, has no members.
    ///
    /// # Errors
    /// 1109 for anything that is not a JSON object, or nested too deep.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, Failure> {
        match parse(bytes)? {
            json @ (Json::Null | Json::Object(_)) => Ok(Self(json)),
            _ => Err(Failure::new(Code::ILLEGAL, "the body must be a JSON object")),
        }
    }

    /// Parses a body whose only member is `name`. One old client sends the bare text instead of the object.
    ///
    /// # Errors
    /// 1109 as [`Body::parse`], and if the bare text is itself JSON text, because that body was encoded twice.
    pub fn parse_sole(name: &str, bytes: &[u8]) -> std::result::Result<Self, Failure> {
        let Ok(Json::String(text)) = parse(bytes) else { return Self::parse(bytes) };
        match serde_json::from_str(&text) {
            Ok(Json::Object(_) | Json::Array(_) | Json::String(_)) => {
                Err(Failure::new(Code::ILLEGAL, "the body is JSON text within a JSON string: send the object itself"))
            }
            _ => Ok(Self(Json::Object(Map::from_iter([(name.to_owned(), Json::String(text))])))),
        }
    }

    fn member(&self, name: &str) -> Option<&Json> {
        let members = self.0.as_object()?;
        let found = members.get(name).or_else(|| members.iter().find(|(key, _)| is_name(key, name)).map(|(_, v)| v));
        found.filter(|value| !value.is_null())
    }

    /// A text of at most `chars_max` characters, `None` when it is absent or empty. A number counts as its digits.
    ///
    /// # Errors
    /// [`Error::WrongType`] for anything else or with control characters, [`Error::OutOfRange`] when it is too long.
    pub fn text(&self, name: &'static str, chars_max: usize) -> Result<Option<String>> {
        let text = match self.member(name) {
            None => return Ok(None),
            Some(Json::String(text)) => text.clone(),
            Some(Json::Number(number)) => number.to_string(),
            Some(_) => return Err(Error::WrongType { param: name, expected: "a string" }),
        };
        check_text(name, text, chars_max)
    }

    /// An object, bare or as JSON in a string, as some clients send it; `None` when it is absent.
    ///
    /// # Errors
    /// [`Error::WrongType`] for anything else.
    pub fn object(&self, name: &'static str) -> Result<Option<Map<String, Json>>> {
        let wrong = Error::WrongType { param: name, expected: "an object, or one as JSON in a string" };
        match self.member(name) {
            None => Ok(None),
            Some(Json::Object(members)) => Ok(Some(members.clone())),
            Some(Json::String(text)) => serde_json::from_str(text).map(Some).map_err(|_| wrong),
            Some(_) => Err(wrong),
        }
    }

    /// A list; `None` when it is absent.
    ///
    /// # Errors
    /// [`Error::WrongType`] for anything else.
    pub fn items(&self, name: &'static str) -> Result<Option<&[Json]>> {
        let wrong = Error::WrongType { param: name, expected: "a list" };
        self.member(name).map(|value| value.as_array().map(Vec::as_slice).ok_or(wrong)).transpose()
    }

    /// The members of an object; none when it is absent.
    ///
    /// # Errors
    /// [`Error::WrongType`] for anything else.
    pub fn inner(&self, name: &'static str) -> Result<Self> {
        match self.member(name) {
            None => Ok(Self(Json::Null)),
            Some(object @ Json::Object(_)) => Ok(Self(object.clone())),
            Some(_) => Err(Error::WrongType { param: name, expected: "an object" }),
        }
    }

    /// A boolean, `None` when it is absent.
    ///
    /// # Errors
    /// [`Error::WrongType`] for anything but a boolean, bare or as text.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>> {
        match self.member(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(Json::String(text)) if text == "true" || text == "false" => Ok(Some(text == "true")),
            Some(_) => Err(Error::WrongType { param: name, expected: "true or false" }),
        }
    }

    /// A number of degrees within a range, `None` when it is absent or empty.
    ///
    /// # Errors
    /// [`Error::WrongType`], [`Error::OutOfRange`].
    pub fn degrees(&self, name: &'static str, most: f64) -> Result<Option<f64>> {
        let wrong = Error::WrongType { param: name, expected: "a number" };
        let number = match self.member(name) {
            None => return Ok(None),
            Some(Json::String(text)) if text.is_empty() => return Ok(None),
            Some(Json::String(text)) => text.trim().parse::<f64>().map_err(|_| wrong)?,
            Some(value) => value.as_f64().ok_or(wrong)?,
        };
        if !(-most..=most).contains(&number) {
            return Err(Error::OutOfRange { param: name, allowed: format!("-{most} to {most}") });
        }
        Ok(Some(number))
    }

    /// A required text.
    ///
    /// # Errors
    /// [`Error::Missing`], and as [`Body::text`].
    pub fn required_text(&self, name: &'static str, chars_max: usize) -> Result<String> {
        self.text(name, chars_max)?.ok_or(Error::Missing(name))
    }

    /// An integer within a range, `None` when it is absent.
    ///
    /// # Errors
    /// [`Error::WrongType`], [`Error::OutOfRange`].
    pub fn integer(&self, name: &'static str, range: std::ops::RangeInclusive<i64>) -> Result<Option<i64>> {
        let number = match self.member(name) {
            None => return Ok(None),
            Some(Json::String(text)) if text.is_empty() => return Ok(None),
            Some(Json::String(text)) => text.trim().parse().map_err(|_| whole_number(name))?,
            Some(value) => value.as_i64().ok_or(whole_number(name))?,
        };
        if !range.contains(&number) {
            return Err(Error::OutOfRange { param: name, allowed: format!("{} to {}", range.start(), range.end()) });
        }
        Ok(Some(number))
    }

    /// A required integer.
    ///
    /// # Errors
    /// [`Error::Missing`], and as [`Body::integer`].
    pub fn required_integer(&self, name: &'static str, range: std::ops::RangeInclusive<i64>) -> Result<i64> {
        self.integer(name, range)?.ok_or(Error::Missing(name))
    }
}

fn parse(bytes: &[u8]) -> std::result::Result<Json, Failure> {
    let bytes = without_mark(bytes);
    if bytes.trim_ascii().is_empty() {
        return Ok(Json::Null);
    }
    let refuse = |error| Failure::new(Code::ILLEGAL, format!("the body is not JSON: {error}"));
    serde_json::from_slice(bytes).map_err(refuse)
}

/// Checks a text; `None` when it is empty.
///
/// # Errors
/// As [`Body::text`].
fn check_text(name: &'static str, text: String, chars_max: usize) -> Result<Option<String>> {
    if text.chars().any(char::is_control) {
        return Err(Error::WrongType { param: name, expected: "text without control characters" });
    }
    if text.chars().count() > chars_max {
        return Err(Error::OutOfRange { param: name, allowed: format!("at most {chars_max} characters") });
    }
    Ok((!text.trim().is_empty()).then_some(text))
}

fn whole_number(param: &'static str) -> Error {
    Error::WrongType { param, expected: "a whole number" }
}

/// Whether `key` is `name` in snake_case or camelCase. The case of the first letter does not matter, because the seed
/// prints `Password` for a member that every client sends as `password`.
fn is_name(key: &str, name: &str) -> bool {
    let plain = |text: &str| text.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase()).collect();
    key == name
        || (key.len().abs_diff(name.len()) <= 4 && {
            let (key, name): (Vec<u8>, Vec<u8>) = (plain(key), plain(name));
            key == name
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(raw: &str) -> Query {
        Query::parse(raw).unwrap()
    }

    #[test]
    fn names_in_either_case_and_lists_in_either_form() {
        let query = query("startRowKey=a%2Bb&device_ids[0]=x&device_ids[1]=y&size=&page_no=+7");
        assert_eq!(query.text("start_row_key"), Some("a+b"));
        assert_eq!(query.list("device_ids").unwrap(), Some(vec!["x", "y"]));
        assert_eq!(query.integer("size").unwrap(), None);
        assert_eq!(query.integer("page_no").unwrap(), Some(7));
        assert!(query.integer("start_row_key").is_err());
    }

    #[test]
    fn bodies() {
        let body = Body::parse(br#"{"Password":"p","usernameType":"1","nick_name":null,"sex":2.5,"n":12}"#).unwrap();
        assert_eq!(body.text("password", 9).unwrap().as_deref(), Some("p"));
        assert_eq!(body.integer("username_type", 1..=3).unwrap(), Some(1));
        assert_eq!(body.text("nick_name", 9).unwrap(), None);
        assert!(matches!(body.integer("sex", 1..=2), Err(Error::WrongType { .. })));
        assert_eq!(body.text("n", 9).unwrap().as_deref(), Some("12"));
        for wrong in [&b"{"[..], b"\xff", b"[]", b"[{}]", b"7", b"true", b"\"text\"", br#""{\"name\":\"n\"}""#] {
            assert!(Body::parse(wrong).is_err(), "{wrong:?}");
        }
        for empty in [&b""[..], b" \n", b"null", b"{}", b"\xef\xbb\xbf", b"\xef\xbb\xbf{}"] {
            assert!(matches!(Body::parse(empty).unwrap().text("name", 9), Ok(None)), "{empty:?}");
        }
        let sole = |bytes: &[u8]| Body::parse_sole("name", bytes).map(|body| body.text("name", 20).unwrap());
        for (bytes, name) in [(&b"\"bare\""[..], "bare"), (b"\"7\"", "7"), (b"\"{x\"", "{x"), (br#"{"name":"n"}"#, "n")]
        {
            assert_eq!(sole(bytes).unwrap().as_deref(), Some(name));
        }
        for wrong in [&br#""{\"name\":\"n\"}""#[..], br#""[\"n\"]""#, br#""\"n\"""#, b"[]", b"7", b"false"] {
            assert!(sole(wrong).is_err(), "{wrong:?}");
        }
        assert!(Body::parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
