//! Homes.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use super::device::{COLUMNS, FROM, VISIBLE};
use crate::domain::home::Home;
use crate::domain::store::HomeStore;
use crate::domain::{Device, Error, HomeId, ProjectNo, Result, Uid};

#[async_trait]
impl HomeStore for SqliteRegistry {
    async fn homes_of_user(&self, project: ProjectNo, uid: &Uid, limit: usize) -> Result<Option<Vec<Home>>> {
        let read = |connection: &Connection| -> rusqlite::Result<Option<Vec<Home>>> {
            let snapshot = connection.unchecked_transaction()?;
            let sql = "SELECT user_no FROM app_user WHERE uid = ?1 AND project_no = ?2";
            let user_no: Option<i64> =
                snapshot.prepare_cached(sql)?.query_row(params![uid.0, project.0], |row| row.get(0)).optional()?;
            let Some(user_no) = user_no else { return Ok(None) };
            let sql = "SELECT h.home_id, h.name, u.uid FROM home h JOIN app_user u ON u.user_no = h.owner_no
                       WHERE h.owner_no = ?1 ORDER BY h.home_id LIMIT ?2";
            let homes: rusqlite::Result<Vec<Home>> =
                snapshot.prepare_cached(sql)?.query_map(params![user_no, limit], home)?.collect();
            homes.map(Some)
        };
        self.readers.run(|connection| read(connection).map_err(Error::store))
    }

    async fn home(&self, project: ProjectNo, id: HomeId) -> Result<Option<Home>> {
        let sql = "SELECT h.home_id, h.name, u.uid FROM home h JOIN app_user u ON u.user_no = h.owner_no
                   WHERE h.home_id = ?1 AND h.project_no = ?2";
        self.readers.run(|connection| {
            connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.query_row(params![id.0, project.0], home).optional())
                .map_err(Error::store)
        })
    }

    async fn devices_of_home(&self, project: ProjectNo, id: HomeId, limit: usize) -> Result<Vec<Device>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {FROM} WHERE {VISIBLE} AND d.home_id = ?2 ORDER BY d.created_ms, d.device_id LIMIT ?3"
        );
        self.readers.run(|connection| self.all(connection, &sql, params![project.0, id.0, limit]))
    }
}

fn home(row: &Row<'_>) -> rusqlite::Result<Home> {
    Ok(Home { id: HomeId(row.get(0)?), name: row.get(1)?, owner: Uid(row.get(2)?) })
}
