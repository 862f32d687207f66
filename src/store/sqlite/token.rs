//! Tokens of projects: one token pair for each project, stored as hashes with the seed to derive it again, and cloudTokens.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use super::connection::Reader;
use crate::domain::caller::AppUser;
use crate::domain::login::TokenHolder;
use crate::domain::store::{CloudTokenStore, TokenStore};
use crate::domain::token::{EarlierTokens, TokenPair};
use crate::domain::{DurationMs, Error, ProjectNo, Result, Uid, UserNo};
use crate::store::seal::{Seal, TokenSeed, token_hash};
use crate::{hex, random};

#[async_trait]
impl TokenStore for SqliteRegistry {
    async fn grant_token(
        &self,
        project: ProjectNo,
        now_ms: i64,
        life: DurationMs,
        left_min: DurationMs,
    ) -> Result<TokenPair> {
        let is_valid = move |expires_ms: i64| expires_ms - now_ms >= left_min.0;
        // Most requests find a valid token and need no write.
        if let Some((seed, expires_ms)) = self.readers.run(move |reader| stored_pair(reader, project)).await?
            && is_valid(expires_ms)
        {
            return pair(&self.seal, &seed, expires_ms);
        }
        let seal = self.seal.clone();
        let write = move |connection: &Connection| match stored_pair(connection, project)? {
            Some((seed, expires_ms)) if is_valid(expires_ms) => pair(&seal, &seed, expires_ms),
            _ => replace(connection, &seal, project, now_ms + life),
        };
        self.writer.run(write).await
    }

    async fn refresh_token(
        &self,
        project: ProjectNo,
        refresh: &str,
        now_ms: i64,
        life: DurationMs,
    ) -> Result<Option<TokenPair>> {
        let (hash, seal): (_, Arc<Seal>) = (token_hash(refresh), self.seal.clone());
        let write = move |connection: &Connection| {
            let is_valid = connection
                .prepare_cached("SELECT 1 FROM token WHERE project_no = ?1 AND refresh_hash = ?2")
                .and_then(|mut statement| statement.exists(params![project.0, hash]))
                .map_err(Error::store)?;
            is_valid.then(|| replace(connection, &seal, project, now_ms + life)).transpose()
        };
        self.writer.run(write).await
    }

    async fn token_holder(&self, access: &str, now_ms: i64) -> Result<Option<TokenHolder>> {
        let read = |reader: &Reader<'_>, hash: &[u8; 32]| {
            reader
                .prepare_cached(
                    "SELECT project_no, expires_ms, NULL AS user_no, NULL AS uid, NULL AS access_version FROM token WHERE access_hash = ?1
                     UNION ALL SELECT u.project_no, t.expires_ms, u.user_no, u.uid, u.access_version
                     FROM user_token t JOIN app_user u USING (user_no)
                     WHERE t.access_hash = ?1 AND t.access_version = u.access_version AND u.disabled = 0",
                )
                .and_then(|mut statement| statement.query_row(params![hash], holder).optional())
                .map_err(Error::store)
        };
        let holder = self.readers.cached(|cache| &cache.tokens, token_hash(access), read).await?;
        Ok(holder.filter(|holder| holder.expires_ms > now_ms))
    }
}

fn holder(row: &Row<'_>) -> rusqlite::Result<TokenHolder> {
    let user_no: Option<i64> = row.get("user_no")?;
    let user = |no| -> rusqlite::Result<AppUser> {
        Ok(AppUser { no: UserNo(no), uid: Uid(row.get("uid")?), version: row.get("access_version")? })
    };
    let (project, expires_ms) = (ProjectNo(row.get("project_no")?), row.get("expires_ms")?);
    Ok(TokenHolder { project, expires_ms, user: user_no.map(user).transpose()?.map(Arc::new) })
}

fn stored_pair(connection: &Connection, project: ProjectNo) -> Result<Option<(TokenSeed, i64)>> {
    connection
        .prepare_cached("SELECT seed, expires_ms FROM token WHERE project_no = ?1")
        .and_then(|mut statement| {
            statement.query_row(params![project.0], |row| Ok((row.get("seed")?, row.get("expires_ms")?))).optional()
        })
        .map_err(Error::store)
}

fn replace(connection: &Connection, seal: &Seal, project: ProjectNo, expires_ms: i64) -> Result<TokenPair> {
    let seed = random::bytes()?;
    let pair = pair(seal, &seed, expires_ms)?;
    connection
        .prepare_cached(
            "INSERT INTO token (project_no, seed, access_hash, refresh_hash, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (project_no) DO UPDATE SET seed = excluded.seed, access_hash = excluded.access_hash,
             refresh_hash = excluded.refresh_hash, expires_ms = excluded.expires_ms",
        )
        .and_then(|mut statement| {
            let (access, refresh) = (token_hash(&pair.access), token_hash(&pair.refresh));
            statement.execute(params![project.0, seed, access, refresh, expires_ms])
        })
        .map_err(Error::store)?;
    Ok(pair)
}

fn pair(seal: &Seal, seed: &TokenSeed, expires_ms: i64) -> Result<TokenPair> {
    let (access, refresh) = seal.tokens(seed)?;
    Ok(TokenPair { access, refresh, expires_ms })
}

/// The maximum number of valid cloudTokens of one project. A further one replaces the one that expires first.
const CLOUD_TOKENS_MAX: i64 = 100;

#[async_trait]
impl CloudTokenStore for SqliteRegistry {
    async fn grant_cloud_token(
        &self,
        project: ProjectNo,
        now_ms: i64,
        life: DurationMs,
        earlier: EarlierTokens,
    ) -> Result<String> {
        let write = move |connection: &Connection| {
            if earlier == EarlierTokens::Revoke {
                connection
                    .prepare_cached("DELETE FROM cloud_token WHERE project_no = ?1")
                    .and_then(|mut statement| statement.execute(params![project.0]))
                    .map_err(Error::store)?;
            }
            add_cloud_token(connection, project, now_ms, life)
        };
        self.writer.run(write).await
    }

    async fn refresh_cloud_token(
        &self,
        project: ProjectNo,
        token: &str,
        now_ms: i64,
        life: DurationMs,
        grace: DurationMs,
        earlier: EarlierTokens,
    ) -> Result<Option<String>> {
        let keep = earlier == EarlierTokens::Keep;
        let hash = token_hash(token);
        let write = move |connection: &Connection| {
            let is_valid = connection
                .prepare_cached(
                    "SELECT 1 FROM cloud_token WHERE token_hash = ?1 AND project_no = ?2 AND expires_ms > ?3",
                )
                .and_then(|mut statement| statement.exists(params![hash, project.0, now_ms]))
                .map_err(Error::store)?;
            if !is_valid {
                return Ok(None);
            }
            connection
                .prepare_cached(
                    "UPDATE cloud_token SET expires_ms = min(expires_ms, ?3)
                     WHERE project_no = ?2 AND (token_hash = ?1 OR NOT ?4)",
                )
                .and_then(|mut statement| statement.execute(params![hash, project.0, now_ms + grace, keep]))
                .map_err(Error::store)?;
            add_cloud_token(connection, project, now_ms, life).map(Some)
        };
        self.writer.run(write).await
    }

    async fn cloud_token_holder(&self, token: &str, now_ms: i64) -> Result<Option<ProjectNo>> {
        let read = |reader: &Reader<'_>, hash: &[u8; 32]| {
            let holder = |row: &Row<'_>| Ok((ProjectNo(row.get("project_no")?), row.get("expires_ms")?));
            reader
                .prepare_cached("SELECT project_no, expires_ms FROM cloud_token WHERE token_hash = ?1")
                .and_then(|mut statement| statement.query_row(params![hash], holder).optional())
                .map_err(Error::store)
        };
        let holder = self.readers.cached(|cache| &cache.cloud_tokens, token_hash(token), read).await?;
        Ok(holder.filter(|(_, expires_ms)| *expires_ms > now_ms).map(|(holder, _)| holder))
    }
}

fn add_cloud_token(connection: &Connection, project: ProjectNo, now_ms: i64, life: DurationMs) -> Result<String> {
    let token = hex::encode(random::bytes::<16>()?);
    let write = || -> rusqlite::Result<()> {
        let expired = "DELETE FROM cloud_token WHERE project_no = ?1 AND expires_ms <= ?2";
        connection.prepare_cached(expired)?.execute(params![project.0, now_ms])?;
        let add = "INSERT INTO cloud_token (token_hash, project_no, expires_ms) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(add)?.execute(params![token_hash(&token), project.0, now_ms + life])?;
        let surplus = "DELETE FROM cloud_token WHERE project_no = ?1 AND token_hash IN
            (SELECT token_hash FROM cloud_token WHERE project_no = ?1 ORDER BY expires_ms DESC LIMIT -1 OFFSET ?2)";
        connection.prepare_cached(surplus)?.execute(params![project.0, CLOUD_TOKENS_MAX])?;
        Ok(())
    };
    write().map_err(Error::store)?;
    Ok(token)
}
