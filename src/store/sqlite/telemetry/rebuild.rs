//! The latest values, made again from the log: they are derived data.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::fault::Result;
use super::files::{self, Files, Purpose, Run, RunFile, RunState};
use super::latest::Newest;
use super::retention;
use super::roll::ROLLED_TO;
use super::row::Key;
use super::runs::{Cut, RunWriter, checkpoint, transaction};

/// Makes the file of the latest values anew from the files of events, as it was when the generation `rolled_to` was
/// rolled. What later generations brought is in their journals.
pub fn latest(files: &Files, rolled_to: i64) -> Result<Connection> {
    let file = &files.latest;
    retention::remove(&file.path)?;
    let devices = newest_of(files)?;
    let connection = file.writer()?;
    transaction(&connection, || {
        if !devices.is_empty() {
            let mut writer = RunWriter::begin(&connection, (0, rolled_to), Cut::BetweenDevices, RunState::Building)?;
            for (device, newest) in devices {
                let key = Key { device, inv_time: 0, inv_n: 0 };
                newest.each_row(|row| writer.push(&connection, key, row))?;
            }
            writer.finish(&connection)?;
        }
        files::set_meta(&connection, ROLLED_TO, rolled_to)
    })?;
    checkpoint(&connection, file);
    Ok(connection)
}

/// The newest rows of every device, from all files of events. What cannot be read is noted and passed over.
fn newest_of(files: &Files) -> Result<BTreeMap<i64, Newest>> {
    let mut devices = BTreeMap::new();
    for (_, file) in files.events() {
        let mut read = || -> Result<()> {
            let connection = file.reader(Purpose::Long)?;
            let mut runs = files::runs(&connection, RunState::Live)?;
            runs.sort_unstable_by_key(|run| run.first_gen);
            runs.iter().try_for_each(|run| put_in(files, &file, &connection, run, &mut devices))
        };
        match read() {
            Err(fault) if fault.is_damage() => files.note_unreadable(&file, &fault),
            other => other?,
        }
    }
    Ok(devices)
}

fn put_in(
    files: &Files,
    file: &RunFile,
    connection: &Connection,
    run: &Run,
    devices: &mut BTreeMap<i64, Newest>,
) -> Result<()> {
    let damaged = |key, how: &str| files.note_damage(file, run.no, key, how);
    files::blocks(connection, run.no, Key::first_of(i64::MIN), damaged, &mut |_, block| {
        let (rows, ends) = block.body()?.into_all()?;
        let mut first = 0;
        for (device, end) in ends {
            let section = rows.rows.get(first..end).unwrap_or_default();
            // Oldest first, as they came.
            devices.entry(device).or_default().merge(section.iter().rev().map(|row| rows.view(row)))?;
            first = end;
        }
        Ok(ControlFlow::Continue(()))
    })
}
