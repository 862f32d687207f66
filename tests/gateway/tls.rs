//! Where devices connect over TLS.

use std::process::{Command, Stdio};

use crate::support::TestCloud;

#[test]
fn a_client_may_name_the_protocol_and_finds_the_names_of_this_machine() {
    let temporary = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&temporary.path().join("data"), &[("INGLE_MQTT_TLS_LISTEN", "127.0.0.1:0")]);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let client = |more: &[&str]| {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", cloud.addresses["mqtt_tls"].as_str().unwrap(), "-verify_return_error"]);
        client.args(["-CAfile"]).arg(cloud.folder.join("ca.pem")).args(more).stdin(Stdio::null());
        let done = client.output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    for name in ["localhost", host.trim()] {
        let (is_done, said) = client(&["-alpn", "mqtt", "-verify_hostname", name]);
        assert!(is_done && said.contains("ALPN protocol: mqtt"), "{name}: {said}");
        let (is_done, said) = client(&["-verify_hostname", name]);
        assert!(is_done && said.contains("No ALPN negotiated"), "{name}: {said}");
    }
    assert!(!client(&["-verify_hostname", "other.example"]).0);
}
