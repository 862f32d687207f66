//! The contract of the engines: one suite, run on each.

mod crash;
mod damage;
mod disk_full;
mod folder;
mod long_reads;
mod migration;
pub mod model;
mod registry;
mod registry_access;
mod registry_devices;
mod registry_invitations;
mod registry_users;
mod sqlite_telemetry;
mod telemetry;
