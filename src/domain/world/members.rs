//! The members of a struct. Each is described like a function, but has no data point.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::values;
use crate::domain::FunctionType;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    code: String,
    #[serde(rename = "type")]
    kind: FunctionType,
    #[serde(default)]
    values: Value,
    #[serde(default)]
    name: String,
}

/// The specification of a struct.
///
/// # Errors
/// A description of the problem, without its path.
pub fn checked(values: Value) -> Result<Map<String, Value>, String> {
    let mut values = values::object(values)?;
    let rows = values.remove("members").unwrap_or_else(|| Value::Array(Vec::new()));
    if let Some(other) = values.keys().next() {
        return Err(format!("a Struct has members alone, and not {other:?}"));
    }
    let rows: Vec<Member> = serde_json::from_value(rows).map_err(|error| format!("members: {error}"))?;
    let mut codes = HashSet::new();
    let member = |row: Member| {
        let place = |text: String| format!("member {:?}: {text}", row.code);
        if row.kind == FunctionType::Struct {
            return Err(place("a member cannot be a Struct itself".to_owned()));
        }
        if row.code.is_empty() || !codes.insert(row.code.clone()) {
            return Err(place("each member needs a code of its own".to_owned()));
        }
        let values = values::checked(&row.code, row.kind, row.values).map_err(place)?;
        let name = if row.name.is_empty() { row.code.clone() } else { row.name };
        serde_json::to_value(Member { code: row.code, kind: row.kind, values: values.into(), name })
            .map_err(|error| error.to_string())
    };
    let members: Vec<Value> = rows.into_iter().map(member).collect::<Result<_, _>>()?;
    if members.is_empty() {
        return Err("a Struct needs members".to_owned());
    }
    Ok(Map::from_iter([("members".to_owned(), members.into())]))
}
