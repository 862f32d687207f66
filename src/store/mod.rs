//! Engines: how the registry and the event log reach the disk. Nothing above `app` names one.

pub mod cache;
pub mod disk_space;
pub mod functions;
pub mod generate;
pub mod long_reads;
pub mod password;
pub mod seal;
pub mod sqlite;
