//! World documents as people write them: what is read in several forms, and what is refused by its place.

use serde_json::{Value, json};

use crate::support::ingle;

/// A project with these members.
fn home(members: Value) -> Value {
    let mut project = json!({"name": "home"});
    project.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    json!({"projects": [project]})
}

/// The document filled in, or why it was refused.
fn apply(folder: &std::path::Path, world: &Value) -> Result<Value, String> {
    let text = ingle(&["apply", "-", "--json"], folder, &world.to_string())?;
    Ok(serde_json::from_str(&text).unwrap())
}

#[test]
fn a_country_has_one_form_whatever_the_document_calls_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = |code: Value| {
        home(json!({"apps": [{"schema": "app", "country_codes": [code, "1"]}],
            "users": [{"schema": "app", "username": "me", "country_code": code}]}))
    };
    let mut first = None;
    for code in [json!("+49"), json!("49"), json!(49), json!("0049")] {
        let filled = apply(folder.path(), &world(code.clone())).unwrap();
        let project = &filled["projects"][0];
        assert_eq!(project["users"][0]["country_code"], "49", "{code}");
        assert_eq!(project["apps"][0]["country_codes"], json!(["49", "1"]), "{code}");
        assert_eq!(&filled, first.get_or_insert_with(|| filled.clone()), "{code}");
        assert_eq!(apply(folder.path(), &filled).unwrap(), filled, "what was printed changes nothing");
    }
    for code in [json!("DE"), json!(999_999), json!("999"), json!("+"), json!(49.5), json!(-49)] {
        let error = apply(folder.path(), &world(code.clone())).unwrap_err();
        assert!(
            error.contains("project \"home\" app \"app\": country_codes") && error.contains("calling code"),
            "{error}"
        );
        let user = json!({"schema": "app", "username": "me", "country_code": code});
        let error = apply(folder.path(), &home(json!({"users": [user]}))).unwrap_err();
        assert!(
            error.contains("project \"home\" user \"me\": country_code") && error.contains("calling code"),
            "{error}"
        );
    }
    let listed = home(json!({"users": [{"schema": "app", "username": "me", "country_code": ["49"]}]}));
    assert!(apply(folder.path(), &listed).unwrap_err().contains("calling code must be text or a whole number"));
    // A user without one is printed so that it can be applied again.
    let without = apply(folder.path(), &home(json!({"users": [{"schema": "app", "username": "you"}]}))).unwrap();
    assert_eq!(without["projects"][0]["users"][0]["country_code"], "");
    assert_eq!(apply(folder.path(), &without).unwrap(), without);
}

#[test]
fn an_email_address_is_one_user_whatever_the_case() {
    let folder = tempfile::tempdir().unwrap();
    let user = |name: &str| json!({"schema": "app", "username": name});
    let uid = |filled: &Value| filled["projects"][0]["users"][0]["uid"].clone();
    let first = home(json!({"apps": [{"schema": "app"}], "users": [user("Me@Example.com")]}));
    let first = uid(&apply(folder.path(), &first).unwrap());
    let again =
        home(json!({"users": [user("me@example.COM")], "homes": [{"name": "Home", "owner": "ME@example.com"}]}));
    assert_eq!(uid(&apply(folder.path(), &again).unwrap()), first);
    let twice = home(json!({"users": [user("me@example.com"), user("ME@example.com")]}));
    assert!(apply(folder.path(), &twice).unwrap_err().contains("\"app/me@example.com\" stands there twice"));
    // Any other name is told apart by its case.
    let names = home(json!({"users": [user("me"), user("ME")]}));
    let filled = apply(folder.path(), &names).unwrap();
    assert_ne!(filled["projects"][0]["users"][0]["uid"], filled["projects"][0]["users"][1]["uid"]);
}
