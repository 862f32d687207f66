//! Times as people write them.

use time::OffsetDateTime;
use time::format_description::well_known::{Iso8601, Rfc3339};

/// A time in milliseconds since 1970, from such a number or from ISO 8601 with an offset from UTC.
///
/// # Errors
/// How a time must be written.
pub(super) fn time_ms(text: &str) -> Result<i64, String> {
    let parsed = text.parse().ok().or_else(|| iso_ms(text));
    parsed.ok_or_else(|| match iso_ms(&format!("{text}Z")) {
        Some(_) => format!("the time {text:?} has no offset from UTC: write Z or an offset such as +01:00 after it"),
        None => format!("{text:?} is no time: write it as 2026-01-31T12:00:00Z, or in milliseconds since 1970"),
    })
}

fn iso_ms(text: &str) -> Option<i64> {
    let time =
        OffsetDateTime::parse(text, &Rfc3339).or_else(|_| OffsetDateTime::parse(text, &Iso8601::PARSING)).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_an_offset() {
        for text in [
            "1769860800123",
            "2026-01-31T12:00:00.123Z",
            "2026-01-31 12:00:00.1239Z",
            "2026-01-31T13:30:00.123+01:30",
            "2026-01-31T13:30:00.123+0130",
            "20260131T120000.123Z",
        ] {
            assert_eq!(time_ms(text), Ok(1_769_860_800_123), "{text}");
        }
        for text in ["2026-01-31T12:00:00", "2026-01-31 12:00:00", "2026-01-31T12:00:00.5", "20260131T120000"] {
            assert!(time_ms(text).unwrap_err().contains("no offset from UTC"), "{text}");
        }
        for text in ["", "yesterday", "2026-01-31", "2026-13-31T12:00:00Z", "31.01.2026 12:00", "1769860800.5"] {
            assert!(time_ms(text).unwrap_err().contains("write it as"), "{text}");
        }
    }
}
