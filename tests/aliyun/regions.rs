//! Where a user is served (contract aliyun §5 row 18).

use serde_json::json;

use crate::support::TestCloud;
use crate::support::aliyun::envelope;
use crate::support::http::send;

fn answers_its_own_endpoints(path: &str) {
    let folder = tempfile::tempdir().unwrap();
    for (settings, mqtt) in [
        (&[][..], None),
        (&[("INGLE_ALIYUN_MQTT_ENDPOINT", "mqtt.home.example:8883")][..], Some("mqtt.home.example:8883")),
    ] {
        let cloud = TestCloud::binary(&folder.path().join("data"), settings);
        cloud.apply(&crate::support::world::standard());
        let app = cloud.aliyun();
        // No token: an app asks before it has a user.
        let params = json!({"type": "EMAIL", "email": "a@example.com", "countryCode": "86"});
        let data = app.send(path, &envelope("1.0.2", None, &params)).body["data"].clone();
        assert_eq!(data["apiGatewayEndpoint"], cloud.api.to_string());
        assert_eq!(data["oaApiGatewayEndpoint"], cloud.api.to_string());
        assert_eq!(data["mqttEndpoint"], mqtt.unwrap_or("127.0.0.1:1883"));
        assert!(
            data["regionId"].is_string()
                && data["regionEnglishName"].is_string()
                && data["pushChannelEndpoint"].is_string()
        );
        // By the name that the client used.
        let body = envelope("1.0.2", None, &params).to_string();
        let request = app.signed(path, body.as_bytes());
        let named = crate::support::raw(cloud.api, &wire(&request, "cloud.home.example:7700"));
        assert!(named.contains("\"apiGatewayEndpoint\":\"cloud.home.example:7700\""), "{named}");
        assert_eq!(send(cloud.api, &app.signed(path, b"{}")).code(), 200);
    }
}

fn wire(request: &crate::support::http::Request, host: &str) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    [head.as_bytes(), &request.body].concat()
}

#[test]
fn user_region() {
    answers_its_own_endpoints("/living/cloud/user/region/get");
}

#[test]
fn account_region() {
    answers_its_own_endpoints("/living/account/region/get");
}
