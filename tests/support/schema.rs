//! Compares answers with the OpenAPI documents. [`super::http::send`] checks every answer, so a test fails if an answer has a
//! member that the document does not have, or lacks one that the document requires.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::http::{Answer, Request};

/// The documents, by dialect.
static DOCUMENTS: LazyLock<Vec<(&'static str, Value)>> = LazyLock::new(|| {
    let documents = ingle::app::openapi().into_iter();
    documents.map(|(name, document)| (name, serde_json::to_value(document).unwrap())).collect()
});

/// The shared schemas of a document.
const KEYWORDS: [&str; 12] = [
    "additionalProperties",
    "allOf",
    "default",
    "description",
    "format",
    "items",
    "minimum",
    "oneOf",
    "properties",
    "propertyNames",
    "required",
    "type",
];

thread_local! {
    static SEEN: RefCell<BTreeSet<Seen>> = const { RefCell::new(BTreeSet::new()) };
}

/// A record of an answer in this thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub dialect: &'static str,
    /// The name of its handler.
    pub operation: String,
    /// True if the request succeeded.
    pub is_success: bool,
    pub status: u16,
}

/// The answers to the requests of this thread.
pub fn seen() -> BTreeSet<Seen> {
    SEEN.with_borrow(Clone::clone)
}

/// Checks an answer against the document of its operation. If a request belongs to no operation, any answer is valid.
pub fn check(request: &Request, answer: &Answer) {
    let Some((dialect, document, operation)) = operation(request) else { return };
    let name = operation["operationId"].as_str().unwrap();
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{name} answers {}, which its document does not have", answer.status);
    let schema = &response["content"]["application/json"]["schema"];
    if let Err(error) = fits(document, schema, &answer.body, "") {
        panic!("{} {} ({name}) breaks its schema: {error}", request.method, request.target);
    }
    let is_success = match dialect {
        "aliyun" => answer.body["code"] == 200,
        "visual" if name == "jwks" => answer.status == 200,
        _ => answer.body["success"] == true,
    };
    let operation = name.to_owned();
    SEEN.with_borrow_mut(|seen| seen.insert(Seen { dialect, operation, is_success, status: answer.status }));
}

/// The operation of a request. If several match, the one with the fewest path parameters.
fn operation(request: &Request) -> Option<(&'static str, &'static Value, &'static Value)> {
    let path = request.target.split('?').next()?.trim_end_matches('/');
    let asked: Vec<&str> = path.split('/').collect();
    let mut found = Vec::new();
    for (dialect, document) in DOCUMENTS.iter() {
        for (path, methods) in document["paths"].as_object()? {
            let parts: Vec<&str> = path.split('/').collect();
            let fits = |(part, asked): (&&str, &&str)| part == asked || (part.starts_with('{') && !asked.is_empty());
            if parts.len() == asked.len() && parts.iter().zip(&asked).all(fits) {
                found.push((path.matches('{').count(), *dialect, document, methods));
            }
        }
    }
    let (_, dialect, document, methods) = found.into_iter().min_by_key(|(parameters, ..)| *parameters)?;
    let operation = methods.get(request.method.to_lowercase())?;
    Some((dialect, document, operation))
}

/// Checks a value against a schema. It is stricter than the standard: a member that the schema does not name is an error. It
/// supports the keywords that the documents use and panics at any other.
pub fn fits(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    Check { document, is_strict: true }.fits(schema, value, place)
}

#[derive(Clone, Copy)]
struct Check<'a> {
    document: &'a Value,
    /// True if a member that a schema does not name is an error. By the standard it is not.
    is_strict: bool,
}

impl Check<'_> {
    fn fits(self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{place:?} {what}: {value:.300}"));
        let schema = resolved(self.document, schema);
        let keywords = schema.as_object().unwrap_or_else(|| panic!("no schema: {schema}"));
        let unknown = keywords.keys().find(|keyword| !KEYWORDS.contains(&keyword.as_str()));
        assert!(unknown.is_none(), "the test does not know {unknown:?} of {schema}");
        if let Some(kinds) = keywords.get("type") {
            let is = |kind: &Value| is_of(kind.as_str().unwrap_or_default(), value);
            if !kinds.as_array().map_or_else(|| is(kinds), |kinds| kinds.iter().any(is)) {
                return wrong(&format!("is no {kinds}"));
            }
        }
        if let (Some(least), Some(number)) = (keywords.get("minimum").and_then(Value::as_f64), value.as_f64())
            && number < least
        {
            return wrong("is too small");
        }
        if let Some(choices) = keywords.get("oneOf") {
            return self.fits_one(choices.as_array().unwrap(), value, place);
        }
        match value {
            Value::Array(items) => {
                let Some(item) = keywords.get("items") else { return Ok(()) };
                let mut items = items.iter().enumerate();
                items.try_for_each(|(n, value)| self.fits(item, value, &format!("{place}/{n}")))
            }
            Value::Object(members) => self.object_fits(schema, members, place),
            _ => Ok(()),
        }
    }

    /// By the standard exactly one of the choices must match. It must also match strictly.
    fn fits_one(self, choices: &[Value], value: &Value, place: &str) -> Result<(), String> {
        let standard = Check { is_strict: false, ..self };
        let fitting: Vec<&Value> = choices.iter().filter(|one| standard.fits(one, value, place).is_ok()).collect();
        match fitting[..] {
            [one] => self.fits(one, value, place),
            [] => {
                let errors = choices.iter().filter_map(|one| standard.fits(one, value, place).err());
                Err(format!("none of the choices fits:\n  {}", errors.collect::<Vec<_>>().join("\n  ")))
            }
            _ => Err(format!("{place:?} fits {} of the choices, which cannot be distinguished", fitting.len())),
        }
    }

    fn object_fits(self, schema: &Value, members: &Map<String, Value>, place: &str) -> Result<(), String> {
        let (mut properties, mut required) = (BTreeMap::new(), Vec::new());
        collect(self.document, schema, &mut properties, &mut required);
        if let Some(missing) = required.iter().find(|name| !members.contains_key(**name)) {
            return Err(format!("{place:?} has no {missing:?}, which its schema requires"));
        }
        let others = &schema["additionalProperties"];
        for (name, value) in members {
            let place = format!("{place}/{name}");
            match properties.get(name.as_str()) {
                Some(schema) => self.fits(schema, value, &place)?,
                None if others.is_object() => self.fits(others, value, &place)?,
                // An object without described members may have any.
                None if !self.is_strict || properties.is_empty() => {}
                None => return Err(format!("{place:?} is no member that the schema has")),
            }
        }
        Ok(())
    }
}

/// The members of an object's schema, including those of the schemas that it combines.
fn collect<'a>(
    document: &'a Value,
    schema: &'a Value,
    properties: &mut BTreeMap<&'a str, &'a Value>,
    required: &mut Vec<&'a str>,
) {
    let schema = resolved(document, schema);
    properties.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, one)| (name.as_str(), one)));
    required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect(document, part, properties, required);
    }
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref") {
        Some(Value::String(reference)) => {
            let found = document.pointer(reference.trim_start_matches('#'));
            resolved(document, found.unwrap_or_else(|| panic!("{reference} leads nowhere")))
        }
        _ => schema,
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("no type of JSON: {kind}"),
    }
}
