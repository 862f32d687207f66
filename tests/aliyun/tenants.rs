//! Every route as another project: nothing of the first is seen, and nothing of it changes.

use serde_json::{Value, json};

use super::devices::named;
use crate::openapi::routes;
use crate::support::TestCloud;
use crate::support::aliyun::AliyunApp;
use crate::support::world::{APP_KEY, FIRST_APP_KEY, FIRST_PROJECT_ID, LONELY};

/// Texts that belong to the first project alone, and are no part of what the other asks.
const FIRST_ONLY: &[&str] =
    &["xxx测试", "18200000678", "guest@example.com", "11a53bdd67e40001", "Wi-Fi 智能计量插座", "SN-1", "10.62.43.7"];

fn first_sees(app: &AliyunApp) -> Vec<Value> {
    let mut seen = vec![
        app.data("/cloud/account/queryIdentityByPage", json!({})),
        app.data("/cloud/thing/info/get", json!({"iotId": "iotPlug"})),
        app.data("/cloud/thing/productList/get", json!({})),
        app.data("/living/user/device/binding/query", json!({"iotId": "iotPlug"})),
    ];
    for user in ["50owner", "50guest"] {
        seen.push(app.data("/cloud/device/queryByUser", json!({"identityId": user})));
    }
    seen
}

#[test]
fn another_project_sees_and_changes_nothing() {
    let cloud = TestCloud::start();
    named(&cloud);
    let (first, second) = (cloud.aliyun(), cloud.other_aliyun());
    let before = first_sees(&first);
    let users = [
        json!({"openId": "owner", "openIdAppKey": APP_KEY}),
        json!({"openId": "owner", "openIdAppKey": FIRST_APP_KEY}),
        json!({"openId": "guest", "openIdAppKey": second.app_key}),
        json!({"identityId": "50owner"}),
    ];
    let devices = [json!({"iotId": "iotPlug"}), json!({"productKey": "a1FNS8TYhpQ", "deviceName": "VD_plug"})];
    let mut asked = 0;
    for route in routes("aliyun").iter().filter(|route| route.tag != "token") {
        for (user, device) in users.iter().flat_map(|user| devices.iter().map(move |device| (user, device))) {
            let mut params = json!({"identifier": "switch", "nickName": "taken over", "identityIds": ["50owner"],
                "projectId": second.project_id, "deviceList": [{"productKey": "a1FNS8TYhpQ", "deviceName": "VD_plug"},
                {"productKey": "a1FNS8TYhpQ", "deviceName": LONELY}], "productKey": "a1FNS8TYhpQ",
                "request": {"identityId": "50owner", "identityIds": ["50owner", "50guest"]}});
            for part in [user, device] {
                params.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
            }
            let answer = second.call_version(&route.path, "1.0.9", params.clone()).body.to_string();
            for text in FIRST_ONLY {
                assert!(!answer.contains(text), "{} shows {text}: {answer}", route.path);
            }
            asked += 1;
        }
    }
    assert!(asked >= 200, "{asked}");
    assert_eq!(first_sees(&first), before);
    // Nor with its own AppKey and the first's project id or token.
    let foreign = second.send(
        "/cloud/token",
        &crate::support::aliyun::envelope("1.0.1", None, &json!({"grantType": "project", "res": FIRST_PROJECT_ID})),
    );
    assert_eq!(foreign.code(), 403);
}
