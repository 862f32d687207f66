//! `ingle import events`: what is refused, and what is not imported twice. The formats are in `import_formats.rs`.

use serde_json::{Value, json};

use crate::support::world::{DUMB, PLUG, SCALE};
use crate::support::{TestCloud, ingle};

const PRODUCT: &str = "lamp000000000001";
const LAMP: &str = "lamp0000000000000001";

/// A data point of the plug in the form of `ingle log --json`.
fn line(device: &str, time: i64, code: &str, value: Value) -> String {
    format!("{}\n", json!({"device_id": device, "time": time, "type": 7, "from": 1, "code": code, "value": value}))
}

/// The rows of a device's log, oldest first.
pub fn log(cloud: &TestCloud, device: &str) -> Vec<Value> {
    let text = cloud.ingle(&["log", device, "--json", "--limit", "100000"], "").unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The values of a device's log, oldest first.
pub fn values(cloud: &TestCloud, device: &str) -> Vec<Value> {
    log(cloud, device).into_iter().map(|row| row["value"].clone()).collect()
}

/// What an import prints.
fn said(stored: usize, known: usize) -> String {
    format!("{stored} events imported, {known} were there already\n")
}

/// A product with one function of each type, strict or not, and its device [`LAMP`].
pub fn lamp(cloud: &TestCloud, strict: bool) {
    let function = |code: &str, kind: &str, values: Value| json!({"code": code, "type": kind, "values": values});
    let members = json!([{"code": "h", "type": "Integer", "values": {"min": 0, "max": 360}, "name": "h"}]);
    cloud.apply(&json!({"projects": [{"name": "first",
        "products": [{"product_id": PRODUCT, "name": "Lamp", "category": "dj", "strict": strict, "functions": [
            function("flag", "Boolean", json!({})),
            function("level", "Integer", json!({"min": 0, "max": 100})),
            function("mode", "Enum", json!({"range": ["white", "21"]})),
            function("note", "String", json!({"maxlen": 40})),
            function("temp", "Float", json!({"min": -40, "max": 120, "step": 0.1})),
            function("faults", "Bitmap", json!({"label": ["a", "b"]})),
            function("since", "Date", json!({})),
            function("scene", "Json", json!({})),
            function("colour", "Struct", json!({"members": members}))]}],
        "devices": [{"product_id": PRODUCT, "device_id": LAMP}]}]}));
}

pub const LAMP_ID: &str = LAMP;

#[test]
fn a_bad_line_is_named_and_nothing_is_imported() {
    let cloud = TestCloud::start();
    let now = cloud.now_ms();
    let good = format!(r#"{{"device_id":"{PLUG}","time":{now},"type":7,"from":1,"code":"switch","value":true}}"#);
    let other = |time: &str| good.replace(&now.to_string(), time);
    for (bad, text) in [
        ("{", "EOF"),
        ("[]", "expected struct"),
        ("true, false", "invalid type"),
        (r#"{"device_id":"nobody","time":1,"type":7,"from":1}"#, "no device \"nobody\""),
        (&good.replace("device_id", "device"), "unknown field `device`"),
        (&good.replace(&format!("\"device_id\":\"{PLUG}\","), ""), "name it with --device"),
        (&good.replace("\"type\":7", "\"type\":12"), "type must be"),
        (&good.replace("\"type\":7", "\"type\":\"data\""), "type must be a whole number"),
        (&good.replace("\"from\":1", "\"from\":15"), "from must be"),
        (&other("5"), "retention"),
        (&other(&(now / 1000).to_string()), "retention"),
        (&other("9999999999999"), "a day ahead"),
        (&other("1e12"), "write it as 2026-01-31T12:00:00Z"),
        (&other("null"), "write it as 2026-01-31T12:00:00Z"),
        (&other("\"2026-01-31T12:00:00\""), "has no offset from UTC"),
        (&good.replace(",\"value\":true", ""), "value"),
        (&good.replace("\"code\"", "\"kode\""), "kode"),
        (&good.replace("\"switch\"", &format!("\"{}\"", "s".repeat(65))), "64 bytes"),
        (&good.replace("true", &format!("\"{}\"", "s".repeat(20_000))), "too long"),
        (&good.replace("true", &format!("\"{}\"", "s".repeat(2_000_000))), "the line is longer than 1048576 bytes"),
    ] {
        let lines = format!("{good}\n\n{bad}\n{good}\n");
        for options in [&[][..], &["--lenient"]] {
            let error = cloud.import_file(lines.as_bytes(), options).unwrap_err();
            assert!(error.contains("line 3:") && error.contains(text), "{bad:.200}: {error}");
            assert!(error.contains("; nothing was imported"), "{error}");
        }
    }
    let not_utf8 = [format!("{good}\n").as_bytes(), b"{\"device_id\": \"\xff\"}\n"].concat();
    let error = cloud.import_file(&not_utf8, &[]).unwrap_err();
    assert!(error.contains("line 2: the text is not UTF-8"), "{error}");
    assert_eq!(cloud.first().reported(PLUG), json!([]));
    // The number of a line counts from the beginning of the file, however far in it is. The first bad line is named, also if
    // only the server can know that it is bad.
    let mut many = format!("{good}\n").repeat(12_000);
    many.push_str(&format!("{}\n{{\n", good.replace("switch", "unknown")));
    let error = cloud.import_lines(&many).unwrap_err();
    assert!(error.contains("line 12001: the device's product has no function \"unknown\""), "{error}");
    assert_eq!(log(&cloud, PLUG), [] as [Value; 0]);
    assert_eq!(cloud.import_lines("").unwrap(), said(0, 0));
    assert_eq!(cloud.import_lines(" \n\r\n").unwrap(), said(0, 0));
    // A pipe cannot be read twice.
    let error = cloud.ingle(&["import", "events", "/dev/stdin"], &good).unwrap_err();
    assert!(error.contains("/dev/stdin"), "{error}");
    let error = cloud.ingle(&["import", "events", "/nowhere"], "").unwrap_err();
    assert!(error.contains("/nowhere: No such file"), "{error}");
    assert_eq!(log(&cloud, PLUG), [] as [Value; 0]);
}

#[test]
fn a_value_that_the_product_cannot_have_is_refused_unless_lenient() {
    let cloud = TestCloud::start();
    lamp(&cloud, false);
    let now = cloud.now_ms() - 100_000;
    let good = line(LAMP, now, "level", json!(5));
    let bad = [
        ("flag", json!(1), "of type Boolean"),
        ("flag", json!("yes"), "of type Boolean"),
        (
            "level",
            json!(101),
            "\"level\" cannot have the value 101: it is of type Integer with {\"max\":100,\"min\":0}",
        ),
        ("level", json!("-1"), "cannot have the value \"-1\""),
        ("level", json!(1.5), "of type Integer"),
        ("level", json!("x".repeat(1000)), "xxx…: it is of type Integer"),
        ("mode", json!("red"), "of type Enum with {\"range\":[\"white\",\"21\"]}"),
        ("mode", json!(21), "of type Enum"),
        ("note", json!("n".repeat(41)), "of type String with {\"maxlen\":40}"),
        ("note", json!(true), "of type String"),
        ("temp", json!(1201), "of type Float"),
        ("faults", json!(4), "of type Bitmap"),
        ("since", json!("yesterday"), "of type Date"),
        ("scene", json!(7), "of type Json"),
        ("colour", json!({"h": 361}), "of type Struct"),
        ("colour", json!("{\"s\":1}"), "of type Struct"),
        ("other", json!(1), "the device's product has no function \"other\""),
    ];
    for (at, (code, value, text)) in bad.iter().enumerate() {
        let lines = format!("{good}{}{good}", line(LAMP, now + 1 + at as i64, code, value.clone()));
        let error = cloud.import_lines(&lines).unwrap_err();
        assert!(error.contains("line 2:") && error.contains(text), "{code} {value}: {error}");
    }
    // A product without functions can have no data point.
    let error = cloud.import_lines(&line(DUMB, now, "level", json!(1))).unwrap_err();
    assert!(error.contains("line 1: the device's product has no function"), "{error}");
    assert_eq!(log(&cloud, LAMP), [] as [Value; 0]);
    // What is no data point has no specification.
    let command = line(LAMP, now - 1, "level", json!(500)).replace("\"type\":7", "\"type\":5");
    let event = line(LAMP, now - 1, "alarm", json!("{\"why\":\"smoke\"}")).replace("\"type\":7", "\"type\":11");
    assert_eq!(cloud.import_lines(&format!("{command}{event}")).unwrap(), said(2, 0));
    assert_eq!(values(&cloud, LAMP), [json!(500), json!({"why": "smoke"})]);
    // Leniently, all of them are stored as they came.
    let lines =
        bad.iter().enumerate().map(|(at, (code, value, _))| line(LAMP, now + 1 + at as i64, code, value.clone()));
    let lines = format!("{good}{}", lines.collect::<String>());
    let printed = cloud.import_file(lines.as_bytes(), &["--lenient"]).unwrap();
    let unfit = "of the imported events are data points that their product cannot have";
    assert_eq!(printed, format!("{}{} {unfit}\n", said(18, 0), bad.len()));
    let stored = values(&cloud, LAMP);
    assert_eq!(stored[3..], bad.map(|(_, value, _)| value));
    // The second time, none of them is imported.
    let printed = cloud.import_file(lines.as_bytes(), &["--lenient"]).unwrap();
    assert_eq!(printed, format!("{}0 {unfit}\n", said(0, 18)));
    assert_eq!(values(&cloud, LAMP), stored);
}

#[test]
fn values_of_a_strict_product_are_refused_also_leniently() {
    let cloud = TestCloud::start();
    lamp(&cloud, true);
    let now = cloud.now_ms() - 100_000;
    let unknown = line(LAMP, now, "other", json!(1));
    let error = cloud.import_file(line(LAMP, now, "level", json!(101)).as_bytes(), &["--lenient"]).unwrap_err();
    assert!(
        error.contains("line 1: the value of \"level\" does not fit its function; nothing was imported"),
        "{error}"
    );
    assert!(cloud.import_file(unknown.as_bytes(), &["--lenient"]).unwrap().starts_with(&said(1, 0)));
}

#[test]
fn what_is_in_the_log_is_not_imported_again() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("data");
    // Little memory, so that rows are in files, in memtables that are flushed, and in the present one.
    let settings = [("INGLE_TELEMETRY_MEMORY_ROWS", "1000"), ("INGLE_TELEMETRY_DURABILITY", "os")];
    let cloud = TestCloud::binary(&folder, &settings);
    cloud.apply(&crate::support::world::standard());
    let begin = cloud.now_ms() - 10 * 24 * 3600 * 1000;
    let row = |at: i64| {
        let device = if at % 3 == 0 { SCALE } else { PLUG };
        let code = if at % 3 == 0 { "weight" } else { ["cur_power", "cur_current"][at as usize % 2] };
        // Several rows have the same time, and some the same value.
        line(device, begin + at / 4 * 60_000, code, json!(at / 8))
    };
    let all: Vec<String> = (0..13_000).map(row).collect();
    let distinct = all.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(distinct < all.len(), "some are there twice");
    let import = |cloud: &TestCloud, rows: &[String]| cloud.import_lines(&rows.concat()).unwrap();
    let first: Vec<String> = all[2_000..8_000].to_vec();
    let first_distinct = first.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(import(&cloud, &first), said(first_distinct, 6_000 - first_distinct));
    assert_eq!(import(&cloud, &first), said(0, 6_000));
    // In another order, and with rows before and after them.
    let backwards: Vec<String> = all.iter().rev().cloned().collect();
    let rest = distinct - first_distinct;
    assert_eq!(import(&cloud, &backwards), said(rest, 13_000 - rest));
    let rows = || log(&cloud, PLUG).len() + log(&cloud, SCALE).len();
    assert_eq!(rows(), distinct);
    let latest = cloud.first().reported(PLUG);
    // After a restart.
    cloud.stop();
    let cloud = TestCloud::binary(&folder, &settings);
    assert_eq!(import(&cloud, &all), said(0, 13_000));
    assert_eq!(log(&cloud, PLUG).len() + log(&cloud, SCALE).len(), distinct);
    assert_eq!(cloud.first().reported(PLUG), latest);
    // After a crash, and without a server.
    cloud.kill();
    let file = temporary.path().join("all.jsonl");
    std::fs::write(&file, all.concat()).unwrap();
    let again = ingle(&["import", "events", file.to_str().unwrap()], &folder, "").unwrap();
    assert_eq!(again, said(0, 13_000));
    // Only imports that stored something are in the audit.
    let audit = ingle(&["audit", "--json", "--limit", "1000"], &folder, "").unwrap();
    let imported = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let imported: Vec<u64> =
        imported.filter(|row| row["operation"] == "import").map(|row| row["after"]["rows"].as_u64().unwrap()).collect();
    assert_eq!(imported.iter().sum::<u64>(), distinct as u64, "{imported:?}");
}

#[test]
fn only_equal_rows_are_the_same() {
    let cloud = TestCloud::start();
    lamp(&cloud, false);
    let now = cloud.now_ms() - 100_000;
    let first = line(LAMP, now, "colour", json!({"h": 5}));
    assert_eq!(cloud.import_lines(&first).unwrap(), said(1, 0));
    // The same value in another form, and from another source.
    let same = [
        first.replace("{\"h\":5}", "{ \"h\" : 5 }"),
        first.replace("{\"h\":5}", "\"{\\\"h\\\":5}\""),
        first.replace("\"from\":1", "\"from\":4"),
        first.replace(&now.to_string(), &format!("\"{now}\"")),
    ];
    assert_eq!(cloud.import_lines(&same.concat()).unwrap(), said(0, 4));
    let different = [
        first.replace("5}", "6}"),
        first.replace(&now.to_string(), &(now + 1).to_string()),
        first.replace("\"type\":7", "\"type\":5"),
        line(LAMP, now, "scene", json!({"h": 5})),
        line(LAMP, now, "level", json!(21)),
        line(LAMP, now, "level", json!("21")),
        line(LAMP, now, "mode", json!("21")),
    ];
    assert_eq!(cloud.import_lines(&different.concat()).unwrap(), said(6, 1));
    assert_eq!(log(&cloud, LAMP).len(), 7);
    // What the log prints is known, in whatever order.
    let printed = cloud.ingle(&["log", LAMP, "--json"], "").unwrap();
    assert_eq!(cloud.import_lines(&printed).unwrap(), said(0, 7));
}
