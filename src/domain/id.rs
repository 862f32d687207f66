//! Identifiers. Each has its own type, so that the ids of different objects cannot be confused.

use std::fmt;

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub String);

        impl $name {
            /// The id as clients see it.
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
    /// An app of a project: Tuya's `schema`.
    Schema;
    /// A product: Tuya's `product_id`.
    ProductId;
    /// A device user. Decimal digits, unique in its device.
    DeviceUserId;
}

/// The store's number of a project. It never leaves the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectNo(pub i64);

/// The store's number of a user. It never leaves the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserNo(pub i64);

/// The store's number of a device. It is never reused, and identifies the device in the event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceNo(pub i64);

/// A home. Clients see it as decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HomeId(pub i64);
