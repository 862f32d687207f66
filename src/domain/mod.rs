//! The domain: projects, users, products, devices and homes, and their rules. It has no framework and no I/O. Clock and
//! stores are passed in, so that a test can replace them.

pub mod access;
pub mod attempts;
pub mod attribute;
pub mod audit;
pub mod binding;
pub mod caller;
pub mod command;
pub mod country;
pub mod data_point;
pub mod device;
pub mod device_user;
pub mod error;
pub mod event;
pub mod feed;
pub mod figures;
pub mod handover;
pub mod home;
pub mod id;
pub mod import;
pub mod inventory;
pub mod invitation;
pub mod login;
pub mod name;
pub mod owner_store;
pub mod ownership;
pub mod pairing;
pub mod password;
pub mod presence;
pub mod product;
pub mod project;
pub mod replay;
pub mod row_time;
pub mod session;
pub mod specification;
pub mod store;
pub mod timeline;
pub mod token;
pub mod topology;
pub mod user;
pub mod visual;
pub mod watch;
pub mod world;

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;

pub use caller::{AppCaller, Caller, Requester};
pub use data_point::{DataPoint, Latest};
pub use device::{Device, DeviceName, DeviceState};
pub use error::{Error, Noun, Result};
pub use event::{
    Event, EventCount, EventPage, EventQuery, EventSource, EventType, EventTypes, NewEvent, RowRef, Value,
};
pub use id::{DeviceId, DeviceNo, DeviceUserId, HomeId, ProductId, ProjectNo, Schema, Uid, UserNo};
pub use product::{Access, Function, FunctionType, NodeType, Product};
pub use project::Project;
pub use user::UsernameType;

/// The cloud. Every operation of the dialects and of the device side is a method of it, in the file of its subject.
pub struct Cloud {
    registry: Arc<dyn store::Registry>,
    telemetry: Arc<dyn store::Telemetry>,
    downlink: Arc<dyn Downlink>,
    feed: Arc<dyn feed::Feed>,
    presence: Arc<dyn presence::Presence>,
    attempts: Arc<dyn attempts::Attempts>,
    replays: Arc<dyn replay::Replays>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    unknown_codes: AtomicU64,
    off_spec: data_point::OffSpec,
    corrections: row_time::Corrections,
    watchers: watch::Watchers,
}

/// The ports of the cloud: everything that it reaches outside of the domain. The comment of each trait is its contract,
/// and `tests/store/contract.rs` and `tests/ports.rs` check it on each implementation.
pub struct Ports {
    /// Projects, users, products, devices and homes.
    pub registry: Arc<dyn store::Registry>,
    /// The event log.
    pub telemetry: Arc<dyn store::Telemetry>,
    /// The way to connected devices.
    pub downlink: Arc<dyn Downlink>,
    /// The live feed.
    pub feed: Arc<dyn feed::Feed>,
    /// The leases of devices.
    pub presence: Arc<dyn presence::Presence>,
    /// Failed logins.
    pub attempts: Arc<dyn attempts::Attempts>,
    /// Received requests.
    pub replays: Arc<dyn replay::Replays>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Cloud {
    /// A cloud with these ports.
    pub fn new(ports: Ports, limits: Limits) -> Self {
        let Ports { registry, telemetry, downlink, feed, presence, attempts, replays, clock } = ports;
        let (unknown_codes, off_spec, corrections, watchers) = Default::default();
        Self {
            registry,
            telemetry,
            downlink,
            feed,
            presence,
            attempts,
            replays,
            clock,
            limits,
            unknown_codes,
            off_spec,
            corrections,
            watchers,
        }
    }

    /// The current time, milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Metrics of the event log.
    pub fn telemetry_figures(&self) -> figures::TelemetryFigures {
        self.telemetry.figures()
    }
}

/// A span of time in milliseconds. Times are plain `i64`, milliseconds since 1970; this type prevents that a time and a
/// span are exchanged in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationMs(pub i64);

impl Add for DurationMs {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Add<DurationMs> for i64 {
    type Output = Self;

    fn add(self, span: DurationMs) -> Self {
        self + span.0
    }
}

impl Sub<DurationMs> for i64 {
    type Output = Self;

    fn sub(self, span: DurationMs) -> Self {
        self - span.0
    }
}

/// The clock. It is passed in, so that a test can control it.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;
}

/// The way to connected devices: routes to the session that represents a device, on whichever node.
#[async_trait]
pub trait Downlink: Send + Sync {
    /// Ends the session of a device, if it has one: the device was removed, or its credentials are no longer valid. Does not
    /// wait for the end of the session.
    async fn end_session(&self, device: DeviceNo);
    /// Sends a command at most once, and waits until it is on its way to the device, or for the answer to
    /// [`command::Command::Do`], which is returned as JSON text. The result comes within 10 s, and nothing is sent after it.
    ///
    /// # Errors
    /// [`command::Undelivered::Offline`] without a session; [`command::Undelivered::Busy`] if too many commands wait or the
    /// session cannot be reached. Nothing was sent for both and for [`command::Undelivered::NotSubscribed`]; it is unknown for
    /// [`command::Undelivered::NoAnswer`].
    async fn command(
        &self,
        device: &Arc<Device>,
        command: command::Command,
    ) -> std::result::Result<String, command::Undelivered>;
}

/// Settings that the rules use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of days that log rows are stored and shown.
    pub retention_days: u32,
    /// Failed logins of an account from one address in a minute before even the right password is refused.
    pub failures_of_account: u16,
    /// Failed logins from an address in a minute, in each project and in the visual login, before it is slowed down.
    pub failures_of_address: u16,
    /// Whether a login accepts the open invitations of the user.
    pub accepts_at_login: bool,
}
