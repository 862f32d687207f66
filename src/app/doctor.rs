//! The examination of the machine on which a server runs or will run: `ingle doctor`.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::folder::LOCK_FILE;
use super::{SystemClock, folder};
use crate::config::Config;
use crate::domain::Clock;
use crate::durable_file;
use crate::store::disk_space::{self, FileSystem};
use crate::tls;

/// A clock before this time, 1 January 2026 in milliseconds since 1970, is wrong.
const EARLIEST_MS: i64 = 1_767_225_600_000;
/// A file may be newer than the clock by this much.
const AHEAD_MS: i64 = 60_000;
/// The days before the end of a certificate at which it should be renewed.
const RENEWAL_DAYS: i64 = 21;
/// A server has this many open files besides its connections: databases, their logs and indexes, listeners.
const OWN_FILES: u64 = 256;
/// The percentage of free files (inodes) below which the doctor warns.
const FREE_FILES_PERCENT: u64 = 1;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing needs to be done.
    Ok,
    /// The server runs, but something should be changed.
    Warning,
    /// The server does not start, or loses or refuses data.
    Wrong,
}

/// One thing that was examined.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was examined.
    pub what: &'static str,
    /// How serious it is.
    pub severity: Severity,
    /// What was found, and what to do.
    pub text: String,
}

/// The findings so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &'static str, severity: Severity, text: impl Into<String>) {
        self.0.push(Finding { what, severity, text: text.into() });
    }
}

/// Whether a server uses a folder.
fn is_running(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK_FILE)) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Examines the machine, the folder and the settings, and changes nothing. Returns whether a server uses the folder.
pub fn examine(folder: &Path, config: &Config, open_files: (u64, u64)) -> (bool, Vec<Finding>) {
    let mut findings = Findings::default();
    let is_running = is_running(folder);
    clock(folder, &mut findings);
    data_folder(folder, is_running, &mut findings);
    disk(folder, config, &mut findings);
    permissions(folder, &mut findings);
    if !is_running {
        ports(config, &mut findings);
    }
    certificates(folder, config, &mut findings);
    limit_of_files(config, open_files, &mut findings);
    (is_running, findings.0)
}

fn clock(folder: &Path, findings: &mut Findings) {
    let now_ms = SystemClock.now_ms();
    if now_ms < EARLIEST_MS {
        findings.add("clock", Severity::Wrong, "the clock is before 2026: set the date of this machine");
        return;
    }
    let modified = |metadata: Metadata| metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok();
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let newest = files.filter_map(|entry| Some((modified(entry.metadata().ok()?)?, entry.file_name()))).max();
    match newest {
        Some((since, name)) if i64::try_from(since.as_millis()).unwrap_or(i64::MAX) > now_ms + AHEAD_MS => {
            let text = format!(
                "the clock is behind {} in the data folder: it was set back, or was ahead before",
                name.to_string_lossy()
            );
            findings.add("clock", Severity::Warning, text);
        }
        _ => findings.add("clock", Severity::Ok, "it is not behind any file of the data folder"),
    }
}

fn data_folder(folder: &Path, is_running: bool, findings: &mut Findings) {
    let name = folder.display();
    if is_running {
        findings.add("data folder", Severity::Ok, format!("a server uses {name}"));
    } else if !folder.exists() {
        findings.add("data folder", Severity::Warning, format!("{name} does not exist; the first start creates it"));
    } else if folder::Lock::is_copy(folder) {
        findings.add("data folder", Severity::Wrong, folder::refuse_copy(folder).to_string());
    } else {
        findings.add("data folder", Severity::Ok, format!("{name} is not in use; `ingle verify` examines its files"));
    }
}

/// The folder, or the nearest one above it that exists.
fn existing(folder: &Path) -> &Path {
    let exists = |folder: &&Path| !folder.as_os_str().is_empty() && folder.exists();
    folder.ancestors().find(exists).unwrap_or(Path::new("."))
}

fn disk(folder: &Path, config: &Config, findings: &mut Findings) {
    let folder = existing(folder);
    match disk_space::file_system(folder) {
        Ok(found) => {
            let (severity, text) = match found {
                FileSystem::Network(name) => (
                    Severity::Wrong,
                    format!("{name} is a network file system, on which SQLite loses data: use a local disk"),
                ),
                FileSystem::Memory(name) => {
                    (Severity::Warning, format!("{name} is in memory: everything is lost at a restart"))
                }
                FileSystem::Local(name) => (Severity::Ok, name.to_owned()),
                FileSystem::Unknown(name) => (
                    Severity::Warning,
                    format!("{name}: make sure that it is a local disk, because SQLite loses data on others"),
                ),
            };
            findings.add("file system", severity, text);
        }
        Err(error) => findings.add("file system", Severity::Warning, format!("it cannot be determined: {error}")),
    }
    let found = match rustix::fs::statvfs(folder) {
        Ok(found) => found,
        Err(error) => {
            return findings.add("disk space", Severity::Warning, format!("it cannot be determined: {error}"));
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize) / (1 << 20);
    let limit = config.telemetry.free_megabytes;
    let text = format!("{free} MB are free, and reports are refused below {limit} MB (telemetry.free_megabytes)");
    let severity = match free {
        _ if free < limit => Severity::Wrong,
        _ if free < limit.saturating_mul(4) => Severity::Warning,
        _ => Severity::Ok,
    };
    findings.add("disk space", severity, text);
    if found.f_files > 0 && found.f_favail < found.f_files / 100 * FREE_FILES_PERCENT {
        findings.add("disk space", Severity::Warning, format!("only {} more files can be created", found.f_favail));
    }
}

fn permissions(folder: &Path, findings: &mut Findings) {
    let Ok(entries) = fs::read_dir(folder) else {
        if folder.exists() {
            findings.add("permissions", Severity::Wrong, format!("{} cannot be read by this user", folder.display()));
        }
        return;
    };
    let before = findings.0.len();
    let user = rustix::process::geteuid().as_raw();
    let own = fs::metadata(folder).map_or(user, |found| found.uid());
    if own != user {
        let text = format!("{} belongs to user {own}, and this command runs as user {user}", folder.display());
        findings.add("permissions", Severity::Warning, text);
    }
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(found) = entry.metadata() else { continue };
        if !found.is_file() {
            continue;
        }
        if found.uid() != own {
            let text = format!("{} belongs to user {}, but the folder to user {own}", path.display(), found.uid());
            findings.add("permissions", Severity::Wrong, text);
        }
        let others = found.permissions().mode() & 0o077;
        if others != 0 && name.to_str().is_some_and(durable_file::is_private) {
            let text = format!(
                "other users have permissions for {}: chmod 600 it, the next start does this too",
                path.display()
            );
            findings.add("permissions", Severity::Warning, text);
        }
    }
    if findings.0.len() == before {
        findings.add("permissions", Severity::Ok, "only the owner can read keys and databases");
    }
}

fn ports(config: &Config, findings: &mut Findings) {
    let mut held = Vec::new();
    for (setting, address) in [
        ("api.listen", &config.api.listen),
        ("api.tls_listen", &config.api.tls_listen),
        ("mqtt.listen", &config.mqtt.listen),
        ("mqtt.tls_listen", &config.mqtt.tls_listen),
        ("mqtt.proxy_listen", &config.mqtt.proxy_listen),
        ("metrics.listen", &config.metrics.listen),
    ] {
        if address.is_empty() {
            continue;
        }
        match TcpListener::bind(address) {
            Ok(listener) => held.push((setting, address, listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let by = held.iter().find(|(_, other, _)| *other == address).map(|(other, ..)| *other);
                let by = by.map_or("another program".to_owned(), |other| format!("the setting {other}"));
                findings.add("ports", Severity::Wrong, format!("{setting}: {address} is in use by {by}"));
            }
            Err(error) => findings.add("ports", Severity::Wrong, format!("{setting}: {address}: {error}")),
        }
    }
    let free: Vec<_> = held.iter().map(|(setting, address, _)| format!("{setting} {address}")).collect();
    if !free.is_empty() {
        findings.add("ports", Severity::Ok, format!("free: {}", free.join(", ")));
    }
}

fn certificates(folder: &Path, config: &Config, findings: &mut Findings) {
    let api = &config.api;
    let (path, is_own) = match api.tls_cert.as_str() {
        "" => (folder.join(tls::CA_FILE), true),
        certificates => (Path::new(certificates).to_owned(), false),
    };
    if is_own && !path.exists() {
        return;
    }
    if !is_own && let Err(error) = tls::from_files(&path, Path::new(&api.tls_key), tls::HTTP) {
        return findings.add("tls", Severity::Wrong, format!("api.tls_cert, api.tls_key: {error}"));
    }
    match tls::expiry(&path) {
        Ok((end, end_ms)) => {
            let days = (end_ms - SystemClock.now_ms()).div_euclid(24 * 3600 * 1000);
            let name = path.display();
            let (severity, text) = match days {
                ..0 => (Severity::Wrong, format!("{name} expired on {end}: renew it")),
                0..RENEWAL_DAYS => (Severity::Warning, format!("{name} expires in {days} days, on {end}: renew it")),
                _ => (Severity::Ok, format!("{name} expires on {end}")),
            };
            findings.add("tls", severity, text);
        }
        Err(error) => findings.add("tls", Severity::Wrong, error.to_string()),
    }
}

fn limit_of_files(config: &Config, (soft, hard): (u64, u64), findings: &mut Findings) {
    let needed = (config.mqtt.connections_max + 2 * config.api.connections_max) as u64 + OWN_FILES;
    let text = format!("a process may have {hard} open files, and the settings allow connections for {needed}");
    if hard < needed {
        let advice =
            "raise the limit (LimitNOFILE of systemd, ulimits of Docker) or lower the *.connections_max settings";
        findings.add("open files", Severity::Warning, format!("{text}: {advice}"));
    } else {
        findings.add("open files", Severity::Ok, format!("{text}; the server raises its own limit from {soft}"));
    }
}
