//! Refused devices and refused messages of devices. They are counted by reason, remembered for `ingle explain`, and logged
//! with device and reason: at most once a minute for each device and reason, with a limited number of lines in total. The
//! next line says how many lines were left out.

mod recent;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use recent::{Origin, RecentRefusals, Refusal};

/// The time after which the same refusal is logged again.
const LOG_AGAIN: Duration = Duration::from_secs(60);
/// Maximum number of lines for one reason within that time.
const LINES_MAX: usize = 64;
/// Of these, the maximum number of lines about unauthenticated clients from one address.
const LINES_OF_ADDRESS_MAX: usize = 8;
/// Maximum length of a text of the client in the log.
const TEXT_CHARS_MAX: usize = 80;

/// Why a device or its message is refused, dropped or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The password is invalid.
    WrongPassword,
    /// The device or product does not exist.
    UnknownDevice,
    /// The CONNECT is of neither device protocol.
    UnreadableConnect,
    /// The device is disabled.
    Disabled,
    /// The device may not register, or not on this connection.
    Registration,
    /// The name or password of a subscriber is invalid or has expired.
    Subscriber,
    /// The topic belongs to a device that is not on this connection.
    ForeignTopic,
    /// The topic is unknown.
    UnknownTopic,
    /// The topic is a custom one.
    CustomTopic,
    /// The payload is not JSON, or not in the form of the protocol.
    UnreadablePayload,
    /// A member has an invalid value.
    Parameter,
    /// A value is invalid for its function.
    Unfit,
    /// A value is off the specification of its function; the report is stored as it came.
    OffSpecification,
    /// A time is invalid; the report is stored with the server's time.
    TimeOutOfRange,
    /// The message names a device that its sender may not represent.
    SubDevice,
    /// The authentication of a device or token within a message failed.
    Proof,
    /// The message contains too many items.
    TooMany,
    /// The topic filter is not allowed.
    Filter,
    /// The client used QoS 2 or sent invalid MQTT.
    Protocol,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 19] = [
        Self::WrongPassword,
        Self::UnknownDevice,
        Self::UnreadableConnect,
        Self::Disabled,
        Self::Registration,
        Self::Subscriber,
        Self::ForeignTopic,
        Self::UnknownTopic,
        Self::CustomTopic,
        Self::UnreadablePayload,
        Self::Parameter,
        Self::Unfit,
        Self::OffSpecification,
        Self::TimeOutOfRange,
        Self::SubDevice,
        Self::Proof,
        Self::TooMany,
        Self::Filter,
        Self::Protocol,
    ];

    /// The name in metrics and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong_password",
            Self::UnknownDevice => "unknown_device",
            Self::UnreadableConnect => "unreadable_connect",
            Self::Disabled => "disabled",
            Self::Registration => "registration",
            Self::Subscriber => "listener",
            Self::ForeignTopic => "foreign_topic",
            Self::UnknownTopic => "unknown_topic",
            Self::CustomTopic => "custom_topic",
            Self::UnreadablePayload => "unreadable_payload",
            Self::Parameter => "bad_parameter",
            Self::Unfit => "unfit_value",
            Self::OffSpecification => "off_specification",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::SubDevice => "sub_device",
            Self::Proof => "wrong_proof",
            Self::TooMany => "too_many",
            Self::Filter => "filter",
            Self::Protocol => "protocol",
        }
    }

    /// A description for the operator and for the authenticated device. It contains nothing of what was sent.
    pub fn description(self) -> &'static str {
        match self {
            Self::WrongPassword => "a device was refused: its password is wrong",
            Self::UnknownDevice => "a device was refused: its name is unknown",
            Self::UnreadableConnect => "a device was refused: its CONNECT is of neither device protocol",
            Self::Disabled => "a device was refused: it is disabled",
            Self::Registration => "a device may not register: its product, its state or a plain connection forbids it",
            Self::Subscriber => "a subscriber was refused: its name or password is invalid or has expired",
            Self::ForeignTopic => "a message was refused: its topic belongs to a device that is not on this connection",
            Self::UnknownTopic => "a message was dropped: its topic is unknown",
            Self::CustomTopic => "a message was dropped: custom topics are not supported",
            Self::UnreadablePayload => "a message was refused: its payload cannot be read",
            Self::Parameter => "a message was refused: one of its members is invalid",
            Self::Unfit => "a message was refused: a value is invalid for its function",
            Self::OffSpecification => "a value is off its product's specification; it is stored as it came",
            Self::TimeOutOfRange => "a report has an invalid time; it is stored with the server's time",
            Self::SubDevice => "a message was refused: it names a device that its sender may not represent",
            Self::Proof => "a message was refused: a device or token in it failed authentication",
            Self::TooMany => "a message was refused: it contains too many items",
            Self::Filter => "a subscription was refused",
            Self::Protocol => "a connection was closed: the client sent invalid MQTT or used QoS 2",
        }
    }
}

/// The client that is refused.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// An authenticated device, by its id.
    Device(&'a str),
    /// An unauthenticated client.
    Unauthenticated {
        /// Its client id.
        client_id: &'a str,
        /// The id of the device that it claims to be, or the name that it claims.
        device: &'a str,
    },
}

/// The refusals of this process.
#[derive(Default)]
pub struct DeviceRefusals {
    counts: [AtomicU64; Reason::ALL.len()],
    lines: Mutex<Lines>,
    not_subscribed: AtomicU64,
    /// The last refusals.
    pub recent: Arc<RecentRefusals>,
}

/// The lines that were logged within [`LOG_AGAIN`].
#[derive(Default)]
struct Lines {
    logged: Vec<Line>,
    /// Number of refusals that were not logged since the last line.
    left_out: u64,
}

/// A line that was logged.
struct Line {
    reason: Reason,
    who: u64,
    address: IpAddr,
    at: Instant,
}

/// How a refusal is logged.
#[derive(Debug, PartialEq, Eq)]
enum Log {
    /// With a line, which says how many were left out before it.
    Line(u64),
    /// With such a line, and a note that further ones of this reason are not logged for a while.
    Last(u64),
    /// Not at all.
    Nothing,
}

impl DeviceRefusals {
    /// Counts and remembers a refusal at `now_ms`, and logs it unless it was logged recently. `what` is the invalid item,
    /// for example a topic. It is cut here, and must not contain secrets.
    pub fn refused(&self, reason: Reason, who: Who<'_>, address: IpAddr, what: &str, now_ms: i64) {
        let log = self.note(reason, who, address, Instant::now());
        let (origin, device, client_id) = match who {
            Who::Device(id) => (Origin::Device, id, None),
            Who::Unauthenticated { client_id, device } => (Origin::Client, device, Some(shown(client_id))),
        };
        let (device, what) = (shown(device), shown(what));
        if let Log::Line(left_out) | Log::Last(left_out) = log {
            tracing::info!(
                reason = reason.name(),
                device,
                client.id = client_id,
                client.address = %address,
                what,
                left_out,
                "{}",
                reason.description()
            );
        }
        if let Log::Last(_) = log {
            let reason = reason.name();
            tracing::info!(reason, "many refusals for this reason: further ones are only counted for a minute");
        }
        let (code, description) = (reason.name().to_owned(), reason.description().to_owned());
        let (client, count) = (Some(address), 1);
        let refusal = Refusal { time_ms: now_ms, count, client, device, code, reason: description, what };
        self.recent.record(origin, refusal);
    }

    /// Counts a command that was not sent because its device did not subscribe to the topic.
    pub fn count_not_subscribed(&self) {
        self.not_subscribed.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of such commands since the start.
    pub fn not_subscribed_total(&self) -> u64 {
        self.not_subscribed.load(Ordering::Relaxed)
    }

    /// The name of each reason and the number of refusals since the start.
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::ALL.iter().zip(&self.counts).map(|(reason, count)| (reason.name(), count.load(Ordering::Relaxed)))
    }

    fn note(&self, reason: Reason, who: Who<'_>, address: IpAddr, now: Instant) -> Log {
        if let Some((_, count)) = Reason::ALL.iter().zip(&self.counts).find(|(other, _)| **other == reason) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let (name, is_proven) = match who {
            Who::Device(id) => (id, true),
            Who::Unauthenticated { client_id, .. } => (client_id, false),
        };
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let who = hasher.finish();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Lines { logged, left_out } = &mut *lines;
        logged.retain(|line| now.saturating_duration_since(line.at) < LOG_AGAIN);
        let count = |is_like: &dyn Fn(&Line) -> bool| {
            logged.iter().filter(|line| line.reason == reason && is_like(line)).count()
        };
        let of_reason = count(&|_| true);
        let was_logged = count(&|line| line.who == who && line.address == address) > 0;
        let of_address = count(&|line| line.address == address);
        if was_logged || of_reason >= LINES_MAX || (!is_proven && of_address >= LINES_OF_ADDRESS_MAX) {
            *left_out += 1;
            return Log::Nothing;
        }
        logged.push(Line { reason, who, address, at: now });
        let left_out = std::mem::take(left_out);
        let is_last = of_reason + 1 == LINES_MAX || (!is_proven && of_address + 1 == LINES_OF_ADDRESS_MAX);
        if is_last { Log::Last(left_out) } else { Log::Line(left_out) }
    }
}

/// A text of the client, cut to the maximum length.
fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(TEXT_CHARS_MAX).collect();
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    fn count(refusals: &DeviceRefusals, reason: Reason) -> u64 {
        refusals.totals().find(|(name, _)| *name == reason.name()).unwrap().1
    }

    #[test]
    fn every_reason_has_a_name_of_its_own_and_is_counted_by_it() {
        let refusals = DeviceRefusals::default();
        for reason in Reason::ALL {
            refusals.refused(reason, Who::Device("d"), address(1), "x", 1);
        }
        assert_eq!(refusals.recent.of_device(&["d"]).len(), Reason::ALL.len());
        let mut names: Vec<&str> =
            refusals.totals().inspect(|(name, count)| assert_eq!(*count, 1, "{name}")).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn the_same_is_logged_once_a_minute_and_counted_always() {
        let (refusals, begin) = (DeviceRefusals::default(), Instant::now());
        let note = |reason, who, after| refusals.note(reason, Who::Device(who), address(1), begin + after);
        let second = Duration::from_secs(1);
        assert_eq!(note(Reason::ForeignTopic, "d1", second), Log::Line(0));
        assert_eq!(note(Reason::ForeignTopic, "d2", second * 2), Log::Line(0), "another device");
        assert_eq!(note(Reason::Unfit, "d1", second * 2), Log::Line(0), "another reason");
        assert_eq!(note(Reason::ForeignTopic, "d1", second * 2), Log::Nothing);
        assert_eq!(note(Reason::ForeignTopic, "d1", second * 3), Log::Nothing);
        assert_eq!(note(Reason::ForeignTopic, "d1", second + LOG_AGAIN), Log::Line(2), "and says what was left out");
        assert_eq!((count(&refusals, Reason::ForeignTopic), count(&refusals, Reason::Unfit)), (5, 1));
    }

    #[test]
    fn lines_and_memory_are_bounded_and_a_stranger_hides_no_device() {
        let (refusals, now) = (DeviceRefusals::default(), Instant::now());
        let lines = |reason, from: u8| {
            (0..10_000)
                .filter(|n| {
                    let client_id = format!("c{n}");
                    let who = Who::Unauthenticated { client_id: &client_id, device: "" };
                    refusals.note(reason, who, address(from), now) != Log::Nothing
                })
                .count()
        };
        assert_eq!(lines(Reason::WrongPassword, 1), LINES_OF_ADDRESS_MAX);
        let plug = Who::Unauthenticated { client_id: "plug", device: "" };
        let left_out = 10_000 - LINES_OF_ADDRESS_MAX as u64;
        assert_eq!(refusals.note(Reason::WrongPassword, plug, address(2), now), Log::Line(left_out));
        let all: usize = (1..100).map(|from| lines(Reason::UnknownDevice, from)).sum();
        assert_eq!(all, LINES_MAX);
        let of_proven = (0..1000)
            .filter(|n| refusals.note(Reason::Unfit, Who::Device(&n.to_string()), address(1), now) != Log::Nothing);
        assert_eq!(of_proven.count(), LINES_MAX);
        assert!(refusals.lines.lock().unwrap().logged.len() <= LINES_MAX * Reason::ALL.len());
    }

    #[test]
    fn what_a_client_chose_is_cut() {
        assert_eq!(shown("plug"), "plug");
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), TEXT_CHARS_MAX + 1);
    }
}
