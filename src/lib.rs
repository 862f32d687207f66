//! Ingle: the IoT cloud that its owner runs.

pub mod domain;
pub mod store;
