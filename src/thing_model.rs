//! A product's functions as the thing models of both vendors, and the values of Alibaba's types: what Tuya has as
//! `true` and `"white"` is `1` and an index there. The dialects show them, the device gateway reads them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::domain::{Access, Function, FunctionType, Product};

const SCHEMA: &str = "https://iotx-tsl.oss-ap-southeast-1.aliyuncs.com/schema.json";

/// The members of a function's specification that a thing model needs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Specification {
    min: Option<i64>,
    max: Option<i64>,
    step: Option<i64>,
    unit: String,
    range: Vec<String>,
    maxlen: Option<i64>,
    label: Vec<String>,
}

impl Specification {
    fn of(function: &Function) -> Self {
        serde_json::from_str(&function.values).unwrap_or_default()
    }
}

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

/// Bounds are texts there.
fn data_type(function: &Function) -> Json {
    let specification = Specification::of(function);
    let text = |length: i64| json!({"type": "text", "specs": {"length": length.to_string()}});
    let int = |min: i64, max: i64| {
        json!({"type": "int", "specs": {"min": min.to_string(), "max": max.to_string(),
            "step": specification.step.unwrap_or(1).to_string(), "unit": specification.unit}})
    };
    match function.kind {
        FunctionType::Boolean => json!({"type": "bool", "specs": {"0": "false", "1": "true"}}),
        FunctionType::Integer => {
            int(specification.min.unwrap_or(i32::MIN.into()), specification.max.unwrap_or(i32::MAX.into()))
        }
        FunctionType::Enum => {
            let choices = specification.range.iter().enumerate();
            let specs: Map<String, Json> = choices.map(|(index, name)| (index.to_string(), json!(name))).collect();
            json!({"type": "enum", "specs": specs})
        }
        FunctionType::Bitmap => int(0, (1_i64 << specification.label.len().clamp(1, 62)) - 1),
        FunctionType::String => text(specification.maxlen.unwrap_or(255)),
        FunctionType::Json | FunctionType::Raw => text(specification.maxlen.unwrap_or(2048)),
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

/// The specification of a value: its type's name, and the members that restrict it.
fn type_spec(function: &Function) -> Json {
    let mut spec: Map<String, Json> = serde_json::from_str(&function.values).unwrap_or_default();
    spec.insert("type".to_owned(), json!(tuya_type(function.kind)));
    spec.into()
}

/// The name that Tuya's thing model has for a type.
pub fn tuya_type(kind: FunctionType) -> &'static str {
    match kind {
        FunctionType::Boolean => "bool",
        FunctionType::Integer => "value",
        FunctionType::Enum => "enum",
        FunctionType::String | FunctionType::Json => "string",
        FunctionType::Raw => "raw",
        FunctionType::Bitmap => "bitmap",
    }
}

/// A value as Tuya's cloud shows it, as JSON text: a document is a text there, whatever the device sent.
pub fn tuya_value(json: Cow<'_, str>) -> Cow<'_, str> {
    if json.starts_with(['{', '[']) { Json::from(&*json).to_string().into() } else { json }
}

/// A value as Alibaba's model has it, from the JSON text in which it is stored: booleans as 0 and 1, choices as their
/// index. A value that does not fit its function stays as it is.
pub fn to_alink(function: Option<&Function>, stored: &str) -> Json {
    let value: Json = serde_json::from_str(stored).unwrap_or(Json::Null);
    match (function.map(|function| function.kind), &value) {
        (Some(FunctionType::Boolean), Json::Bool(on)) => json!(i64::from(*on)),
        (Some(FunctionType::Enum), Json::String(choice)) => {
            let range = function.map(|function| Specification::of(function).range).unwrap_or_default();
            range.iter().position(|name| name == choice).map_or(value, |index| json!(index))
        }
        _ => value,
    }
}

/// A value as it is stored, from what a device of this model reports: the other way round than [`to_alink`].
pub fn from_alink(function: Option<&Function>, value: &Json) -> String {
    match (function.map(|function| function.kind), value.as_i64()) {
        (Some(FunctionType::Boolean), Some(number @ (0 | 1))) => (number == 1).to_string(),
        (Some(FunctionType::Enum), Some(index)) => {
            let range = function.map(|function| Specification::of(function).range).unwrap_or_default();
            let choice = usize::try_from(index).ok().and_then(|index| range.get(index));
            choice.map_or_else(|| value.to_string(), |choice| json!(choice).to_string())
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(kind: FunctionType, values: &str) -> Function {
        let (code, name) = ("code".to_owned(), "name".to_owned());
        let bounds = Default::default();
        Function { code, dp_id: 1, kind, values: values.to_owned(), name, access: Access::ReadWrite, bounds }
    }

    #[test]
    fn values_of_each_type() {
        let colours = function(FunctionType::Enum, r#"{"range":["white","colour"]}"#);
        let switch = function(FunctionType::Boolean, "{}");
        for (function, stored, shown) in [
            (Some(&switch), "true", json!(1)),
            (Some(&switch), "false", json!(0)),
            (Some(&switch), "2", json!(2)),
            (Some(&colours), "\"colour\"", json!(1)),
            (Some(&colours), "\"red\"", json!("red")),
            (None, "true", json!(true)),
            (None, "12.5", json!(12.5)),
        ] {
            assert_eq!(to_alink(function, stored), shown, "{stored}");
            assert_eq!(from_alink(function, &shown), stored, "{shown}");
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
