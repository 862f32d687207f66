//! Blocks: the encoding of rows in the journal, in sorted runs and in `latest.db`.
//!
//! A block holds the rows of one or more devices, in one section for each device. Its header is not compressed: a
//! checksum, and a summary by which a query can skip or count the block without decompressing it. The rest is
//! compressed with LZ4: a dictionary of codes, the list of sections, and each section as columns, so that one section
//! can be decoded without the others.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};
use std::hash::Hasher;

use super::fault::{Fault, Result};
use super::row::{DeviceEnd, Row, RowView, Rows, TYPE_BITS};

const VERSION: u8 = 1;
const UNCOMPRESSED: u8 = 0;
const LZ4: u8 = 1;
/// Blocks shorter than this are not compressed.
const LZ4_BYTES_MIN: usize = 96;
/// An upper limit for the uncompressed size, far above the size at which writers finish a block.
const RAW_BYTES_MAX: usize = 1 << 30;

/// The bit of a code in the header of a block.
pub fn code_bit(code: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(code.as_bytes());
    1 << (hasher.finish() >> 58)
}

/// The header of a block: what a reader learns without decompressing it.
#[derive(Clone, Copy, Debug)]
pub struct BlockHeader {
    /// Number of sections, that is, of devices.
    pub sections: u32,
    /// Number of rows.
    pub rows: u32,
    /// One bit for each event type that occurs.
    pub kinds: u16,
    /// One bit, chosen by a hash, for each code that occurs.
    pub code_bits: u64,
    /// The time of the oldest row.
    pub oldest_ms: i64,
    /// The time of the newest row.
    pub newest_ms: i64,
}

impl Default for BlockHeader {
    fn default() -> Self {
        Self { sections: 0, rows: 0, kinds: 0, code_bits: 0, oldest_ms: i64::MAX, newest_ms: i64::MIN }
    }
}

/// Encodes blocks, one after the other.
#[derive(Default)]
pub struct Encoder {
    header: BlockHeader,
    base_ms: i64,
    codes: FxHashMap<Arc<str>, u32>,
    shapes: FxHashMap<u64, u32>,
    code_text: Vec<u8>,
    shape_text: Vec<u8>,
    directory: Vec<u8>,
    last_device: i64,
    body: Vec<u8>,
    section: Columns,
    raw: Vec<u8>,
    blob: Vec<u8>,
}

/// The columns of the current section.
#[derive(Default)]
struct Columns {
    device: i64,
    rows: u32,
    last: (i64, u32),
    times: Vec<u8>,
    numbers: Vec<u8>,
    shapes: Vec<u8>,
    lengths: Vec<u8>,
    values: Vec<u8>,
}

impl Encoder {
    /// Number of rows in the current block.
    pub fn rows(&self) -> u32 {
        self.header.rows
    }

    /// Number of rows in the current section.
    pub fn section_rows(&self) -> u32 {
        self.section.rows
    }

    /// Approximate size of the current block in bytes.
    pub fn bytes(&self) -> usize {
        let section = &self.section;
        self.body.len()
            + section.times.len()
            + section.numbers.len()
            + section.shapes.len()
            + section.lengths.len()
            + section.values.len()
            + self.code_text.len()
    }

    /// Adds a row. All rows of a device must follow one another; ascending device numbers give small blocks.
    pub fn push(&mut self, device: i64, row: &RowView<'_>) {
        if self.header.rows == 0 {
            self.base_ms = row.time_ms;
        }
        if self.section.rows > 0 && self.section.device != device {
            self.end_section();
        }
        let shape = self.shape(row);
        let section = &mut self.section;
        if section.rows == 0 {
            section.device = device;
            section.last = (self.base_ms, 0);
        }
        put_signed(&mut section.times, section.last.0.wrapping_sub(row.time_ms));
        if section.rows > 0 && section.last.0 == row.time_ms {
            put_signed(&mut section.numbers, i64::from(section.last.1) - i64::from(row.n));
        } else {
            put(&mut section.numbers, u64::from(row.n));
        }
        section.last = (row.time_ms, row.n);
        put(&mut section.shapes, u64::from(shape));
        put(&mut section.lengths, row.value.len() as u64);
        section.values.extend_from_slice(row.value);
        section.rows += 1;
        let header = &mut self.header;
        header.rows += 1;
        header.kinds |= 1 << (row.kind & TYPE_BITS);
        header.oldest_ms = header.oldest_ms.min(row.time_ms);
        header.newest_ms = header.newest_ms.max(row.time_ms);
    }

    /// The number of this row's shape in the block; a shape is a combination of event type, source and code.
    fn shape(&mut self, row: &RowView<'_>) -> u32 {
        let code = match row.code {
            None => 0,
            Some(code) => match self.codes.get(code) {
                Some(&number) => number,
                None => {
                    let number = self.codes.len() as u32 + 1;
                    self.codes.insert(code.clone(), number);
                    put(&mut self.code_text, code.len() as u64);
                    self.code_text.extend_from_slice(code.as_bytes());
                    self.header.code_bits |= code_bit(code);
                    number
                }
            },
        };
        let is_compressed = u64::from(code) << 16 | u64::from(row.kind) << 8 | u64::from(row.source as u8);
        let next = self.shapes.len() as u32;
        *self.shapes.entry(is_compressed).or_insert_with(|| {
            self.shape_text.extend([row.kind, row.source as u8]);
            put(&mut self.shape_text, u64::from(code));
            next
        })
    }

    fn end_section(&mut self) {
        let section = &mut self.section;
        let before = self.body.len();
        for column in
            [&mut section.times, &mut section.numbers, &mut section.shapes, &mut section.lengths, &mut section.values]
        {
            self.body.append(column);
        }
        put_signed(&mut self.directory, section.device.wrapping_sub(self.last_device));
        put(&mut self.directory, u64::from(section.rows));
        put(&mut self.directory, (self.body.len() - before) as u64);
        self.last_device = section.device;
        self.header.sections += 1;
        section.rows = 0;
    }

    /// Finishes the block and empties the encoder. The checksum also covers `salt`, the location of the block.
    pub fn finish(&mut self, salt: Salt) -> Result<&[u8]> {
        if self.section.rows > 0 {
            self.end_section();
        }
        self.raw.clear();
        put(&mut self.raw, self.codes.len() as u64);
        self.raw.append(&mut self.code_text);
        put(&mut self.raw, self.shapes.len() as u64);
        self.raw.append(&mut self.shape_text);
        self.raw.append(&mut self.directory);
        self.raw.append(&mut self.body);
        if self.raw.len() >= RAW_BYTES_MAX {
            self.clear();
            return Err(Fault::TooLarge("a block"));
        }
        self.write_blob(salt);
        self.clear();
        Ok(&self.blob)
    }

    fn write_blob(&mut self, salt: Salt) {
        let (header, blob) = (&self.header, &mut self.blob);
        blob.clear();
        blob.extend([0, 0, 0, 0, VERSION, UNCOMPRESSED]);
        put(blob, u64::from(header.sections));
        put(blob, u64::from(header.rows));
        put(blob, u64::from(header.kinds));
        blob.extend(header.code_bits.to_le_bytes());
        put_signed(blob, header.newest_ms);
        put(blob, header.newest_ms.wrapping_sub(header.oldest_ms) as u64);
        put_signed(blob, header.newest_ms.wrapping_sub(self.base_ms));
        put(blob, self.raw.len() as u64);
        let start = blob.len();
        if self.raw.len() >= LZ4_BYTES_MIN {
            blob.resize(start + lz4_flex::block::get_maximum_output_size(self.raw.len()), 0);
            match lz4_flex::block::compress_into(&self.raw, &mut blob[start..]) {
                Ok(len) if len < self.raw.len() => {
                    blob[5] = LZ4;
                    blob.truncate(start + len);
                }
                _ => blob.truncate(start),
            }
        }
        if blob[5] == UNCOMPRESSED {
            blob.extend_from_slice(&self.raw);
        }
        let sum = checksum(salt, &blob[4..]);
        blob[..4].copy_from_slice(&sum.to_le_bytes());
    }

    /// Discards the current block.
    pub fn clear(&mut self) {
        self.header = BlockHeader::default();
        self.codes.clear();
        self.shapes.clear();
        self.code_text.clear();
        self.shape_text.clear();
        self.directory.clear();
        self.last_device = 0;
        self.body.clear();
        let section = &mut self.section;
        section.rows = 0;
        for column in
            [&mut section.times, &mut section.numbers, &mut section.shapes, &mut section.lengths, &mut section.values]
        {
            column.clear();
        }
    }
}

/// The location of a block, which its checksum covers: a block at a wrong location is detected as damaged.
pub type Salt = [i64; 3];

fn checksum(salt: Salt, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in salt {
        hasher.update(&part.to_le_bytes());
    }
    hasher.update(bytes);
    hasher.finalize()
}

/// A block whose checksum is correct.
pub struct Block<'a> {
    /// The header.
    pub header: BlockHeader,
    base_ms: i64,
    raw_len: usize,
    is_compressed: bool,
    payload: &'a [u8],
}

/// A section of a decompressed block.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The device's number.
    pub device: i64,
    rows: usize,
    at: usize,
    len: usize,
}

/// A decompressed block.
pub struct Body {
    /// The sections, in ascending order of devices.
    pub sections: Vec<Section>,
    base_ms: i64,
    shapes: Vec<(u8, i8, u32)>,
    codes: Vec<Arc<str>>,
    raw: Vec<u8>,
}

impl<'a> Block<'a> {
    /// Verifies the checksum and decodes the header.
    pub fn open(blob: &'a [u8], salt: Salt) -> Result<Self> {
        let (Some(sum), Some(rest)) = (blob.first_chunk::<4>(), blob.get(4..)) else {
            return Err(Fault::Damaged("shorter than a checksum"));
        };
        if u32::from_le_bytes(*sum) != checksum(salt, rest) {
            return Err(Fault::Damaged("the checksum is wrong"));
        }
        let mut reader = Reader { bytes: rest, at: 0 };
        if reader.byte()? != VERSION {
            return Err(Fault::Damaged("an unknown version"));
        }
        let is_compressed = reader.byte()? == LZ4;
        let (sections, rows, kinds) = (reader.number()?, reader.number()?, reader.number()?);
        let bits = reader.take(8)?.first_chunk::<8>().copied().unwrap_or_default();
        let newest_ms = reader.signed()?;
        let oldest_ms = newest_ms.wrapping_sub(reader.varint()? as i64);
        let base_ms = newest_ms.wrapping_sub(reader.signed()?);
        let raw_len = reader.number()? as usize;
        if raw_len >= RAW_BYTES_MAX {
            return Err(Fault::Damaged("an impossible length"));
        }
        let code_bits = u64::from_le_bytes(bits);
        let header = BlockHeader { sections, rows, kinds: kinds as u16, code_bits, oldest_ms, newest_ms };
        Ok(Self { header, base_ms, raw_len, is_compressed, payload: &rest[reader.at..] })
    }

    /// Decompresses the block.
    pub fn body(&self) -> Result<Body> {
        let raw = if self.is_compressed {
            let mut raw = vec![0; self.raw_len];
            let len = lz4_flex::block::decompress_into(self.payload, &mut raw)
                .map_err(|_| Fault::Damaged("it cannot be decompressed"))?;
            if len != self.raw_len {
                return Err(Fault::Damaged("it decompressed to another length"));
            }
            raw
        } else {
            self.payload.to_vec()
        };
        let mut reader = Reader { bytes: &raw, at: 0 };
        let codes = (0..reader.number()?).map(|_| reader.text()).collect::<Result<Vec<_>>>()?;
        let shapes = (0..reader.number()?).map(|_| reader.shape()).collect::<Result<Vec<_>>>()?;
        let mut sections = Vec::with_capacity((self.header.sections as usize).min(raw.len()));
        let (mut device, mut total) = (0i64, 0usize);
        for _ in 0..self.header.sections {
            device = device.wrapping_add(reader.signed()?);
            let (rows, len) = (reader.number()? as usize, reader.number()? as usize);
            sections.push(Section { device, rows, at: total, len });
            total = total.saturating_add(len);
        }
        if raw.len() - reader.at != total {
            return Err(Fault::Damaged("its sections have another length"));
        }
        let start = reader.at;
        for section in &mut sections {
            section.at += start;
        }
        Ok(Body { sections, base_ms: self.base_ms, shapes, codes, raw })
    }
}

impl Body {
    /// The index of a device's section.
    pub fn find(&self, device: i64) -> Option<usize> {
        self.sections.binary_search_by_key(&device, |section| section.device).ok()
    }

    /// Decodes the rows of one section.
    pub fn into_section(self, index: usize) -> Result<Rows> {
        let mut rows = Vec::new();
        if let Some(&section) = self.sections.get(index) {
            self.decode(section, &mut rows)?;
        }
        Ok(Rows { rows, codes: self.codes, bytes: self.raw })
    }

    /// Decodes the rows of all sections. The second list says where the rows of each device end.
    pub fn into_all(self) -> Result<(Rows, Vec<DeviceEnd>)> {
        let (mut rows, mut ends) = (Vec::new(), Vec::with_capacity(self.sections.len()));
        for &section in &self.sections {
            self.decode(section, &mut rows)?;
            ends.push(DeviceEnd { device: section.device, end: rows.len() });
        }
        Ok((Rows { rows, codes: self.codes, bytes: self.raw }, ends))
    }

    fn decode(&self, section: Section, out: &mut Vec<Row>) -> Result<()> {
        let end = section.at + section.len;
        let mut reader = Reader { bytes: self.raw.get(..end).unwrap_or_default(), at: section.at };
        if section.rows > section.len {
            return Err(Fault::Damaged("more rows than bytes"));
        }
        let first = out.len();
        let mut time_ms = self.base_ms;
        for _ in 0..section.rows {
            time_ms = time_ms.wrapping_sub(reader.signed()?);
            out.push(Row { time_ms, n: 0, code: 0, at: 0, len: 0, kind: 0, source: 0 });
        }
        let rows = &mut out[first..];
        let mut last: Option<(i64, u32)> = None;
        for row in rows.iter_mut() {
            row.n = match last {
                Some((time_ms, n)) if time_ms == row.time_ms => (i64::from(n) - reader.signed()?) as u32,
                _ => reader.number()?,
            };
            last = Some((row.time_ms, row.n));
        }
        for row in rows.iter_mut() {
            let shape = reader.number()? as usize;
            (row.kind, row.source, row.code) =
                self.shapes.get(shape).copied().ok_or(Fault::Damaged("an unknown shape"))?;
        }
        for row in rows.iter_mut() {
            row.len = u16::try_from(reader.number()?).map_err(|_| Fault::Damaged("a long value"))?;
        }
        let mut at = reader.at;
        for row in rows {
            row.at = at as u32;
            at += usize::from(row.len);
        }
        if at == end { Ok(()) } else { Err(Fault::Damaged("its values have another length")) }
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 128 {
        out.push(number as u8 | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)) as u64);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8> {
        let byte = self.bytes.get(self.at).copied().ok_or(Fault::Damaged("it ends too early"))?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(number);
            }
            shift += 7;
            if shift > 63 {
                return Err(Fault::Damaged("an endless number"));
            }
        }
    }

    fn signed(&mut self) -> Result<i64> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn number(&mut self) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| Fault::Damaged("a number out of range"))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).ok_or(Fault::Damaged("a length out of range"))?;
        let bytes = self.bytes.get(self.at..end).ok_or(Fault::Damaged("it ends too early"))?;
        self.at = end;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<Arc<str>> {
        let len = self.number()? as usize;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| Fault::Damaged("a code that is not UTF-8"))?;
        Ok(text.into())
    }

    fn shape(&mut self) -> Result<(u8, i8, u32)> {
        Ok((self.byte()?, self.byte()? as i8, self.number()?))
    }
}
