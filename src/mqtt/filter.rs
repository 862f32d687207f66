//! What a subscription covers.

/// Why a filter is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeRefusal {
    /// It is no filter, or too long.
    Invalid,
    /// It is not below the topics of a device of the session.
    NotOwn,
    /// The device has as many as it may have.
    TooMany,
}

/// Whether a filter covers a topic (MQTT 3.1.1 §4.7).
pub fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether a filter is one: `#` stands alone as the last level, `+` alone as any level (MQTT 3.1.1 §4.7.1).
pub fn is_valid(filter: &str) -> bool {
    let is_last = |at: usize| filter.len() == at + 1;
    let is_alone = |at: usize| {
        let around =
            (at.checked_sub(1).and_then(|before| filter.as_bytes().get(before)), filter.as_bytes().get(at + 1));
        around.0.is_none_or(|byte| *byte == b'/') && around.1.is_none_or(|byte| *byte == b'/')
    };
    let wildcards = filter.bytes().enumerate().filter(|(_, byte)| matches!(byte, b'#' | b'+'));
    !filter.is_empty()
        && !filter.contains(['\0', '\n', '\r'])
        && wildcards.into_iter().all(|(at, byte)| is_alone(at) && (byte == b'+' || is_last(at)))
}

#[cfg(test)]
mod tests {
    use super::{is_valid, matches};

    #[test]
    fn wildcards_stand_alone() {
        for filter in ["#", "+", "a", "/", "a/#", "a/+", "+/a", "+/+/#", "a/+/b", "/+/", "水/#", "a//b"] {
            assert!(is_valid(filter), "{filter}");
        }
        for filter in
            ["", "a#", "a/a#", "a/+a", "a/a+", "a/+a/b", "#/a", "a/#/b", "##", "++", "a/##", "a/#+", "a\0", "水#"]
        {
            assert!(!is_valid(filter), "{filter}");
        }
    }

    #[test]
    fn filters_and_topics() {
        for (filter, topic, covers) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+/c", "a/b/c", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("#", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("/a", "a", false),
        ] {
            assert_eq!(matches(filter, topic), covers, "{filter} {topic}");
        }
    }
}
