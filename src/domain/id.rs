//! Identifiers. A newtype each, so that a user's id cannot be handed where a device's is wanted.

use std::fmt;

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub String);

        impl $name {
            /// The id as it goes over the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}

text_id! {
    /// A device, in both clouds: Tuya's `id`. 20 to 22 characters when generated.
    DeviceId;
    /// A user: Tuya's `uid`. `az`, 13 digits of milliseconds, 6 characters when generated.
    Uid;
    /// An app of a project, as its owner calls it: Tuya's `schema`.
    Schema;
    /// A type of device: Tuya's `product_id`.
    ProductId;
    /// A person known to one device, for example to a scale. Decimal digits, unique in its device.
    DeviceUserId;
}

/// The store's own number of a project. Never leaves the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectNo(pub i64);

/// The store's own number of a user. Never leaves the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserNo(pub i64);

/// The store's own number of a device: given once, never given to another device. Telemetry is keyed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceNo(pub i64);

/// A home. Goes over the wire as decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HomeId(pub i64);
