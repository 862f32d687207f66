//! Records what writes touched, for the cache. Triggers on the changed rows do it, so that no write can be missed.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::{Connection, Error as SqliteError};

use crate::domain::{DeviceNo, Error, Result, Uid};
use crate::store::cache::Touched;

/// The triggers that need other rows than the changed one. That file explains all triggers.
const TRIGGERS: &str = include_str!("touched.sql");
/// Other triggers: the changes of a table, and what they touch.
const SIMPLE_TRIGGERS: &[(&str, &[&str], &str)] = &[
    ("token", &["UPDATE", "DELETE"], "'token', OLD.access_hash"),
    ("user_token", &["UPDATE", "DELETE"], "'token', OLD.access_hash"),
    ("cloud_token", &["UPDATE", "DELETE"], "'token', OLD.token_hash"),
    ("device", &["DELETE"], "'all', NULL"),
    ("app_user", &["DELETE"], "'all', NULL"),
    // Only the operator changes these tables.
    ("app", &["UPDATE", "DELETE"], "'all', NULL"),
    ("product", &["UPDATE", "DELETE"], "'all', NULL"),
    ("project", &["UPDATE", "DELETE"], "'all', NULL"),
];
/// If a commit touches more than this, it counts as touching everything.
const TOUCHED_MAX: usize = 4096;

/// What was touched since the last commit, including writes that were rolled back.
#[derive(Clone, Default)]
pub struct TouchedRows(Arc<Mutex<Vec<Touched>>>);

impl TouchedRows {
    /// Records the writes of a connection from now on.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn watch(connection: &Connection) -> Result<Self> {
        let rows = Self::default();
        let recorded = rows.clone();
        let touched = move |context: &mut Context<'_>| touched(context).map(|one| recorded.add(one));
        connection
            .create_scalar_function("touched", 2, FunctionFlags::SQLITE_UTF8, touched)
            .and_then(|()| connection.execute_batch(&triggers()))
            .map_err(Error::store)?;
        Ok(rows)
    }

    /// Returns and clears what was touched since the last call.
    pub fn take(&self) -> Vec<Touched> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds an entry and returns the number of entries.
    fn add(&self, one: Touched) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.last() {
            Some(last) if *last == one || *last == Touched::All => {}
            _ if all.len() >= TOUCHED_MAX => *all = vec![Touched::All],
            _ => all.push(one),
        }
        all.len()
    }
}

/// The statements that create all triggers.
fn triggers() -> String {
    let simple = SIMPLE_TRIGGERS.iter().flat_map(|(table, changes, touched)| {
        changes.iter().map(move |change| {
            let name = format!("{table}_{change}");
            format!("CREATE TEMP TRIGGER {name} AFTER {change} ON {table} BEGIN SELECT touched({touched}); END;\n")
        })
    });
    TRIGGERS.to_owned() + &simple.collect::<String>()
}

fn touched(context: &Context<'_>) -> rusqlite::Result<Touched> {
    match context.get_raw(0).as_str()? {
        "device" => Ok(Touched::Device(DeviceNo(context.get(1)?))),
        "devices_of" => Ok(Touched::DevicesOf(Uid(context.get(1)?))),
        "user" => Ok(Touched::User(Uid(context.get(1)?))),
        "token" => Ok(Touched::Token(context.get(1)?)),
        "all" => Ok(Touched::All),
        other => Err(SqliteError::InvalidParameterName(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::device::UserDevices;
    use crate::domain::handover::HistoryCuts;
    use crate::domain::store::{BindingStore, DeviceStore, ProjectStore, UserStore, VisualStore, WorldStore};
    use crate::domain::{Clock, DeviceId, ProjectNo};
    use crate::store::sqlite::SqliteRegistry;

    use super::*;

    /// The tables that no cached value is read from.
    const NOT_CACHED: &[&str] = &[
        "audit",
        "desired_value",
        "device_fact",
        "device_user",
        "folder",
        "function_name",
        "home_invitation",
        "kept_filter",
        "pairing",
        "pairing_failure",
        "visual_key",
    ];

    struct NoCuts;

    struct NoClock;

    impl Clock for NoClock {
        fn now_ms(&self) -> i64 {
            0
        }
    }

    #[async_trait::async_trait]
    impl HistoryCuts for NoCuts {
        async fn history_from_ms(&self, devices: &[DeviceNo]) -> Result<Vec<i64>> {
            Ok(vec![0; devices.len()])
        }
    }

    /// Two users with one device each. The first device is a gateway with a sub-device.
    async fn registry(folder: &std::path::Path) -> (SqliteRegistry, ProjectNo) {
        let registry = SqliteRegistry::open(folder, Arc::new(NoClock)).unwrap();
        let world = r#"{"projects":[{"name":"p","tuya":{"client_id":"id","secret":"0123456789abcdef0123456789abcdef"},
            "apps":[{"schema":"app"}],
            "users":[{"schema":"app","username":"one","uid":"u1"},{"schema":"app","username":"two","uid":"u2"}],
            "products":[{"product_id":"g","name":"G","category":"wg","node_type":"gateway"},
                {"product_id":"s","name":"S","category":"cz","node_type":"sub"}],
            "devices":[{"product_id":"g","device_id":"gateway","owner":"one"},
                {"product_id":"s","device_id":"sub","owner":"one","gateway":"gateway","node_id":"1"},
                {"product_id":"g","device_id":"other","owner":"two"}]}]}"#;
        let world = crate::domain::world::World::parse(world).map_err(|error| error.to_string()).unwrap();
        registry.apply(world, &NoCuts, 1).await.map_err(|error| error.to_string()).unwrap();
        let project = registry.project_by_client_id("id").await.unwrap().unwrap().no;
        (registry, project)
    }

    /// Checks which devices and lists of the two users are cached.
    struct Cached<'a>(&'a SqliteRegistry, ProjectNo);

    impl Cached<'_> {
        async fn read(&self) {
            for id in ["gateway", "sub", "other"] {
                self.0.device(self.1, &DeviceId::from(id)).await.unwrap();
            }
            for uid in ["u1", "u2"] {
                self.0.devices_of_user(self.1, &Uid::from(uid), UserDevices::Home, 0, 10).await.unwrap().unwrap();
                self.0.bound_devices(self.1, &Uid::from(uid), 0, 10).await.unwrap().unwrap();
            }
        }

        /// The cached devices, and the users whose lists are cached. Then reads everything again.
        async fn left(&self) -> Vec<&'static str> {
            let (cache, no) = (&self.0.readers.cache, self.1);
            let mut left = vec!["gateway", "sub", "other"];
            left.retain(|id| cache.holds(&cache.devices, &(no, DeviceId::from(*id))));
            for uid in ["u1", "u2"] {
                let list = cache.holds(&cache.lists, &(no, Uid::from(uid), UserDevices::Home));
                let bound = cache.holds(&cache.bound, &(no, Uid::from(uid)));
                assert_eq!(list, bound);
                left.extend(list.then_some(uid));
            }
            self.read().await;
            left
        }
    }

    #[tokio::test]
    async fn a_write_invalidates_only_what_it_touches() {
        let folder = tempfile::tempdir().unwrap();
        let (registry, project) = registry(folder.path()).await;
        let cached = Cached(&registry, project);
        cached.read().await;
        let all = ["gateway", "sub", "other", "u1", "u2"];
        assert_eq!(cached.left().await, all);
        let rename = async |id: &str| registry.rename_device(project, &DeviceId::from(id), "new", 2).await.unwrap();
        assert!(rename("other").await);
        assert_eq!(cached.left().await, ["gateway", "sub", "u1"]);
        assert!(rename("gateway").await);
        assert_eq!(cached.left().await, ["sub", "other", "u2"]);
        registry.record_login(&Uid::from("u1"), 3).await.unwrap();
        assert!(registry.rename_user(project, &Uid::from("u1"), "new", 3).await.unwrap());
        assert_eq!(cached.left().await, all);
        let gateway = registry.device(project, &DeviceId::from("gateway")).await.unwrap().unwrap();
        registry.share_device(project, None, &Uid::from("u2"), gateway.no, 4).await.unwrap();
        assert_eq!(cached.left().await, ["other"]);
        // The owner of the gateway decides whether its sub-devices show its local key.
        registry.unbind_device(project, &Uid::from("u1"), gateway.no, &NoCuts, 5).await.unwrap();
        assert_eq!(cached.left().await, ["other"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn after_a_write_the_new_name_is_read_despite_concurrent_readers() {
        let folder = tempfile::tempdir().unwrap();
        let (registry, project) = registry(folder.path()).await;
        let registry = Arc::new(registry);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let registry = registry.clone();
                tokio::spawn(async move {
                    loop {
                        Cached(&registry, project).read().await;
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for n in 0..100 {
            let (id, name) = (DeviceId::from("gateway"), format!("name {n}"));
            assert!(registry.rename_device(project, &id, &name, n).await.unwrap());
            assert_eq!(registry.device(project, &id).await.unwrap().unwrap().name, name);
            let list = registry.devices_of_user(project, &Uid::from("u1"), UserDevices::Home, 0, 10).await.unwrap();
            assert!(list.unwrap().iter().any(|device| device.name == name));
        }
        for reader in readers {
            assert!(!reader.is_finished(), "a reader panicked");
            reader.abort();
        }
    }

    #[tokio::test]
    async fn every_table_has_triggers_or_is_not_cached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.db");
        drop(SqliteRegistry::open(folder.path(), Arc::new(NoClock)).unwrap());
        let connection = Connection::open(path).unwrap();
        TouchedRows::watch(&connection).unwrap();
        let names = |sql: &str| -> Vec<String> {
            connection
                .prepare(sql)
                .unwrap()
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(rusqlite::Result::unwrap)
                .collect()
        };
        let tables =
            names("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name");
        for change in ["UPDATE", "DELETE"] {
            let triggers = names(&format!(
                "SELECT DISTINCT tbl_name FROM sqlite_temp_schema WHERE type = 'trigger' AND sql LIKE '%AFTER {change}%'"
            ));
            let without: Vec<_> = tables.iter().filter(|table| !triggers.contains(table)).collect();
            assert_eq!(without, NOT_CACHED, "{change}");
        }
    }
}
