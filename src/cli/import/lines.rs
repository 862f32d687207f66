//! JSON lines: one JSON object on each line, as `ingle log --json` prints it.

use std::io::{BufRead, Read};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::rows::{BadRow, Fields, ROW_BYTES_MAX, Row, reason, text_of, utf8};

/// The rows of such a file.
pub struct Lines<'a, R> {
    reader: R,
    device: Option<&'a str>,
    line: u64,
    bytes: Vec<u8>,
}

/// One line. Numbers and times may be numbers or strings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    device_id: Option<String>,
    #[serde(borrow)]
    time: &'a RawValue,
    #[serde(borrow, rename = "type")]
    kind: &'a RawValue,
    #[serde(borrow)]
    from: &'a RawValue,
    code: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

impl<'a, R: BufRead> Lines<'a, R> {
    /// Reads from the beginning of the file.
    pub fn new(reader: R, device: Option<&'a str>) -> Self {
        Self { reader, device, line: 0, bytes: Vec::new() }
    }

    /// Reads the next line. `None` at the end of the file.
    fn advance(&mut self) -> Option<Result<(), String>> {
        self.line += 1;
        self.bytes.clear();
        match self.reader.by_ref().take(ROW_BYTES_MAX as u64 + 1).read_until(b'\n', &mut self.bytes) {
            Err(error) => Some(Err(error.to_string())),
            Ok(0) => None,
            Ok(length) if length > ROW_BYTES_MAX => Some(Err(format!("the line is longer than {ROW_BYTES_MAX} bytes"))),
            Ok(_) => Some(Ok(())),
        }
    }
}

impl<R: BufRead> Iterator for Lines<'_, R> {
    type Item = Result<Row, BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let advanced = self.advance()?;
            let line = self.line;
            if let Err(text) = advanced {
                return Some(Err(BadRow { line, text }));
            }
            if self.bytes.trim_ascii().is_empty() {
                continue;
            }
            let text = match utf8(&self.bytes, line) {
                Ok(text) => text,
                Err(bad) => return Some(Err(bad)),
            };
            let json = row_of(text, self.device);
            return Some(json.map(|json| Row { line, json }).map_err(|text| BadRow { line, text }));
        }
    }
}

fn row_of(text: &str, device: Option<&str>) -> Result<String, String> {
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| reason(&error))?;
    let fields = Fields {
        device_id: line.device_id.as_deref(),
        time: &text_of(line.time),
        kind: &text_of(line.kind),
        from: &text_of(line.from),
        code: line.code.as_deref(),
        value: line.value,
    };
    fields.json(device)
}
