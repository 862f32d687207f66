//! A registry that an older version wrote opens, with everything in it.

use ingle::domain::store::{ProjectStore, UserStore};
use ingle::store::sqlite::{REGISTRY_FILE, SqliteRegistry};
use rusqlite::{Connection, params};

use super::registry::{NOW, world};
use crate::support::world::{FIRST_APP_KEY, OWNER};

/// A registry of the first form, filled from one of today's.
fn first_form(old: &std::path::Path, new: &std::path::Path) {
    let connection = Connection::open(old).unwrap();
    connection.execute_batch(include_str!("../../migrations/sqlite/0001_registry.sql")).unwrap();
    connection.execute("ATTACH ?1 AS today", params![new.to_str().unwrap()]).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    for table in names("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'") {
        let columns = names(&format!("SELECT name FROM pragma_table_info('{table}', 'main')")).join(", ");
        connection
            .execute_batch(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}"))
            .unwrap();
    }
    // As generated open ids were then.
    connection.execute("UPDATE main.app_user SET open_id = lower(hex(randomblob(16)))", []).unwrap();
    connection.execute_batch("PRAGMA user_version = 1").unwrap();
}

#[test]
fn a_registry_of_the_first_form_is_brought_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (today, before) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let registry = SqliteRegistry::open(today.path()).unwrap();
    let apply = ingle::domain::store::WorldStore::apply(&registry, world(), NOW);
    runtime.block_on(apply).map_err(|error| error.to_string()).unwrap();
    drop(registry);
    std::fs::copy(today.path().join("secret.key"), before.path().join("secret.key")).unwrap();
    first_form(&before.path().join(REGISTRY_FILE), &today.path().join(REGISTRY_FILE));
    for _ in 0..2 {
        let registry = SqliteRegistry::open(before.path()).unwrap();
        let project = runtime.block_on(registry.project_by_app_key(FIRST_APP_KEY)).unwrap().unwrap();
        assert!(project.require_cloud_token);
        let users = runtime.block_on(registry.all_users(project.no, 0, 10, false)).unwrap();
        assert_eq!((users.len(), users[0].uid.as_str()), (2, OWNER));
        assert_eq!(users[0].open_id, users[0].login_id, "no third party's account was linked");
        assert_ne!(users[0].login_id, users[1].login_id);
    }
}
