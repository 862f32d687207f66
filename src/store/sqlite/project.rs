//! Projects.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, Params, Row, params};

use super::SqliteRegistry;
use super::connection::Reader;
use crate::domain::project::OldSecrets;
use crate::domain::store::ProjectStore;
use crate::domain::{Error, Project, ProjectNo, Result};
use crate::store::generate;

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

    async fn rotate_secrets(&self, project: ProjectNo, until_ms: Option<i64>) -> Result<()> {
        let seal = self.seal.clone();
        let write = move |connection: &Connection| {
            let sql = "SELECT name FROM project WHERE project_no = ?1";
            let name: String = connection.query_row(sql, params![project.0], |row| row.get(0)).map_err(Error::store)?;
            let secret = seal.seal(&generate::secret()?, &secret_aad(&name))?;
            let app_secret = seal.seal(&generate::secret()?, &app_secret_aad(&name))?;
            // The old ones stay encrypted as they are, because the name of the project is part of it, and not the column.
            let sql = "UPDATE project SET old_secret_sealed = CASE WHEN ?4 IS NOT NULL THEN secret_sealed END,
                       old_app_secret_sealed = CASE WHEN ?4 IS NOT NULL THEN aliyun_app_secret_sealed END,
                       old_until_ms = coalesce(?4, 0), secret_sealed = ?2, aliyun_app_secret_sealed = ?3
                       WHERE project_no = ?1";
            connection.execute(sql, params![project.0, secret, app_secret, until_ms]).map_err(Error::store)?;
            end_tokens(connection, project.0, until_ms).map_err(Error::store)
        };
        self.writer.run(write).await
    }
}

/// Lets all tokens of a project and of its users expire at a time, or revokes them.
fn end_tokens(connection: &Connection, project_no: i64, until_ms: Option<i64>) -> rusqlite::Result<()> {
    let users = "user_no IN (SELECT user_no FROM app_user WHERE project_no = ?1)";
    for (table, which) in [("token", "project_no = ?1"), ("cloud_token", "project_no = ?1"), ("user_token", users)] {
        match until_ms {
            None => connection.execute(&format!("DELETE FROM {table} WHERE {which}"), params![project_no])?,
            Some(until_ms) => {
                let sql = format!("UPDATE {table} SET expires_ms = min(expires_ms, ?2) WHERE {which}");
                connection.execute(&sql, params![project_no, until_ms])?
            }
        };
    }
    Ok(())
}

fn read_projects(reader: &Reader<'_>, which: &str, values: impl Params) -> Result<Vec<Project>> {
    let sql = format!(
        "SELECT project_no, name, client_id, legacy_sign, mask_private_fields, admin_uid, aliyun_project_id,
         aliyun_app_key, require_cloud_token, keep_cloud_tokens, secret_sealed, aliyun_app_secret_sealed,
         old_secret_sealed, old_app_secret_sealed, old_until_ms FROM project {which}"
    );
    let rows: Vec<SealedProject> = reader
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_map(values, project)?.collect())
        .map_err(Error::store)?;
    let decrypt = |SealedProject { mut project, sealed, old_until_ms: until_ms }: SealedProject| {
        let (label, app_label) = (secret_aad(&project.name), app_secret_aad(&project.name));
        let labels = [&label, &app_label, &label, &app_label];
        let open = |(sealed, label): (Option<Vec<u8>>, &String)| {
            sealed.map(|sealed| reader.readers.seal.unseal(&sealed, label)).transpose()
        };
        let mut secrets = sealed.into_iter().zip(labels).map(open);
        let mut next = || secrets.next().transpose().map(Option::flatten);
        project.secret = next()?.unwrap_or_default();
        project.app_secret = next()?.unwrap_or_default();
        if let (Some(secret), Some(app_secret)) = (next()?, next()?) {
            project.old = Some(OldSecrets { secret, app_secret, until_ms });
        }
        Ok(project)
    };
    rows.into_iter().map(decrypt).collect()
}

/// A project without its secrets, and its encrypted secrets: the present ones and the old ones, with their end.
struct SealedProject {
    project: Project,
    sealed: [Option<Vec<u8>>; 4],
    old_until_ms: i64,
}

fn project(row: &Row<'_>) -> rusqlite::Result<SealedProject> {
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
        old: None,
    };
    let sealed = [
        row.get("secret_sealed")?,
        row.get("aliyun_app_secret_sealed")?,
        row.get("old_secret_sealed")?,
        row.get("old_app_secret_sealed")?,
    ];
    Ok(SealedProject { project, sealed, old_until_ms: row.get("old_until_ms")? })
}

/// The additional authenticated data of a project's encrypted Tuya secret.
pub fn secret_aad(project: &str) -> String {
    format!("project.secret:{project}")
}

/// The additional authenticated data of a project's encrypted Alibaba secret.
pub fn app_secret_aad(project: &str) -> String {
    format!("project.aliyun_app_secret:{project}")
}
