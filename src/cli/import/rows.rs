//! The rows of a file, whatever its format.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};

use serde_json::value::RawValue;

use super::super::times::time_ms;
use super::{answers, lines, table};
use crate::control::import::ImportLine;

/// The maximal length of a row in a file, in bytes.
pub const ROW_BYTES_MAX: usize = 1024 * 1024;
/// The mark with which some programs begin a file in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line, as `ingle log --json` prints it.
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
    /// Answers of GET /v1.0/devices/{device_id}/logs.
    Tuya,
}

/// A row as the server reads it.
pub struct Row {
    /// The line of the file at which it begins, from 1.
    pub line: u64,
    /// The JSON of an [`ImportLine`], without a line break.
    pub json: String,
}

/// Why a row cannot be read.
pub struct BadRow {
    /// The line of the file, from 1.
    pub line: u64,
    /// The reason.
    pub text: String,
}

/// What reading a file gives: rows, and at most one error, at the end.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, BadRow>> + 'a>;

/// The format of a file: by the end of its name, otherwise by its content.
///
/// # Errors
/// Errors of the system.
pub fn recognize(name: &str, file: &mut File) -> std::io::Result<Format> {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("csv") => return Ok(Format::Csv),
        Some("jsonl" | "ndjson") => return Ok(Format::Jsonl),
        _ => {}
    }
    let mut reader = start(file)?;
    let is_json = loop {
        let bytes = reader.fill_buf()?;
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(byte) => break *byte == b'{',
            None if bytes.is_empty() => break true,
            None => {}
        }
        let length = bytes.len();
        reader.consume(length);
    };
    let is_answer =
        is_json && answers::Objects::new(reader).next().is_some_and(|first| first.is_ok_and(answers::is_one));
    Ok(match (is_json, is_answer) {
        (false, _) => Format::Csv,
        (true, false) => Format::Jsonl,
        (true, true) => Format::Tuya,
    })
}

/// The rows of a file from its beginning. `device` is the id for rows that name no device.
///
/// # Errors
/// Errors of the system, for example for a pipe, which cannot be read twice.
pub fn rows<'a>(file: &'a mut File, format: Format, device: Option<&'a str>) -> std::io::Result<Rows<'a>> {
    let reader = start(file)?;
    Ok(match format {
        Format::Jsonl => Box::new(lines::Lines::new(reader, device)),
        Format::Csv => Box::new(table::Table::new(reader, device)),
        Format::Tuya => Box::new(answers::Answers::new(reader, device)),
    })
}

fn start(file: &mut File) -> std::io::Result<BufReader<impl Read>> {
    file.rewind()?;
    let mut beginning = Vec::new();
    file.take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut beginning)?;
    if beginning != BYTE_ORDER_MARK {
        file.rewind()?;
    }
    Ok(BufReader::new(file))
}

/// A row for the server, from the texts and values of a file.
pub struct Fields<'a> {
    /// The device that the row names.
    pub device_id: Option<&'a str>,
    /// Milliseconds, or ISO 8601 with an offset.
    pub time: &'a str,
    /// The number of the event type.
    pub kind: &'a str,
    /// The number of the source.
    pub from: &'a str,
    /// The code of a data point.
    pub code: Option<&'a str>,
    /// Its value, as JSON.
    pub value: Option<&'a RawValue>,
}

impl Fields<'_> {
    /// The JSON of the row. `device` is the device of rows that name none.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn json(&self, device: Option<&str>) -> Result<String, String> {
        let device_id = match (self.device_id, device) {
            (Some(named), Some(device)) if named != device => {
                return Err(format!("the row is of the device {named:?}, and not of {device:?}"));
            }
            (Some(id), _) | (None, Some(id)) => id.to_owned(),
            (None, None) => return Err("the row names no device: name it with --device".to_owned()),
        };
        let number = |name: &str, text: &str| {
            text.parse::<i64>().map_err(|_| format!("{name} must be a whole number, and is {text:?}"))
        };
        let row = ImportLine {
            device_id,
            time: time_ms(self.time)?,
            kind: number("type", self.kind)?,
            from: number("from", self.from)?,
            code: self.code.map(str::to_owned),
            value: self.value,
        };
        serde_json::to_string(&row).map_err(|error| error.to_string())
    }
}

/// The text of a JSON number or string.
pub fn text_of(json: &RawValue) -> String {
    serde_json::from_str(json.get()).unwrap_or_else(|_| json.get().to_owned())
}

/// Bytes of a file as text.
///
/// # Errors
/// [`BadRow`] with the line, if `line` is the one at which the bytes begin.
pub fn utf8(bytes: &[u8], line: u64) -> Result<&str, BadRow> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        BadRow { line: line + line_breaks(valid), text: "the text is not UTF-8".to_owned() }
    })
}

/// The number of line breaks in bytes of a file.
pub fn line_breaks(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The text of a JSON error without the line, which the caller knows better.
pub fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) => format!("{reason} (at column {})", error.column()),
        None => text,
    }
}
