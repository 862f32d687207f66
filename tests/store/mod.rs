//! The contract of the engines: one suite, run on each.

pub mod contract;
mod crash;
mod damage;
mod disk_fails;
mod disk_full;
mod folder;
mod long_reads;
mod migration;
pub mod model;
mod sqlite_telemetry;
