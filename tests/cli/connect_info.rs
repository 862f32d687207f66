//! `ingle device connect-info`: what it prints really connects.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::mqtt::MqttDevice;
use crate::support::{TestCloud, run};

/// A product with a name that a shell would understand, and a device of it with a secret that it would too.
const ID: &str = "connecting0000000001";

fn cloud() -> TestCloud {
    let folder = tempfile::tempdir().unwrap().keep();
    let cloud = TestCloud::binary(&folder.join("data"), &[("INGLE_MQTT_TLS_LISTEN", "127.0.0.1:0")]);
    let functions = json!([{"code": "raw", "type": "Raw"}, {"code": "switch_1", "type": "Boolean"}]);
    cloud.apply(&json!({"projects": [{"name": "home",
        "products": [{"product_id": "lamp", "product_key": "lampkey", "name": "Lamp", "category": "dj", "functions": functions}],
        "devices": [{"product_id": "lamp", "device_id": ID, "device_name": "it's:a@lamp".replace('\'', "."),
            "secret": "a'b$(c)\"d"}]}]}));
    cloud
}

fn info(cloud: &TestCloud, arguments: &str) -> String {
    let mut all = vec!["device", "connect-info", ID];
    all.extend(arguments.split_whitespace());
    cloud.ingle(&all, "").unwrap()
}

/// The values in the log of the device, as text.
fn values(cloud: &TestCloud) -> Vec<String> {
    let log = cloud.ingle(&["log", ID, "--type", "data", "--json"], "").unwrap();
    let rows = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| format!("{} {}", row["code"].as_str().unwrap(), row["value"])).collect()
}

#[test]
fn the_line_of_mosquitto_reports_a_value_when_it_is_pasted() {
    let cloud = cloud();
    for (number, form) in
        ["", "--protocol linkkit", "--tls", "--tls --protocol linkkit --host localhost"].into_iter().enumerate()
    {
        let line = info(&cloud, &format!("--format mosquitto {form}"));
        assert!(line.starts_with("mosquitto_pub ") && line.lines().count() == 1 && !line.contains("a'b$"), "{line}");
        let mut bash = Command::new("bash");
        bash.args(["-c", line.trim()]);
        run(bash, "").unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(values(&cloud), vec!["switch_1 true"; number + 1], "{form}");
    }
}

#[test]
fn text_json_and_sketch_have_everything() {
    let cloud = cloud();
    let of: Value = serde_json::from_str(&info(&cloud, "--format json")).unwrap();
    for protocol in ["tuyalink", "linkkit"] {
        let text = |member: &str| of[protocol][member].as_str().unwrap().to_owned();
        let who = [text("client_id"), text("username"), text("password")];
        let mut device = MqttDevice::connect(&cloud, &who);
        assert!(device.published(&text("report_topic"), &serde_json::from_str(&text("payload")).unwrap()));
        assert_eq!(device.subscribe(&[&text("command_filter")]), [true], "{protocol}");
        let plain = info(&cloud, &format!("--protocol {protocol}"));
        let sketch = info(&cloud, &format!("--protocol {protocol} --format arduino"));
        for member in ["report_topic", "command_filter"] {
            assert!(plain.contains(&text(member)) && sketch.contains(&text(member)), "{member}: {plain}{sketch}");
        }
        assert!(plain.contains(of["port"].as_str().unwrap()) && sketch.contains("mqtt.connect(CLIENT_ID"), "{sketch}");
    }
    assert!(info(&cloud, "--tls --host cloud.example").contains("cloud.example"));
    let error = cloud.ingle(&["device", "connect-info", "nobody"], "").unwrap_err();
    assert!(error.contains("there is no device \"nobody\""), "{error}");
}
