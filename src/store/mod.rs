//! Engines: how facts and events reach the disk. Nothing above `app` names one.

pub mod sqlite;
