//! The operator's view of all objects, their deletion, and what is left of a person.

use ingle::domain::inventory::{Identifiers, ObjectKind, ObjectQuery, ObjectRow, WorldScope};
use ingle::domain::store::Registry;
use ingle::domain::world::World;
use ingle::domain::{DeviceNo, Error, Uid};
use serde_json::{Map, Value, json};

use super::{Cut, NOW, id, on_engines};
use crate::support::world::{FIRST_ID, FIRST_SECRET, GATEWAY, GUEST, LEAK, LONELY, OWNER, PLUG};

fn query() -> ObjectQuery {
    ObjectQuery { limit: 1000, ..ObjectQuery::default() }
}

async fn all(registry: &dyn Registry, kind: ObjectKind) -> Vec<ObjectRow> {
    registry.objects(kind, &query()).await.unwrap()
}

/// The key of an object.
async fn key(registry: &dyn Registry, kind: ObjectKind, id: &str) -> String {
    let rows = registry.objects(kind, &ObjectQuery { id: Some(id.to_owned()), ..query() }).await.unwrap();
    assert_eq!(rows.len(), 1, "{id}");
    rows[0].cursor.clone()
}

#[test]
fn lists_are_complete_in_pages_of_any_size() {
    on_engines(async |registry, _, _| {
        for (kind, count) in ObjectKind::OF_DOCUMENT.into_iter().zip([2, 3, 7, 3, 3, 10]) {
            let whole = all(&*registry, kind).await;
            assert_eq!(whole.len(), count, "{kind:?}");
            for limit in [1, 2, 5] {
                let (mut pages, mut after) = (Vec::new(), None);
                loop {
                    let page = registry.objects(kind, &ObjectQuery { after, limit, ..query() }).await.unwrap();
                    after = page.last().map(|row| row.cursor.clone());
                    let is_last = page.len() < limit;
                    pages.extend(page);
                    if is_last {
                        break;
                    }
                }
                assert_eq!(pages, whole, "{kind:?} {limit}");
            }
        }
        let damaged = ObjectQuery { after: Some("x".to_owned()), ..query() };
        assert!(matches!(registry.objects(ObjectKind::Device, &damaged).await, Err(Error::Refused(_))));
        let with = ObjectQuery { secrets: true, id: Some("first".to_owned()), ..query() };
        let project = registry.objects(ObjectKind::Project, &with).await.unwrap();
        assert_eq!(project[0].members["tuya"]["secret"], FIRST_SECRET);
        let numbers: Vec<DeviceNo> = [PLUG, LEAK].map(id).iter().map(|_| DeviceNo(0)).collect();
        assert_eq!(registry.device_ids(&numbers).await.unwrap(), [None, None]);
        let plug = registry.device_by_id(&id(PLUG)).await.unwrap().unwrap();
        assert_eq!(registry.device_ids(&[plug.no]).await.unwrap(), [Some(id(PLUG))]);
        assert_ne!(registry.new_device_id().unwrap(), registry.new_device_id().unwrap());
    });
}

/// Everything that an export calls back with, as a document.
fn exported(registry: &dyn Registry, scope: &WorldScope) -> Value {
    let mut projects: Vec<Map<String, Value>> = Vec::new();
    let add = &mut |kind: ObjectKind, row: ObjectRow| {
        match kind.section() {
            None => projects.push(row.members),
            Some(section) => {
                let list = projects.last_mut().unwrap().entry(section).or_insert_with(|| json!([]));
                list.as_array_mut().unwrap().push(Value::Object(row.members));
            }
        }
        Ok(())
    };
    export(registry, scope, add).unwrap();
    json!({"projects": projects})
}

/// Runs an export on a thread of its own, because it blocks.
fn export(
    registry: &dyn Registry,
    scope: &WorldScope,
    each: &mut (dyn FnMut(ObjectKind, ObjectRow) -> Result<(), Error> + Send),
) -> Result<(), Error> {
    std::thread::scope(|threads| threads.spawn(|| registry.export_world(scope, each)).join().unwrap())
}

#[test]
fn an_export_describes_what_is_there() {
    on_engines(async |registry, _, _| {
        let scope = WorldScope { project: None, secrets: true };
        let world = exported(&*registry, &scope);
        let parsed = World::parse(&world.to_string()).map_err(|error| error.to_string()).unwrap();
        let ((applied, ended), moves) =
            registry.apply(parsed, &Cut(NOW), NOW + 5).await.map_err(|e| e.to_string()).unwrap();
        assert!(ended.is_empty() && moves.detached.is_empty(), "no session ends");
        assert!(
            moves.removed.is_empty() && moves.new_owners.is_empty() && moves.shared.is_empty(),
            "nobody is affected"
        );
        assert_eq!(applied.projects.len(), 2);
        assert_eq!(exported(&*registry, &scope), world);
        let one = exported(&*registry, &WorldScope { project: Some("second".to_owned()), secrets: false });
        assert_eq!(one["projects"].as_array().unwrap().len(), 1);
        let unknown = WorldScope { project: Some("third".to_owned()), secrets: false };
        assert!(matches!(export(&*registry, &unknown, &mut |_, _| Ok(())), Err(Error::Refused(_))));
    });
}

#[test]
fn deletion_is_refused_or_complete() {
    on_engines(async |registry, first, _| {
        for (kind, id) in
            [(ObjectKind::Project, "first"), (ObjectKind::App, "testApp"), (ObjectKind::Product, "dumb000000000001")]
        {
            let key = key(&*registry, kind, id).await;
            assert!(registry.losses(kind, &key).await.unwrap().iter().any(|loss| loss.forbids), "{kind:?}");
            let refused = registry.delete_object(kind, &key, &Cut(NOW), NOW).await;
            assert!(matches!(refused, Err(Error::Refused(_))), "{kind:?}");
        }
        let before = all(&*registry, ObjectKind::Device).await.len();
        let gateway = key(&*registry, ObjectKind::Device, GATEWAY).await;
        let losses = registry.losses(ObjectKind::Device, &gateway).await.unwrap();
        assert!(losses.iter().all(|loss| !loss.forbids) && losses.iter().any(|loss| loss.count == 2), "{losses:?}");
        let (done, moves) = registry.delete_object(ObjectKind::Device, &gateway, &Cut(NOW), NOW).await.unwrap();
        // The sub-devices of the same owner are released with it.
        assert!(done && moves.removed.len() == 3, "{}", moves.removed.len());
        assert_eq!(all(&*registry, ObjectKind::Device).await.len(), before - 1);
        assert!(registry.device(first, &id(GATEWAY)).await.unwrap().is_none());
        assert!(registry.device_by_id(&id(LEAK)).await.unwrap().unwrap().gateway.is_none());
        let again = registry.delete_object(ObjectKind::Device, &gateway, &Cut(NOW), NOW).await;
        assert!(again.is_err() || !again.unwrap().0);
        let pair = registry
            .grant_token(first, NOW, ingle::domain::DurationMs(1000), ingle::domain::DurationMs(0))
            .await
            .unwrap();
        assert!(registry.token_holder(&pair.access, NOW).await.unwrap().is_some());
        let token = all(&*registry, ObjectKind::Token).await.remove(0).cursor;
        assert!(registry.delete_object(ObjectKind::Token, &token, &Cut(NOW), NOW).await.unwrap().0);
        assert!(registry.token_holder(&pair.access, NOW).await.unwrap().is_none());
        assert!(!registry.delete_object(ObjectKind::Token, &token, &Cut(NOW), NOW).await.unwrap().0);
    });
}

#[test]
fn a_removed_user_leaves_no_trace() {
    on_engines(async |registry, first, _| {
        let user_no = key(&*registry, ObjectKind::User, OWNER).await;
        let person = registry.person(&user_no).await.unwrap();
        assert_eq!((person["homes"].as_array().unwrap().len(), person["devices"].as_array().unwrap().len()), (1, 6));
        let texts = vec![OWNER.to_owned(), "18200000678".to_owned()];
        let who = Identifiers { user_no: user_no.parse().unwrap(), uid: OWNER.to_owned(), texts };
        let (columns, traces) = registry.forget_user(who.clone()).await.unwrap();
        assert!(columns > 50 && traces.len() >= 4, "it finds who is there: {traces:?}");
        registry.remove_user(first, &Uid::from(OWNER), &Cut(NOW), NOW).await.unwrap().unwrap();
        assert_eq!(registry.forget_user(who).await.unwrap(), (columns, Vec::new()));
        assert!(registry.user(first, &Uid::from(GUEST)).await.unwrap().is_some());
        assert!(registry.device_by_id(&id(LONELY)).await.unwrap().is_some());
    });
}

#[test]
fn rotated_secrets_have_a_time_of_grace() {
    on_engines(async |registry, first, _| {
        let life = ingle::domain::DurationMs(7_200_000);
        let pair = registry.grant_token(first, NOW, life, ingle::domain::DurationMs(0)).await.unwrap();
        registry.rotate_secrets(first, Some(NOW + 1000)).await.unwrap();
        let project = registry.project_by_client_id(FIRST_ID).await.unwrap().unwrap();
        assert_ne!(project.secret, FIRST_SECRET);
        assert_eq!(project.secrets(NOW + 999).collect::<Vec<_>>(), [project.secret.as_str(), FIRST_SECRET]);
        assert_eq!(project.secrets(NOW + 1000).collect::<Vec<_>>(), [project.secret.as_str()]);
        assert_eq!(project.app_secrets(NOW).count(), 2);
        assert_eq!(project.life(life, NOW), ingle::domain::DurationMs(1000));
        assert!(registry.token_holder(&pair.access, NOW + 999).await.unwrap().is_some());
        assert!(registry.token_holder(&pair.access, NOW + 1000).await.unwrap().is_none());
        registry.rotate_secrets(first, None).await.unwrap();
        let project = registry.project_by_client_id(FIRST_ID).await.unwrap().unwrap();
        assert_eq!(project.secrets(NOW).count(), 1);
        assert!(registry.token_holder(&pair.access, NOW).await.unwrap().is_none());
    });
}
