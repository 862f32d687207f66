//! CSV with a header line.

use std::collections::VecDeque;
use std::io::{BufRead, Read};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use serde_json::value::to_raw_value;

use super::rows::{BadRow, Fields, ROW_BYTES_MAX, Row, line_breaks, utf8};

/// The names of the columns. `device_id` may be missing if the command names the device.
const COLUMNS: [&str; 6] = ["device_id", "time", "type", "from", "code", "value"];

/// The rows of such a file.
pub struct Table<'a, R> {
    reader: Reader<Limited<R>>,
    device: Option<&'a str>,
    /// The place of each of [`COLUMNS`] in a row, once the header was read.
    places: Option<[Option<usize>; 6]>,
    record: ByteRecord,
}

/// A reader that ends a row which is too long, and knows the places of line breaks that were not counted yet.
struct Limited<R> {
    inner: R,
    /// The number of bytes that the present row may still take.
    left: usize,
    position: u64,
    breaks: VecDeque<u64>,
    /// The number of line breaks before those.
    counted: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(self.left);
        if most == 0 {
            return Err(std::io::Error::other(format!(
                "the row is longer than {ROW_BYTES_MAX} bytes: is a quotation mark missing?"
            )));
        }
        let buffer = buffer.get_mut(..most).unwrap_or_default();
        let length = self.inner.read(buffer)?;
        let places = buffer.iter().take(length).enumerate().filter(|(_, byte)| **byte == b'\n');
        self.breaks.extend(places.map(|(at, _)| self.position + at as u64));
        self.position += length as u64;
        self.left -= length;
        Ok(length)
    }
}

impl<R> Limited<R> {
    /// Counts the line breaks before `end`. Returns whether the last byte before `end` is one.
    fn count_to(&mut self, end: u64) -> bool {
        let mut last = None;
        while let Some(at) = self.breaks.pop_front_if(|at| *at < end) {
            self.counted += 1;
            last = Some(at);
        }
        last.is_some_and(|at| at + 1 == end)
    }
}

impl<'a, R: BufRead> Table<'a, R> {
    /// Reads from the beginning of the file.
    pub fn new(reader: R, device: Option<&'a str>) -> Self {
        let limited = Limited { inner: reader, left: 0, position: 0, breaks: VecDeque::new(), counted: 0 };
        // The length of each row is checked here, so that its line is known.
        let reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(limited);
        Self { reader, device, places: None, record: ByteRecord::new() }
    }

    /// Reads the next row with its line. `None` at the end of the file. The reader of CSV counts lines otherwise if they are
    /// empty or end with CR LF, so they are counted here.
    fn advance(&mut self) -> Option<Result<u64, BadRow>> {
        self.reader.get_mut().left = ROW_BYTES_MAX;
        let begin = self.reader.position().byte();
        let read = self.reader.read_byte_record(&mut self.record);
        let end = self.reader.position().byte();
        let lines = self.reader.get_mut();
        match read {
            Ok(true) => {
                let own = u64::from(lines.count_to(end)) + self.record.iter().map(line_breaks).sum::<u64>();
                Some(Ok((lines.counted + 1).saturating_sub(own)))
            }
            Ok(false) => None,
            Err(error) => {
                // The row before may have ended within CR LF.
                lines.count_to(begin + 1);
                let text = match error.into_kind() {
                    ErrorKind::Io(error) => error.to_string(),
                    kind => format!("this is no CSV: {kind:?}"),
                };
                Some(Err(BadRow { line: lines.counted + 1, text }))
            }
        }
    }

    /// Reads the header, if it was not read yet.
    fn columns(&mut self) -> Result<[Option<usize>; 6], BadRow> {
        if let Some(places) = self.places {
            return Ok(places);
        }
        let refuse = |line, text: String| BadRow { line, text };
        let header = self.advance().ok_or_else(|| refuse(1, "the header line is missing".to_owned()));
        let line = header??;
        let mut places = [None; 6];
        for (place, name) in self.record.iter().enumerate() {
            let name = utf8(name, line)?.trim();
            let column = COLUMNS.iter().position(|known| *known == name).and_then(|at| places.get_mut(at));
            let column = column.ok_or_else(|| {
                let all = COLUMNS.join(",");
                refuse(
                    line,
                    format!(
                        "CSV has no column {name:?} here: the header is {all}, in any order; or name another --format"
                    ),
                )
            })?;
            if column.replace(place).is_some() {
                return Err(refuse(line, format!("the column {name:?} is there twice")));
            }
        }
        let is_needed = |(at, place): (usize, &Option<usize>)| place.is_none() && (at > 0 || self.device.is_none());
        if let Some(at) = places.iter().enumerate().position(is_needed) {
            let name = COLUMNS.get(at).copied().unwrap_or_default();
            return Err(refuse(line, format!("the column {name:?} is missing")));
        }
        self.places = Some(places);
        Ok(places)
    }

    fn row(&self, places: [Option<usize>; 6], line: u64) -> Result<Row, BadRow> {
        let refuse = |text: String| BadRow { line, text };
        let (fields, columns) = (self.record.len(), places.iter().flatten().count());
        if fields != columns {
            return Err(refuse(format!("the row has {fields} fields, and the header {columns}")));
        }
        let field = |place: Option<usize>| match place.and_then(|place| self.record.get(place)) {
            Some(bytes) => utf8(bytes, line).map(Some),
            None => Ok(None),
        };
        let [device_id, time, kind, from, code, value] = places;
        let code = field(code)?.filter(|code| !code.is_empty());
        // Nothing is a text if there is a code, and otherwise no value.
        let value = field(value)?.filter(|value| code.is_some() || !value.is_empty());
        let value = value.map(to_raw_value).transpose().map_err(|error| refuse(error.to_string()))?;
        let fields = Fields {
            device_id: field(device_id)?.filter(|id| !id.is_empty()),
            time: field(time)?.unwrap_or_default().trim(),
            kind: field(kind)?.unwrap_or_default().trim(),
            from: field(from)?.unwrap_or_default().trim(),
            code,
            value: value.as_deref(),
        };
        fields.json(self.device).map(|json| Row { line, json }).map_err(refuse)
    }
}

impl<R: BufRead> Iterator for Table<'_, R> {
    type Item = Result<Row, BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let places = match self.columns() {
            Ok(places) => places,
            Err(bad) => return Some(Err(bad)),
        };
        let advanced = self.advance()?;
        Some(advanced.and_then(|line| self.row(places, line)))
    }
}
