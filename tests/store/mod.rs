//! The contract of the engines: one suite, run on each.

mod crash;
mod model;
mod registry;
mod sqlite_telemetry;
mod telemetry;
