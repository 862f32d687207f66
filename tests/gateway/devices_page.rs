//! docs/devices.md, pasted: its world is applied and its commands are run as they stand.

use std::process::Command;

use serde_json::json;

use crate::support::TestCloud;
use crate::support::mqtt::{MqttDevice, packet, text};

/// The code block after a comment with this name.
pub fn block(name: &str) -> String {
    let text = include_str!("../../docs/devices.md");
    let rest = text.split_once(&format!("<!-- {name} -->\n")).unwrap_or_else(|| panic!("no block {name}")).1;
    rest.split("```").nth(1).unwrap().split_once('\n').unwrap().1.to_owned()
}

#[test]
fn the_first_value_by_each_protocol() {
    let temporary = tempfile::tempdir().unwrap();
    let cloud = TestCloud::binary(&temporary.path().join("data"), &[]);
    let filled = cloud.apply(&serde_json::from_str(&block("devices-world")).unwrap());
    let tuya = filled["projects"][0]["tuya"].clone();
    let app = crate::support::tuya::TuyaApp::new(
        &cloud,
        tuya["client_id"].as_str().unwrap(),
        tuya["secret"].as_str().unwrap(),
    );
    let (host, port) = cloud.addresses["mqtt"].as_str().unwrap().rsplit_once(':').unwrap();
    for (name, on, power) in [("devices-tuyalink", true, 21), ("devices-linkkit", false, 22)] {
        let mut shell = Command::new("sh");
        shell.args(["-euc", &block(name)]).env("HOST", host).env("PORT", port);
        let done = shell.output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        let status = app.get("/v1.0/devices/firstdevice00000001/status")["result"].clone();
        let expected = json!([{"code": "switch_1", "value": on}, {"code": "cur_power", "value": power}]);
        assert_eq!(status, expected, "{name}");
    }
}

#[test]
fn the_version_before_is_taken_as_well() {
    let cloud = super::cloud();
    let [client, user, password] = super::tuya_plug();
    let hello = [text("MQIsdp"), vec![3, 0xC2, 0, 60], text(&client), text(&user), text(&password)].concat();
    let mut plug = MqttDevice::open(&cloud);
    plug.send(&packet(0x10, &hello));
    assert_eq!(plug.receive(), Some((0x20, vec![0, 0])));
    assert!(plug.pings());
}
