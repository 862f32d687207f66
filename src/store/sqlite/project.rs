//! Projects.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Params, Row, params};

use super::SqliteRegistry;
use super::connection::Reader;
use crate::domain::store::ProjectStore;
use crate::domain::{Error, Project, ProjectNo, Result};

#[async_trait]
impl ProjectStore for SqliteRegistry {
    async fn project_by_client_id(&self, client_id: &str) -> Result<Option<Arc<Project>>> {
        let read = |reader: &Reader<'_>, client_id: &String| {
            let mut found = read_projects(reader, "WHERE client_id = ?1", params![client_id])?;
            Ok(found.pop().map(Arc::new))
        };
        self.readers.cached(|cache| &cache.projects, client_id.to_owned(), read).await
    }

    async fn project_by_app_key(&self, app_key: &str) -> Result<Option<Arc<Project>>> {
        let read = |reader: &Reader<'_>, app_key: &String| {
            let mut found = read_projects(reader, "WHERE aliyun_app_key = ?1", params![app_key])?;
            Ok(found.pop().map(Arc::new))
        };
        self.readers.cached(|cache| &cache.keys, app_key.to_owned(), read).await
    }

    async fn projects(&self, limit: usize) -> Result<Vec<Project>> {
        self.readers.run(move |reader| read_projects(reader, "ORDER BY project_no LIMIT ?1", params![limit])).await
    }
}

fn read_projects(reader: &Reader<'_>, which: &str, values: impl Params) -> Result<Vec<Project>> {
    let sql = format!(
        "SELECT project_no, name, client_id, legacy_sign, mask_private_fields, admin_uid, aliyun_project_id,
         aliyun_app_key, require_cloud_token, keep_cloud_tokens, secret_sealed, aliyun_app_secret_sealed
         FROM project {which}"
    );
    let rows: Vec<(Project, Vec<u8>, Vec<u8>)> = reader
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_map(values, project)?.collect())
        .map_err(Error::store)?;
    let decrypt = |(mut project, secret, app_secret): (Project, Vec<u8>, Vec<u8>)| {
        let seal = &reader.readers.seal;
        project.secret = seal.unseal(&secret, &secret_aad(&project.name))?;
        project.app_secret = seal.unseal(&app_secret, &app_secret_aad(&project.name))?;
        Ok(project)
    };
    rows.into_iter().map(decrypt).collect()
}

/// A project without its two secrets, and the encrypted secrets.
fn project(row: &Row<'_>) -> rusqlite::Result<(Project, Vec<u8>, Vec<u8>)> {
    let project = Project {
        no: ProjectNo(row.get("project_no")?),
        name: row.get("name")?,
        client_id: row.get("client_id")?,
        secret: String::new(),
        legacy_sign: row.get("legacy_sign")?,
        mask_private_fields: row.get("mask_private_fields")?,
        admin_uid: row.get("admin_uid")?,
        aliyun_project_id: row.get("aliyun_project_id")?,
        app_key: row.get("aliyun_app_key")?,
        app_secret: String::new(),
        require_cloud_token: row.get("require_cloud_token")?,
        keep_cloud_tokens: row.get("keep_cloud_tokens")?,
    };
    Ok((project, row.get("secret_sealed")?, row.get("aliyun_app_secret_sealed")?))
}

/// The additional authenticated data of a project's encrypted Tuya secret.
pub fn secret_aad(project: &str) -> String {
    format!("project.secret:{project}")
}

/// The additional authenticated data of a project's encrypted Alibaba secret.
pub fn app_secret_aad(project: &str) -> String {
    format!("project.aliyun_app_secret:{project}")
}
