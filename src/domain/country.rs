//! Calling codes of countries (ITU-T E.164), in the normal form in which they are stored and compared: only digits.

/// The codes that are assigned to countries. Codes without a country (800, 870, 881 and others) are not included.
const ASSIGNED: &[u32] = &[
    1, 7, 20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58, 60,
    61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98, 211, 212, 213, 216, 218, 220, 221, 222, 223,
    224, 225, 226, 227, 228, 229, 230, 231, 232, 233, 234, 235, 236, 237, 238, 239, 240, 241, 242, 243, 244, 245, 246,
    247, 248, 249, 250, 251, 252, 253, 254, 255, 256, 257, 258, 260, 261, 262, 263, 264, 265, 266, 267, 268, 269, 290,
    291, 297, 298, 299, 350, 351, 352, 353, 354, 355, 356, 357, 358, 359, 370, 371, 372, 373, 374, 375, 376, 377, 378,
    379, 380, 381, 382, 383, 385, 386, 387, 389, 420, 421, 423, 500, 501, 502, 503, 504, 505, 506, 507, 508, 509, 590,
    591, 592, 593, 594, 595, 596, 597, 598, 599, 670, 672, 673, 674, 675, 676, 677, 678, 679, 680, 681, 682, 683, 685,
    686, 687, 688, 689, 690, 691, 692, 850, 852, 853, 855, 856, 880, 886, 960, 961, 962, 963, 964, 965, 966, 967, 968,
    970, 971, 972, 973, 974, 975, 976, 977, 992, 993, 994, 995, 996, 998,
];

/// Islands that share the code of a country and are distinguished by the following area code: Guernsey, Jersey, Isle of
/// Man. Those with code 1 are recognized by the number of digits.
const ISLANDS: [u32; 3] = [441_481, 441_534, 441_624];

/// The normal form of a country's calling code: `+49`, `0049` and `49` are `49`, and `1-684` is `1684`. `None` if the
/// text is not a calling code.
pub fn calling_code(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text).trim_start_matches('0');
    let digits = match text.split_once(['-', ' ']) {
        Some((country @ ("1" | "44"), area)) if !area.is_empty() => format!("{country}{area}"),
        Some(_) => return None,
        None => text.to_owned(),
    };
    if digits.len() > 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let code = digits.parse().ok()?;
    // A North American area code has three digits, and the first one is not 0 or 1.
    let is_north_american = (1200..=1999).contains(&code);
    (is_north_american || ISLANDS.contains(&code) || ASSIGNED.contains(&code)).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_country_has_one_form() {
        for (form, kept) in [
            ("49", "49"),
            ("+49", "49"),
            ("0049", "49"),
            ("049", "49"),
            (" +49 ", "49"),
            ("+1", "1"),
            ("1-684", "1684"),
            ("+1 684", "1684"),
            ("44-1624", "441624"),
            ("00351", "351"),
            ("7", "7"),
        ] {
            assert_eq!(calling_code(form).as_deref(), Some(kept), "{form}");
        }
    }

    #[test]
    fn what_is_no_country_is_refused() {
        for form in [
            "",
            "+",
            "0",
            "000",
            "DE",
            "de",
            "999999",
            "999",
            "800",
            "21",
            "4",
            "-49",
            "49-",
            "4-9-1",
            "4 9",
            "++49",
            "4.9",
            "49.0",
            "４９",
            "1-084",
            "44-1",
            "1-",
            "491234",
            "99999999999999999999",
        ] {
            assert_eq!(calling_code(form), None, "{form}");
        }
    }
}
