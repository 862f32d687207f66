//! Retention deletes partitions whose rows are all too old, but not because a clock was wrong
//! (docs/decisions/0018-no-clock-removes-rows.md).
//!
//! The time up to which rows were deleted is stored. It advances only as fast as time passes for this process, and
//! never beyond what the system clock and the newest row allow. Files that are too old only according to the system
//! clock wait for the operator's consent.

use std::fs::{self, File};
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::{pages, wal};
use super::check;
use super::engine::Engine;
use super::fault::{Context, Result};
use super::files;
use super::partition::partition_of;
use super::sorted_run::checkpoint;
use crate::domain::DurationMs;
use crate::domain::event::{Consent, Expiry};

/// The name in the table `meta` of `latest.db` of the time up to which rows were deleted.
const EXPIRED_TO: &str = "expired_to";
const DOING: &str = "retention";

/// The progress of retention in this process.
#[derive(Default)]
pub struct Progress {
    /// When the last pass took place, by the monotonic clock.
    at: Option<Instant>,
    /// Number of files that waited for consent at that time.
    waiting: u64,
    /// The time of the newest row when the log was opened, before this process wrote any by its own clock.
    newest_at_open_ms: i64,
}

impl Progress {
    /// Creates the progress from the newest time when the log was opened.
    pub fn since_open(newest_at_open_ms: i64) -> Self {
        Self { at: None, waiting: 0, newest_at_open_ms }
    }

    /// The time since the last pass of this process; zero at the first one.
    fn elapsed(&mut self) -> Duration {
        let now = Instant::now();
        self.at.replace(now).map_or(Duration::ZERO, |before| now.duration_since(before))
    }
}

/// Runs one pass: deletes the partitions whose rows are all older than `keep`, as far as that is certain.
pub fn pass(engine: &Engine, now_ms: i64, keep: DurationMs, consent: Consent) -> Result<Expiry> {
    let mut progress = engine.retention.lock().unwrap_or_else(PoisonError::into_inner);
    let elapsed_ms = i64::try_from(progress.elapsed().as_millis()).unwrap_or(i64::MAX);
    let wanted_ms = now_ms.saturating_sub(keep.0);
    let _write_lock = engine.files.write_lock();
    let connection = engine.files.latest.writer()?;
    let before = files::meta(&connection, EXPIRED_TO)?;
    let count = |to_ms: i64| {
        let files = engine.files.partition_files();
        files.iter().filter(|(id, _)| id.partition < partition_of(to_ms)).count() as u64
    };
    let to_ms = if consent == Consent::Given || count(wanted_ms) == 0 {
        wanted_ms
    } else {
        let by_rows = engine.newest_ms.load(Ordering::Acquire).saturating_sub(keep.0);
        // Before the first pass in a folder, its rows are the only evidence of the time.
        let first = || progress.newest_at_open_ms.saturating_sub(keep.0);
        let by_progress = before.map_or_else(first, |before| before.saturating_add(elapsed_ms));
        wanted_ms.min(by_rows).min(by_progress)
    };
    if before != Some(to_ms) {
        files::set_meta(&connection, EXPIRED_TO, to_ms)?;
        checkpoint(&connection, &engine.files.latest);
    }
    drop(connection);
    let mut expiry = Expiry::default();
    if count(to_ms) > 0 {
        check::forget_partitions(&engine.files, partition_of(to_ms))?;
        for file in engine.files.expire(to_ms) {
            tracing::info!(file = %file.path.display(), to_ms, "retention deletes a file of the event log");
            remove(&file.path)?;
            expiry.removed += 1;
        }
        File::open(&engine.folder).and_then(|folder| folder.sync_all()).during(DOING)?;
    }
    expiry.waiting = count(wanted_ms);
    engine.counters.waiting_to_expire.store(expiry.waiting, Ordering::Relaxed);
    if expiry.waiting > progress.waiting {
        let files = expiry.waiting;
        tracing::warn!(
            files,
            now_ms,
            "files are older than the retention according to the system clock, but less time has passed while this server ran: \
             they are kept until then; if the clock is right, `ingle expire` deletes them now"
        );
    }
    progress.waiting = expiry.waiting;
    Ok(expiry)
}

/// Stores the progress since the last pass for the next start.
pub fn store_progress(engine: &Engine) -> Result<()> {
    let mut progress = engine.retention.lock().unwrap_or_else(PoisonError::into_inner);
    if progress.at.is_none() {
        return Ok(());
    }
    let elapsed_ms = i64::try_from(progress.elapsed().as_millis()).unwrap_or(i64::MAX);
    let _write_lock = engine.files.write_lock();
    let connection = engine.files.latest.writer()?;
    if let Some(before) = files::meta(&connection, EXPIRED_TO)? {
        files::set_meta(&connection, EXPIRED_TO, before.saturating_add(elapsed_ms))?;
    }
    checkpoint(&connection, &engine.files.latest);
    Ok(())
}

/// Deletes a database and its companion files. The SQLite write-ahead log is deleted first, so that it is never found
/// beside another file of that name.
pub fn remove(database: &Path) -> Result<()> {
    for path in [wal::path(database), database.with_extension("db-shm"), pages::path(database), database.to_owned()] {
        match fs::remove_file(path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(cause).during(DOING),
            _ => {}
        }
    }
    Ok(())
}
