//! MQTT 3.1.1 and 5, and nothing of what is said over it: the packets of a connection, its bytes, and topic filters.

pub mod codec;
pub mod connection;
pub mod filter;
