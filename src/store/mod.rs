//! Engines: how facts and events reach the disk. Nothing above `app` names one.

pub mod cache;
pub mod disk_space;
pub mod functions;
pub mod long_reads;
pub mod mint;
pub mod password;
pub mod seal;
pub mod sqlite;
