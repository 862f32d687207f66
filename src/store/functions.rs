//! A product's functions as an engine keeps them: one JSON document.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::product::{Bounds, Decimal};
use crate::domain::world::WorldFunction;
use crate::domain::{Access, Error, Function, FunctionType, Result};

#[derive(Serialize, Deserialize)]
struct Row {
    code: String,
    dp_id: u32,
    kind: FunctionType,
    values: String,
    name: String,
    access: Access,
}

/// The stored text of these functions, which [`crate::domain::world::World::parse`] completed.
///
/// # Errors
/// [`Error::Store`], never in practice.
pub fn encode(functions: &[WorldFunction]) -> Result<String> {
    let row = |function: &WorldFunction| Row {
        code: function.code.clone(),
        dp_id: function.dp_id.unwrap_or_default(),
        kind: function.kind,
        values: function.values.to_string(),
        name: function.name.clone().unwrap_or_default(),
        access: function.access,
    };
    serde_json::to_string(&functions.iter().map(row).collect::<Vec<_>>()).map_err(Error::store)
}

/// The functions of a text that [`encode`] made.
///
/// # Errors
/// [`Error::Store`] for any other.
pub fn decode(text: &str) -> Result<Vec<Function>> {
    let rows: Vec<Row> = serde_json::from_str(text).map_err(Error::store)?;
    Ok(rows.into_iter().map(function).collect())
}

/// The same functions as the world document has them.
///
/// # Errors
/// [`Error::Store`] for any other text.
pub fn decode_for_document(text: &str) -> Result<Vec<WorldFunction>> {
    let rows: Vec<Row> = serde_json::from_str(text).map_err(Error::store)?;
    let function = |Row { code, dp_id, kind, values, name, access }: Row| WorldFunction {
        code,
        dp_id: Some(dp_id),
        kind,
        values: serde_json::from_str(&values).unwrap_or_default(),
        name: Some(name),
        desc: IgnoredAny,
        access,
    };
    Ok(rows.into_iter().map(function).collect())
}

fn function(Row { code, dp_id, kind, values, name, access }: Row) -> Function {
    Function { bounds: bounds(kind, &values), code, dp_id, kind, values, name, access }
}

/// The members of a specification that restrict a whole value.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Specification {
    min: Option<i64>,
    max: Option<i64>,
    range: Vec<String>,
    maxlen: Option<usize>,
    label: Vec<String>,
}

/// Those that restrict a number with decimals.
#[derive(Default, Deserialize)]
#[serde(default)]
struct DecimalSpecification {
    min: Option<f64>,
    max: Option<f64>,
    step: Option<f64>,
}

/// Those of a struct.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StructSpecification {
    members: Vec<Member>,
}

/// A member of a struct.
#[derive(Deserialize)]
struct Member {
    code: String,
    #[serde(rename = "type")]
    kind: FunctionType,
    values: Box<RawValue>,
    name: String,
}

/// Labels of a bitmap whose bits fit a number.
const LABELS_MAX: usize = 62;
/// Decimal places of a step with which a number is stored as a whole one. Of finer steps it is stored as text.
const DECIMALS_MAX: usize = 6;
/// Numbers up to this one, multiplied, are whole numbers to every client.
const SCALED_MAX: f64 = i32::MAX as f64;

fn bounds(kind: FunctionType, values: &str) -> Bounds {
    match kind {
        FunctionType::Float | FunctionType::Double => {
            let specification = serde_json::from_str(values).unwrap_or_default();
            Bounds { decimal: decimal(&specification), ..Bounds::default() }
        }
        FunctionType::Struct => {
            let StructSpecification { members } = serde_json::from_str(values).unwrap_or_default();
            Bounds { members: members.into_iter().map(Member::into_function).collect(), ..Bounds::default() }
        }
        _ => whole_bounds(values),
    }
}

fn whole_bounds(values: &str) -> Bounds {
    let Specification { min, max, range, maxlen, label } = serde_json::from_str(values).unwrap_or_default();
    let bits = (1..=LABELS_MAX).contains(&label.len()).then(|| (1_i64 << label.len()) - 1);
    let choices = range.into_iter().map(|choice| serde_json::Value::from(choice).to_string().into_boxed_str());
    Bounds {
        min: min.or(bits.map(|_| 0)),
        max: max.or(bits),
        range: choices.collect(),
        chars: maxlen,
        ..Bounds::default()
    }
}

/// The step says how many decimal places there are: those of 0.1 and 0.5 are one, those of 0.25 are two.
fn decimal(DecimalSpecification { min, max, step }: &DecimalSpecification) -> Decimal {
    let places = step.map(|step| step.to_string().split_once('.').map_or(0, |(_, places)| places.len()));
    let scale = places.filter(|places| *places <= DECIMALS_MAX).map(|places| places as u32);
    let fits = |bound: &Option<f64>, scale: u32| {
        bound.is_none_or(|bound| bound.abs() * 10_f64.powi(scale as i32) <= SCALED_MAX)
    };
    Decimal { min: *min, max: *max, scale: scale.filter(|scale| fits(min, *scale) && fits(max, *scale)) }
}

impl Member {
    fn into_function(self) -> Function {
        let Self { code, kind, values, name } = self;
        let values = values.get().to_owned();
        function(Row { code, dp_id: 0, kind, values, name, access: Access::ReadWrite })
    }
}
