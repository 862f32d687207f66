//! The one error of the domain. Each dialect spells it in one `match` without a wildcard, so that a new failure
//! stops the build until every vendor's code for it is chosen.

/// Everything that can go wrong below a dialect.
///
/// The text is for the caller and names no secret; a store's cause goes to the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A required parameter is absent or empty.
    #[error("{0} is missing or empty")]
    Missing(&'static str),
    /// A parameter cannot be read as what it must be.
    #[error("{param} must be {expected}")]
    WrongType {
        /// The parameter's name on the wire.
        param: &'static str,
        /// What it must be, in words.
        expected: &'static str,
    },
    /// A parameter is readable but outside what is allowed.
    #[error("{param} must be {allowed}")]
    OutOfRange {
        /// The parameter's name on the wire.
        param: &'static str,
        /// The allowed range, in words.
        allowed: String,
    },
    /// Unknown, or another tenant's: the caller cannot tell which.
    #[error("no {0} with that id is visible to this project")]
    NotVisible(Noun),
    /// What should be a country's calling code is none.
    #[error("country_code must be the calling code of a country, such as 49 or +49")]
    InvalidCountry,
    /// The app does not serve that country.
    #[error("country_code must be one of the app's: {0}")]
    CountryNotServed(String),
    /// A user name of type mobile that is no mobile number.
    #[error("username must be a mobile number: 4 to 20 digits, with an optional + and country prefix")]
    InvalidMobile,
    /// A user name of type email that is no email address.
    #[error("username must be an email address")]
    InvalidEmail,
    /// The device has no such person.
    #[error("the device has no user with that id")]
    NoSuchDeviceUser,
    /// The product describes no functions, so its devices have no log of them.
    #[error("the device's product has no functions")]
    LogsNotSupported,
    /// The product has no function of that code.
    #[error("the device's product has no function {0:?}")]
    FunctionNotSupported(String),
    /// A function cannot be commanded, or not with that value.
    #[error("{0}")]
    CommandNotSupported(String),
    /// A reported value is not what the function may be.
    #[error("the value of {0:?} does not fit its function")]
    Unfit(String),
    /// The device is not connected.
    #[error("the device is not connected")]
    Offline,
    /// The device was told and did not answer in time.
    #[error("the device did not answer in time")]
    NoAnswer,
    /// An access or refresh token that is unknown, expired or replaced.
    #[error("the token is unknown, expired or was replaced by a newer one")]
    TokenInvalid,
    /// An app user's token where only the project's is taken, or a right that the user does not have.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// No such account, or not its password, or it is shut out.
    #[error("the account is unknown or disabled, or the password is wrong")]
    WrongPassword,
    /// More wrong passwords in this minute than an account may have from an address, or either of them in all.
    #[error("too many failed logins of this account from this address, or of either of them in all, in this minute")]
    TooManyFailures,
    /// A country that is not the account's.
    #[error("country_code is not the one that the account was made with")]
    OtherCountry,
    /// The app does not serve the account's country.
    #[error("country_code must be one of the app's: {0}")]
    OtherRegion(String),
    /// A page cursor that this server did not give for this query.
    #[error("{0} is not a cursor that this server gave for this device")]
    DamagedCursor(&'static str),
    /// A document (world, import) that cannot be made true as a whole; nothing of it was kept.
    #[error("{0}")]
    Refused(String),
    /// A bounded resource is in use to its bound; the same call may succeed later.
    #[error("busy: {0}")]
    Busy(&'static str),
    /// The store failed. The caller learns only that; the log has the cause.
    #[error("the store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a finder looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noun {
    /// A project, by credentials or a token that are not its own.
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
    /// Wraps a failure of an engine.
    pub fn store(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Store(cause.into())
    }
}

/// What every operation of the domain returns.
pub type Result<T> = std::result::Result<T, Error>;
