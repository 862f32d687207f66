//! Engines: how facts and events reach the disk. Nothing above `app` names one.

pub mod cache;
pub mod functions;
pub mod mint;
pub mod password;
pub mod seal;
pub mod space;
pub mod sqlite;
pub mod turns;
