//! The OpenAPI documents: committed, served, and the lists of routes that other tests go by.

use std::path::Path;

use serde_json::Value;

use crate::support::{INGLE, TestCloud, http, run};

/// The dialects, each with a folder of tests, a room or file of sources, and a document.
pub const DIALECTS: [&str; 3] = ["tuya", "aliyun", "visual"];

/// One route of a document.
#[derive(Debug)]
pub struct Route {
    pub method: String,
    pub path: String,
    /// The file that it is in.
    pub tag: String,
    /// The name of its handler.
    pub name: String,
    /// The first words of its handler's comment, in one line.
    pub summary: String,
    pub parameters: Vec<Parameter>,
    pub has_body: bool,
}

#[derive(Debug)]
pub struct Parameter {
    pub name: String,
    pub in_path: bool,
    pub required: bool,
}

/// A dialect's document.
pub fn document(dialect: &str) -> utoipa::openapi::OpenApi {
    let mut documents = ingle::app::openapi().into_iter();
    documents.find(|(name, _)| *name == dialect).unwrap().1
}

/// Every route of a dialect's document, which is made from the handlers.
pub fn routes(dialect: &str) -> Vec<Route> {
    let document = serde_json::to_value(document(dialect)).unwrap();
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
                summary: operation["summary"].as_str().unwrap().replace('\n', " "),
                has_body: operation["requestBody"].is_object(),
                parameters: operation["parameters"].as_array().into_iter().flatten().map(parameter).collect(),
            });
        }
    }
    routes
}

/// Run with `INGLE_BLESS=1` to write the documents after a change of the routes.
#[test]
fn the_committed_documents_are_the_routes() {
    for dialect in DIALECTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/openapi/{dialect}.json"));
        let text = document(dialect).to_pretty_json().unwrap() + "\n";
        if std::env::var_os("INGLE_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "docs/openapi/{dialect}.json is old: INGLE_BLESS=1 cargo test openapi");
    }
}

#[test]
fn the_documents_are_served_and_printed() {
    let cloud = TestCloud::start();
    for dialect in DIALECTS {
        let request = http::Request::new("GET", &format!("/openapi/{dialect}.json"));
        let served = http::send(cloud.api, &request).body;
        let mut command = std::process::Command::new(INGLE);
        command.args(["openapi", dialect]);
        let printed: Value = serde_json::from_str(&run(command, "").unwrap()).unwrap();
        assert_eq!(served, printed);
        assert_eq!(served["openapi"].as_str().unwrap().split('.').next(), Some("3"));
    }
}

/// Every route but those that are for everybody refuses somebody who proves nothing.
#[test]
fn every_route_refuses_an_unsigned_caller() {
    const FOR_EVERYBODY: [&str; 2] = ["login", "jwks"];
    let cloud = TestCloud::start();
    for dialect in DIALECTS {
        for route in routes(dialect).iter().filter(|route| !FOR_EVERYBODY.contains(&route.name.as_str())) {
            let mut request = http::Request::new(&route.method, &route.path.replace(['{', '}'], ""));
            request.body = b"{}".to_vec();
            let answer = http::send(cloud.api, &request);
            match dialect {
                "tuya" => assert_eq!(answer.code(), 1105, "{route:?}: {answer:?}"),
                "aliyun" => {
                    assert_eq!((answer.status, answer.code()), (400, 401), "{route:?}: {answer:?}");
                    assert_eq!(answer.header("x-ca-error-message"), Some("Invalid AppKey"), "{route:?}");
                }
                _ => assert_eq!((answer.status, &answer.body["success"]), (401, &Value::Bool(false)), "{route:?}"),
            }
        }
    }
}
