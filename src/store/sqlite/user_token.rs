//! Tokens of users: several token pairs for each user. Only their hashes are stored.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteRegistry;
use super::connection::execute;
use crate::domain::store::UserTokenStore;
use crate::domain::token::TokenPair;
use crate::domain::user::Account;
use crate::domain::{DurationMs, Error, ProjectNo, Result, Uid, UserNo};
use crate::store::seal::token_hash;
use crate::{hex, random};

#[async_trait]
impl UserTokenStore for SqliteRegistry {
    async fn grant_user_token(
        &self,
        account: &Account,
        now_ms: i64,
        life: DurationMs,
        max: usize,
    ) -> Result<Option<TokenPair>> {
        let account = account.clone();
        let write = move |connection: &Connection| {
            let sql = "SELECT 1 FROM app_user WHERE user_no = ?1 AND access_version = ?2 AND disabled = 0";
            let is_valid = connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.exists(params![account.no.0, account.version]))
                .map_err(Error::store)?;
            if !is_valid {
                return Ok(None);
            }
            let pair = add(connection, account.no, account.version, now_ms, life)?;
            let login = "UPDATE app_user SET last_login_ms = ?2 WHERE user_no = ?1";
            connection
                .prepare_cached(login)
                .and_then(|mut statement| statement.execute(params![account.no.0, now_ms]))
                .map_err(Error::store)?;
            let surplus = "DELETE FROM user_token WHERE user_no = ?1 AND (access_version <> ?2 OR access_hash IN
                (SELECT access_hash FROM user_token WHERE user_no = ?1 ORDER BY granted_ms DESC LIMIT -1 OFFSET ?3))";
            connection
                .prepare_cached(surplus)
                .and_then(|mut statement| statement.execute(params![account.no.0, account.version, max]))
                .map_err(Error::store)?;
            Ok(Some(pair))
        };
        self.writer.run(write).await
    }

    async fn end_user_token(&self, user: UserNo, access: &str) -> Result<bool> {
        let hash = token_hash(access);
        let sql = "DELETE FROM user_token WHERE access_hash = ?1 AND user_no = ?2";
        let write = move |connection: &Connection| execute(connection, sql, params![hash, user.0]);
        self.writer.run(move |connection| Ok(write(connection).map_err(Error::store)? == 1)).await
    }

    async fn refresh_user_token(
        &self,
        project: ProjectNo,
        refresh: &str,
        now_ms: i64,
        life: DurationMs,
        refresh_life: DurationMs,
    ) -> Result<Option<(TokenPair, Uid)>> {
        let hash = token_hash(refresh);
        let write = move |connection: &Connection| {
            let found: Option<(i64, i64, String)> = connection
                .prepare_cached(
                    "SELECT u.user_no, u.access_version, u.uid FROM user_token t JOIN app_user u USING (user_no)
                     WHERE t.refresh_hash = ?1 AND u.project_no = ?2 AND u.disabled = 0
                     AND t.access_version = u.access_version AND t.granted_ms > ?3",
                )
                .and_then(|mut statement| {
                    let read = |row: &rusqlite::Row<'_>| {
                        Ok((row.get("user_no")?, row.get("access_version")?, row.get("uid")?))
                    };
                    statement.query_row(params![hash, project.0, now_ms - refresh_life], read).optional()
                })
                .map_err(Error::store)?;
            let Some((user_no, version, uid)) = found else { return Ok(None) };
            connection
                .prepare_cached("DELETE FROM user_token WHERE refresh_hash = ?1")
                .and_then(|mut statement| statement.execute(params![hash]))
                .map_err(Error::store)?;
            Ok(Some((add(connection, UserNo(user_no), version, now_ms, life)?, Uid(uid))))
        };
        self.writer.run(write).await
    }
}

fn add(connection: &Connection, user: UserNo, version: i64, now_ms: i64, life: DurationMs) -> Result<TokenPair> {
    let (access, refresh) = (hex::encode(random::bytes::<16>()?), hex::encode(random::bytes::<16>()?));
    let pair = TokenPair { access, refresh, expires_ms: now_ms + life };
    connection
        .prepare_cached(
            "INSERT INTO user_token (access_hash, refresh_hash, user_no, access_version, granted_ms, expires_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .and_then(|mut statement| {
            let (access, refresh) = (token_hash(&pair.access), token_hash(&pair.refresh));
            statement.execute(params![access, refresh, user.0, version, now_ms, pair.expires_ms])
        })
        .map_err(Error::store)?;
    Ok(pair)
}
