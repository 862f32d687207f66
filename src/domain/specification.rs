//! The specification of a function's values, parsed once when the function is loaded.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Access, Function, FunctionType};

/// The maximal number of labels of a bitmap, so that its bits fit into a number.
const LABELS_MAX: usize = 62;
/// The maximal number of decimal places of a step with which numbers are stored as whole numbers. With finer steps they
/// are stored as text.
const DECIMALS_MAX: usize = 6;
/// The maximum of a scaled number, which every client can represent as a whole number.
const SCALED_MAX: f64 = i32::MAX as f64;

/// The limits in the specification of a function.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Bounds {
    /// The minimum.
    pub min: Option<i64>,
    /// The maximum.
    pub max: Option<i64>,
    /// The allowed values, each as JSON text.
    pub range: Vec<Box<str>>,
    /// The maximal length of a text, in characters.
    pub chars: Option<usize>,
    /// The limits of a number with decimals.
    pub decimal: Decimal,
    /// The members of a struct.
    pub members: Vec<Function>,
}

/// The limits of a number with decimals, and its stored form.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Decimal {
    /// The minimum.
    pub min: Option<f64>,
    /// The maximum.
    pub max: Option<f64>,
    /// With a scale, the number is stored multiplied by 10 to the power of the scale; without one, as text.
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
    /// A function with the specification of its values: the text of a JSON object with the vendor's members (`min`,
    /// `max`, `range` …). Invalid members are ignored.
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
    /// The step determines the number of decimal places: one for 0.1 and 0.5, two for 0.25.
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
