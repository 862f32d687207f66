//! `docs/compatibility.md`: made of the routes, of the releases that had them, and of what the clients' suites saw.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::openapi::{DIALECTS, Route, document, routes};

const HEAD: &str = "# Compatibility

Generated, not written: `INGLE_BLESS=1 cargo test compatibility` makes this file of the comments of the handlers, of
[releases.json](releases.json), and of `verified.json` and `clients.json` in [tests/clients](../tests/clients), the first
of which a whole run of `tests/clients/run` holds against the server's log. *Since* is the first release with the
endpoint. *Verified by* names the clients, pinned and unmodified, that call it there with success; *documented* means
that only tests written from the vendor's documents do.

Devices over MQTT, what is not there yet, and every choice where the documents are silent: [choices.md](choices.md).
";

const CLIENTS_HEAD: &str = "
## Clients

*Works unmodified*: nothing need be set. *Needs the endpoint setting*: its constructor, its configuration or each call
takes the server's address, and for https the CA in `ca.pem`. *Needs DNS and the CA*: its hosts are built in, so their
names must lead to this server's https on port 443, and `ca.pem` must be trusted. *Cannot*: no setting helps. A client
that was read, not run, is described by its source alone.

| client | way | how |
| --- | --- | --- |
";

/// What it takes to use a client here, in the order of the table.
const WAYS: [&str; 4] = ["works unmodified", "needs the endpoint setting", "needs DNS and the CA", "cannot"];
/// What a client's `how` says when no suite runs it.
const NOT_RUN: &str = "read, not run";
/// The only client that is run and not pinned: it comes with the distribution.
const DISTRIBUTED: &str = "mosquitto_pub, mosquitto_sub";

/// Clients, or endpoints, by what has them.
type Lists = BTreeMap<String, Vec<String>>;

/// A row of `tests/clients/clients.json`. Its version is empty when no one version was read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    name: String,
    version: String,
    way: String,
    how: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn json<T: DeserializeOwned>(file: &str) -> T {
    serde_json::from_str(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn verified() -> Lists {
    json("tests/clients/verified.json")
}

fn clients() -> Vec<Client> {
    json("tests/clients/clients.json")
}

fn endpoint(route: &Route) -> String {
    format!("{} {}", route.method, route.path)
}

/// The numbers of a version, by which releases are ordered.
fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|number| number.parse().unwrap_or_else(|_| panic!("{text} is no version"))).collect()
}

/// The first release that had an endpoint.
fn since<'a>(releases: &'a Lists, endpoint: &String) -> &'a str {
    let having = releases.iter().filter(|(_, endpoints)| endpoints.contains(endpoint)).map(|(version, _)| version);
    having.min_by_key(|name| version(name)).map_or("unreleased", String::as_str)
}

fn table() -> String {
    let (releases, verified): (Lists, _) = (json("docs/releases.json"), verified());
    let mut table = HEAD.to_owned();
    for dialect in DIALECTS {
        let info = document(dialect).info;
        writeln!(table, "\n## {}\n\n{}\n", info.title.replace("Ingle: the", "The"), info.description.unwrap()).unwrap();
        table += "| endpoint | since | verified by | what it does |\n| --- | --- | --- | --- |\n";
        for route in routes(dialect) {
            let endpoint = endpoint(&route);
            let by = verified.get(&endpoint).map_or("documented".to_owned(), |clients| clients.join(", "));
            let summary = route.summary.replace('|', "\\|");
            writeln!(table, "| `{endpoint}` | {} | {by} | {summary} |", since(&releases, &endpoint)).unwrap();
        }
    }
    table += CLIENTS_HEAD;
    for way in WAYS {
        for Client { name, version, how, .. } in clients().iter().filter(|client| client.way == way) {
            writeln!(table, "| {} | {way} | {how} |", format!("{name} {version}").trim_end()).unwrap();
        }
    }
    table
}

/// Run with `INGLE_BLESS=1` to write the table after a change of what it is made of.
#[test]
fn the_committed_table_is_what_it_is_made_of() {
    let (path, made) = (root().join("docs/compatibility.md"), table());
    if std::env::var_os("INGLE_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "docs/compatibility.md is old: INGLE_BLESS=1 cargo test compatibility");
}

#[test]
fn what_was_released_or_verified_is_a_route() {
    let routes: BTreeSet<String> = DIALECTS.into_iter().flat_map(routes).map(|route| endpoint(&route)).collect();
    let releases: Lists = json("docs/releases.json");
    for endpoint in releases.values().flatten().chain(verified().keys()) {
        assert!(routes.contains(endpoint), "{endpoint} is no route: docs/releases.json, tests/clients/verified.json");
    }
}

#[test]
fn releases_are_those_of_the_changelog() {
    let changelog = text("CHANGELOG.md");
    let headings = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    let received: BTreeSet<String> = headings
        .filter(|heading| *heading != "Unreleased")
        .map(|heading| heading.split(' ').next().unwrap().trim_matches(['[', ']']).to_owned())
        .collect();
    let listed: BTreeSet<String> = json::<Lists>("docs/releases.json").into_keys().collect();
    assert_eq!(listed, received, "docs/releases.json has the releases of CHANGELOG.md, and no other");
}

#[test]
fn an_endpoint_is_since_the_first_of_its_releases() {
    let had = |versions: &[&str]| versions.iter().map(|name| ((*name).to_owned(), vec!["GET /a".to_owned()])).collect();
    assert_eq!(since(&had(&["0.10.0", "0.9.0", "1.0.0"]), &"GET /a".to_owned()), "0.9.0");
    assert_eq!(since(&had(&[]), &"GET /a".to_owned()), "unreleased");
}

#[test]
fn every_client_is_listed_with_a_way() {
    let clients = clients();
    for name in verified().values().flatten() {
        assert!(clients.iter().any(|client| client.name == *name), "tests/clients/clients.json lacks {name}");
    }
    for Client { name, way, .. } in &clients {
        assert!(WAYS.contains(&way.as_str()), "{name}: {way} is none of {WAYS:?}");
    }
}

/// Every version that the suites' environments pin, by package.
fn pins() -> Vec<(String, String)> {
    let mut pins = Vec::new();
    for file in ["tests/clients/requirements.txt", "tests/clients/tuyalink/requirements.txt"] {
        let lines = text(file);
        pins.extend(lines.lines().filter_map(|line| line.split_once("==")).map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
    let packages: Value = json("tests/clients/node/package.json");
    for (name, version) in packages["dependencies"].as_object().unwrap() {
        pins.push((name.clone(), version.as_str().unwrap().to_owned()));
    }
    pins
}

#[test]
fn clients_have_the_versions_that_are_pinned() {
    let pins = pins();
    for Client { name, version, how, .. } in clients() {
        let package = name.trim_end_matches(" (npm)");
        let pinned: Vec<_> = pins.iter().filter(|(name, _)| name == package).map(|(_, version)| version).collect();
        assert!(pinned.iter().all(|pinned| **pinned == version), "{name} {version}, pinned as {pinned:?}");
        let is_run = !pinned.is_empty() || name == DISTRIBUTED;
        assert_eq!(how.contains(NOT_RUN), !is_run, "{name}: exactly what is not pinned is `{NOT_RUN}`");
    }
}
