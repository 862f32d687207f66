//! End users.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use crate::domain::store::UserStore;
use crate::domain::user::{User, UserPage, UserQuery, UserSync};
use crate::domain::{Error, ProjectNo, Result, Schema, Uid, UsernameType};
use crate::store::{mint, seal};

const COLUMNS: &str =
    "uid, username, username_type, country_code, nick_name, avatar, time_zone_id, created_ms, updated_ms";

#[async_trait]
impl UserStore for SqliteRegistry {
    async fn app_countries(&self, project: ProjectNo, schema: &Schema) -> Result<Option<Vec<String>>> {
        self.readers.run(|connection| {
            let text: Option<String> = connection
                .prepare_cached("SELECT country_codes FROM app WHERE project_no = ?1 AND schema = ?2")
                .and_then(|mut statement| {
                    statement.query_row(params![project.0, schema.0], |row| row.get(0)).optional()
                })
                .map_err(Error::store)?;
            let split = |text: String| text.split(',').filter(|code| !code.is_empty()).map(str::to_owned).collect();
            Ok(text.map(split))
        })
    }

    async fn sync_user(&self, project: ProjectNo, schema: &Schema, user: UserSync, now_ms: i64) -> Result<Option<Uid>> {
        let hash = self.seal.hash_password(user.password.clone()).await?;
        let schema = schema.clone();
        let write = move |connection: &Connection| {
            let Some(app_no) = app_no(connection, project, &schema)? else { return Ok(None) };
            sync(connection, project, app_no, &user, &hash, now_ms).map(Some)
        };
        self.writer.run(write).await
    }

    async fn users(&self, project: ProjectNo, schema: &Schema, query: &UserQuery) -> Result<Option<UserPage>> {
        self.readers.run(|connection| {
            let snapshot = connection.unchecked_transaction().map_err(Error::store)?;
            let Some(app_no) = app_no(&snapshot, project, schema)? else { return Ok(None) };
            let mut users = users(&snapshot, app_no, query).map_err(Error::store)?;
            let total = snapshot
                .prepare_cached("SELECT count(*) FROM app_user WHERE app_no = ?1")
                .and_then(|mut statement| statement.query_row(params![app_no], |row| row.get(0)))
                .map_err(Error::store)?;
            let has_more = query.limit > 0 && users.len() > query.limit;
            users.truncate(query.limit);
            Ok(Some(UserPage { users, has_more, total }))
        })
    }

    async fn user(&self, project: ProjectNo, uid: &Uid) -> Result<Option<User>> {
        self.readers.run(|connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM app_user WHERE uid = ?1 AND project_no = ?2"))
                .and_then(|mut statement| statement.query_row(params![uid.0, project.0], user).optional())
                .map_err(Error::store)
        })
    }
}

fn app_no(connection: &Connection, project: ProjectNo, schema: &Schema) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT app_no FROM app WHERE project_no = ?1 AND schema = ?2")
        .and_then(|mut statement| statement.query_row(params![project.0, schema.0], |row| row.get(0)).optional())
        .map_err(Error::store)
}

fn sync(
    connection: &Connection,
    project: ProjectNo,
    app_no: i64,
    user: &UserSync,
    hash: &str,
    now_ms: i64,
) -> Result<Uid> {
    let known: Option<String> = connection
        .prepare_cached(
            "UPDATE app_user SET password_hash = ?3, nick_name = coalesce(?4, nick_name),
             time_zone_id = coalesce(?5, time_zone_id), updated_ms = ?6
             WHERE app_no = ?1 AND username = ?2 RETURNING uid",
        )
        .and_then(|mut statement| {
            let values = params![app_no, user.username, hash, user.nick_name, user.time_zone_id, now_ms];
            statement.query_row(values, |row| row.get(0)).optional()
        })
        .map_err(Error::store)?;
    if let Some(uid) = known {
        return Ok(Uid(uid));
    }
    let uid = mint::uid(now_ms)?;
    let (identity_id, open_id) = (mint::identity_id()?, seal::hex(&seal::random::<16>()?));
    connection
        .prepare_cached(
            "INSERT INTO app_user (project_no, app_no, uid, username, username_type, country_code, password_hash,
             nick_name, avatar, time_zone_id, identity_id, open_id, created_ms, updated_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '', ?9, ?10, ?11, ?12, ?12)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                project.0,
                app_no,
                uid,
                user.username,
                user.username_type as i64,
                user.country_code,
                hash,
                user.nick_name.as_deref().unwrap_or_default(),
                user.time_zone_id,
                identity_id,
                open_id,
                now_ms
            ])
        })
        .map_err(Error::store)?;
    Ok(Uid(uid))
}

/// One more than the limit, if there is one.
fn users(connection: &Connection, app_no: i64, query: &UserQuery) -> rusqlite::Result<Vec<User>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM app_user WHERE app_no = ?1 AND created_ms BETWEEN ?2 AND ?3
             AND (?4 IS NULL OR username = ?4) ORDER BY created_ms, user_no LIMIT ?5 OFFSET ?6"
        ))?
        .query_map(
            params![
                app_no,
                query.from_ms.unwrap_or(0),
                query.to_ms.unwrap_or(i64::MAX),
                query.username,
                query.limit + 1,
                i64::try_from(query.offset).unwrap_or(i64::MAX)
            ],
            user,
        )?
        .collect()
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        uid: Uid(row.get(0)?),
        username: row.get(1)?,
        username_type: UsernameType::from_number(row.get(2)?).unwrap_or(UsernameType::Other),
        country_code: row.get(3)?,
        nick_name: row.get(4)?,
        avatar: row.get(5)?,
        time_zone_id: row.get(6)?,
        created_ms: row.get(7)?,
        updated_ms: row.get(8)?,
    })
}
