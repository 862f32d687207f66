//! Traces: what a collector of OTLP over HTTP receives from the binary.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};

use crate::gateway::SECRET;
use crate::support::TestCloud;
use crate::support::http::{Request, send};
use crate::support::mqtt::{MqttDevice, tuyalink, with_secrets};
use crate::support::world::{PLUG, standard};

/// A collector that answers every export with this status: its URL, and what it receives.
fn collector(status: &'static str) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                head.push(line.trim().to_ascii_lowercase());
            }
            assert_eq!(head[0], "post /v1/traces http/1.1");
            assert!(head.contains(&"content-type: application/json".to_owned()), "{head:?}");
            let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap()];
            stream.read_exact(&mut body).unwrap();
            write!(stream.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}").unwrap();
            if sender.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (url, received)
}

/// The spans in exports, by their names.
fn spans(exports: impl Iterator<Item = Value>) -> BTreeMap<String, Vec<Value>> {
    let mut spans: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for export in exports {
        let resource = &export["resourceSpans"][0];
        let service = json!({"key": "service.name", "value": {"stringValue": "ingle"}});
        assert!(resource["resource"]["attributes"].as_array().unwrap().contains(&service), "{resource}");
        for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
            spans.entry(span["name"].as_str().unwrap().to_owned()).or_default().push(span.clone());
        }
    }
    spans
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    attributes.iter().find(|one| one["key"] == key).map_or(&Value::Null, |one| &one["value"]["stringValue"])
}

#[test]
fn a_collector_receives_requests_reports_and_commands() {
    let folder = tempfile::tempdir().unwrap();
    let (url, exports) = collector("200 OK");
    let cloud = TestCloud::binary(folder.path(), &[("INGLE_TRACES_ENDPOINT", &url)]);
    cloud.apply(&standard());
    with_secrets(&cloud);
    let mut plug = MqttDevice::connect(&cloud, &tuyalink(PLUG, SECRET));
    assert_eq!(plug.subscribe(&[&format!("tylink/{PLUG}/#")]), [true]);
    assert!(plug.published(&format!("tylink/{PLUG}/thing/property/report"), &json!({"data": {"cur_power": 1}})));
    let app = cloud.first();
    assert_eq!(app.get(&format!("/v1.0/devices/{PLUG}"))["success"], true);
    app.post(&format!("/v1.0/devices/{PLUG}/commands"), json!({"commands": [{"code": "switch_1", "value": true}]}));
    let (trace, client) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let parent = format!("00-{trace}-{client}-01");
    let request = Request::new("GET", "/v1.0/nothing/token/secret-token?name=value").with("traceparent", &parent);
    assert_eq!(send(cloud.api, &request).code(), 1108);
    cloud.stop();

    let spans = spans(exports.try_iter());
    let read = &spans["GET /v1.0/devices/{device_id}"][0];
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/v1.0/devices/{device_id}"),
        ("url.path", &format!("/v1.0/devices/{PLUG}")),
        ("client.address", "127.0.0.1"),
        ("ingle.dialect", "tuya"),
        ("ingle.project", "first"),
        ("ingle.device", PLUG),
    ] {
        assert_eq!(attribute(read, key), value, "{key} in {read}");
    }
    assert_eq!(read["kind"], 2);
    let time = |name: &str| read[name].as_str().unwrap().parse::<u64>().unwrap();
    assert!((1..10_000_000_000).contains(&(time("endTimeUnixNano") - time("startTimeUnixNano"))), "{read}");
    assert_eq!(attribute(&spans["report"][0], "ingle.device"), PLUG);
    assert_eq!(
        (&spans["command"][0]["kind"], attribute(&spans["command"][0], "ingle.device")),
        (&json!(3), &json!(PLUG))
    );
    let refused = &spans["GET "][0];
    assert_eq!((&refused["traceId"], &refused["parentSpanId"]), (&json!(trace), &json!(client)));
    assert_eq!(
        (&refused["status"]["code"], &refused["status"]["message"]),
        (&json!(2), &json!("tuya 1108")),
        "{refused}"
    );
    assert_eq!(attribute(refused, "url.path"), "/v1.0/nothing/token/***?name=");
    assert!(!format!("{spans:?}").contains("secret-token"));
}

#[test]
fn a_client_that_does_not_record_its_trace_decides_for_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (url, exports) = collector("200 OK");
    let cloud = TestCloud::binary(folder.path(), &[("INGLE_TRACES_ENDPOINT", &url)]);
    cloud.apply(&standard());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    send(cloud.api, &Request::new("GET", "/v1.0/nothing").with("traceparent", parent));
    send(cloud.api, &Request::new("GET", "/v1.0/token?grant_type=1").with("traceparent", "not a span"));
    cloud.stop();
    assert_eq!(spans(exports.try_iter()).into_keys().collect::<Vec<_>>(), ["GET /v1.0/token"]);
}

#[test]
fn without_a_collector_the_server_works_and_the_failures_are_seen() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (refusing, _exports) = collector("503 Service Unavailable");
    for (url, cause) in [(format!("http://{unused}/v1/traces"), "onnection refused"), (refusing, "answered 503")] {
        let folder = tempfile::tempdir().unwrap();
        // The exporter's variable for the time between two exports, in milliseconds.
        let settings = [("INGLE_TRACES_ENDPOINT", url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
        let (cloud, log) = TestCloud::logging_with(&folder.path().join("data"), "info", &settings);
        cloud.apply(&standard());
        assert_eq!(cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["success"], true);
        cloud.wait(|| {
            let metrics = cloud.metrics();
            let count = metrics.lines().find_map(|line| line.strip_prefix("ingle_trace_exports_failed_total "));
            count.unwrap() != "0"
        });
        cloud.stop();
        let log = std::fs::read_to_string(log).unwrap();
        let line = log.lines().find(|line| line.contains("traces could not be exported")).unwrap();
        assert!(line.contains("WARN") && line.contains(cause), "{line}");
    }
}
