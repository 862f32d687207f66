//! The matrix: every way of changing the owner × every thing that could leak, in both dialects, the visual login, the device
//! protocols and the feed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::people::{MAKER, Matrix, OTHER};
use super::things::{Gone, Thing, devices_of, other_gates};
use super::ways::{Scene, Way};

#[test]
fn whatever_way_a_device_goes_nothing_of_its_former_owner_goes_with_it() {
    let matrix = Matrix::open();
    let scenes: Vec<Scene<'_>> = Way::ALL.into_iter().map(|way| Scene::of(&matrix, way)).collect();
    matrix.apply_devices(MAKER, scenes.iter().flat_map(other_gates).collect::<Vec<Value>>().into());
    for project in [MAKER, OTHER] {
        let of_project = scenes.iter().filter(|scene| scene.former.project == project);
        matrix.apply_devices(project, of_project.flat_map(devices_of).collect::<Vec<Value>>().into());
    }
    let mut cells = 0;
    for way in Way::ALL {
        let gone = Gone::through(&matrix, way);
        for thing in Thing::ALL {
            assert!(gone.assert(thing) > 0, "{way:?} × {thing:?} is a cell without an assertion");
            cells += 1;
        }
    }
    assert_eq!(cells, Way::ALL.len() * Thing::ALL.len());
}

#[test]
fn every_method_of_the_store_that_hands_over_is_a_way_of_the_matrix() {
    let text: String = ["src/domain/store.rs", "src/domain/owner_store.rs"]
        .iter()
        .map(|file| std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap())
        .collect();
    let mut methods = BTreeSet::new();
    for method in text.split("async fn ").skip(1) {
        let signature = method.split(';').next().unwrap();
        if signature.contains("HistoryCuts") {
            methods.insert(signature.split('(').next().unwrap().to_owned());
        }
    }
    let covered: BTreeSet<String> =
        Way::ALL.iter().flat_map(|way| way.methods()).map(|method| (*method).to_owned()).collect();
    assert_eq!(methods, covered);
}

/// The columns and tables with data of a device. Each belongs to the device itself, or to its users and is then a thing of
/// the matrix.
#[test]
fn everything_that_is_kept_of_a_device_is_a_thing_of_the_matrix() {
    let of_itself = "device_no product_no project_no device_id secret_sealed uuid iot_id device_name sn mac is_virtual
        removed created_ms active_ms updated_ms history_from_ms disabled access_version made_by last_owner_no
        local_key_given kept_filter";
    let of_people = [
        ("name", Thing::Name),
        ("ip", Thing::Address),
        ("lat", Thing::Place),
        ("lon", Thing::Place),
        ("time_zone", Thing::TimeZone),
        ("gateway_no", Thing::Gateway),
        ("node_id", Thing::Gateway),
        ("home_id", Thing::Home),
        ("local_key_sealed", Thing::LocalKey),
        ("binding", Thing::Shares),
        ("function_name", Thing::FunctionName),
        ("device_user", Thing::DeviceUsers),
        // Tags and the shadow. Firmware versions belong to the device itself.
        ("device_fact", Thing::Facts),
        ("desired_value", Thing::Facts),
        // Pairing tokens of users. Each refers at most to the device that redeemed it.
        ("pairing", Thing::UserToken),
        ("pairing_failure", Thing::UserToken),
    ];
    let known: BTreeSet<&str> = of_itself.split_whitespace().chain(of_people.iter().map(|(name, _)| *name)).collect();
    let folder = tempfile::tempdir().unwrap();
    drop(
        ingle::store::sqlite::SqliteRegistry::open(folder.path(), std::sync::Arc::new(ingle::app::SystemClock))
            .unwrap(),
    );
    let database = rusqlite::Connection::open(folder.path().join("registry.db")).unwrap();
    let sql = "SELECT p.name FROM pragma_table_info('device') p
               UNION SELECT m.name FROM sqlite_schema m JOIN pragma_table_info(m.name) p
               WHERE m.type = 'table' AND m.name <> 'device' AND p.name = 'device_no'";
    let mut statement = database.prepare(sql).unwrap();
    let kept = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    for name in kept.map(Result::unwrap) {
        assert!(known.contains(name.as_str()), "{name} is kept of a device: of itself, or of its people?");
    }
}
