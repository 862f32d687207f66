//! Retention: files whose rows are all too old are removed, but never because a clock jumped (docs/decisions/0018).
//!
//! How far retention went is kept, and goes on only by the time that this process has seen pass, never beyond what the
//! clock and the newest row allow. What a clock alone says is too old waits for the operator's consent.

use std::fs::{self, File};
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::{pages, wal};
use super::check;
use super::engine::Engine;
use super::fault::{Context, Result};
use super::files::{self, partition_of};
use super::sorted_run::checkpoint;
use crate::domain::event::{Consent, Expiry};

/// Up to which time rows were removed: a number in the file of the latest values.
const EXPIRED_TO: &str = "expired_to";
const DOING: &str = "retention";

/// What this process knows of the passes so far.
#[derive(Default)]
pub struct Progress {
    /// When the last pass was, by a clock that only goes forward.
    at: Option<Instant>,
    /// Files that waited for consent then.
    waiting: u64,
    /// The newest row's time when the log was opened: before this process had written one by its own clock.
    newest_at_open_ms: i64,
}

impl Progress {
    /// That of a log whose newest row, when it was opened, was of this time.
    pub fn since_open(newest_at_open_ms: i64) -> Self {
        Self { at: None, waiting: 0, newest_at_open_ms }
    }

    /// The time that passed since the last pass of this process, none at the first one.
    fn elapsed(&mut self) -> Duration {
        let now = Instant::now();
        self.at.replace(now).map_or(Duration::ZERO, |before| now.duration_since(before))
    }
}

/// One pass: removes the files whose rows are all older than `keep_ms` before now, as far as that is certain.
pub fn pass(engine: &Engine, now_ms: i64, keep_ms: i64, consent: Consent) -> Result<Expiry> {
    let mut progress = engine.retention.lock().unwrap_or_else(PoisonError::into_inner);
    let elapsed_ms = i64::try_from(progress.elapsed().as_millis()).unwrap_or(i64::MAX);
    let wanted_ms = now_ms.saturating_sub(keep_ms);
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
        let by_rows = engine.newest_ms.load(Ordering::Acquire).saturating_sub(keep_ms);
        // Of a folder that never had a pass nothing is known but its rows.
        let first = || progress.newest_at_open_ms.saturating_sub(keep_ms);
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
            tracing::info!(file = %file.path.display(), to_ms, "a file of the event log is removed by the retention");
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
            "files are older than the retention by the clock, which has gone on further than this server has run: they are \
             kept until as much time has passed; if the clock is right, `ingle expire` removes them now"
        );
    }
    progress.waiting = expiry.waiting;
    Ok(expiry)
}

/// Keeps the time that passed since the last pass, for the next start.
pub fn note_progress(engine: &Engine) -> Result<()> {
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

/// Removes a file with what stands beside it. Its write-ahead log goes before it, so that none is ever found beside another
/// file of that name.
pub fn remove(database: &Path) -> Result<()> {
    for path in [wal::path(database), database.with_extension("db-shm"), pages::path(database), database.to_owned()] {
        match fs::remove_file(path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(cause).during(DOING),
            _ => {}
        }
    }
    Ok(())
}
