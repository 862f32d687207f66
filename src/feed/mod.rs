//! The live feed: the connections on which integrations receive what happens to devices (contract tuya §5.2–5.4).

mod connection;
mod message;
mod subscribers;

pub use connection::serve;
pub use subscribers::{CLIENT_ID_PREFIX, FeedEvents, Subscribers, Subscription, feed, publish};
