//! Rebuilds `latest.db` from the partition files; the latest values are derived data.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::super::pages;
use super::check::{self, PartitionTotals};
use super::fault::{Context, Result};
use super::files::{self, Files, ReadMode, RunFile};
use super::flush::FLUSHED_TO;
use super::latest::LatestBuilder;
use super::retention;
use super::row::{DeviceEnd, Key};
use super::sorted_run::{Cut, RunState, RunWriter, SortedRun, checkpoint, transaction};

/// Rebuilds `latest.db` as it was after the memtable `flushed_to` was flushed. The rows of later memtables are in their
/// journals. The old file stays in use until the new one is complete.
pub fn latest(files: &Files, flushed_to: i64) -> Result<Connection> {
    const REPLACING: &str = "replacing latest.db";
    let file = &files.latest;
    let metadata = read_metadata(file);
    let devices = newest_of(files)?;
    let draft = file.sibling("latest.rebuilt.db");
    retention::remove(&draft.path)?;
    let connection = draft.writer()?;
    transaction(&connection, || {
        if !devices.is_empty() {
            let mut writer = RunWriter::begin(&connection, 0..=flushed_to, Cut::BetweenDevices)?;
            for (device, newest) in devices {
                let key = Key::of_latest(device);
                newest.each_row(|row| writer.push(&connection, key, row))?;
            }
            writer.finish(&connection)?;
        }
        connection.execute_batch(check::PARTITION_TOTALS).during("storing the number of rows")?;
        for (partition, PartitionTotals { last_memtable, rows }) in &metadata.partitions {
            let sql = "INSERT OR REPLACE INTO span(span, last_gen, rows) VALUES(?1, ?2, ?3)";
            connection.execute(sql, [partition, last_memtable, rows]).during("storing the number of rows")?;
        }
        for (name, value) in &metadata.numbers {
            files::set_meta(&connection, name, *value)?;
        }
        files::set_meta(&connection, FLUSHED_TO, flushed_to)
    })?;
    checkpoint(&connection, &draft);
    drop(connection);
    retention::remove(&file.path)?;
    fs::rename(&draft.path, &file.path).during(REPLACING)?;
    fs::rename(pages::path(&draft.path), pages::path(&file.path)).during(REPLACING)?;
    retention::remove(&draft.path)?;
    files.close_idle(file);
    file.writer()
}

/// Data that exists only in the old file.
#[derive(Default)]
struct Metadata {
    numbers: Vec<(String, i64)>,
    partitions: Vec<(i64, PartitionTotals)>,
}

/// Reads what is readable of it.
fn read_metadata(file: &RunFile) -> Metadata {
    let mut metadata = Metadata::default();
    let Ok(connection) = file.reader(ReadMode::Long) else { return metadata };
    let numbers = connection.prepare("SELECT name, value FROM meta").and_then(|mut select| {
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<Vec<_>>>()
    });
    let partitions = connection.prepare("SELECT span, last_gen, rows FROM span").and_then(|mut select| {
        let read = |row: &rusqlite::Row<'_>| {
            Ok((row.get(0)?, PartitionTotals { last_memtable: row.get(1)?, rows: row.get(2)? }))
        };
        select.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()
    });
    metadata.numbers = numbers.unwrap_or_default();
    metadata.partitions = partitions.unwrap_or_default();
    metadata
}

/// The latest values of every device, from all partition files. Sorted runs are read in the order of their memtables,
/// which is the order of arrival. Unreadable parts are counted and skipped.
fn newest_of(files: &Files) -> Result<BTreeMap<i64, LatestBuilder>> {
    let mut devices = BTreeMap::new();
    let mut runs = Vec::new();
    for (_, file) in files.partition_files() {
        match file.reader(ReadMode::Long).and_then(|connection| files::runs(&connection, RunState::Live)) {
            Ok(found) => runs.extend(found.into_iter().map(|run| (run, file.clone()))),
            Err(fault) if fault.is_damage() => files.note_unreadable(&file, &fault),
            Err(fault) => return Err(fault),
        }
    }
    runs.sort_by_key(|(run, _)| run.first_memtable);
    for (run, file) in runs {
        let read = file
            .reader(ReadMode::Long)
            .and_then(|connection| merge_into(files, &file, &connection, &run, &mut devices));
        match read {
            Err(fault) if fault.is_damage() => files.note_unreadable(&file, &fault),
            other => other?,
        }
    }
    Ok(devices)
}

fn merge_into(
    files: &Files,
    file: &RunFile,
    connection: &Connection,
    run: &SortedRun,
    devices: &mut BTreeMap<i64, LatestBuilder>,
) -> Result<()> {
    let damaged = |key, how: &str| files.note_damage(file, run.no, key, how);
    files::blocks(connection, run.no, Key::first_of(i64::MIN), damaged, &mut |_, block| {
        let (rows, ends) = block.body()?.into_all()?;
        let mut first = 0;
        for DeviceEnd { device, end } in ends {
            let section = rows.rows.get(first..end).unwrap_or_default();
            // The block is newest first, but rows are merged in the order of arrival.
            devices.entry(device).or_default().merge(section.iter().rev().map(|row| rows.view(row)))?;
            first = end;
        }
        Ok(ControlFlow::Continue(()))
    })
}
