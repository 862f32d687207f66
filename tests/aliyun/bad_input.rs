//! Whatever is sent, each route answers with the vendor's envelope, and nothing breaks.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::devices::named;
use crate::openapi::routes;
use crate::support::TestCloud;
use crate::support::http::send;
use crate::support::world::APP_KEY;

fn anything() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(vec![
            "",
            "owner",
            "50owner",
            "iotPlug",
            APP_KEY,
            "a1FNS8TYhpQ",
            "VD_plug",
            "1",
            "true"
        ])
        .prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(Value::from("x".repeat(100_000))),
        Just(Value::from("a\u{0}b\r\n\u{202e}")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
    .boxed()
}

const MEMBERS: &[&str] = &[
    "offset",
    "count",
    "openId",
    "openIdAppKey",
    "identityId",
    "identityIds",
    "iotId",
    "productKey",
    "deviceName",
    "limit",
    "pageNo",
    "pageSize",
    "currentPage",
    "status",
    "nickName",
    "deviceList",
    "projectId",
    "identifier",
    "args",
    "start",
    "end",
    "ordered",
    "request",
    "grantType",
    "res",
    "cloudToken",
    "isSubDevice",
    "nodeType",
    "productInfoQuery",
];

#[test]
fn any_parameters_get_an_answer_of_the_dialect() {
    let cloud = TestCloud::start();
    named(&cloud);
    let app = cloud.aliyun();
    let params = proptest::collection::btree_map(proptest::sample::select(MEMBERS), anything(), 0..8);
    // Writes that would take away what the others need come last.
    let mut paths: Vec<String> = routes("aliyun").into_iter().map(|route| route.path).collect();
    paths.sort_by_key(|path| path.contains("unregister") || path.contains("token"));
    assert!(paths.len() >= 28);
    for path in &paths {
        let mut runner = TestRunner::new(Config { cases: 20, failure_persistence: None, ..Config::default() });
        runner
            .run(&params, |params| {
                let answer = app.call_version(path, "1.0.9", json!(params));
                prop_assert_eq!(answer.status, 200);
                let code = answer.code();
                prop_assert!(code != 0 && code != 500 && answer.body["id"].is_string(), "{} {:?}", path, answer);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn any_body_gets_an_answer_of_the_dialect() {
    let cloud = TestCloud::start();
    let app = cloud.aliyun();
    let bodies = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[{}\\[\\]\":,a-z0-9]{0,60}".prop_map(String::into_bytes),
    ];
    let mut runner = TestRunner::new(Config { cases: 100, failure_persistence: None, ..Config::default() });
    runner
        .run(&bodies, |body| {
            let answer = send(app.api, &app.signed("/cloud/account/queryIdentityByPage", &body));
            prop_assert_eq!((answer.status, matches!(answer.code(), 400 | 401)), (200, true), "{:?}", answer);
            Ok(())
        })
        .unwrap();
}

#[test]
fn hostile_headers() {
    let cloud = TestCloud::start();
    let app = cloud.aliyun();
    let body = b"{}";
    let list: String = (0..2000).map(|n| format!("x-{n},")).collect();
    for (name, value) in [
        ("X-Ca-Signature-Headers", list.as_str()),
        ("X-Ca-Signature-Headers", ":::,,,: ,"),
        ("X-Ca-Signature-Headers", "X-Ca-Key,\u{e9}"),
        ("X-Ca-Signature-Headers", "not a name,()<>"),
        ("X-Ca-Signature", "====="),
        ("X-Ca-Timestamp", "99999999999999999999999999"),
        ("Date", "Mon, 99 Foo 0000 99:99:99 GMT"),
    ] {
        let answer = send(app.api, &app.signed("/living/account/region/get", body).with(name, value));
        assert!(matches!(answer.status, 400 | 200), "{name}: {answer:?}");
        assert!(answer.body["code"].is_i64(), "{answer:?}");
    }
    // A query of many pairs, and one that is not UTF-8.
    let pairs: String = (0..2000).map(|n| format!("k{n}=%ff&")).collect();
    let request = app.signed(&format!("/living/account/region/get?{pairs}"), body);
    assert_eq!(send(app.api, &request).status, 400);
    // Paths outside every dialect belong to nobody.
    assert_eq!(cloud.first().get("/v1.0/no/such/path")["code"], 1108);
    for path in ["/cloud", "/uc/listBindingByAccount", "/app/aepauth/handle", "/awss/token/user/bind"] {
        let answer = send(app.api, &app.signed(path, body));
        assert_eq!((answer.status, answer.header("x-ca-error-message")), (400, Some("API Not Found")), "{path}");
    }
    assert_eq!(send(app.api, &app.signed("/cloud/thing/../token", body)).status, 400);
}
