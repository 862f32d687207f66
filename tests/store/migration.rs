//! A registry that an older version wrote can be opened, and all its data is preserved.

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use ingle::domain::attribute::AttributeKind;
use ingle::domain::device::Removal;
use ingle::domain::pairing::{Redeemed, SentToken};
use ingle::domain::password::Password;
use ingle::domain::store::{AttributeStore, DeviceStore, PairingStore, ProjectStore, UserStore};
use ingle::domain::user::UserOrder;
use ingle::domain::{DeviceId, DurationMs, Uid};
use ingle::store::sqlite::{REGISTRY_FILE, SqliteRegistry};
use rusqlite::{Connection, params};

use super::contract::{Cut, NOW, world};
use crate::support::world::{FIRST_APP_KEY, GUEST, OWNER, PLUG};

/// Creates a registry with the first schema from a current one.
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
    // Generated open ids had this form.
    connection.execute("UPDATE main.app_user SET open_id = lower(hex(randomblob(16)))", []).unwrap();
    // A password was stored as one hash of its text.
    let hash = Argon2::default().hash_password(b"secret").unwrap().to_string();
    connection.execute("UPDATE main.app_user SET password_hash = ?1", params![hash]).unwrap();
    connection.execute_batch("PRAGMA user_version = 1").unwrap();
}

#[test]
fn a_registry_of_the_first_form_is_brought_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (today, before) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let registry = SqliteRegistry::open(today.path()).unwrap();
    let apply = ingle::domain::store::WorldStore::apply(&registry, world(), &Cut(NOW), NOW);
    runtime.block_on(apply).map_err(|error| error.to_string()).unwrap();
    drop(registry);
    std::fs::copy(today.path().join("secret.key"), before.path().join("secret.key")).unwrap();
    first_form(&before.path().join(REGISTRY_FILE), &today.path().join(REGISTRY_FILE));
    for _ in 0..2 {
        let registry = SqliteRegistry::open(before.path()).unwrap();
        let project = runtime.block_on(registry.project_by_app_key(FIRST_APP_KEY)).unwrap().unwrap();
        assert!(project.require_cloud_token);
        let users = runtime.block_on(registry.all_users(project.no, 0, 10, UserOrder::OldestFirst)).unwrap();
        assert_eq!((users.len(), users[0].uid.as_str()), (2, OWNER));
        assert_eq!(users[0].open_id, users[0].login_id, "no third party's account was linked");
        assert_ne!(users[0].login_id, users[1].login_id);
        let opens = async |password| {
            let username = &users[0].username;
            registry.account_by_password(project.no, None, username, password).await.unwrap().is_some()
        };
        let md5 = Password::Md5("5ebe2294ecd0e0f08eab7690d2a6ee69".to_owned());
        let opened = runtime.block_on(async { (opens(Password::Clear("secret".to_owned())).await, opens(md5).await) });
        assert_eq!(opened, (true, false), "of the text nothing is known but whether it is it");
    }
    // The last owner is stored, so a new owner does not get the old data.
    let registry = SqliteRegistry::open(before.path()).unwrap();
    runtime.block_on(async {
        let project = registry.project_by_app_key(FIRST_APP_KEY).await.unwrap().unwrap().no;
        let plug = registry.device(project, &DeviceId::from(PLUG)).await.unwrap().unwrap();
        registry.rename_device(project, &plug.id, "Mine", NOW).await.unwrap();
        registry
            .remove_devices(project, std::slice::from_ref(&plug.id), Removal::Removed, &Cut(0), NOW)
            .await
            .unwrap()
            .unwrap();
        let made =
            registry.make_pairing(project, &Uid::from(GUEST), None, NOW, DurationMs(100)).await.unwrap().unwrap();
        let redeemed =
            registry.redeem_pairing(plug.no, &SentToken::parse(&made.token), &Cut(NOW + 7), NOW).await.unwrap().0;
        assert_eq!(redeemed, Redeemed::Bound);
        let after = registry.device(project, &plug.id).await.unwrap().unwrap();
        assert_eq!((&after.name, after.history_from_ms), (&plug.product.name, NOW + 7));
    });
}

#[test]
fn countries_and_names_of_before_go_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (today, before) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let registry = SqliteRegistry::open(today.path()).unwrap();
    let apply = ingle::domain::store::WorldStore::apply(&registry, world(), &Cut(NOW), NOW);
    runtime.block_on(apply).map_err(|error| error.to_string()).unwrap();
    drop(registry);
    std::fs::copy(today.path().join("secret.key"), before.path().join("secret.key")).unwrap();
    let old = before.path().join(REGISTRY_FILE);
    first_form(&old, &today.path().join(REGISTRY_FILE));
    let connection = Connection::open(&old).unwrap();
    // Names that differ only in case were different accounts, and any country code was stored.
    connection
        .execute_batch(
            "INSERT INTO app_user (project_no, app_no, uid, username, username_type, country_code, password_hash, nick_name,
             avatar, identity_id, open_id, created_ms, updated_ms)
             SELECT project_no, app_no, 'other', 'Guest@Example.com', 2, '', password_hash, '', '', 'other', 'other', 1, 1
             FROM app_user WHERE username = 'guest@example.com';
             UPDATE app SET country_codes = '0086,1,049,999'",
        )
        .unwrap();
    let forms = [("+49", "49"), ("0049", "49"), ("+1-684", "1684"), ("DE", ""), ("999999", ""), ("86", "86"), ("", "")];
    for (before_form, _) in forms {
        let sql =
            "INSERT INTO app_user (project_no, app_no, uid, username, username_type, country_code, nick_name, avatar,
                   identity_id, open_id, created_ms, updated_ms)
                   SELECT project_no, app_no, 'u' || ?1, 'u' || ?1, 3, ?1, '', '', 'u' || ?1, 'u' || ?1, 1, 1
                   FROM app_user WHERE uid = 'other'";
        connection.execute(sql, params![before_form]).unwrap();
    }
    drop(connection);
    let registry = SqliteRegistry::open(before.path()).unwrap();
    runtime.block_on(async {
        let project = registry.project_by_app_key(FIRST_APP_KEY).await.unwrap().unwrap().no;
        for (before_form, form) in forms {
            let user = registry.user(project, &Uid(format!("u{before_form}"))).await.unwrap().unwrap();
            assert_eq!(user.country_code, form, "{before_form}");
        }
        let countries = registry.app_countries(project, &"testApp".into()).await.unwrap().unwrap();
        assert_eq!(countries, ["86", "1", "49", "999"]);
        for (name, uid) in
            [("guest@example.com", Some(GUEST)), ("Guest@Example.com", Some("other")), ("GUEST@example.com", None)]
        {
            let password = Password::Clear("secret".to_owned());
            let found = registry.account_by_password(project, None, name, password).await.unwrap();
            assert_eq!(found.as_ref().map(|account| account.uid.as_str()), uid, "{name}");
            let found = registry.user_by_name(project, None, name).await.unwrap();
            assert_eq!(found.as_ref().map(|user| user.uid.as_str()), uid, "{name}");
        }
    });
}

#[test]
fn desired_values_of_before_are_kept() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (today, before) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let registry = SqliteRegistry::open(today.path()).unwrap();
    let apply = ingle::domain::store::WorldStore::apply(&registry, world(), &Cut(NOW), NOW);
    runtime.block_on(apply).map_err(|error| error.to_string()).unwrap();
    drop(registry);
    for file in ["secret.key", REGISTRY_FILE] {
        std::fs::copy(today.path().join(file), before.path().join(file)).unwrap();
    }
    let connection = Connection::open(before.path().join(REGISTRY_FILE)).unwrap();
    for column in ["old_secret_sealed", "old_app_secret_sealed", "old_until_ms"] {
        connection.execute(&format!("ALTER TABLE project DROP COLUMN {column}"), []).unwrap();
    }
    connection.execute_batch("DROP TABLE desired_value; PRAGMA user_version = 10").unwrap();
    for (kind, key, text) in [
        (1, "room", "1700000000000 1 true"),
        (3, "note", "1700000000000 0 \"two words\""),
        (3, "switch_1", "9223372036854775807 1 true"),
        (3, "wrong", "what nobody wrote"),
    ] {
        let sql = "INSERT INTO device_fact SELECT device_no, ?2, ?3, ?4, 7 FROM device WHERE device_id = ?1";
        assert_eq!(connection.execute(sql, params![PLUG, kind, key, text]).unwrap(), 1);
    }
    drop(connection);
    for _ in 0..2 {
        let registry = SqliteRegistry::open(before.path()).unwrap();
        runtime.block_on(async {
            let project = registry.project_by_app_key(FIRST_APP_KEY).await.unwrap().unwrap().no;
            let plug = registry.device(project, &DeviceId::from(PLUG)).await.unwrap().unwrap().no;
            let desired = registry.desired(plug).await.unwrap().into_iter();
            let desired = desired
                .map(|one| (one.code, one.value.as_json().to_owned(), one.version, one.until_ms, one.is_pushed))
                .collect::<Vec<_>>();
            let note = ("note".to_owned(), "\"two words\"".to_owned(), 7, 1_700_000_000_000, false);
            let switch = ("switch_1".to_owned(), "true".to_owned(), 7, i64::MAX, true);
            assert_eq!(desired, [note, switch]);
            let tags = registry.attributes(plug, AttributeKind::Tag).await.unwrap();
            assert_eq!(tags.iter().map(|tag| tag.key.as_str()).collect::<Vec<_>>(), ["room"]);
        });
    }
}
