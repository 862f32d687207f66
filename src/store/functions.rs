//! The stored form of a product's functions: one JSON document.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

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

/// Encodes functions whose missing members [`crate::domain::world::World::parse`] has filled in.
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

/// Decodes the result of [`encode`].
///
/// # Errors
/// [`Error::Store`] for any other text.
pub fn decode(text: &str) -> Result<Vec<Function>> {
    let rows: Vec<Row> = serde_json::from_str(text).map_err(Error::store)?;
    let function =
        |Row { code, dp_id, kind, values, name, access }: Row| Function::new(code, dp_id, kind, values, name, access);
    Ok(rows.into_iter().map(function).collect())
}

/// Decodes the result of [`encode`] into the form of the world document.
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
