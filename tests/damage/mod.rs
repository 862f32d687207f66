//! A damaged file: whichever file of a data folder is damaged, and in whichever way, the server shows nobody another
//! project's data and nothing that was never sent, and never hides a loss: it refuses to start and names the file, or
//! it reports in its log or its metrics that something is lost. `INGLE_DAMAGES` sets how many folders are damaged,
//! `INGLE_DAMAGE_SEED` how.

mod folder;
mod oracle;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::folder::Fixture;
use crate::store::model::Random;

const PAGE_BYTES: usize = 4096;
/// Number of servers at the same time.
const THREADS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Damage {
    BitFlip,
    Truncation,
    ZeroedPage,
    Deletion,
    OlderCopy,
}

const DAMAGES: [Damage; 5] =
    [Damage::BitFlip, Damage::Truncation, Damage::ZeroedPage, Damage::Deletion, Damage::OlderCopy];

/// The kind of a file by its name; each kind is damaged in turn.
fn kind_of(name: &str) -> String {
    name.chars().filter(|character| !character.is_ascii_digit()).collect()
}

impl Damage {
    /// Damages a file and describes how. `None` if the file would stay unchanged.
    fn inflict(self, path: &Path, older: &Path, random: &mut Random) -> Option<String> {
        let mut bytes = fs::read(path).unwrap();
        let length = bytes.len();
        let below = |random: &mut Random, bound: usize| random.below(bound as u64) as usize;
        let how = match self {
            Self::BitFlip => {
                // Headers are short and important.
                let reach = if random.below(3) == 0 { length.min(128) } else { length };
                let (at, bit) = (below(random, reach), random.below(8));
                *bytes.get_mut(at)? ^= 1 << bit;
                format!("bit {bit} of byte {at} of {length} flipped")
            }
            Self::Truncation => {
                let kept = below(random, length);
                bytes.truncate(kept);
                format!("the first {kept} of {length} bytes left")
            }
            Self::ZeroedPage => {
                let at = below(random, length.div_ceil(PAGE_BYTES)) * PAGE_BYTES;
                bytes[at..length.min(at + PAGE_BYTES)].fill(0);
                format!("the page at byte {at} of {length} zeroed")
            }
            Self::Deletion => {
                fs::remove_file(path).unwrap();
                return Some("deleted".to_owned());
            }
            Self::OlderCopy => {
                bytes = fs::read(older).ok()?;
                format!("replaced by an older copy of {} bytes, {length} before", bytes.len())
            }
        };
        if fs::read(path).unwrap() == bytes {
            return None;
        }
        fs::write(path, bytes).unwrap();
        Some(how)
    }
}

/// The files to damage, grouped by kind.
fn kinds(fixture: &Fixture) -> Vec<Vec<String>> {
    let mut kinds: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for name in fixture.files() {
        kinds.entry(kind_of(&name)).or_default().push(name);
    }
    kinds.into_values().collect()
}

/// Damages one copy of the folder and checks how the server handles it. Returns what was done and what was wrong.
fn run(fixture: &Fixture, files: &[String], damage: Damage, random: &mut Random) -> Option<(String, Vec<String>)> {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    fixture.copy(&data);
    let name = &files[random.below(files.len() as u64) as usize];
    let how = damage.inflict(&data.join(name), &fixture.older().join(name), random)?;
    let judged = catch_unwind(AssertUnwindSafe(|| oracle::judge(fixture, &data, name)));
    let faults = judged.unwrap_or_else(|panicked| {
        let text = panicked.downcast_ref::<String>().cloned();
        vec![format!("panicked: {}", text.unwrap_or_else(|| "?".to_owned()))]
    });
    Some((format!("{name}, {how}"), faults))
}

#[test]
fn a_whole_folder_has_everything_and_nothing_to_say() {
    let fixture = Fixture::prepare();
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    fixture.copy(&data);
    let seen = oracle::look(&fixture, &data).unwrap();
    assert_eq!((seen.wrong, seen.lost), (Vec::new(), Vec::new()));
    assert_eq!(seen.said, Vec::<String>::new());
}

#[test]
fn damage_never_shows_anothers_data_and_is_never_silent() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let count = number("INGLE_DAMAGES").unwrap_or(60);
    let seed = number("INGLE_DAMAGE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("INGLE_DAMAGE_SEED={seed}");
    let fixture = Fixture::prepare();
    let kinds = kinds(&fixture);
    println!("{}", fixture.files().join(", "));
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let judged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let mut random = Random(seed.wrapping_add(index.wrapping_mul(1_000_003)));
                    let turn = index as usize;
                    let files = &kinds[turn % kinds.len()];
                    // Some kinds of damage leave some files unchanged; then the next kind is used.
                    let damages = (0..DAMAGES.len()).map(|more| DAMAGES[(turn / kinds.len() + more) % DAMAGES.len()]);
                    let (how, faults) =
                        damages.into_iter().find_map(|damage| run(&fixture, files, damage, &mut random)).unwrap();
                    judged.fetch_add(1, Ordering::Relaxed);
                    if !faults.is_empty() {
                        failures.lock().unwrap().push(format!("folder {index}, {how}:\n  {}", faults.join("\n  ")));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let judged = judged.into_inner();
    assert_eq!(judged, count);
    assert!(failures.is_empty(), "{} of {judged} damaged folders:\n{}", failures.len(), failures.join("\n"));
}
