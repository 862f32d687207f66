//! The OpenAPI document: committed, served, and the list of routes that other tests go by.

use std::path::Path;

use serde_json::Value;

use crate::support::{TestCloud, tuya};

/// One route of the document.
#[derive(Debug)]
pub struct Route {
    pub method: String,
    pub path: String,
    /// The file that it is in.
    pub tag: String,
    /// The name of its handler.
    pub name: String,
    pub parameters: Vec<Parameter>,
}

#[derive(Debug)]
pub struct Parameter {
    pub name: String,
    pub in_path: bool,
    pub required: bool,
}

/// Every route of the document, which is made from the handlers.
pub fn routes() -> Vec<Route> {
    let document = serde_json::to_value(ingle::tuya::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameter = |parameter: &Value| Parameter {
                name: parameter["name"].as_str().unwrap().to_owned(),
                in_path: parameter["in"] == "path",
                required: parameter["required"] == true,
            };
            routes.push(Route {
                method: method.to_uppercase(),
                path: path.clone(),
                tag: operation["tags"][0].as_str().unwrap().to_owned(),
                name: operation["operationId"].as_str().unwrap().to_owned(),
                parameters: operation["parameters"].as_array().into_iter().flatten().map(parameter).collect(),
            });
        }
    }
    routes
}

/// Run with `INGLE_BLESS=1` to write the document after a change of the routes.
#[test]
fn the_committed_document_is_the_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi/tuya.json");
    let document = ingle::tuya::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("INGLE_BLESS").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == document, "docs/openapi/tuya.json is old: INGLE_BLESS=1 cargo test openapi");
}

#[test]
fn the_document_is_served_and_printed() {
    let cloud = TestCloud::start();
    let request =
        tuya::Request { method: "GET".into(), target: "/openapi/tuya.json".into(), headers: vec![], body: vec![] };
    let served = tuya::send(cloud.api, &request).body;
    let mut command = std::process::Command::new(crate::support::INGLE);
    command.arg("openapi");
    let printed: Value = serde_json::from_str(&crate::support::run(command, "").unwrap()).unwrap();
    assert_eq!(served, printed);
    assert_eq!(served["openapi"].as_str().unwrap().split('.').next(), Some("3"));
}

#[test]
fn every_route_refuses_an_unsigned_caller() {
    let cloud = TestCloud::start();
    for route in routes() {
        let target = route.path.replace(['{', '}'], "");
        let request = tuya::Request { method: route.method.clone(), target, headers: vec![], body: b"{}".to_vec() };
        let answer = tuya::send(cloud.api, &request);
        assert_eq!(answer.code(), 1105, "{route:?}: {answer:?}");
    }
}
