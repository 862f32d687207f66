//! The stores of a data folder: how they are opened, also those of a damaged folder, and closed.

use std::path::Path;
use std::sync::Arc;

use super::folder::Lock;
use crate::config::{Config, Durability};
use crate::domain::figures::TelemetryFigures;
use crate::domain::store::Telemetry;
use crate::domain::{Clock, Error};
use crate::instruments::Instruments;
use crate::store::disk_space::DiskSpace;
use crate::store::sqlite::SqliteRegistry;
use crate::store::sqlite::recover::{OldHistory, Recovered, recover};
use crate::store::sqlite::telemetry::{self, Shared, SqliteTelemetry, TelemetryOptions};

/// What to do with a damaged file of the event log when it is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnDamage {
    /// Refuse to open the folder.
    Refuse,
    /// Set the file aside, read what is readable of it, and count what is missing.
    SetAside,
}

/// The stores of an open data folder.
pub struct Stores {
    /// The registry.
    pub registry: Arc<SqliteRegistry>,
    /// The event log.
    pub telemetry: Arc<SqliteTelemetry>,
    /// The free space of the disk.
    pub space: Arc<DiskSpace>,
    /// Metrics, in which the event log measures its commits.
    pub instruments: Arc<Instruments>,
}

impl Stores {
    /// Opens the stores of a folder.
    ///
    /// # Errors
    /// [`Error::Refused`] for a folder that was written by a newer version, that has another key or that is damaged;
    /// [`Error::Store`].
    pub fn open(folder: &Path, config: &Config, on_damage: OnDamage, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let space = Arc::new(DiskSpace::new(folder, config.telemetry.free_megabytes * 1024 * 1024));
        space.check();
        let registry = Arc::new(SqliteRegistry::open(folder, clock)?);
        let options = TelemetryOptions {
            durability: match config.telemetry.durability {
                Durability::Sync => telemetry::Durability::Sync,
                Durability::Os => telemetry::Durability::Os,
            },
            memtable_rows: config.telemetry.memory_rows,
            memtable_bytes: config.telemetry.memory_megabytes * 1024 * 1024,
            refuse_damage: on_damage == OnDamage::Refuse,
            ..TelemetryOptions::default()
        };
        let instruments: Arc<Instruments> = Arc::default();
        let (stamp, long_reads) = (registry.stamp(), registry.long_reads());
        let shared = Shared { stamp, space: space.clone(), long_reads, instruments: instruments.clone() };
        let telemetry = SqliteTelemetry::open_with(folder, options, shared)?;
        Ok(Self { registry, telemetry, space, instruments })
    }

    /// Opens what is sound of a damaged folder, and logs what is not.
    ///
    /// # Errors
    /// As [`Stores::open`], if the folder cannot be repaired.
    pub fn salvage(folder: &Path, config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let stores = match Self::open(folder, config, OnDamage::SetAside, clock.clone()) {
            Err(Error::Refused(problem)) => {
                tracing::warn!(problem, "salvage: the registry is repaired");
                let Recovered { devices, problems } = recover(folder, OldHistory::Hide, clock.now_ms())?;
                for problem in problems {
                    tracing::warn!(problem, "salvage: lost");
                }
                tracing::warn!(devices, "salvage: the registry is used again; all device logs from before are hidden");
                Self::open(folder, config, OnDamage::SetAside, clock)?
            }
            other => other?,
        };
        let TelemetryFigures { lost_rows, damaged, .. } = stores.telemetry.figures();
        tracing::warn!(
            lost_rows,
            damaged,
            "salvage: rows of the event log that are missing, and files and blocks that are damaged"
        );
        Ok(stores)
    }
}

/// A data folder in use. Dropping it closes its files in a consistent state.
pub struct OpenFolder {
    /// The event log, which is stopped at the end.
    pub telemetry: Arc<SqliteTelemetry>,
    /// The free space of the disk.
    pub space: Arc<DiskSpace>,
    /// Locked as long as the folder is in use.
    pub lock: Lock,
}

impl Drop for OpenFolder {
    fn drop(&mut self) {
        self.telemetry.stop();
        self.lock.record_stop();
    }
}
