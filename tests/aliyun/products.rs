//! Products (contract aliyun §5 rows 12, 13).

use serde_json::json;

use super::devices::named;
use crate::support::TestCloud;

#[test]
fn product() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let path = "/cloud/thing/product/get";
    let product = app.data(path, json!({"productKey": "a1FNS8TYhpQ"}));
    for (member, value) in [
        ("productKey", json!("a1FNS8TYhpQ")),
        ("productId", json!("EvolhYPyZNWYP001")),
        ("name", json!("Wi-Fi 智能计量插座")),
        ("categoryKey", json!("cz")),
        ("netType", json!("NET_WIFI")),
        ("nodeType", json!(0)),
        ("status", json!("RELEASE_STATUS")),
        ("productModel", json!("P1")),
    ] {
        assert_eq!(product[member], value, "{member}");
    }
    assert!(!product.to_string().contains("ecret"), "no secret: {product}");
    let unknown = app.call(path, json!({"productKey": "nothing"}));
    assert_eq!((unknown.code(), unknown.body["message"].as_str()), (2000, Some("param is invalid")));
    assert_eq!(cloud.other_aliyun().code(path, json!({"productKey": "a1FNS8TYhpQ"})), 2000);
    assert_eq!(app.code(path, json!({})), 460);
}

#[test]
fn products() {
    let cloud = TestCloud::start();
    let app = cloud.aliyun();
    let path = "/cloud/thing/productList/get";
    let all = app.data(path, json!({}));
    let all = all.as_array().unwrap();
    assert_eq!((all.len(), &all[0]["name"], &all[3]["nodeType"]), (6, &json!("Wifi scales_OEM"), &json!(1)));
    let second = json!({"pageNo": 2, "pageSize": 4});
    let page = app.data(path, second.clone());
    assert_eq!(page.as_array().unwrap(), &all[4..]);
    assert_eq!(app.data(path, json!({"productInfoQuery": second})), page, "as version 1.0.0 has it");
    assert_eq!(cloud.other_aliyun().data(path, json!({})).as_array().unwrap().len(), 1);
    assert_eq!(app.code(path, json!({"pageSize": 201})), 460);
}
