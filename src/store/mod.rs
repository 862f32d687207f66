//! The storage engines of the registry and the event log. Only `app` names an engine.

pub mod archive;
pub mod cache;
pub mod disk_space;
pub mod functions;
pub mod generate;
pub mod long_reads;
pub mod password;
pub mod read_threads;
pub mod seal;
pub mod sqlite;
