//! The embedded engine: SQLite files in one data folder. The registry is here, with one file for each kind of object; the
//! event log is in `telemetry`.

mod attribute;
mod audit;
pub mod backup;
mod binding;
mod connection;
mod device;
mod device_filter;
mod device_user;
mod home;
mod inventory;
mod inventory_delete;
mod inventory_rows;
mod invitation;
mod kept_filter;
mod mark;
mod name;
mod owner;
mod pages;
mod pairing;
mod person;
mod product;
mod project;
pub mod recover;
mod snapshot;
pub mod telemetry;
mod token;
mod topology;
mod touched;
mod upkeep;
mod user;
mod user_token;
pub mod verify;
mod visibility;
mod visual;
mod wal;
mod world;
mod world_compare;
mod world_device;
mod world_lookup;
mod world_user;

use std::path::Path;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use rusqlite::Connection;

use crate::domain::{Clock, Error, Result};
use crate::store::cache::Cache;
use crate::store::long_reads::LongReads;
use crate::store::password::Passwords;
use crate::store::seal::Seal;

use connection::{Readers, Writer};
pub use upkeep::FolderStamp;
use upkeep::Upkeep;

/// The migrations of the registry, in order. `PRAGMA user_version` is the number of those that have run.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_registry.sql"),
    include_str!("../../../migrations/sqlite/0002_second_dialect.sql"),
    include_str!("../../../migrations/sqlite/0003_devices_connect.sql"),
    include_str!("../../../migrations/sqlite/0004_app_users.sql"),
    include_str!("../../../migrations/sqlite/0005_folder.sql"),
    include_str!("../../../migrations/sqlite/0006_invitations.sql"),
    include_str!("../../../migrations/sqlite/0007_removed_users.sql"),
    include_str!("../../../migrations/sqlite/0008_strict_products.sql"),
    include_str!("../../../migrations/sqlite/0009_names_countries_keys.sql"),
    include_str!("../../../migrations/sqlite/0010_kept_filters.sql"),
    include_str!("../../../migrations/sqlite/0011_desired_values.sql"),
    include_str!("../../../migrations/sqlite/0012_password_columns.sql"),
    include_str!("../../../migrations/sqlite/0013_audit.sql"),
    include_str!("../../../migrations/sqlite/0014_old_secrets.sql"),
];

/// The file of the registry in the data folder.
pub const REGISTRY_FILE: &str = "registry.db";

/// The registry in SQLite. It implements all traits of the stores except `Telemetry`.
pub struct SqliteRegistry {
    writer: Writer,
    readers: Arc<Readers>,
    seal: Arc<Seal>,
    passwords: Passwords,
    stamp: FolderStamp,
}

impl SqliteRegistry {
    /// Opens or creates the registry of a data folder and runs the missing migrations. The audit has the times of `clock`.
    ///
    /// # Errors
    /// [`Error::Refused`] if a newer version wrote the folder, if its key is missing or wrong, and if a file is damaged or
    /// lacks acknowledged changes; [`Error::Store`].
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = folder.join(REGISTRY_FILE);
        upkeep::check_files(&path)?;
        let seal = Arc::new(Seal::open(folder, !path.exists())?);
        let connection = connection::open_writer(&path)?;
        migrate(&connection)?;
        let (upkeep, stamp) = Upkeep::open(&connection, &path, &seal)?;
        let cache = Arc::new(Cache::default());
        let writer = Writer::start(connection, upkeep, cache.clone(), clock)?;
        let readers = Arc::new(Readers::new(path, cache, seal.clone()));
        Ok(Self { writer, readers, seal, passwords: Passwords::default(), stamp })
    }

    /// The stamp by which the event log identifies this registry.
    pub fn stamp(&self) -> FolderStamp {
        self.stamp.clone()
    }

    /// The numbers of reads that the cache answered and that it could not answer.
    pub fn cache_counters(&self) -> [Counter; 2] {
        [self.readers.cache.hits.clone(), self.readers.cache.misses.clone()]
    }

    /// The limiter for long reads, which the event log shares with this registry.
    pub fn long_reads(&self) -> Arc<LongReads> {
        self.readers.long_reads.clone()
    }
}

fn migrate(connection: &Connection) -> Result<()> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(Error::store)?;
    let done = usize::try_from(version).map_err(Error::store)?;
    if done > MIGRATIONS.len() {
        return Err(Error::Refused("the data folder was written by a newer version of ingle".to_owned()));
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let step = format!("BEGIN IMMEDIATE; {migration}; PRAGMA user_version = {}; COMMIT;", index + 1);
        connection.execute_batch(&step).map_err(Error::store)?;
    }
    Ok(())
}
