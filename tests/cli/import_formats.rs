//! The formats that `ingle import events` reads.

use serde_json::{Value, json};

use super::import::{LAMP_ID as LAMP, lamp, log, values};
use crate::support::TestCloud;
use crate::support::world::{LONELY, PLUG, SCALE};

const NONE: [Value; 0] = [];

fn iso(ms: i64, form: &[time::format_description::BorrowedFormatItem<'_>], offset_hours: i8) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap();
    time.to_offset(time::UtcOffset::from_hms(offset_hours, 0, 0).unwrap()).format(form).unwrap()
}

/// What a file with this content and this end of its name prints.
fn import_named(cloud: &TestCloud, ending: &str, content: &[u8], options: &[&str]) -> Result<String, String> {
    let file = tempfile::Builder::new().suffix(ending).tempfile().unwrap();
    std::fs::write(file.path(), content).unwrap();
    cloud.ingle(&[&["import", "events", file.path().to_str().unwrap()], options].concat(), "")
}

#[test]
fn a_time_is_a_number_or_text_with_an_offset() {
    let cloud = TestCloud::start();
    let now = cloud.now_ms() - 1_000_000;
    let form = |text| time::format_description::parse_borrowed::<2>(text).unwrap();
    let rfc = form("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let offset = form(
        "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3][offset_hour sign:mandatory]:[offset_minute]",
    );
    let basic = form("[year][month][day]T[hour][minute][second].[subsecond digits:3]Z");
    let times = [
        json!(now),
        json!((now + 1).to_string()),
        json!(iso(now + 2, &rfc, 0)),
        json!(iso(now + 3, &offset, 2)),
        json!(iso(now + 4, &offset, -11)),
        json!(iso(now + 5, &basic, 0)),
    ];
    let lines = times.iter().map(|time| {
        format!(
            "{}\n",
            json!({"device_id": PLUG, "time": time, "type": "7", "from": "1", "code": "switch", "value": true})
        )
    });
    cloud.import_lines(&lines.collect::<String>()).unwrap();
    let stored: Vec<Value> = log(&cloud, PLUG).into_iter().map(|row| row["time"].clone()).collect();
    assert_eq!(stored, (now..now + 6).map(|time| json!(time)).collect::<Vec<_>>());
    // The same in CSV, where every time is text.
    let rows = times.iter().map(|time| {
        let time = time.as_str().map_or_else(|| time.to_string(), str::to_owned);
        format!("{LONELY},{time},7,1,weight,70\n")
    });
    let table = format!("device_id,time,type,from,code,value\n{}", rows.collect::<String>());
    cloud.import_file(table.as_bytes(), &[]).unwrap();
    let stored: Vec<Value> = log(&cloud, LONELY).into_iter().map(|row| row["time"].clone()).collect();
    assert_eq!(stored, (now..now + 6).map(|time| json!(time)).collect::<Vec<_>>());
}

#[test]
fn csv_has_quotes_line_breaks_and_text_for_every_value() {
    let cloud = TestCloud::start();
    lamp(&cloud, false);
    let now = cloud.now_ms() - 100_000;
    let rows = |end: &str| {
        let rows = [
            "value,code,from,type,time,device_id".to_owned(),
            format!("TRUE,flag,1,7,{now},{LAMP}"),
            format!("21,level,1,7,{},{LAMP}", now + 1),
            String::new(),
            format!("21,mode,1,7,{},{LAMP}", now + 2),
            format!("\"a \"\"quoted\"\", 水{end}second line\",note,1,7,{},{LAMP}", now + 3),
            format!(",note,1,7,{},{LAMP}", now + 4),
            format!("-55,temp,1,7,{},{LAMP}", now + 5),
            format!("\"{{\"\"h\"\": 5}}\",colour,1,7,{},{LAMP}", now + 6),
            format!("12,note,1,7,\" {} \",\"{LAMP}\"", now + 7),
            format!(",,1,1,{},{LAMP}", now + 8),
        ];
        rows.join(end)
    };
    let end = "\r\n";
    let expected = [
        json!(true),
        json!(21),
        json!("21"),
        json!(format!("a \"quoted\", 水{end}second line")),
        json!(""),
        json!(-55),
        json!({"h": 5}),
        json!("12"),
        Value::Null,
    ];
    // With the mark of UTF-8, CR LF and no line break at the end.
    let table = format!("\u{feff}{}", rows(end));
    assert_eq!(cloud.import_file(table.as_bytes(), &[]).unwrap(), "9 events imported, 0 were there already\n");
    assert_eq!(values(&cloud, LAMP), expected);
    assert_eq!(log(&cloud, LAMP)[8]["type"], 1);
    let again = import_named(&cloud, ".CSV", table.as_bytes(), &["--device", LAMP]).unwrap();
    assert_eq!(again, "0 events imported, 9 were there already\n");
    // Lines are counted with those that are empty or within a value.
    for end in ["\n", "\r\n"] {
        for bad in [
            format!("x,level,1,7,{now},{LAMP}"),
            format!("5,level,1,7,{now}"),
            format!("5,level,1,7,2026-01-31T12:00:00,{LAMP}"),
            format!("5,level,1,seven,{now},{LAMP}"),
            format!("5,level,1,7,{now},{SCALE}x"),
            format!("\"{}\n\n{}\",note,1,7,{now},{LAMP}", "n".repeat(30), "n".repeat(30)),
            format!("\"{}", "n\n".repeat(600_000)),
        ] {
            let text = format!("{}{end}{bad}{end}5,level,1,7,{now},{LAMP}{end}", rows(end));
            let error = cloud.import_file(text.as_bytes(), &[]).unwrap_err();
            assert!(error.contains("line 13:") && error.contains("nothing was imported"), "{bad:.100}: {error}");
        }
        let not_utf8 = [rows(end).as_bytes(), end.as_bytes(), b"\xff,note,1,7,1,x"].concat();
        let error = cloud.import_file(&not_utf8, &[]).unwrap_err();
        assert!(error.contains("line 13: the text is not UTF-8"), "{error}");
    }
    for (header, text) in [
        ("", "the header line is missing"),
        ("device_id,time,type,from,code\n", "line 1: the column \"value\" is missing"),
        ("time,type,from,code,value\n", "line 1: the column \"device_id\" is missing"),
        ("\n\ndevice_id,time,type,from,code,value,unit\n", "line 3: CSV has no column \"unit\" here"),
        ("device_id,time,type,from,code,value,time\n", "line 1: the column \"time\" is there twice"),
        ("hello\n", "line 1: CSV has no column \"hello\" here: the header is device_id,time,type,from,code,value"),
    ] {
        let error = cloud.import_file(header.as_bytes(), &["--format", "csv"]).unwrap_err();
        assert!(error.contains(text), "{header:?}: {error}");
    }
    let header = "time,type,from,code,value\n";
    let nothing = cloud.import_file(header.as_bytes(), &["--device", LAMP]).unwrap();
    assert_eq!(nothing, "0 events imported, 0 were there already\n");
    let row = format!("{header}{now},7,1,note,without an id");
    assert!(cloud.import_file(row.as_bytes(), &["--device", LAMP]).unwrap().starts_with("1 events"));
}

#[test]
fn the_answers_of_the_vendors_log_are_imported() {
    let cloud = TestCloud::start();
    lamp(&cloud, false);
    let now = cloud.now_ms() - 100_000;
    let row = |at: i64, code: &str, value: &str| json!({"code": code, "event_from": "1", "event_id": 7, "event_time": now + at, "status": "1", "value": value});
    let answer = |device: Option<&str>, logs: Value| {
        let mut result = json!({"current_row_key": "a", "has_next": false, "logs": logs, "next_row_key": "b"});
        if let Some(device) = device {
            result["device_id"] = json!(device);
        }
        json!({"result": result, "success": true, "t": now, "tid": "x"})
    };
    // Newest first, as the vendor has them: two of the same millisecond.
    let first = answer(
        Some(LAMP),
        json!([
            row(5, "level", "7"),
            row(5, "level", "6"),
            row(4, "flag", "false"),
            row(3, "mode", "21"),
            row(3, "temp", "215"),
            row(3, "colour", "{\"h\":360}"),
            row(3, "note", "\\{\" x")
        ]),
    );
    let second = answer(
        Some(LAMP),
        json!([{"event_from": "-1", "event_id": 1, "event_time": (now + 1).to_string(), "status": "1", "row": "r"}]),
    );
    let expected =
        [Value::Null, json!("\\{\" x"), json!({"h": 360}), json!(215), json!("21"), json!(false), json!(6), json!(7)];
    let pretty = serde_json::to_string_pretty(&first).unwrap();
    for (content, said) in [
        (format!("{first}\n{second}\n"), "8 events imported, 0 were"),
        (format!("\u{feff}{pretty}{second}"), "0 events imported, 8 were"),
        (format!(" \r\n{}", pretty.replace('\n', "\r\n")), "0 events imported, 7 were"),
    ] {
        let printed = cloud.import_file(content.as_bytes(), &[]).unwrap();
        assert!(printed.starts_with(said), "{printed}");
    }
    assert_eq!(values(&cloud, LAMP), expected);
    assert_eq!(cloud.first().reported(LAMP)[1], json!({"code": "level", "value": 7}));
    // An answer that names no device.
    let unnamed = answer(None, json!([row(9, "level", "9")])).to_string();
    let options = ["--format", "tuya", "--device", LAMP];
    assert!(cloud.import_file(unnamed.as_bytes(), &options).unwrap().starts_with("1 events imported"));
    let at = |text: &str| {
        // One line for the answer before, and the row begins in the line before its first member.
        format!("line {}:", pretty.split(text).next().unwrap().lines().count())
    };
    let refused = |bad: String, options: &[&str], place: &str, text: &str| {
        let error = cloud.import_file(format!("{second}\n{bad}").as_bytes(), options).unwrap_err();
        assert!(error.contains(place) && error.contains(text) && error.contains("nothing was"), "{bad:.300}: {error}");
    };
    let level = at("\"code\": \"flag\"");
    refused(pretty.replace("\"value\": \"false\"", "\"value\": \"no\""), &[], &level, "of type Boolean");
    refused(pretty.replace("\"flag\"", "\"flog\""), &[], &level, "no function \"flog\"");
    refused(pretty.replace(&(now + 4).to_string(), "\"2026-01-31T12:00:00\""), &[], &level, "no offset");
    refused(unnamed.clone(), &[], "line 2:", "name it with --device");
    refused(first.to_string(), &["--device", PLUG], "line 1:", "the row is of the device");
    refused(
        json!({"code": 1010, "msg": "token invalid", "success": false}).to_string(),
        &[],
        "line 2:",
        "the answer is a refusal with the code 1010: token invalid",
    );
    refused(json!({"success": true}).to_string(), &[], "line 2:", "the answer has no result");
    refused(json!({"result": {"list": []}}).to_string(), &[], "line 2:", "missing field `logs`");
    refused(pretty[..pretty.len() - 2].to_owned(), &[], "line 2:", "the file ends within the JSON object");
    refused("[]".to_owned(), &[], "line 2:", "a JSON object must begin here");
    refused(format!("{{\"result\": \"{}", "x".repeat(33 * 1024 * 1024)), &[], "line 2:", "longer than 33554432 bytes");
    let not_utf8 = [format!("{second}\n{{\n").as_bytes(), b"\"result\": \"\xff\"}"].concat();
    let error = cloud.import_file(&not_utf8, &[]).unwrap_err();
    assert!(error.contains("line 3: the text is not UTF-8"), "{error}");
    assert_eq!(log(&cloud, LAMP).len(), 9);
    assert_eq!(log(&cloud, PLUG), NONE);
}

#[test]
fn what_the_log_of_the_api_answers_can_be_imported() {
    let cloud = TestCloud::start();
    let now = cloud.now_ms() - 100_000;
    let rows: Vec<_> = (0..250).map(|at| (SCALE, now + at / 2, 7, 1, "weight", json!(at))).collect();
    cloud.import(&rows);
    cloud.import(&[(SCALE, now + 500, 7, 1, "battery_low", json!(true)), (SCALE, now + 501, 1, 1, "", Value::Null)]);
    let (app, mut pages, mut key) = (cloud.first(), String::new(), String::new());
    loop {
        let path = format!("/v1.0/devices/{SCALE}/logs?type=1,2,7&start_time=1&end_time={}&size=100{key}", now + 1000);
        let answer = app.get(&path);
        pages.push_str(&format!("{answer}\n"));
        match answer["result"]["next_row_key"].as_str() {
            Some(next) => key = format!("&start_row_key={}", next.replace('+', "%2B").replace('=', "%3D")),
            None => break,
        }
    }
    assert_eq!(pages.lines().count(), 3);
    assert_eq!(cloud.import_lines(&pages).unwrap(), "0 events imported, 252 were there already\n");
    let elsewhere = pages.replace(SCALE, LONELY);
    assert_eq!(cloud.import_lines(&elsewhere).unwrap(), "252 events imported, 0 were there already\n");
    assert_eq!(values(&cloud, LONELY), values(&cloud, SCALE));
}

#[test]
fn the_format_is_recognized_by_name_or_content() {
    let cloud = TestCloud::start();
    let now = cloud.now_ms() - 100_000;
    let line =
        json!({"device_id": PLUG, "time": now, "type": 7, "from": 1, "code": "switch", "value": true}).to_string();
    let table = format!("device_id,time,type,from,code,value\n{PLUG},{now},7,1,switch,true\n");
    let answer = json!({"success": true, "result": {"device_id": PLUG, "logs": [{"event_time": now, "event_id": 7,
        "event_from": "1", "code": "switch", "value": "true"}]}})
    .to_string();
    for (content, format) in [(&line, "jsonl"), (&table, "csv"), (&answer, "tuya")] {
        for (ending, options) in [("", &[][..]), (".json", &[]), (".txt", &["--format", format])] {
            let printed = import_named(&cloud, ending, content.as_bytes(), options).unwrap();
            assert!(printed.contains(" 1 were") || printed.starts_with("1 "), "{format}: {printed}");
        }
        for other in ["jsonl", "csv", "tuya"] {
            let result = import_named(&cloud, "", content.as_bytes(), &["--format", other]);
            assert_eq!(result.is_ok(), other == format, "{other}: {result:?}");
        }
    }
    assert!(import_named(&cloud, ".csv", line.as_bytes(), &[]).unwrap_err().contains("CSV has no column"));
    assert!(import_named(&cloud, ".jsonl", table.as_bytes(), &[]).unwrap_err().contains("line 1: expected value"));
    assert_eq!(values(&cloud, PLUG), [json!(true)]);
    assert!(cloud.import_file(b"", &["--format", "xml"]).unwrap_err().contains("jsonl"));
}
