//! Projects, and what is remembered of them and their tokens between two writes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use rusqlite::{Params, Row, params};

use super::SqliteRegistry;
use crate::domain::store::ProjectStore;
use crate::domain::{Device, DeviceId, Error, Product, Project, ProjectNo, Result};

/// Entries of the maps but for the devices'; a full one is emptied.
const KNOWN_MAX: usize = 4096;
/// Devices that are remembered: some 100 MB when every place is taken.
const DEVICES_MAX: usize = 128 * 1024;

/// Facts that every request needs. All of it is forgotten at every write to the registry, which is simple and right:
/// an entry is only used as long as nothing was committed since before it was read.
#[derive(Default)]
pub struct Known {
    writes: AtomicU64,
    projects: Map<String, Arc<Project>>,
    tokens: Map<[u8; 32], (ProjectNo, i64)>,
    products: Map<i64, Arc<Product>>,
    devices: Map<(ProjectNo, DeviceId), Arc<Device>>,
}

/// Each value with the number of writes there had been before it was read.
type Map<K, V> = RwLock<HashMap<K, (u64, V)>>;

impl Known {
    /// Called after a commit, before its caller is answered.
    pub fn forget(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
    }

    /// A token's project and expiry by its hash.
    pub fn token(
        &self,
        hash: [u8; 32],
        read: impl FnOnce() -> Result<Option<(ProjectNo, i64)>>,
    ) -> Result<Option<(ProjectNo, i64)>> {
        get(&self.writes, &self.tokens, &hash, KNOWN_MAX, read)
    }

    /// A product by its number.
    pub fn product(
        &self,
        no: i64,
        read: impl FnOnce() -> Result<Option<Arc<Product>>>,
    ) -> Result<Option<Arc<Product>>> {
        get(&self.writes, &self.products, &no, KNOWN_MAX, read)
    }

    /// A device as a project sees it.
    pub fn device(
        &self,
        key: (ProjectNo, DeviceId),
        read: impl FnOnce() -> Result<Option<Arc<Device>>>,
    ) -> Result<Option<Arc<Device>>> {
        get(&self.writes, &self.devices, &key, DEVICES_MAX, read)
    }
}

/// What is remembered, or else what `read` finds.
fn get<K: Hash + Eq + Clone, V: Clone>(
    writes: &AtomicU64,
    map: &Map<K, V>,
    key: &K,
    entries_max: usize,
    read: impl FnOnce() -> Result<Option<V>>,
) -> Result<Option<V>> {
    let writes = writes.load(Ordering::SeqCst);
    if let Some((at, value)) = map.read().unwrap_or_else(PoisonError::into_inner).get(key)
        && *at == writes
    {
        return Ok(Some(value.clone()));
    }
    let value = read()?;
    if let Some(value) = &value {
        let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= entries_max {
            map.clear();
        }
        map.insert(key.clone(), (writes, value.clone()));
    }
    Ok(value)
}

#[async_trait]
impl ProjectStore for SqliteRegistry {
    async fn project_by_client_id(&self, client_id: &str) -> Result<Option<Arc<Project>>> {
        get(&self.known.writes, &self.known.projects, &client_id.to_owned(), KNOWN_MAX, || {
            let mut found = self.read_projects("WHERE client_id = ?1", params![client_id])?;
            Ok(found.pop().map(Arc::new))
        })
    }

    async fn projects(&self, limit: usize) -> Result<Vec<Project>> {
        self.read_projects("ORDER BY project_no LIMIT ?1", params![limit])
    }
}

impl SqliteRegistry {
    fn read_projects(&self, which: &str, values: impl Params) -> Result<Vec<Project>> {
        let sql = format!(
            "SELECT project_no, name, client_id, secret_sealed, legacy_sign, mask_private_fields, admin_uid
             FROM project {which}"
        );
        let rows: Vec<(Project, Vec<u8>)> = self.readers.run(|connection| {
            connection
                .prepare_cached(&sql)
                .and_then(|mut statement| statement.query_map(values, project)?.collect())
                .map_err(Error::store)
        })?;
        let open = |(mut project, sealed): (Project, Vec<u8>)| {
            project.secret = self.seal.unseal(&sealed, &place_of_secret(&project.name))?;
            Ok(project)
        };
        rows.into_iter().map(open).collect()
    }
}

/// A project without its secret, and the secret as it is sealed.
fn project(row: &Row<'_>) -> rusqlite::Result<(Project, Vec<u8>)> {
    let project = Project {
        no: ProjectNo(row.get(0)?),
        name: row.get(1)?,
        client_id: row.get(2)?,
        secret: String::new(),
        legacy_sign: row.get(4)?,
        mask_private_fields: row.get(5)?,
        admin_uid: row.get(6)?,
    };
    Ok((project, row.get(3)?))
}

/// Where a project's Tuya secret is sealed.
pub fn place_of_secret(project: &str) -> String {
    format!("project.secret:{project}")
}

/// Where a project's Alibaba secret is sealed.
pub fn place_of_app_secret(project: &str) -> String {
    format!("project.aliyun_app_secret:{project}")
}
