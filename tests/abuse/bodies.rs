//! Bodies that are announced and half sent.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use ingle::app::SystemClock;
use ingle::domain::Clock;
use serde_json::json;

use super::{CALLS, compare, is_full, memory, metric, timed, timed_while, watched};
use crate::support::TestCloud;
use crate::support::world::{FIRST_ID, FOREIGN, PLUG, standard};

const BODY: usize = 1 << 20;

/// Connections that name a project, announce a body of 1 MiB and send half of it. Nothing of it is signed.
fn half_sent(api: SocketAddr, count: usize) -> Vec<TcpStream> {
    let head = format!(
        "POST /v1.0/devices/{PLUG}/commands HTTP/1.1\r\nhost: x\r\nclient_id: {FIRST_ID}\r\nsign: 0\r\naccess_token: \
         0\r\nt: {}\r\ncontent-length: {BODY}\r\n\r\n",
        SystemClock.now_ms()
    );
    let half = vec![b' '; BODY / 2];
    let open = |_| {
        let mut stream = TcpStream::connect(api).unwrap();
        // The server may close before all was sent.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&half));
        stream
    };
    (0..count).map(open).collect()
}

#[test]
fn bodies_in_flight_take_bounded_memory_and_give_it_back() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let parent = tempfile::tempdir().unwrap();
    let (cloud, log) = TestCloud::logging(&parent.path().join("data"), "info");
    cloud.apply(&standard());
    let (first, second) = (cloud.first(), cloud.second());
    let (own, foreign) = (format!("/v1.0/devices/{PLUG}"), format!("/v1.0/devices/{FOREIGN}"));
    assert_eq!(first.get(&own)["success"], true);
    let quiet = timed(CALLS, || assert_eq!(second.get(&foreign)["success"], true));
    let idle = memory(&cloud);

    let count = if is_full() { 3000 } else { 400 };
    let (peak, _, (streams, during)) = watched(&cloud, || {
        timed_while(|| half_sent(cloud.api, count), || assert_eq!(second.get(&foreign)["success"], true))
    });
    let peak = peak.max(memory(&cloud));
    assert!(metric(&cloud, "ingle_body_bytes") <= 32 << 20, "more than half of the budget for one project");
    // The project whose name was used still reads and writes, as long as its bodies are small.
    let command = json!({"commands": [{"code": "switch_1", "value": true}]});
    assert_eq!(first.post(&format!("{own}/commands"), command.clone())["code"], 2001, "the device is not connected");
    // And another project's large ones are taken.
    let mut large = command.to_string();
    large.push_str(&" ".repeat(BODY - large.len()));
    let answer = second.call("POST", &format!("/v1.0/devices/{FOREIGN}/commands"), &large);
    assert_ne!(answer.code(), 1111, "{answer:?}");
    compare("half-sent bodies", idle, peak, quiet, during);

    drop(streams);
    cloud.wait(|| metric(&cloud, "ingle_body_bytes") == 0 && memory(&cloud) < idle + (96 << 20));
    println!("{} MB after that", memory(&cloud) >> 20);
    assert!(metric(&cloud, "ingle_bodies_refused_total") > 0);
    let answer = first.call("POST", &format!("{own}/commands"), &large);
    assert_eq!(answer.code(), 2001, "{answer:?}");
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("bodies of other requests use all the memory").count(), 1, "{log}");
}

#[test]
fn a_body_over_the_budget_is_reported_so_in_the_words_of_its_dialect() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("INGLE_API_BODIES_MEGABYTES", "4"), ("INGLE_API_EXPLAIN", "true")];
    let cloud = TestCloud::binary(folder.path(), &settings);
    cloud.apply(&standard());
    let first = cloud.first();
    let streams = half_sent(cloud.api, 16);
    cloud.wait(|| metric(&cloud, "ingle_body_bytes") > 1 << 20);
    let mut refused = first.signed("POST", &format!("/v1.0/devices/{PLUG}/commands"), b"", &first.token());
    refused.body = vec![b' '; BODY];
    let answer = first.send(&refused);
    assert_eq!((answer.status, answer.code()), (200, 1111), "{answer:?}");
    let mut refused = cloud.aliyun().signed("/cloud/thing/info/get", b"{}");
    refused.body = vec![b' '; BODY];
    let answer = crate::support::http::send(cloud.api, &refused);
    assert_eq!((answer.status, answer.code()), (403, 429), "{answer:?}");
    drop(streams);
    cloud.wait(|| metric(&cloud, "ingle_body_bytes") == 0);
}
