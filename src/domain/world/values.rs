//! The specification of a function's values: read as an object or as its JSON text, which the vendor's API prints, and
//! checked, so that no limit is silently ignored.

use serde_json::{Map, Value, json};

use crate::domain::FunctionType;

/// Members that must be numbers if they are present, for every type.
const NUMBERS: [&str; 5] = ["min", "max", "step", "scale", "maxlen"];
/// Members that must be lists of texts if they are present.
const LISTS: [&str; 2] = ["range", "label"];
/// The maximal number of decimal places of a 64-bit number.
const SCALE_MAX: f64 = 18.0;

/// The specification of a function. If a colour has no limits, it gets the vendor's.
///
/// # Errors
/// A description of the problem, without its path.
pub fn checked(code: &str, kind: FunctionType, values: Value) -> Result<Map<String, Value>, String> {
    let mut values = object(values)?;
    if values.is_empty() && kind == FunctionType::Json {
        match code {
            "colour_data" => values = colour(255),
            "colour_data_v2" => values = colour(1000),
            _ => {}
        }
    }
    check(!matches!(kind, FunctionType::Float | FunctionType::Double), &values)?;
    if kind == FunctionType::Json {
        // The limits of the parts of a document, such as a colour.
        for (part, bounds) in values.iter().filter_map(|(part, bounds)| Some((part, bounds.as_object()?))) {
            check(false, bounds).map_err(|text| format!("{part}: {text}"))?;
        }
    }
    Ok(values)
}

pub(super) fn object(values: Value) -> Result<Map<String, Value>, String> {
    match values {
        Value::Object(members) => Ok(members),
        Value::Null => Ok(Map::new()),
        Value::String(text) if text.trim().is_empty() => Ok(Map::new()),
        Value::String(text) => {
            serde_json::from_str(&text).map_err(|error| format!("values: the text is not a JSON object: {error}"))
        }
        _ => Err("values must be an object, or one as JSON text".to_owned()),
    }
}

/// Hue in degrees; saturation and value up to `most`.
fn colour(most: i64) -> Map<String, Value> {
    let part = |max: i64| json!({"min": 0, "max": max, "scale": 0, "step": 1, "unit": ""});
    [("h", part(360)), ("s", part(most)), ("v", part(most))]
        .map(|(name, part)| (name.to_owned(), part))
        .into_iter()
        .collect()
}

/// Checks that the limits are consistent and, with `whole`, whole numbers.
fn check(whole: bool, values: &Map<String, Value>) -> Result<(), String> {
    let number = |name: &str| match values.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) if whole && value.as_i64().is_none() => Err(format!("{name} must be a whole number")),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| format!("{name} must be a number")),
    };
    let [min, max, step, scale, maxlen] = NUMBERS.map(number);
    let (min, max, step, scale, maxlen) = (min?, max?, step?, scale?, maxlen?);
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return Err(format!("min {min} is greater than max {max}"));
    }
    if step.is_some_and(|step| step <= 0.0) {
        return Err("step must be greater than 0".to_owned());
    }
    if scale.is_some_and(|scale| !(0.0..=SCALE_MAX).contains(&scale)) {
        return Err(format!("scale must be 0 to {SCALE_MAX}"));
    }
    if maxlen.is_some_and(|maxlen| maxlen < 0.0) {
        return Err("maxlen must not be negative".to_owned());
    }
    for name in LISTS {
        let is_list = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
        if values.get(name).is_some_and(|value| !value.is_null() && !is_list(value)) {
            return Err(format!("{name} must be a list of texts"));
        }
    }
    Ok(())
}
