//! The embedded engine: SQLite files in one data folder.

pub mod telemetry;
