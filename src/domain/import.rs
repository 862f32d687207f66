//! The import of rows that an operator has in a file: what is refused, in which form values are stored, and which rows are
//! in the log already (docs/decisions/0039-an-import-can-be-repeated.md).

use std::collections::HashSet;

use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::event::BATCH_ROWS_MAX;
use super::{Cloud, Device, Error, EventType, Function, FunctionType, NewEvent, Result, Value};

/// The length up to which an error text repeats a value, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// What an import does with a data point that the product cannot have: its code or its value is not in the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is an error.
    Refused,
    /// It is stored as a report of the device would be: with any code, and with any value unless the product is strict.
    Stored,
}

/// A row that may be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedRow {
    /// The row, with the time and in the form in which it is stored.
    pub row: NewEvent,
    /// Whether it is a data point that the product cannot have.
    pub is_unfit: bool,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The number of rows that were stored.
    pub stored: u64,
    /// The number of rows that the log had already, or that were given twice.
    pub known: u64,
    /// How many of the stored rows are data points that the product cannot have.
    pub unfit: u64,
}

impl Cloud {
    /// Checks a row of a device for [`Cloud::import`]. A value in a string gets the type that the product says, because the
    /// vendor's log and CSV have every value as text.
    ///
    /// # Errors
    /// As [`Cloud::row_imported`]; [`Error::FunctionNotSupported`] for an unknown code and [`Error::Refused`] for a value that
    /// the product cannot have, unless `unfit` stores them; [`Error::Unfit`] for a value of a strict product in any case.
    pub fn row_to_import(&self, device: &Device, row: NewEvent, unfit: Unfit) -> Result<ImportedRow> {
        let mut row = self.row_imported(row)?;
        let code = row.code.clone();
        let function = code.as_ref().and_then(|code| device.product.function(code));
        let Some(value) = row.value.as_mut() else { return Ok(ImportedRow { row, is_unfit: false }) };
        let fits = match (row.kind, function) {
            (EventType::DataPoint, None) => false,
            (EventType::ThingEvent, _) => {
                read_object(value);
                true
            }
            (_, Some(function)) => function.accepts_text(value) || row.kind != EventType::DataPoint,
            (_, None) => true,
        };
        match (fits, unfit, function) {
            (true, ..) => {}
            (false, Unfit::Refused, None) => {
                return Err(Error::FunctionNotSupported(code.unwrap_or_default().to_string()));
            }
            (false, Unfit::Refused, Some(function)) => return Err(refusal(function, value)),
            (false, Unfit::Stored, Some(function)) if device.product.strict => {
                return Err(Error::Unfit(function.code.clone()));
            }
            (false, Unfit::Stored, _) => {}
        }
        Ok(ImportedRow { row, is_unfit: !fits })
    }

    /// Appends rows to the event log, except those that it has already: of the same device, time, type, code and value. Two
    /// imports at the same time may both add the same row.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a batch that is too long, [`Error::Store`]. Nothing is stored then.
    pub async fn import(&self, rows: Vec<ImportedRow>) -> Result<Imported> {
        if rows.len() > BATCH_ROWS_MAX {
            return Err(Error::OutOfRange { param: "events", allowed: format!("at most {BATCH_ROWS_MAX} rows") });
        }
        let (rows, unfit): (Vec<NewEvent>, Vec<bool>) = rows.into_iter().map(|row| (row.row, row.is_unfit)).unzip();
        let known = self.telemetry.contains(&rows).await?;
        let mut seen = HashSet::new();
        let is_new: Vec<bool> = rows
            .iter()
            .zip(known)
            .map(|(row, is_known)| !is_known && seen.insert((row.device, row.content())))
            .collect();
        drop(seen);
        let unfit = is_new.iter().zip(unfit).filter(|(is_new, is_unfit)| **is_new && *is_unfit).count();
        let given = rows.len();
        let new = rows.into_iter().zip(is_new).filter_map(|(row, is_new)| is_new.then_some(row));
        let new: Vec<NewEvent> = new.collect();
        let stored = new.len();
        if stored > 0 {
            self.log(new).await?;
        }
        Ok(Imported { stored: stored as u64, known: (given - stored) as u64, unfit: unfit as u64 })
    }
}

impl Function {
    /// Whether the function allows a value. First changes the value as [`Function::accepts_normalized`] does, or, if only the
    /// content of a string is allowed (`"21"`, `"true"`), to this content.
    pub fn accepts_text(&self, value: &mut Value) -> bool {
        if self.accepts_normalized(value) {
            return true;
        }
        let Ok(mut content) = serde_json::from_str::<String>(value.as_json()) else { return false };
        if self.kind == FunctionType::Boolean {
            // Spreadsheets write TRUE, and Python writes True.
            content.make_ascii_lowercase();
        }
        let inner = serde_json::from_str::<&RawValue>(&content).ok().and_then(|inner| Value::from_json(inner.get()));
        let Some(mut inner) = inner else { return false };
        let fits = self.accepts_normalized(&mut inner);
        if fits {
            *value = inner;
        }
        fits
    }
}

/// Changes an object in a string to the object.
fn read_object(value: &mut Value) {
    let text = serde_json::from_str::<String>(value.as_json()).ok();
    let object = text.filter(|text| serde_json::from_str::<Json>(text).is_ok_and(|inner| inner.is_object()));
    if let Some(object) = object.and_then(Value::from_json) {
        *value = object;
    }
}

/// Why a value is refused: what the function allows.
fn refusal(function: &Function, value: &Value) -> Error {
    let Function { code, kind, values, .. } = function;
    let mut shown: String = value.as_json().chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < value.as_json().len() {
        shown.push('…');
    }
    Error::Refused(format!("{code:?} cannot have the value {shown}: it is of type {kind:?} with {values}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Access;

    #[test]
    fn text_becomes_what_the_function_allows() {
        let of = |kind, values: &str| {
            Function::new("code".to_owned(), 1, kind, values.to_owned(), String::new(), Access::ReadWrite)
        };
        let number = of(FunctionType::Integer, r#"{"min":0,"max":100}"#);
        let flag = of(FunctionType::Boolean, "{}");
        let choice = of(FunctionType::Enum, r#"{"range":["white","21"]}"#);
        let tenths = of(FunctionType::Float, r#"{"min":-40,"max":120,"step":0.1}"#);
        let place = of(
            FunctionType::Struct,
            r#"{"members":[{"code":"x","type":"Integer","values":{"min":0,"max":9},"name":""}]}"#,
        );
        for (function, given, stored) in [
            (&number, r#""21""#, "21"),
            (&number, r#""2e1""#, "20"),
            (&number, "21.0", "21"),
            (&flag, r#""true""#, "true"),
            (&flag, r#""FALSE""#, "false"),
            (&choice, r#""21""#, r#""21""#),
            (&of(FunctionType::String, "{}"), r#""true""#, r#""true""#),
            (&of(FunctionType::Date, "{}"), r#""1635839462000""#, r#""1635839462000""#),
            (&tenths, r#""-215""#, "-215"),
            (&place, r#""{\"x\":5}""#, r#"{"x":5}"#),
        ] {
            let mut value = Value::from_json(given).unwrap();
            assert!(function.accepts_text(&mut value), "{given}");
            assert_eq!(value.as_json(), stored);
        }
        for (function, given) in [
            (&number, r#""101""#),
            (&number, r#""+1""#),
            (&number, r#""""#),
            (&number, r#""1 2""#),
            (&flag, "1"),
            (&flag, r#""1""#),
            (&choice, "21"),
            (&place, r#""{\"x\":10}""#),
        ] {
            let mut value = Value::from_json(given).unwrap();
            assert!(!function.accepts_text(&mut value), "{given}");
            assert_eq!(value.as_json(), given, "what is not allowed stays as it came");
        }
    }
}
