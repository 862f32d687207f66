//! Projects, and what is remembered of them and their tokens between two writes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::SqliteRegistry;
use crate::domain::store::ProjectStore;
use crate::domain::{Error, Product, Project, ProjectNo, Result};

/// Entries of each map; a full one is emptied.
const KNOWN_MAX: usize = 4096;

/// Facts that every request needs. All of it is forgotten at every write to the registry, which is simple and right:
/// an entry is only used as long as nothing was committed since before it was read.
#[derive(Default)]
pub struct Known {
    writes: AtomicU64,
    projects: RwLock<HashMap<String, (u64, Arc<Project>)>>,
    tokens: RwLock<HashMap<[u8; 32], (u64, (ProjectNo, i64))>>,
    products: RwLock<HashMap<i64, (u64, Arc<Product>)>>,
}

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
        self.get(&self.tokens, &hash, read)
    }

    /// A product by its number.
    pub fn product(&self, no: i64, read: impl FnOnce() -> Result<Option<Arc<Product>>>) -> Result<Option<Arc<Product>>> {
        self.get(&self.products, &no, read)
    }

    fn get<K: std::hash::Hash + Eq + Clone, V: Clone>(
        &self,
        map: &RwLock<HashMap<K, (u64, V)>>,
        key: &K,
        read: impl FnOnce() -> Result<Option<V>>,
    ) -> Result<Option<V>> {
        let writes = self.writes.load(Ordering::SeqCst);
        if let Some((at, value)) = map.read().unwrap_or_else(PoisonError::into_inner).get(key)
            && *at == writes
        {
            return Ok(Some(value.clone()));
        }
        let value = read()?;
        if let Some(value) = &value {
            let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
            if map.len() >= KNOWN_MAX {
                map.clear();
            }
            map.insert(key.clone(), (writes, value.clone()));
        }
        Ok(value)
    }
}

#[async_trait]
impl ProjectStore for SqliteRegistry {
    async fn project_by_client_id(&self, client_id: &str) -> Result<Option<Arc<Project>>> {
        self.known.get(&self.known.projects, &client_id.to_owned(), || self.read_project(client_id))
    }
}

impl SqliteRegistry {
    fn read_project(&self, client_id: &str) -> Result<Option<Arc<Project>>> {
        let row = self.readers.run(|connection| {
            connection
                .prepare_cached(
                    "SELECT project_no, name, secret_sealed, legacy_sign, mask_private_fields, admin_uid
                     FROM project WHERE client_id = ?1",
                )
                .and_then(|mut statement| {
                    statement
                        .query_row(params![client_id], |row| {
                            Ok((
                                row.get::<_, i64>(0)?,
                                row.get::<_, String>(1)?,
                                row.get::<_, Vec<u8>>(2)?,
                                row.get::<_, bool>(3)?,
                                row.get::<_, bool>(4)?,
                                row.get::<_, String>(5)?,
                            ))
                        })
                        .optional()
                })
                .map_err(Error::store)
        })?;
        let Some((no, name, secret, legacy_sign, mask_private_fields, admin_uid)) = row else { return Ok(None) };
        let secret = self.seal.unseal(&secret, &place_of_secret(&name))?;
        let client_id = client_id.to_owned();
        let no = ProjectNo(no);
        Ok(Some(Arc::new(Project { no, name, client_id, secret, legacy_sign, mask_private_fields, admin_uid })))
    }
}

/// Where a project's Tuya secret is sealed.
pub fn place_of_secret(project: &str) -> String {
    format!("project.secret:{project}")
}

/// Where a project's Alibaba secret is sealed.
pub fn place_of_app_secret(project: &str) -> String {
    format!("project.aliyun_app_secret:{project}")
}
