//! The error type of the domain. Each dialect translates it in one `match` without a wildcard, so that a new error does
//! not compile until each dialect has a code for it.

/// Every error of a domain operation.
///
/// The text is for the caller and contains no secret; the cause of a store failure is logged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A required parameter is missing or empty.
    #[error("{0} is missing or empty")]
    Missing(&'static str),
    /// A parameter has the wrong type or form.
    #[error("{param} must be {expected}")]
    WrongType {
        /// The parameter's name on the wire.
        param: &'static str,
        /// The required form, in words.
        expected: &'static str,
    },
    /// A parameter has a value that is not allowed.
    #[error("{param} must be {allowed}")]
    OutOfRange {
        /// The parameter's name on the wire.
        param: &'static str,
        /// The allowed range, in words.
        allowed: String,
    },
    /// The object does not exist or belongs to another project: the caller cannot distinguish the two.
    #[error("no {0} with that id is visible to this project")]
    NotVisible(Noun),
    /// A text is not the calling code of a country.
    #[error("country_code must be the calling code of a country, such as 49 or +49")]
    InvalidCountry,
    /// The app does not serve that country.
    #[error("country_code must be one of the app's: {0}")]
    CountryNotServed(String),
    /// A user name of the kind mobile is not a mobile number.
    #[error("username must be a mobile number: 4 to 20 digits, with an optional + and country prefix")]
    InvalidMobile,
    /// A user name of the kind email is not an email address.
    #[error("username must be an email address")]
    InvalidEmail,
    /// The device has no such device user.
    #[error("the device has no user with that id")]
    NoSuchDeviceUser,
    /// The product has no functions, so its devices have no log.
    #[error("the device's product has no functions")]
    LogsNotSupported,
    /// The product has no function with that code.
    #[error("the device's product has no function {0:?}")]
    FunctionNotSupported(String),
    /// A function does not accept commands, or not this value.
    #[error("{0}")]
    CommandNotSupported(String),
    /// A reported value does not match the specification of its function.
    #[error("the value of {0:?} does not fit its function")]
    Unfit(String),
    /// The device is not connected.
    #[error("the device is not connected")]
    Offline,
    /// The device did not answer in time.
    #[error("the device did not answer in time")]
    NoAnswer,
    /// An access or refresh token is unknown, expired or replaced.
    #[error("the token is unknown, expired or was replaced by a newer one")]
    TokenInvalid,
    /// A user's token was sent where only the project's is allowed, or the user lacks a right.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// The account does not exist or is disabled, or the password is wrong.
    #[error("the account is unknown or disabled, or the password is wrong")]
    WrongPassword,
    /// Too many failed logins in this minute: of the account from this address, or of the account or the address in
    /// total.
    #[error("too many failed logins of this account from this address, or of either of them in all, in this minute")]
    TooManyFailures,
    /// The country is not the account's.
    #[error("country_code is not the one that the account was made with")]
    OtherCountry,
    /// The app does not serve the account's country.
    #[error("country_code must be one of the app's: {0}")]
    OtherRegion(String),
    /// A page cursor was not issued by this server for this query.
    #[error("{0} is not a cursor that this server gave for this device")]
    DamagedCursor(&'static str),
    /// A document (world, import) was refused as a whole; nothing of it was stored.
    #[error("{0}")]
    Refused(String),
    /// A limited resource is exhausted; the same call may succeed later.
    #[error("busy: {0}")]
    Busy(&'static str),
    /// The store failed. Only the log contains the cause.
    #[error("the store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The kind of an object that was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noun {
    /// A project: the credentials or token belong to another one.
    Project,
    /// An app.
    App,
    /// A user.
    User,
    /// A device.
    Device,
    /// A product.
    Product,
    /// A home.
    Home,
    /// A pairing token.
    Pairing,
}

impl std::fmt::Display for Noun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Project => "project",
            Self::App => "app",
            Self::User => "user",
            Self::Device => "device",
            Self::Product => "product",
            Self::Home => "home",
            Self::Pairing => "pairing token",
        })
    }
}

impl Error {
    /// Wraps an error of a store.
    pub fn store(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Store(cause.into())
    }
}

/// The result of a domain operation.
pub type Result<T> = std::result::Result<T, Error>;
