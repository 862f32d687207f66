//! A registry that an older version wrote can be opened, and all its data is preserved.

use std::path::Path;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use ingle::app::SystemClock;
use ingle::domain::attribute::AttributeKind;
use ingle::domain::device::Removal;
use ingle::domain::pairing::{Redeemed, SentToken};
use ingle::domain::password::Password;
use ingle::domain::store::{AttributeStore, DeviceStore, PairingStore, ProjectStore, UserStore};
use ingle::domain::user::UserOrder;
use ingle::domain::{DeviceId, DurationMs, Uid};
use ingle::store::sqlite::{REGISTRY_FILE, SqliteRegistry};
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::contract::{Cut, NOW, world};
use crate::support::world::{FIRST_APP_KEY, GUEST, OWNER, PLUG};

/// Takes back the columns of the migrations 12 and 14.
const LATER_COLUMNS: &str = "ALTER TABLE project DROP COLUMN old_secret_sealed;
    ALTER TABLE project DROP COLUMN old_app_secret_sealed; ALTER TABLE project DROP COLUMN old_until_ms;
    ALTER TABLE app_user DROP COLUMN password_sha256_hash;
    ALTER TABLE app_user RENAME COLUMN password_md5_hash TO password_hash; PRAGMA user_version = 11";

/// A data folder of this version with the world of the contract suite. It has no marks, so that its database can be changed.
fn filled_folder() -> (Runtime, TempDir) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let registry = SqliteRegistry::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let apply = ingle::domain::store::WorldStore::apply(&registry, world(), &Cut(NOW), NOW);
    runtime.block_on(apply).map_err(|error| error.to_string()).unwrap();
    drop(registry);
    for file in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if !["secret.key", REGISTRY_FILE].iter().any(|name| file.ends_with(name)) {
            std::fs::remove_file(file).unwrap();
        }
    }
    (runtime, folder)
}

/// Replaces the registry in a folder by one with the first schema.
fn first_form(folder: &Path) {
    let (old, new) = (folder.join("old.db"), folder.join(REGISTRY_FILE));
    let connection = Connection::open(&old).unwrap();
    connection.execute_batch(include_str!("../../migrations/sqlite/0001_registry.sql")).unwrap();
    connection.execute("ATTACH ?1 AS today", params![new.to_str().unwrap()]).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    for table in names("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'") {
        // The column of passwords, which is filled in below, has been renamed.
        let sql = format!("SELECT name FROM pragma_table_info('{table}', 'main') WHERE name <> 'password_hash'");
        let columns = names(&sql).join(", ");
        connection
            .execute_batch(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}"))
            .unwrap();
    }
    // Generated open ids had this form.
    connection.execute("UPDATE main.app_user SET open_id = lower(hex(randomblob(16)))", []).unwrap();
    // A password was stored as one hash of its text.
    let hash = Argon2::default().hash_password(b"secret").unwrap().to_string();
    connection.execute("UPDATE main.app_user SET password_hash = ?1", params![hash]).unwrap();
    connection.execute_batch("PRAGMA user_version = 1; DETACH today").unwrap();
    drop(connection);
    std::fs::rename(old, new).unwrap();
}

#[test]
fn a_registry_of_the_first_form_is_brought_up() {
    let (runtime, before) = filled_folder();
    first_form(before.path());
    for _ in 0..2 {
        let registry = SqliteRegistry::open(before.path(), Arc::new(SystemClock)).unwrap();
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
    let registry = SqliteRegistry::open(before.path(), Arc::new(SystemClock)).unwrap();
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
    let (runtime, before) = filled_folder();
    first_form(before.path());
    let connection = Connection::open(before.path().join(REGISTRY_FILE)).unwrap();
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
    let registry = SqliteRegistry::open(before.path(), Arc::new(SystemClock)).unwrap();
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
    let (runtime, before) = filled_folder();
    let connection = Connection::open(before.path().join(REGISTRY_FILE)).unwrap();
    connection.execute_batch(LATER_COLUMNS).unwrap();
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
        let registry = SqliteRegistry::open(before.path(), Arc::new(SystemClock)).unwrap();
        runtime.block_on(async {
            let project = registry.project_by_app_key(FIRST_APP_KEY).await.unwrap().unwrap().no;
            let plug = registry.device(project, &DeviceId::from(PLUG)).await.unwrap().unwrap();
            let desired = registry.desired(&[&plug]).await.unwrap().remove(0).into_iter();
            let desired = desired
                .map(|one| (one.code, one.value.as_json().to_owned(), one.version, one.until_ms, one.is_pushed))
                .collect::<Vec<_>>();
            let note = ("note".to_owned(), "\"two words\"".to_owned(), 7, 1_700_000_000_000, false);
            let switch = ("switch_1".to_owned(), "true".to_owned(), 7, i64::MAX, true);
            assert_eq!(desired, [note, switch]);
            let tags = registry.attributes(&plug, AttributeKind::Tag).await.unwrap();
            assert_eq!(tags.iter().map(|tag| tag.key.as_str()).collect::<Vec<_>>(), ["room"]);
        });
    }
}

#[test]
fn passwords_of_before_are_kept() {
    const MD5: &str = "5ebe2294ecd0e0f08eab7690d2a6ee69";
    const SHA256: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let (runtime, before) = filled_folder();
    let connection = Connection::open(before.path().join(REGISTRY_FILE)).unwrap();
    connection.execute_batch(LATER_COLUMNS).unwrap();
    let hash = |text: &str| Argon2::default().hash_password(text.as_bytes()).unwrap().to_string();
    // The stored text, and whether the password, its MD5 and its SHA-256 open the account.
    let table = [
        ("both", Some(format!("{} {}", hash(MD5), hash(SHA256))), [true, true, true]),
        ("md5", Some(format!("{} ", hash(MD5))), [true, true, false]),
        ("sha256", Some(format!(" {}", hash(SHA256))), [true, false, true]),
        ("oldest", Some(hash("secret")), [true, false, false]),
        ("none", None, [false, false, false]),
    ];
    for (name, stored, _) in &table {
        let sql = "INSERT INTO app_user (project_no, app_no, uid, username, username_type, country_code, password_hash,
                   nick_name, avatar, identity_id, open_id, login_id, created_ms, updated_ms)
                   SELECT project_no, app_no, ?1, ?1, 3, '', ?2, '', '', ?1, ?1, ?1, 1, 1 FROM app_user WHERE uid = ?3";
        assert_eq!(connection.execute(sql, params![name, stored, GUEST]).unwrap(), 1);
    }
    drop(connection);
    for _ in 0..2 {
        let registry = SqliteRegistry::open(before.path(), Arc::new(SystemClock)).unwrap();
        runtime.block_on(async {
            let project = registry.project_by_app_key(FIRST_APP_KEY).await.unwrap().unwrap().no;
            for (name, _, expected) in &table {
                let sent = ["secret", MD5, SHA256].map(|text| Password::sent(text.to_owned()));
                for (password, expected) in sent.into_iter().zip(expected) {
                    let found = registry.account_by_password(project, None, name, password).await.unwrap();
                    assert_eq!(found.is_some(), *expected, "{name}");
                }
            }
        });
    }
}
