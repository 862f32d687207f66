//! House rules that a machine can check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::openapi::{DIALECTS, routes};
use crate::support::tuya::hex;

mod documents;

/// Lines that a source file may have.
const FILE_LINES_MAX: usize = 500;

/// The rooms, and which other rooms and frameworks each may name (ARCHITECTURE.md has the same table).
const ROOMS: &[(&str, &[&str], &[&str])] = &[
    ("domain", &[], &["std", "thiserror", "async_trait", "serde", "serde_json"]),
    (
        "store",
        &["actor", "domain", "durable_file", "hex", "instruments", "random", "repeated"],
        &[
            "std",
            "async_trait",
            "prometheus_client",
            "rusqlite",
            "lz4_flex",
            "crc32fast",
            "getrandom",
            "foldhash",
            "quick_cache",
            "rustc_hash",
            "tokio",
            "tracing",
            "serde",
            "serde_json",
            "aes_gcm",
            "argon2",
            "hmac",
            "md5",
            "sha2",
            "ring",
            "rustix",
            "tar",
            "thiserror",
        ],
    ),
    (
        "tuya",
        &["actor", "domain", "hex", "http", "random", "thing_model"],
        &[
            "std",
            "axum",
            "serde",
            "serde_json",
            "utoipa",
            "utoipa_axum",
            "percent_encoding",
            "hmac",
            "sha2",
            "md5",
            "base64",
            "subtle",
            "tokio",
            "tracing",
        ],
    ),
    (
        "http",
        &["actor", "instruments", "log_limit", "net", "random", "refusals", "repeated", "shutdown", "traces"],
        &[
            "std",
            "axum",
            "http_body_util",
            "hyper",
            "hyper_util",
            "foldhash",
            "quick_cache",
            "serde",
            "serde_json",
            "tokio",
            "tower",
            "tracing",
            "utoipa",
        ],
    ),
    (
        "aliyun",
        &["actor", "domain", "hex", "http", "random", "thing_model"],
        &[
            "std",
            "axum",
            "serde",
            "serde_json",
            "utoipa",
            "utoipa_axum",
            "percent_encoding",
            "hmac",
            "sha1",
            "sha2",
            "md5",
            "base64",
            "subtle",
            "time",
            "tracing",
        ],
    ),
    (
        "visual",
        &["domain", "hex", "http", "random"],
        &[
            "std",
            "axum",
            "serde",
            "serde_json",
            "utoipa",
            "utoipa_axum",
            "percent_encoding",
            "base64",
            "jsonwebtoken",
            "ring",
            "tracing",
        ],
    ),
    (
        "gateway",
        &[
            "actor",
            "domain",
            "feed",
            "hex",
            "instruments",
            "log_limit",
            "mqtt",
            "net",
            "refusals",
            "repeated",
            "shutdown",
            "thing_model",
            "traces",
        ],
        &["std", "async_trait", "serde_json", "tokio", "tracing", "hmac", "md5", "sha1", "sha2", "subtle"],
    ),
    ("net", &["repeated", "shutdown"], &["std", "ppp", "tokio", "tokio_rustls", "tracing"]),
    ("mqtt", &[], &["std", "bytes", "rmqtt_codec", "tokio", "tokio_util", "tracing"]),
    (
        "feed",
        &["domain", "hex", "mqtt", "random", "shutdown", "thing_model"],
        &["std", "aes_gcm", "async_trait", "base64", "md5", "serde_json", "subtle", "tokio"],
    ),
    ("thing_model", &["domain"], &["serde_json", "std"]),
    ("durable_file", &[], &["std", "rustix", "thiserror", "tracing"]),
    ("tls", &["durable_file"], &["std", "rcgen", "ring", "rustix", "time", "tokio_rustls", "thiserror", "tracing"]),
    ("shutdown", &[], &["tokio"]),
    ("config", &[], &["std", "serde", "toml", "thiserror"]),
    ("instruments", &["traces"], &["std", "prometheus_client"]),
    (
        "traces",
        &["repeated"],
        &[
            "std",
            "async_trait",
            "bytes",
            "http_body_util",
            "hyper",
            "hyper_util",
            "opentelemetry",
            "opentelemetry_http",
            "opentelemetry_otlp",
            "opentelemetry_sdk",
            "tokio",
        ],
    ),
    (
        "metrics",
        &["domain", "http", "instruments", "net", "refusals", "repeated"],
        &["std", "axum", "prometheus_client", "tokio"],
    ),
    ("actor", &["domain"], &["std", "tokio"]),
    ("in_process", &["domain"], &["std", "async_trait", "rustc_hash"]),
    ("hex", &[], &["std"]),
    ("random", &[], &["getrandom"]),
    ("refusals", &[], &["std", "serde", "tracing"]),
    ("log_limit", &[], &["std", "rustc_hash"]),
    ("logging", &["config"], &["std", "tracing", "tracing_subscriber"]),
    ("repeated", &[], &["std", "tracing"]),
    ("virtual_devices", &["domain", "random", "shutdown"], &["std", "async_trait", "tokio", "tracing"]),
    (
        "simulate",
        &["hex", "shutdown"],
        &[
            "std",
            "bytes",
            "hmac",
            "rmqtt_codec",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tokio",
            "tokio_rustls",
            "tokio_util",
        ],
    ),
    (
        "control",
        &["actor", "domain", "gateway", "http", "logging", "net", "refusals", "repeated", "shutdown"],
        &[
            "std",
            "axum",
            "hyper",
            "hyper_util",
            "http_body_util",
            "rustix",
            "serde",
            "serde_json",
            "tokio",
            "tower",
            "tracing",
        ],
    ),
    (
        "cli",
        &[
            "aliyun",
            "app",
            "config",
            "control",
            "domain",
            "durable_file",
            "hex",
            "logging",
            "random",
            "refusals",
            "shutdown",
            "simulate",
            "tls",
            "tuya",
        ],
        &[
            "std",
            "axum",
            "clap",
            "csv",
            "http_body_util",
            "hyper",
            "hyper_util",
            "indicatif",
            "rlimit",
            "rustix",
            "serde",
            "serde_json",
            "time",
            "tokio",
            "tracing",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The room of a source file: the first name of its path below `src`.
fn room(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The names by which code refers to the crates that Cargo.toml depends on.
fn crate_names() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let names = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once(" = "));
    // The library of the package md-5 is called md5.
    names.map(|(name, _)| if name == "md-5" { "md5".to_owned() } else { name.replace('-', "_") }).collect()
}

/// The rooms (as `crate::room`) and crates that a line of code names in its imports and full paths. `depth` is the
/// number of modules on the path of the file's module: that many `super::` lead to the root of the crate.
fn named(line: &str, depth: usize, crates: &[String]) -> Vec<String> {
    let code = line.split("//").next().unwrap();
    let code = code.replace(&format!("{}::", ["super"; 8][..depth].join("::")), "crate::");
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + 7..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap();
                names.extend(list.split(',').map(|part| format!("crate::{}", part.trim().split("::").next().unwrap())));
            }
            None => {
                names.push(format!("crate::{}", rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()))
            }
        }
    }
    if let Some(rest) = code.trim_start().strip_prefix("use ").or_else(|| code.trim_start().strip_prefix("pub use ")) {
        names.push(rest.split("::").next().unwrap().trim_end_matches(';').to_owned());
    } else {
        // A path begins where neither a name nor another part of a path comes before.
        let is_in_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '.' | '"');
        let paths = code.match_indices("::").map(|(end, _)| {
            code[..end]
                .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .map_or(end..end, |n| end - n.len()..end)
        });
        let begins = paths.filter(|path| !code[..path.start].ends_with(is_in_path)).map(|path| &code[path]);
        names.extend(begins.filter(|name| crates.iter().any(|known| known == name)).map(str::to_owned));
    }
    names
}

/// Whether a file imports a module of this name, so that paths which begin with it do not name a crate.
fn imports_module(text: &str, name: &str) -> bool {
    let imports = text.lines().filter(|line| line.starts_with("use ") || line.starts_with("pub use "));
    let mut parts =
        imports.flat_map(|line| line.split_once("::").unwrap_or_default().1.split(['{', '}', ',', ';', ' ', ':']));
    parts.any(|part| part == name)
}

#[test]
fn rooms_name_only_what_their_row_allows() {
    let known = crate_names();
    let (mut checked, mut wrong) = (0, Vec::new());
    for path in rust_files(&root().join("src")) {
        let room = room(&path);
        let Some((_, rooms, crates)) = ROOMS.iter().find(|(name, _, _)| *name == room) else {
            assert!(matches!(room.as_str(), "app" | "lib" | "main"), "{room} has no row in the table");
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        let module = path.strip_prefix(root().join("src")).unwrap().with_extension("");
        let depth = module.iter().filter(|part| *part != "mod").count();
        for (index, line) in text.lines().enumerate().take_while(|(_, line)| !line.contains("#[cfg(test)]")) {
            for name in named(line, depth, &known) {
                let allowed = match name.strip_prefix("crate::") {
                    Some(other) => other == room || rooms.contains(&other),
                    None => {
                        let submodule = path.with_extension("").join(format!("{name}.rs")).exists()
                            || path.parent().unwrap().join(format!("{name}.rs")).exists()
                            || path.parent().unwrap().join(&name).join("mod.rs").exists();
                        matches!(name.as_str(), "super" | "crate" | "self")
                            || submodule
                            || name.chars().next().is_some_and(char::is_uppercase)
                            || crates.contains(&name.as_str())
                            || (!line.trim_start().starts_with("use ") && imports_module(&text, &name))
                    }
                };
                if !allowed {
                    wrong.push(format!("{}:{}: {room} must not name {name}", path.display(), index + 1));
                }
                checked += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 200, "only {checked} imports were seen");
}

#[test]
fn every_route_has_a_test_of_its_name() {
    for dialect in DIALECTS {
        for route in routes(dialect) {
            let file = format!("tests/{dialect}/{}.rs", route.tag);
            let test = format!("fn {}()", route.name);
            let text = fs::read_to_string(root().join(&file)).unwrap_or_default();
            assert!(text.contains(&test), "{} {} wants `{test}` in {file}", route.method, route.path);
            let source = format!("src/{dialect}/{}.rs", route.tag);
            let source = fs::read_to_string(root().join(source)).unwrap();
            assert!(source.contains(&format!("async fn {}(", route.name)), "{} is not in its file", route.name);
        }
    }
}

/// Names by which files are made, and the only files of the source that may use them: what they make survives a power
/// cut. The lock of the data folder and the reserve hold nothing, a mark is behind on purpose (decision 0017), and the
/// databases are SQLite's, also where they are renamed.
const MAKES_FILES: &[(&str, &[&str])] = &[
    ("OpenOptions", &["durable_file.rs", "store/disk_space.rs", "store/sqlite/mark.rs"]),
    ("File::create", &[]),
    ("fs::write", &[]),
    ("fs::copy", &[]),
    (
        "fs::rename",
        &[
            "durable_file.rs",
            "store/sqlite/telemetry/files.rs",
            "store/sqlite/telemetry/journal.rs",
            "store/sqlite/telemetry/rebuild.rs",
        ],
    ),
    ("create_dir", &[]),
    ("DirBuilder", &["durable_file.rs"]),
    ("File::options", &["app/folder.rs"]),
];

#[test]
fn files_are_made_by_the_module_that_makes_them_durable() {
    let source = root().join("src");
    for path in rust_files(&source) {
        let name = path.strip_prefix(&source).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for (call, allowed) in MAKES_FILES {
            assert!(!text.contains(call) || allowed.contains(&name), "{name} uses {call}: use durable_file");
        }
    }
}

#[test]
fn files_stay_short() {
    for folder in ["src", "tests", "benches"] {
        for path in rust_files(&root().join(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines, more than {FILE_LINES_MAX}", path.display());
        }
    }
}

#[test]
fn migrations_have_no_gap_and_are_all_run() {
    let names: BTreeSet<String> = fs::read_dir(root().join("migrations/sqlite"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let source = fs::read_to_string(root().join("src/store/sqlite/mod.rs")).unwrap();
    for (index, name) in names.iter().enumerate() {
        assert!(name.starts_with(&format!("{:04}_", index + 1)), "{name} is out of order");
        assert!(source.contains(name.as_str()), "{name} is not run");
    }
}

/// What each migration that has landed is, by SHA-256. A folder that ran one of them runs no other in its place, so an
/// entry is added with a migration and never changed.
const LANDED: &[(&str, &str)] = &[
    ("0001_registry.sql", "a05bdd5cd0d3d0f01b5b1b61eba3d3152cb7c66d9c18edff7c774bc14e9b8948"),
    ("0002_second_dialect.sql", "76afa7145a0c33acd9395e75038f654cc5b550c3bbe737d48e5424ec1e911e77"),
    ("0003_devices_connect.sql", "b306ae1a7217caa1996f8324499c8e930d62d149e0608169bd03990ef932c4ca"),
    ("0004_app_users.sql", "dabf5014df0cdc080928ebda3dcbfb8b59742400fc9dcfd16310256f5e9dfa1e"),
    ("0005_folder.sql", "200e7e03d05dbb291d1608030c43a7b93da27445eccc82a852fce858aba3ec99"),
    ("0006_invitations.sql", "c9a7f094b2427944add69c1f6bb3a4cfe6a153a408ad214e5fb144a5663234c4"),
    ("0007_removed_users.sql", "cac497c158263c58892ebdf41f6aea49b20c672c8cb78e5fc7bf704b58923fa5"),
    ("0008_strict_products.sql", "706d141249c71e3b1dad6509e71967961b2d02f848a991822ea51a60d8eef310"),
    ("0009_names_countries_keys.sql", "f6b91cd27d1a9e49d90581bef28559eb4495167fe4c446fe87e41db005f95b92"),
    ("0010_kept_filters.sql", "932046c325fb90c972689c33550e331e8ef8f0f8a16712193217644c2a6f4285"),
    ("0011_desired_values.sql", "66d580f2481f1040bdc49ba832beafa7ee4ca9942df810477872e1a35b468c5c"),
    ("0012_password_columns.sql", "73db955680b135011bc4caa2e6c2dc32a27b3e8c10a3e5c61117dce94a3e3b78"),
    ("0013_audit.sql", "e16abbd22ca4e39fad2ba00a2529892c485d5155a6ebb6c9a1b85cb354fc236c"),
    ("0014_old_secrets.sql", "23f7e4a9fd0d08c7cf4f08b16ba7cf5664ad16bc310538f55eafd98c7940854f"),
];

#[test]
fn migrations_that_landed_are_never_edited() {
    let folder = root().join("migrations/sqlite");
    let digest = |name: &str| hex(&Sha256::digest(fs::read(folder.join(name)).unwrap()));
    for (name, landed) in LANDED {
        assert_eq!(digest(name), *landed, "{name} was edited: write a new migration");
    }
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(LANDED.iter().any(|(landed, _)| *landed == name), "add (\"{name}\", \"{}\") to LANDED", digest(&name));
    }
}

#[test]
fn every_setting_is_explained() {
    let text = fs::read_to_string(root().join("config.default.toml")).unwrap();
    let mut explained = false;
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with('[') {
            explained = false;
        }
        if line.starts_with('#') {
            explained = true;
        } else if line.contains(" = ") {
            // Settings that follow one another may share a comment.
            assert!(explained, "{line} has no comment");
        }
    }
}
