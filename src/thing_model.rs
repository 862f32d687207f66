//! The functions of a product as the thing models of both vendors, and the values of Alibaba's types: Tuya's `true` and
//! `"white"` are `1` and an index in Alibaba's model. The cloud dialects and the device gateway use this.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Map, Number, Value as Json, json};

use crate::domain::{Access, Function, FunctionType, Product};

const SCHEMA: &str = "https://iotx-tsl.oss-ap-southeast-1.aliyuncs.com/schema.json";

/// The thing model of a product, or of one of its devices.
pub fn tsl(product: &Product, device_name: Option<&str>) -> Json {
    let is = |wanted: fn(Access) -> bool| move |function: &&Function| wanted(function.access);
    let readable: Vec<&Function> = product.functions.iter().filter(is(|a| a != Access::WriteOnly)).collect();
    let writable: Vec<&Function> = product.functions.iter().filter(is(|a| a != Access::ReadOnly)).collect();
    let mut profile = json!({"productKey": product.key});
    if let Some(device_name) = device_name {
        profile["deviceName"] = json!(device_name);
    }
    let shapes = |functions: &[&Function]| functions.iter().map(|function| parameter(function)).collect::<Vec<_>>();
    json!({
        "schema": SCHEMA,
        "profile": profile,
        "link": format!("/sys/{}/{}/thing/", product.key, device_name.unwrap_or_default()),
        "services": [
            {"identifier": "set", "name": "set", "method": "thing.service.property.set", "callType": "async",
             "required": true, "inputData": shapes(&writable), "outputData": []},
            {"identifier": "get", "name": "get", "method": "thing.service.property.get", "callType": "async",
             "required": true, "outputData": shapes(&readable),
             "inputData": readable.iter().map(|function| function.code.as_str()).collect::<Vec<_>>()},
        ],
        "properties": product.functions.iter().map(property).collect::<Vec<_>>(),
        "events": [
            {"identifier": "post", "name": "post", "method": "thing.event.property.post", "type": "info",
             "required": true, "outputData": shapes(&readable)},
        ],
    })
}

fn parameter(function: &Function) -> Json {
    json!({"identifier": function.code, "name": function.name, "dataType": data_type(function)})
}

fn property(function: &Function) -> Json {
    let mut property = parameter(function);
    property["required"] = json!(false);
    property["accessMode"] = json!(match function.access {
        Access::ReadWrite => "rw",
        Access::ReadOnly => "r",
        Access::WriteOnly => "w",
    });
    property
}

/// Limits are texts in this model.
fn data_type(function: &Function) -> Json {
    let number = |name: &str| function.specification.get(name).and_then(Json::as_number).cloned();
    let list = |name: &str| function.specification.get(name).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let (min, max, step) = (number("min"), number("max"), number("step"));
    let unit = function.specification.get("unit").and_then(Json::as_str).unwrap_or_default();
    let maxlen = number("maxlen").and_then(|most| most.as_i64());
    let text = |length: i64| json!({"type": "text", "specs": {"length": length.to_string()}});
    let int = |min: Number, max: Number| {
        let step = step.clone().unwrap_or_else(|| 1.into());
        json!({"type": "int", "specs": {"min": min.to_string(), "max": max.to_string(), "step": step.to_string(),
            "unit": unit}})
    };
    let decimal = |name: &str| {
        let bounds = [("min", &min), ("max", &max), ("step", &step)].into_iter();
        let bounds = bounds.filter_map(|(name, bound)| Some((name.to_owned(), json!(bound.as_ref()?.to_string()))));
        let specs: Map<String, Json> = bounds.chain([("unit".to_owned(), json!(unit))]).collect();
        json!({"type": name, "specs": specs})
    };
    match function.kind {
        FunctionType::Boolean => json!({"type": "bool", "specs": {"0": "false", "1": "true"}}),
        FunctionType::Integer => {
            int(min.clone().unwrap_or_else(|| i32::MIN.into()), max.clone().unwrap_or_else(|| i32::MAX.into()))
        }
        FunctionType::Enum => {
            let choices = list("range").iter().enumerate();
            let specs: Map<String, Json> = choices.map(|(index, name)| (index.to_string(), name.clone())).collect();
            json!({"type": "enum", "specs": specs})
        }
        FunctionType::Bitmap => int(0.into(), ((1_i64 << list("label").len().clamp(1, 62)) - 1).into()),
        FunctionType::String => text(maxlen.unwrap_or(255)),
        FunctionType::Json | FunctionType::Raw => text(maxlen.unwrap_or(2048)),
        FunctionType::Float => decimal("float"),
        FunctionType::Double => decimal("double"),
        FunctionType::Date => json!({"type": "date", "specs": {}}),
        FunctionType::Struct => {
            let members: Vec<Json> = function.bounds.members.iter().map(parameter).collect();
            json!({"type": "struct", "specs": members})
        }
    }
}

/// The thing model of a product in Tuya's form (contract tuya §4.2).
pub fn tuya_model(product: &Product) -> Json {
    let property = |function: &Function| {
        json!({
            "abilityId": function.dp_id,
            "code": function.code,
            "name": function.name,
            "description": "",
            "accessMode": match function.access {
                Access::ReadWrite => "rw",
                Access::ReadOnly => "ro",
                Access::WriteOnly => "wr",
            },
            "typeSpec": type_spec(function),
        })
    };
    json!({
        "modelId": product.id.as_str(),
        "services": [{
            "code": "",
            "name": product.name,
            "description": "",
            "properties": product.functions.iter().map(property).collect::<Vec<_>>(),
            "actions": [],
            "events": [],
        }],
    })
}

/// The specification of a value: the name of its type, and the members that limit it.
fn type_spec(function: &Function) -> Json {
    let mut spec = tuya_specification(function).into_owned();
    spec.insert("type".to_owned(), json!(tuya_type(function)));
    spec.into()
}

/// The type of a function in Tuya's thing model.
pub fn tuya_type(function: &Function) -> &'static str {
    match function.kind {
        FunctionType::Boolean => "bool",
        FunctionType::Integer => "value",
        FunctionType::Float | FunctionType::Double if function.bounds.decimal.scale.is_some() => "value",
        FunctionType::Enum => "enum",
        FunctionType::String
        | FunctionType::Json
        | FunctionType::Float
        | FunctionType::Double
        | FunctionType::Date
        | FunctionType::Struct => "string",
        FunctionType::Raw => "raw",
        FunctionType::Bitmap => "bitmap",
    }
}

/// The specification of a function in Tuya's cloud: a JSON object as text.
pub fn tuya_values(function: &Function) -> Cow<'_, str> {
    match tuya_specification(function) {
        Cow::Borrowed(_) => function.values.as_str().into(),
        Cow::Owned(specification) => Json::from(specification).to_string().into(),
    }
}

/// The members of that object, borrowed from the function if possible. A decimal number is a scaled integer if its step
/// allows it, and a text otherwise; a struct contains the specification of each member.
fn tuya_specification(function: &Function) -> Cow<'_, Map<String, Json>> {
    let maxlen = |chars: usize| Map::from_iter([("maxlen".to_owned(), json!(chars))]);
    let decimal = function.bounds.decimal;
    let members = match (function.kind, decimal.scale) {
        (FunctionType::Float | FunctionType::Double, Some(scale)) => {
            let mut members = function.specification.clone();
            for name in ["min", "max", "step"] {
                if let Some(bound) = members.get(name).and_then(Json::as_f64) {
                    members.insert(name.to_owned(), json!(decimal.scaled(bound)));
                }
            }
            members.insert("scale".to_owned(), json!(scale));
            members
        }
        (FunctionType::Float | FunctionType::Double, None) => maxlen(DECIMAL_CHARS_MAX),
        (FunctionType::Date, _) => maxlen(DATE_CHARS_MAX),
        (FunctionType::Struct, _) => {
            let members = function.bounds.members.iter();
            members.map(|member| (member.code.clone(), type_spec(member))).collect()
        }
        _ => return Cow::Borrowed(&function.specification),
    };
    Cow::Owned(members)
}

/// The longest text of a decimal number that clients must expect.
const DECIMAL_CHARS_MAX: usize = 32;
/// The length of a time in milliseconds since 1970, until the year 2286.
const DATE_CHARS_MAX: usize = 14;

/// A stored value in Tuya's cloud, as JSON text: a document is always a text, and a scaled number has no decimals.
pub fn tuya_value<'a>(function: Option<&Function>, stored: Cow<'a, str>) -> Cow<'a, str> {
    if stored.starts_with(['{', '[']) {
        return Json::from(&*stored).to_string().into();
    }
    if function.is_none_or(|function| function.bounds.decimal.scale.is_none()) {
        return stored;
    }
    match stored.parse::<f64>() {
        Ok(number) if number.fract() != 0.0 => (number.round() as i64).to_string().into(),
        _ => stored,
    }
}

/// A stored value for a TuyaLink device. A struct is a text, as in the thing model of the device.
pub fn to_tuyalink(function: Option<&Function>, stored: &str) -> Json {
    match function.map(|function| function.kind) {
        Some(FunctionType::Struct) => Json::from(stored),
        _ => serde_json::from_str(stored).unwrap_or_default(),
    }
}

/// A value in Alibaba's model, from its stored JSON text: booleans as 0 and 1, enumerations as their index, decimal
/// numbers unchanged. A value that is invalid for its function is not changed.
pub fn to_alink(function: Option<&Function>, stored: &str) -> Json {
    let value: Json = serde_json::from_str(stored).unwrap_or(Json::Null);
    let Some(function) = function else { return value };
    match (function.kind, &value) {
        (FunctionType::Boolean, Json::Bool(on)) => json!(i64::from(*on)),
        (FunctionType::Enum, Json::String(_)) => {
            let index = function.bounds.range.iter().position(|choice| **choice == *stored);
            index.map_or(value, |index| json!(index))
        }
        (FunctionType::Float | FunctionType::Double, Json::String(text)) if function.bounds.decimal.scale.is_none() => {
            text.parse::<Number>().map_or(value, Json::from)
        }
        (FunctionType::Float | FunctionType::Double, Json::Number(number)) => {
            let scale = function.bounds.decimal.scale.unwrap_or_default();
            point_moved_left(&plain(number), scale).parse::<Number>().map_or(value, Json::from)
        }
        (FunctionType::Struct, Json::Object(_)) => {
            let members: HashMap<&str, &RawValue> = serde_json::from_str(stored).unwrap_or_default();
            let member =
                |(code, value): (&str, &RawValue)| (code.to_owned(), to_alink(member(function, code), value.get()));
            members.into_iter().map(member).collect::<Map<_, _>>().into()
        }
        _ => value,
    }
}

/// The stored form of a value that a device of this model reports; the inverse of [`to_alink`].
pub fn from_alink(function: Option<&Function>, value: &Json) -> String {
    let Some(function) = function else { return value.to_string() };
    match (function.kind, value) {
        (FunctionType::Boolean, Json::Number(number)) if matches!(number.as_i64(), Some(0 | 1)) => {
            (number.as_i64() == Some(1)).to_string()
        }
        (FunctionType::Enum, Json::Number(number)) => {
            let index = number.as_u64().and_then(|index| usize::try_from(index).ok());
            let choice = index.and_then(|index| function.bounds.range.get(index));
            choice.map_or_else(|| value.to_string(), |choice| choice.to_string())
        }
        (FunctionType::Float | FunctionType::Double, Json::Number(number)) => match function.bounds.decimal.scale {
            Some(scale) => point_moved_right(&plain(number), scale),
            None => format!("\"{}\"", plain(number)),
        },
        (FunctionType::Date, Json::Number(number)) => format!("\"{number}\""),
        (FunctionType::Struct, Json::Object(members)) => {
            let member = |(code, value): (&String, &Json)| {
                format!("{}:{}", Json::from(code.as_str()), from_alink(member(function, code), value))
            };
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
        _ => value.to_string(),
    }
}

fn member<'a>(function: &'a Function, code: &str) -> Option<&'a Function> {
    function.bounds.members.iter().find(|member| member.code == code)
}

/// A number as text without exponent.
fn plain(number: &Number) -> String {
    number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
}

/// A decimal number times ten to the power of `places`, as text without exponent. Floating-point multiplication would
/// not be exact.
fn point_moved_right(text: &str, places: u32) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let (moved, rest) = rest.split_at(rest.len().min(places as usize));
    let zeros = "0".repeat(places as usize - moved.len());
    let number = format!("{whole}{moved}{zeros}");
    decimal_text(sign, &number, rest)
}

/// Divides in the same way.
fn point_moved_left(text: &str, places: u32) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let padded = format!("{whole:0>width$}", width = places as usize + 1);
    let (whole, moved) = padded.split_at(padded.len() - places as usize);
    decimal_text(sign, whole, &format!("{moved}{rest}"))
}

/// Joins the parts of a decimal number, without trailing zeros.
fn decimal_text(sign: &str, whole: &str, rest: &str) -> String {
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    match rest.trim_end_matches('0') {
        "" if whole == "0" => "0".to_owned(),
        "" => format!("{sign}{whole}"),
        rest => format!("{sign}{whole}.{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(kind: FunctionType, values: &str) -> Function {
        Function::new("code".to_owned(), 1, kind, values.to_owned(), "name".to_owned(), Access::ReadWrite)
    }

    #[test]
    fn values_of_each_type() {
        let colours = function(FunctionType::Enum, r#"{"range":["white","colour"]}"#);
        let switch = function(FunctionType::Boolean, "{}");
        let tenths = function(FunctionType::Float, r#"{"min":-40,"max":120.5,"step":0.1}"#);
        let free = function(FunctionType::Double, "{}");
        let date = function(FunctionType::Date, "{}");
        let place = function(
            FunctionType::Struct,
            r#"{"members":[{"code":"on","type":"Boolean","values":{},"name":""},
                {"code":"height","type":"Float","values":{"step":0.01},"name":""}]}"#,
        );
        for (function, stored, shown) in [
            (Some(&tenths), "215", json!(21.5)),
            (Some(&tenths), "-400", json!(-40)),
            (Some(&tenths), "215.7", json!(21.57)),
            (Some(&tenths), "0.01", json!(0.001)),
            (Some(&tenths), "0", json!(0)),
            (Some(&tenths), "\"21.5\"", json!("21.5")),
            (Some(&free), "\"21.5\"", json!(21.5)),
            (Some(&free), "\"-0.0000001\"", json!(-1e-7)),
            (Some(&free), "\"warm\"", json!("warm")),
            (Some(&date), "\"1635839462000\"", json!("1635839462000")),
            (Some(&place), r#"{"height":12345,"on":true}"#, json!({"on": 1, "height": 123.45})),
            (Some(&place), r#"{"other":[1]}"#, json!({"other": [1]})),
            (Some(&switch), "true", json!(1)),
            (Some(&switch), "false", json!(0)),
            (Some(&switch), "2", json!(2)),
            (Some(&colours), "\"colour\"", json!(1)),
            (Some(&colours), "\"red\"", json!("red")),
            (None, "true", json!(true)),
            (None, "12.5", json!(12.5)),
        ] {
            let alink = to_alink(function, stored);
            assert!(alink == shown || alink.as_f64().is_some_and(|alink| Some(alink) == shown.as_f64()), "{stored}");
            assert_eq!(from_alink(function, &shown), stored, "{shown}");
        }
    }

    #[test]
    fn numbers_with_decimals_in_the_tuya_dialect() {
        for (values, kind, shown, stored, value) in [
            (
                r#"{"min":-40,"max":120.5,"step":0.1,"unit":"C"}"#,
                "value",
                json!({"min": -400, "max": 1205, "step": 1, "scale": 1, "unit": "C"}),
                "215.7",
                "216",
            ),
            (r#"{"step":0.25}"#, "value", json!({"step": 25, "scale": 2}), "2150", "2150"),
            (r#"{"step":5}"#, "value", json!({"step": 5, "scale": 0}), "-0.4", "0"),
            // The number of decimals is missing or too large, or the scaled number overflows.
            ("{}", "string", json!({"maxlen": 32}), "\"21.57\"", "\"21.57\""),
            (r#"{"step":0.0000001}"#, "string", json!({"maxlen": 32}), "\"1\"", "\"1\""),
            (r#"{"step":0.001,"max":2147484}"#, "string", json!({"maxlen": 32}), "\"1\"", "\"1\""),
        ] {
            let function = function(FunctionType::Double, values);
            let shown_values: Json = serde_json::from_str(&tuya_values(&function)).unwrap();
            assert_eq!((tuya_type(&function), shown_values), (kind, shown), "{values}");
            assert_eq!(tuya_value(Some(&function), stored.into()), value, "{values}");
        }
    }

    #[test]
    fn data_types_of_each_type() {
        let of = |kind, values| data_type(&function(kind, values));
        assert_eq!(
            of(FunctionType::Integer, r#"{"min":0,"max":100,"step":5,"unit":"%"}"#),
            json!({"type": "int", "specs": {"min": "0", "max": "100", "step": "5", "unit": "%"}})
        );
        assert_eq!(of(FunctionType::Enum, r#"{"range":["a","b"]}"#)["specs"], json!({"0": "a", "1": "b"}));
        assert_eq!(of(FunctionType::Bitmap, r#"{"label":["e1","e2"]}"#)["specs"]["max"], "3");
        assert_eq!(of(FunctionType::String, r#"{"maxlen":9}"#), json!({"type": "text", "specs": {"length": "9"}}));
    }
}
