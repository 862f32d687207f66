//! A product's functions as an engine keeps them: one JSON document.

use serde::{Deserialize, Serialize};

use crate::domain::product::Bounds;
use crate::domain::{Access, Error, Function, FunctionType, Result};

#[derive(Serialize, Deserialize)]
struct Row {
    code: String,
    dp_id: u32,
    kind: Kind,
    values: String,
    name: String,
    access: Rights,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Kind {
    Boolean,
    Integer,
    Enum,
    String,
    Json,
    Raw,
    Bitmap,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Rights {
    #[serde(rename = "rw")]
    ReadWrite,
    #[serde(rename = "ro")]
    ReadOnly,
    #[serde(rename = "wo")]
    WriteOnly,
}

/// The document of these functions.
///
/// # Errors
/// [`Error::Store`], never in practice.
pub fn encode(functions: &[Function]) -> Result<String> {
    let row = |function: &Function| Row {
        code: function.code.clone(),
        dp_id: function.dp_id,
        kind: match function.kind {
            FunctionType::Boolean => Kind::Boolean,
            FunctionType::Integer => Kind::Integer,
            FunctionType::Enum => Kind::Enum,
            FunctionType::String => Kind::String,
            FunctionType::Json => Kind::Json,
            FunctionType::Raw => Kind::Raw,
            FunctionType::Bitmap => Kind::Bitmap,
        },
        values: function.values.clone(),
        name: function.name.clone(),
        access: match function.access {
            Access::ReadWrite => Rights::ReadWrite,
            Access::ReadOnly => Rights::ReadOnly,
            Access::WriteOnly => Rights::WriteOnly,
        },
    };
    serde_json::to_string(&functions.iter().map(row).collect::<Vec<_>>()).map_err(Error::store)
}

/// The functions of a document that [`encode`] made.
///
/// # Errors
/// [`Error::Store`] for any other.
pub fn decode(text: &str) -> Result<Vec<Function>> {
    let rows: Vec<Row> = serde_json::from_str(text).map_err(Error::store)?;
    let function = |row: Row| Function {
        bounds: bounds(&row.values),
        code: row.code,
        dp_id: row.dp_id,
        kind: match row.kind {
            Kind::Boolean => FunctionType::Boolean,
            Kind::Integer => FunctionType::Integer,
            Kind::Enum => FunctionType::Enum,
            Kind::String => FunctionType::String,
            Kind::Json => FunctionType::Json,
            Kind::Raw => FunctionType::Raw,
            Kind::Bitmap => FunctionType::Bitmap,
        },
        values: row.values,
        name: row.name,
        access: match row.access {
            Rights::ReadWrite => Access::ReadWrite,
            Rights::ReadOnly => Access::ReadOnly,
            Rights::WriteOnly => Access::WriteOnly,
        },
    };
    Ok(rows.into_iter().map(function).collect())
}

/// The members of a specification that restrict a value.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Specification {
    min: Option<i64>,
    max: Option<i64>,
    range: Vec<String>,
    maxlen: Option<usize>,
    label: Vec<String>,
}

/// Labels of a bitmap whose bits fit a number.
const LABELS_MAX: usize = 62;

fn bounds(values: &str) -> Bounds {
    let Specification { min, max, range, maxlen, label } = serde_json::from_str(values).unwrap_or_default();
    let bits = (1..=LABELS_MAX).contains(&label.len()).then(|| (1_i64 << label.len()) - 1);
    let choices = range.into_iter().map(|choice| serde_json::Value::from(choice).to_string().into_boxed_str());
    Bounds { min: min.or(bits.map(|_| 0)), max: max.or(bits), range: choices.collect(), chars: maxlen }
}
