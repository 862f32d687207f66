//! What the audit records of writes.

use std::sync::Arc;

use ingle::actor;
use ingle::domain::audit::{Actor, ActorKind, AuditQuery, AuditRow};
use ingle::domain::store::Registry;
use ingle::domain::{ProjectNo, Uid};
use serde_json::{Value, json};

use super::{Cut, NOW, id, on_engines};
use crate::support::world::{OWNER, PLUG};

fn query(limit: usize) -> AuditQuery {
    AuditQuery { limit, ..AuditQuery::default() }
}

fn operator() -> Actor {
    Actor {
        kind: ActorKind::Operator,
        name: "account 7".to_owned(),
        origin: "control socket".to_owned(),
        call: "POST /world".to_owned(),
    }
}

async fn rows(registry: &Arc<dyn Registry>, query: AuditQuery) -> Vec<AuditRow> {
    registry.audit(&query).await.unwrap()
}

async fn rename(registry: &Arc<dyn Registry>, project: ProjectNo, name: &str) {
    let plug = id(PLUG);
    assert!(actor::scope(operator(), registry.rename_device(project, &plug, name, NOW)).await.unwrap());
}

fn members(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

#[test]
fn a_change_is_a_row_with_actor_and_both_states() {
    on_engines(async |registry, first, _| {
        let before = registry.device(first, &id(PLUG)).await.unwrap().unwrap().name.clone();
        rename(&registry, first, "the new name").await;
        let row = rows(&registry, query(1)).await.remove(0);
        assert_eq!(row.actor, operator());
        assert_eq!((row.object_kind.as_str(), row.object.as_str(), row.operation.as_str()), ("device", PLUG, "change"));
        assert_eq!(row.project.as_deref(), Some("first"));
        assert_eq!(members(row.before.as_ref()), json!({ "name": before }));
        assert_eq!(members(row.after.as_ref()), json!({"name": "the new name"}));
        // The same name again changes nothing.
        rename(&registry, first, "the new name").await;
        assert_eq!(rows(&registry, query(1)).await[0].no, row.no);
        // A refused write leaves no row.
        assert!(!registry.rename_device(first, &id("nobody"), "x", NOW).await.unwrap());
        assert_eq!(rows(&registry, query(1)).await[0].no, row.no);
    });
}

#[test]
fn the_rows_of_one_operation_have_one_number_and_no_secret() {
    on_engines(async |registry, _, _| {
        let all = rows(&registry, query(1000)).await;
        // The standard world was applied as one operation, by a task without an actor.
        let change_no = all[0].change_no;
        assert!(all.iter().all(|row| row.change_no == change_no && row.actor == Actor::default()), "{all:?}");
        let created =
            |kind: &str| all.iter().filter(|row| row.object_kind == kind && row.operation == "create").count();
        assert!(created("project") == 2 && created("device") > 3 && created("user") > 2 && created("binding") > 2);
        let device = all.iter().find(|row| row.object == PLUG && row.object_kind == "device").unwrap();
        let after = members(device.after.as_ref());
        assert_eq!((&after["secret"], &after["local_key"]), (&json!("***"), &json!("***")));
        let numbers: Vec<i64> = all.iter().map(|row| row.no).collect();
        assert!(numbers.is_sorted_by(|one, next| one > next), "newest first: {numbers:?}");
    });
}

#[test]
fn a_document_that_changes_nothing_leaves_no_row() {
    on_engines(async |registry, _, _| {
        let last = rows(&registry, query(1)).await[0].no;
        registry.apply(super::world(), &Cut(NOW), NOW).await.map_err(|error| error.to_string()).unwrap();
        let new: Vec<_> = rows(&registry, query(10)).await.into_iter().filter(|row| row.no > last).collect();
        assert!(new.is_empty(), "{new:?}");
    });
}

#[test]
fn a_query_selects_and_pages() {
    on_engines(async |registry, first, second| {
        for name in ["one", "two", "three"] {
            rename(&registry, first, name).await;
        }
        registry.rename_user(first, &Uid::from(OWNER), "nick", NOW).await.unwrap();
        let of_device =
            AuditQuery { object: Some(PLUG.to_owned()), object_kind: Some("device".to_owned()), ..query(2) };
        let page = rows(&registry, of_device.clone()).await;
        let names =
            |page: &[AuditRow]| page.iter().map(|row| members(row.after.as_ref())["name"].clone()).collect::<Vec<_>>();
        assert_eq!(names(&page), [json!("three"), json!("two")]);
        let next = AuditQuery { before_no: Some(page[1].no), ..of_device };
        assert_eq!(names(&rows(&registry, next).await)[0], json!("one"));
        // What connects the device with its owner is found with the id of either.
        for object in [PLUG, OWNER] {
            let kind = Some("binding".to_owned());
            let bindings = AuditQuery { object: Some(object.to_owned()), object_kind: kind, ..query(10) };
            let found = rows(&registry, bindings).await;
            assert!(found.iter().any(|row| row.object == format!("{PLUG}/{OWNER}")), "{object}");
        }
        let by = AuditQuery { actor: Some("account 7".to_owned()), ..query(10) };
        assert_eq!(rows(&registry, by).await.len(), 3);
        assert!(rows(&registry, AuditQuery { from_ms: Some(i64::MAX), ..query(10) }).await.is_empty());
        assert_ne!(first, second);
        let of_second = rows(&registry, AuditQuery { project: Some("second".to_owned()), ..query(1000) }).await;
        assert!(!of_second.is_empty() && of_second.iter().all(|row| row.project.as_deref() == Some("second")));
    });
}

#[test]
fn what_a_device_reports_is_no_change_by_a_person() {
    use ingle::domain::attribute::{AttributeChange, AttributeKind};
    on_engines(async |registry, first, _| {
        let plug = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        let last = rows(&registry, query(1)).await[0].no;
        let change = |text: &str| {
            registry.change_attributes(&plug, AttributeKind::Tag, vec![AttributeChange::set("k", text)], 10)
        };
        let device = Actor { kind: ActorKind::Device, name: PLUG.to_owned(), ..Actor::default() };
        assert!(actor::scope(device, change("by the device")).await.unwrap());
        assert_eq!(rows(&registry, query(1)).await[0].no, last);
        assert!(actor::scope(operator(), change("by the operator")).await.unwrap());
        let row = rows(&registry, query(1)).await.remove(0);
        assert_eq!((row.object_kind.as_str(), row.object), ("attribute", format!("{PLUG}/k")));
    });
}

#[test]
fn an_operation_without_a_change_is_recorded() {
    on_engines(async |registry, _, _| {
        let recorded = registry.record_operation("import", "events".to_owned(), r#"{"rows":3}"#.to_owned());
        actor::scope(operator(), recorded).await.unwrap();
        let row = rows(&registry, query(1)).await.remove(0);
        assert_eq!((row.operation.as_str(), row.object.as_str(), row.actor), ("import", "events", operator()));
        assert_eq!(members(row.after.as_ref()), json!({"rows": 3}));
    });
}

#[test]
fn a_large_operation_counts_what_it_does_not_list() {
    on_engines(async |registry, _, _| {
        let devices: Vec<Value> =
            (0..1500).map(|n| json!({"product_id": "EvolhYPyZNWYP001", "device_id": format!("many{n}")})).collect();
        let world = json!({"projects": [{"name": "first", "devices": devices}]});
        let world = ingle::domain::world::World::parse(&world.to_string()).map_err(|error| error.to_string()).unwrap();
        registry.apply(world, &Cut(NOW), NOW).await.map_err(|error| error.to_string()).unwrap();
        let listed = rows(&registry, query(1000)).await;
        assert_eq!(listed[0].object_kind, "device");
        assert_eq!(members(listed[0].after.as_ref()), json!({"further_objects": 500}));
        assert_eq!(listed[0].change_no, listed[999].change_no);
    });
}
