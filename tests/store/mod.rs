//! The contract of the engines: one suite, run on each.

mod crash;
mod migration;
mod model;
mod registry;
mod registry_access;
mod registry_devices;
mod registry_invitations;
mod registry_users;
mod sqlite_telemetry;
mod telemetry;
