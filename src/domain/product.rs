//! Products: types of devices, with their functions.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

use super::specification::{Bounds, Decimal};
use super::{Caller, Cloud, Error, Noun, ProductId, ProjectNo, Requester, Result, Value};

/// A type of device.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// The project that owns it.
    pub project: ProjectNo,
    /// Tuya's id.
    pub id: ProductId,
    /// Alibaba's `productKey`.
    pub key: String,
    /// The name.
    pub name: String,
    /// Tuya's category, for example `cz` for a plug.
    pub category: String,
    /// The manufacturer's model, if any.
    pub model: Option<String>,
    /// The path of its icon, relative to the vendor's image host.
    pub icon: String,
    /// The type of its network connection, for example `NET_WIFI`.
    pub net_type: String,
    /// Device, gateway or sub-device.
    pub node_type: NodeType,
    /// The vendor's business type, for example 299009.
    pub biz_type: i64,
    /// The functions.
    pub functions: Vec<Function>,
    /// Indexes into `functions` in the order of the data points, which is the order of a status.
    pub status_order: Vec<usize>,
    /// Which devices may register: request their own secret with the product's secret.
    pub registration: Registration,
    /// Whether a report with a value off the specification is refused as a whole.
    pub strict: bool,
}

/// Which devices of a product may register: request their own secret with the secret that all devices of the product
/// share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// None.
    #[default]
    Off,
    /// Devices that exist and never connected.
    Known,
    /// The same and new devices, which are created.
    Any,
}

impl Product {
    /// The order of these functions in a status.
    pub fn status_order_of(functions: &[Function]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..functions.len()).collect();
        order.sort_by_key(|at| functions.get(*at).map(|function| function.dp_id));
        order
    }

    /// The function with that code.
    pub fn function(&self, code: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.code == code)
    }
}

/// How devices of a product connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeType {
    /// Connects directly.
    #[default]
    Device,
    /// Connects directly, and represents its sub-devices.
    Gateway,
    /// Connects through a gateway.
    Sub,
}

/// One function (data point) of a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its code, unique in the product.
    pub code: String,
    /// The number of the data point on the device.
    pub dp_id: u32,
    /// The type of its value.
    pub kind: FunctionType,
    /// The specification of its value: a JSON object as text, in the vendor's members (`min`, `max`, `range` …).
    pub values: String,
    /// The name.
    pub name: String,
    /// Whether it can be commanded, reported, or both.
    pub access: Access,
    /// The parsed members of `values`.
    pub specification: Map<String, Json>,
    /// The limits in `values`.
    pub bounds: Bounds,
}

/// The limit up to which a 64-bit floating-point number represents every whole number.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl Function {
    /// Whether the function allows a value. First changes a whole number with a fraction or an exponent (`200.0`,
    /// `2e2`) and a struct in a string to their usual form.
    pub fn accepts_normalized(&self, value: &mut Value) -> bool {
        if self.accepts(value) {
            return true;
        }
        if self.kind == FunctionType::Struct
            && let Some(object) = serde_json::from_str::<String>(value.as_json()).ok().and_then(Value::from_json)
        {
            // Only what fits replaces the text: any other content need not even be JSON.
            let fits = self.accepts(&object);
            if fits {
                *value = object;
            }
            return fits;
        }
        let is_whole_kind = matches!(self.kind, FunctionType::Integer | FunctionType::Bitmap);
        let number = value.as_json().parse::<f64>().ok().filter(|_| is_whole_kind);
        let whole = number.filter(|number| number.fract() == 0.0 && number.abs() <= WHOLE_MAX);
        let Some(normalized) = whole.and_then(|number| Value::from_json((number as i64).to_string())) else {
            return false;
        };
        *value = normalized;
        self.accepts(value)
    }

    /// The value in a status before the first report, as JSON text and with the vendor's rules: `false`, the minimum,
    /// the first choice, an empty text.
    pub fn default_value(&self) -> Cow<'_, str> {
        let empty_text = "\"\"";
        match self.kind {
            FunctionType::Boolean => "false".into(),
            FunctionType::Integer | FunctionType::Bitmap => self.bounds.min.unwrap_or(0).to_string().into(),
            FunctionType::Enum => self.bounds.range.first().map_or(empty_text, |first| first).into(),
            FunctionType::Float | FunctionType::Double => {
                let least = self.bounds.decimal.scaled(self.bounds.decimal.min.unwrap_or(0.0));
                least.map_or(empty_text.into(), |least| least.to_string().into())
            }
            FunctionType::String
            | FunctionType::Raw
            | FunctionType::Json
            | FunctionType::Date
            | FunctionType::Struct => empty_text.into(),
        }
    }

    /// Whether the function allows a value.
    pub fn accepts(&self, value: &Value) -> bool {
        let (text, Bounds { min, max, range, chars, decimal, members }) = (value.as_json(), &self.bounds);
        match self.kind {
            FunctionType::Boolean => matches!(text, "true" | "false"),
            FunctionType::Integer | FunctionType::Bitmap => text
                .parse::<i64>()
                .is_ok_and(|number| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)),
            FunctionType::Enum if range.is_empty() => text.starts_with('"'),
            FunctionType::Enum => range.iter().any(|choice| **choice == *text),
            FunctionType::String => text.starts_with('"') && chars.is_none_or(|most| is_at_most(text, most)),
            FunctionType::Raw => text.starts_with('"'),
            FunctionType::Json => text.starts_with(['"', '{', '[']),
            FunctionType::Float | FunctionType::Double => decimal.accepts(text),
            FunctionType::Date => content(text).is_some_and(|digits| digits.parse::<u64>().is_ok()),
            FunctionType::Struct => serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(text).is_ok_and(|given| {
                given.iter().all(|(code, value)| {
                    let member = members.iter().find(|member| member.code == *code);
                    let value = Value::from_json(value.get());
                    member.zip(value).is_some_and(|(member, value)| member.accepts(&value))
                })
            }),
        }
    }
}

impl Decimal {
    /// The number multiplied by the scale, if it is stored as a whole number. Additional decimal places are rounded.
    pub fn scaled(self, number: f64) -> Option<i64> {
        self.scale.map(|scale| (number * 10_f64.powi(scale as i32)).round() as i64)
    }

    fn accepts(self, text: &str) -> bool {
        let number = match self.scale {
            Some(scale) => text.parse::<f64>().ok().map(|number| number / 10_f64.powi(scale as i32)),
            None => content(text).and_then(|text| text.parse().ok()),
        };
        number.is_some_and(|number| {
            number.is_finite() && self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
        })
    }
}

/// The content of a JSON string that has no escapes.
fn content(json: &str) -> Option<&str> {
    json.strip_prefix('"')?.strip_suffix('"')
}

/// Whether a JSON string has at most so many characters.
fn is_at_most(json: &str, chars: usize) -> bool {
    match content(json).filter(|text| !text.contains('\\')) {
        Some(plain) => plain.chars().count() <= chars,
        None => serde_json::from_str::<String>(json).is_ok_and(|text| text.chars().count() <= chars),
    }
}

/// The types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FunctionType {
    /// `true` or `false`.
    #[serde(alias = "bool")]
    Boolean,
    /// A whole number within `min` and `max`.
    #[serde(alias = "value")]
    Integer,
    /// One of `range`.
    #[serde(alias = "enum")]
    Enum,
    /// Text of at most `maxlen`.
    #[serde(alias = "string")]
    String,
    /// A JSON document in a string.
    #[serde(alias = "json")]
    Json,
    /// Binary data in a string.
    #[serde(alias = "raw")]
    Raw,
    /// A bit for each named fault.
    #[serde(alias = "bitmap")]
    Bitmap,
    /// A 32-bit number with decimals. [`Decimal`] says how it is stored.
    #[serde(alias = "float")]
    Float,
    /// A 64-bit number with decimals. [`Decimal`] says how it is stored.
    #[serde(alias = "double")]
    Double,
    /// Milliseconds since 1970, as text.
    #[serde(alias = "date")]
    Date,
    /// An object with named members.
    #[serde(alias = "struct")]
    Struct,
}

/// Whether a function can be commanded, reported, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Access {
    /// Commanded and reported.
    #[default]
    #[serde(rename = "rw")]
    ReadWrite,
    /// Only reported.
    #[serde(rename = "ro")]
    ReadOnly,
    /// Only commanded.
    #[serde(rename = "wo")]
    WriteOnly,
}

/// The maximal number of products on a page.
pub const PRODUCT_PAGE_MAX: usize = 200;

impl Cloud {
    /// A product of the caller, by Alibaba's id.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn product(&self, caller: &Caller, key: &str) -> Result<Arc<Product>> {
        let found = self.registry.product_by_key(caller.project.no, key).await?;
        found.ok_or(Error::NotVisible(Noun::Product))
    }

    /// A page of the project's products, in order of creation.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn products(&self, requester: &impl Requester, offset: usize, limit: usize) -> Result<Vec<Arc<Product>>> {
        self.registry.products(requester.project().no, offset, limit.min(PRODUCT_PAGE_MAX)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_a_function_may_have() {
        let of = |kind, values: &str| {
            Function::new("code".to_owned(), 1, kind, values.to_owned(), String::new(), Access::ReadWrite)
        };
        let number = r#"{"min":0,"max":100}"#;
        let choices = r#"{"range":["white","水"]}"#;
        let short = r#"{"maxlen":3}"#;
        let tenths = r#"{"min":-40,"max":120.5,"step":0.1}"#;
        let place = format!(r#"{{"members":[{{"code":"code","type":"Float","values":{tenths},"name":""}}]}}"#);
        for (function, good, bad) in [
            (of(FunctionType::Boolean, "{}"), vec!["true", "false"], vec!["1", "\"true\"", "null"]),
            (of(FunctionType::Integer, number), vec!["0", "100"], vec!["-1", "101", "1.5", "1e1", "\"1\"", "true"]),
            (of(FunctionType::Bitmap, number), vec!["3"], vec!["\"3\""]),
            (of(FunctionType::Enum, choices), vec!["\"white\"", "\"水\""], vec!["\"red\"", "0"]),
            (
                of(FunctionType::String, short),
                vec!["\"水水水\"", "\"a\\n\\u0001\"", "\"ab\\ud83d\\ude00\"", "\"\""],
                vec!["\"abcd\"", "1"],
            ),
            (of(FunctionType::Raw, "{}"), vec!["\"AA==\""], vec!["1"]),
            (of(FunctionType::Json, "{}"), vec!["{}", "\"{}\"", "[]"], vec!["1", "true"]),
            (of(FunctionType::Float, tenths), vec!["215", "-400", "215.7"], vec!["-401", "1206", "\"215\"", "{}"]),
            (of(FunctionType::Double, "{}"), vec!["\"1.25\"", "\"-3\""], vec!["1.25", "\"\"", "\"inf\""]),
            (of(FunctionType::Date, "{}"), vec!["\"1635839462000\""], vec!["1635839462000", "\"2021\\n\""]),
            (
                of(FunctionType::Struct, &place),
                vec!["{}", r#"{"code":215}"#],
                vec!["[]", r#"{"code":"215"}"#, r#"{"other":1}"#, r#""{}""#],
            ),
        ] {
            let accepts = |text: &str| function.accepts(&Value::from_json(text).unwrap());
            assert!(good.iter().all(|text| accepts(text)), "{:?}", function.kind);
            assert!(!bad.iter().any(|text| accepts(text)), "{:?}", function.kind);
        }
    }
}
