//! The vendor's own rows: answers of `GET /v1.0/devices/{device_id}/logs`, one after another.

use std::collections::VecDeque;
use std::io::BufRead;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::rows::{BadRow, Fields, Row, line_breaks, reason, text_of, utf8};

/// The maximal length of an answer in bytes. The vendor's have at most 100 rows; some programs join several of them.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The JSON objects of a file, whatever is between their lines: the line at which each begins, and its bytes.
pub struct Objects<R> {
    reader: R,
    line: u64,
}

impl<R: BufRead> Objects<R> {
    /// Reads from the beginning of the file.
    pub fn new(reader: R) -> Self {
        Self { reader, line: 1 }
    }

    /// Skips white space. Returns whether an object begins.
    fn skip(&mut self) -> Result<bool, String> {
        loop {
            let bytes = self.reader.fill_buf().map_err(|error| error.to_string())?;
            let spaces = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(bytes.len());
            let next = bytes.get(spaces).copied();
            let is_end = bytes.is_empty();
            self.line += line_breaks(bytes.get(..spaces).unwrap_or_default());
            self.reader.consume(spaces);
            match next {
                Some(b'{') => return Ok(true),
                Some(_) => return Err("a JSON object must begin here".to_owned()),
                None if is_end => return Ok(false),
                None => {}
            }
        }
    }

    /// Reads an object to its end.
    fn read(&mut self) -> Result<Vec<u8>, String> {
        let (mut object, mut nesting) = (Vec::new(), Nesting::default());
        loop {
            let bytes = self.reader.fill_buf().map_err(|error| error.to_string())?;
            if bytes.is_empty() {
                return Err("the file ends within the JSON object that begins here".to_owned());
            }
            let end = bytes.iter().position(|byte| nesting.ends_with(*byte));
            let length = end.map_or(bytes.len(), |at| at + 1);
            object.extend_from_slice(bytes.get(..length).unwrap_or_default());
            self.reader.consume(length);
            if object.len() > ANSWER_BYTES_MAX {
                return Err(format!("the JSON object that begins here is longer than {ANSWER_BYTES_MAX} bytes"));
            }
            if end.is_some() {
                self.line += line_breaks(&object);
                return Ok(object);
            }
        }
    }
}

impl<R: BufRead> Iterator for Objects<R> {
    type Item = Result<(u64, Vec<u8>), BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let begins = self.skip();
        let line = self.line;
        let object = match begins {
            Ok(false) => return None,
            Ok(true) => self.read(),
            Err(text) => Err(text),
        };
        Some(object.map(|object| (line, object)).map_err(|text| BadRow { line, text }))
    }
}

/// How deep the bytes of a JSON text are in objects and lists.
#[derive(Default)]
struct Nesting {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
}

impl Nesting {
    /// Whether the outermost object or list ends with this byte.
    fn ends_with(&mut self, byte: u8) -> bool {
        if self.is_in_string {
            let is_escaped = std::mem::take(&mut self.is_escaped);
            match byte {
                b'\\' => self.is_escaped = !is_escaped,
                b'"' => self.is_in_string = is_escaped,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.is_in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => return false,
        }
        self.depth == 0 && byte != b'"'
    }
}

/// An answer of the vendor.
#[derive(Deserialize)]
struct Answer<'a> {
    success: Option<bool>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    msg: Option<String>,
    #[serde(borrow)]
    result: Option<Page<'a>>,
}

#[derive(Deserialize)]
struct Page<'a> {
    device_id: Option<String>,
    #[serde(borrow)]
    logs: Vec<&'a RawValue>,
}

/// A row of the vendor. Further members, such as `status` and `row`, do not matter.
#[derive(Deserialize)]
struct LogRow<'a> {
    #[serde(borrow)]
    event_time: &'a RawValue,
    #[serde(borrow)]
    event_id: &'a RawValue,
    #[serde(borrow)]
    event_from: &'a RawValue,
    code: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// Whether a JSON object is an answer of the vendor and not a row.
pub fn is_one((_, object): (u64, Vec<u8>)) -> bool {
    #[derive(Deserialize)]
    struct Either {
        result: Option<IgnoredAny>,
        success: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Either>(&object).is_ok_and(|either| either.result.is_some() || either.success.is_some())
}

/// The rows of such a file. Those of one answer come oldest first, so that rows of the same millisecond keep their order.
pub struct Answers<'a, R> {
    objects: Objects<R>,
    device: Option<&'a str>,
    ready: VecDeque<Row>,
}

impl<'a, R: BufRead> Answers<'a, R> {
    /// Reads from the beginning of the file.
    pub fn new(reader: R, device: Option<&'a str>) -> Self {
        Self { objects: Objects::new(reader), device, ready: VecDeque::new() }
    }

    /// Reads the rows of the next answer; `false` at the end of the file.
    fn advance(&mut self) -> Result<bool, BadRow> {
        let Some(object) = self.objects.next() else { return Ok(false) };
        let (line, object) = object?;
        let text = utf8(&object, line)?;
        let refuse = |text: String| BadRow { line, text };
        let answer: Answer<'_> = serde_json::from_str(text).map_err(|error| {
            let line = line + (error.line() as u64).saturating_sub(1);
            BadRow {
                line,
                text: format!("this is no answer of GET /v1.0/devices/{{device_id}}/logs: {}", reason(&error)),
            }
        })?;
        if answer.success == Some(false) {
            let (code, msg) = (answer.code.map_or("?", RawValue::get), answer.msg.unwrap_or_default());
            return Err(refuse(format!("the answer is a refusal with the code {code}: {msg}")));
        }
        let page = answer.result.ok_or_else(|| refuse("the answer has no result".to_owned()))?;
        let (mut row_line, mut at) = (line, 0);
        for row in page.logs {
            // A part of the text: how far it is from the beginning gives its line.
            let offset = row.get().as_ptr().addr().saturating_sub(text.as_ptr().addr());
            row_line += line_breaks(object.get(at..offset).unwrap_or_default());
            at = offset;
            let json = row_of(row, page.device_id.as_deref(), self.device);
            let json = json.map_err(|text| BadRow { line: row_line, text })?;
            self.ready.push_front(Row { line: row_line, json });
        }
        Ok(true)
    }
}

impl<R: BufRead> Iterator for Answers<'_, R> {
    type Item = Result<Row, BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Some(Ok(row));
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(bad) => return Some(Err(bad)),
            }
        }
    }
}

fn row_of(row: &RawValue, named: Option<&str>, device: Option<&str>) -> Result<String, String> {
    let row: LogRow<'_> = serde_json::from_str(row.get()).map_err(|error| reason(&error))?;
    let fields = Fields {
        device_id: named,
        time: &text_of(row.event_time),
        kind: &text_of(row.event_id),
        from: &text_of(row.event_from),
        code: row.code.as_deref().filter(|code| !code.is_empty()),
        value: row.value,
    };
    fields.json(device)
}
