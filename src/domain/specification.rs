//! The specification of a function's values, parsed once when the function is loaded.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Access, Function, FunctionType};

/// Labels of a bitmap whose bits fit a number.
const LABELS_MAX: usize = 62;
/// Decimal places of a step with which a number is stored as a whole one. Of finer steps it is stored as text.
const DECIMALS_MAX: usize = 6;
/// Numbers up to this one, multiplied, are whole numbers to every client.
const SCALED_MAX: f64 = i32::MAX as f64;

/// What the specification of a function restricts.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Bounds {
    /// The least number.
    pub min: Option<i64>,
    /// The greatest number.
    pub max: Option<i64>,
    /// The choices, each as its JSON text.
    pub range: Vec<Box<str>>,
    /// The longest text, in characters.
    pub chars: Option<usize>,
    /// Of a number with decimals.
    pub decimal: Decimal,
    /// The members of a struct.
    pub members: Vec<Function>,
}

/// The range of a number with decimals, and the form in which it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Decimal {
    /// The least number.
    pub min: Option<f64>,
    /// The greatest number.
    pub max: Option<f64>,
    /// With it the number is stored multiplied by ten to this power, without it as text.
    pub scale: Option<u32>,
}

/// A member of a struct.
#[derive(Deserialize)]
struct Member {
    code: String,
    #[serde(rename = "type")]
    kind: FunctionType,
    values: Map<String, Value>,
    name: String,
}

impl Function {
    /// A function with the specification of its values: a JSON object as text, in the vendor's members (`min`, `max`,
    /// `range` …). What cannot be read of it restricts nothing.
    pub fn new(code: String, dp_id: u32, kind: FunctionType, values: String, name: String, access: Access) -> Self {
        let specification = serde_json::from_str(&values).unwrap_or_default();
        let bounds = Bounds::of(kind, &specification);
        Self { code, dp_id, kind, values, specification, name, access, bounds }
    }
}

impl Bounds {
    fn of(kind: FunctionType, specification: &Map<String, Value>) -> Self {
        match kind {
            FunctionType::Float | FunctionType::Double => {
                Self { decimal: Decimal::of(specification), ..Self::default() }
            }
            FunctionType::Struct => {
                let members = specification.get("members").map(Vec::<Member>::deserialize).and_then(Result::ok);
                let function = |Member { code, kind, values, name }| {
                    Function::new(code, 0, kind, Value::from(values).to_string(), name, Access::ReadWrite)
                };
                Self { members: members.into_iter().flatten().map(function).collect(), ..Self::default() }
            }
            _ => Self::of_whole(specification),
        }
    }

    fn of_whole(specification: &Map<String, Value>) -> Self {
        let number = |name: &str| specification.get(name).and_then(Value::as_i64);
        let list = |name: &str| specification.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let labels = list("label").len();
        let bits = (1..=LABELS_MAX).contains(&labels).then(|| (1_i64 << labels) - 1);
        Self {
            min: number("min").or(bits.map(|_| 0)),
            max: number("max").or(bits),
            range: list("range").iter().map(|choice| choice.to_string().into_boxed_str()).collect(),
            chars: number("maxlen").and_then(|most| usize::try_from(most).ok()),
            ..Self::default()
        }
    }
}

impl Decimal {
    /// The step says how many decimal places there are: those of 0.1 and 0.5 are one, those of 0.25 are two.
    fn of(specification: &Map<String, Value>) -> Self {
        let number = |name: &str| specification.get(name).and_then(Value::as_f64);
        let (min, max) = (number("min"), number("max"));
        let places = number("step").map(|step| step.to_string().split_once('.').map_or(0, |(_, places)| places.len()));
        let scale = places.filter(|places| *places <= DECIMALS_MAX).map(|places| places as u32);
        let fits = |bound: Option<f64>, scale: u32| {
            bound.is_none_or(|bound| bound.abs() * 10_f64.powi(scale as i32) <= SCALED_MAX)
        };
        Self { min, max, scale: scale.filter(|scale| fits(min, *scale) && fits(max, *scale)) }
    }
}
