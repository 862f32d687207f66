//! Row keys of a log, in the layout of the vendor's HBase (contract tuya §3.9): `prefix_inverted-time_type_n`, in
//! base64, in the free form; `prefix_inverted-time_n` in the paid one. Both name one row.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use crate::domain::{EventType, RowRef};

const KEY_BYTES_MAX: usize = 512;

/// Creates and parses the keys of the rows of one device.
pub struct RowKeys {
    prefix: String,
}

impl RowKeys {
    /// The key prefix of a device is eight hex digits of the MD5 of its id, then the id reversed.
    pub fn of(device_id: &str) -> Self {
        let digest = Md5::digest(device_id.as_bytes());
        let mut prefix = crate::hex::encode(&digest[..4]);
        prefix.extend(device_id.chars().rev());
        Self { prefix }
    }

    /// The key of a row in the free form.
    pub fn free(&self, row: RowRef, kind: EventType) -> String {
        STANDARD.encode(format!("{}_{}_{}_{}", self.prefix, i64::MAX - row.time_ms, kind.number(), row.n))
    }

    /// The key of a row in the paid form.
    pub fn paid(&self, row: RowRef) -> String {
        format!("{}_{}_{}", self.prefix, i64::MAX - row.time_ms, row.n)
    }

    /// The row of a free key; `None` for a key that [`RowKeys::free`] did not create for this device.
    pub fn parse_free(&self, key: &str) -> Option<RowRef> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        // A plus that was not percent-encoded arrives as a space.
        let text = String::from_utf8(STANDARD.decode(key.replace(' ', "+")).ok()?).ok()?;
        let mut fields = text.strip_prefix(&self.prefix)?.strip_prefix('_')?.split('_');
        let time = fields.next()?;
        let kind = EventType::from_number(fields.next()?.parse().ok()?)?;
        let row = row_ref(time, fields.next()?)?;
        (fields.next().is_none() && self.free(row, kind) == key.replace(' ', "+")).then_some(row)
    }

    /// The row of a paid key; `None` for a key that [`RowKeys::paid`] did not create for this device.
    pub fn parse_paid(&self, key: &str) -> Option<RowRef> {
        let (time, n) = key.strip_prefix(&self.prefix)?.strip_prefix('_')?.split_once('_')?;
        let row = row_ref(time, n)?;
        (self.paid(row) == key).then_some(row)
    }
}

fn row_ref(inverted_time: &str, n: &str) -> Option<RowRef> {
    let time_ms = i64::MAX.checked_sub(inverted_time.parse().ok()?)?;
    let n = n.parse().ok().filter(|n| *n > 0)?;
    (time_ms >= 0).then_some(RowRef { time_ms, n })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vendor's published examples; the device of both is the one whose MD5 fits the prefix.
    #[test]
    fn the_keys_of_the_vendors_examples() {
        let keys = RowKeys::of("75500780ecfabc9a86f5");
        let free = [
            (1_560_872_567_955, "NjUwODIzNDU1ZjY4YTljYmFmY2UwODcwMDU1N185MjIzMzcwNDc1OTgyMjA3ODUyXzdfMQ=="),
            (1_560_783_275_873, "NjUwODIzNDU1ZjY4YTljYmFmY2UwODcwMDU1N185MjIzMzcwNDc2MDcxNDk5OTM0XzdfMQ=="),
        ];
        for (time_ms, key) in free {
            let row = RowRef { time_ms, n: 1 };
            assert_eq!(keys.free(row, EventType::DataPoint), key);
            assert_eq!(keys.parse_free(key), Some(row));
        }
        let paid = [
            (1_562_031_576_431, "650823455f68a9cbafce08700557_9223370474823199376_1"),
            (1_562_031_394_665, "650823455f68a9cbafce08700557_9223370474823381142_1"),
            (1_562_031_277_824, "650823455f68a9cbafce08700557_9223370474823497983_1"),
            (1_561_935_500_636, "650823455f68a9cbafce08700557_9223370474919275171_1"),
            (1_561_779_264_393, "650823455f68a9cbafce08700557_9223370475075511414_1"),
        ];
        for (time_ms, key) in paid {
            let row = RowRef { time_ms, n: 1 };
            assert_eq!(keys.paid(row), key);
            assert_eq!(keys.parse_paid(key), Some(row));
        }
    }

    #[test]
    fn a_damaged_key_is_no_guess() {
        let keys = RowKeys::of("75500780ecfabc9a86f5");
        let good = keys.paid(RowRef { time_ms: 1_562_031_576_431, n: 12 });
        for cut in 0..good.len() {
            assert_ne!(keys.parse_paid(&good[..cut]), keys.parse_paid(&good), "{cut}");
        }
        for bad in
            ["", "_", "x", &good[1..], &format!("{good}_1"), &good.replace("_12", "_0"), &good.replace("_12", "_012")]
        {
            assert_eq!(keys.parse_paid(bad), None, "{bad}");
        }
        assert_eq!(RowKeys::of("other").parse_paid(&good), None);
        assert_eq!(keys.parse_free(&good), None);
        assert_eq!(keys.parse_free(&"A".repeat(100_000)), None);
    }
}
