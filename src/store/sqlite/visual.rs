//! The visual login: passwords, access to devices, and the keys that sign visualTokens.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::SqliteRegistry;
use super::connection::{Reader, execute};
use super::device::{COLUMNS, FROM};
use super::user::{EXACT_FIRST, NAMED, PASSWORD_HASHES, account};
use crate::domain::device::FactoryName;
use crate::domain::password::Password;
use crate::domain::store::VisualStore;
use crate::domain::user::Account;
use crate::domain::visual::{Access, VisualKey};
use crate::domain::{DurationMs, Error, Result, Uid, UserNo};
use crate::hex;
use crate::store::generate;
use crate::store::seal::Seal;

#[async_trait]
impl VisualStore for SqliteRegistry {
    async fn user_by_password(
        &self,
        username: &str,
        password: Password,
        devices: &[FactoryName],
    ) -> Result<Option<Account>> {
        let names = devices.iter().enumerate().map(|(n, _)| format!("(?{}, ?{})", 2 * n + 3, 2 * n + 4));
        let sql = format!(
            "SELECT u.uid, u.access_version, u.user_no, u.country_code, u.disabled, {PASSWORD_HASHES} FROM app_user u
             WHERE {NAMED} AND ?1 IS NULL ORDER BY (
                 SELECT count(*) FROM binding b JOIN device d USING (device_no) JOIN product p USING (product_no)
                 WHERE b.user_no = u.user_no AND (p.product_key, d.device_name) IN (VALUES {})
             ) DESC, u.disabled, {EXACT_FIRST} LIMIT 1",
            names.collect::<Vec<_>>().join(", ")
        );
        let named = devices.iter().flat_map(|name| [name.product_key.as_str(), name.device_name.as_str()]);
        // The first parameter is not used, because the name is the second parameter in `NAMED`.
        let values = [None, Some(username)].into_iter().chain(named.map(Some));
        let values: Vec<Option<String>> = values.map(|value| value.map(str::to_owned)).collect();
        let read = move |reader: &Reader<'_>| {
            reader
                .prepare(&sql)
                .and_then(|mut statement| statement.query_row(params_from_iter(values), account).optional())
                .map_err(Error::store)
        };
        let found = self.readers.run(read).await?;
        let (account, hashes) = found.unzip();
        let is_right = self.passwords.check(None, password, hashes.unwrap_or_default()).await?;
        Ok(account.filter(|_| is_right))
    }

    async fn accesses(&self, uid: &Uid, devices: &[FactoryName]) -> Result<Vec<Option<Access>>> {
        let (uid, devices) = (uid.clone(), devices.to_vec());
        let read = move |reader: &Reader<'_>| {
            let snapshot = reader.unchecked_transaction().map_err(Error::store)?;
            let account = snapshot
                .prepare_cached(
                    "SELECT user_no, project_no, access_version, country_code FROM app_user WHERE uid = ?1 AND disabled = 0",
                )
                .and_then(|mut statement| {
                    let read = |row: &rusqlite::Row<'_>| Ok((row.get("user_no")?, row.get("project_no")?, row.get("access_version")?, row.get("country_code")?));
                    statement.query_row(params![uid.0], read).optional()
                })
                .map_err(Error::store)?;
            let Some((user_no, project_no, of_account, country_code)): Option<(i64, i64, i64, String)> = account else {
                return Ok(devices.iter().map(|_| None).collect());
            };
            let sql = format!(
                "SELECT {COLUMNS}, d.access_version, b.created_ms AS bound_ms FROM binding b JOIN {FROM}
                 WHERE b.user_no = ?2 AND d.device_no = b.device_no AND d.device_name = ?4
                 AND d.product_no = (SELECT product_no FROM product WHERE product_key = ?3)
                 AND d.removed = 0 AND d.disabled = 0"
            );
            let mut statement = snapshot.prepare_cached(&sql).map_err(Error::store)?;
            let account = Account { no: UserNo(user_no), uid: uid.clone(), country_code, version: of_account };
            let mut access = |name: &FactoryName| {
                let values = params![project_no, user_no, name.product_key, name.device_name];
                let mut rows = statement.query(values).map_err(Error::store)?;
                let Some(row) = rows.next().map_err(Error::store)? else { return Ok(None) };
                let of_device: i64 = row.get("access_version").map_err(Error::store)?;
                let of_binding: i64 = row.get("bound_ms").map_err(Error::store)?;
                let version = format!("{of_account}.{of_device}.{of_binding}");
                Ok(Some(Access { account: account.clone(), device: Arc::new(reader.device_of(row)?), version }))
            };
            devices.iter().map(&mut access).collect()
        };
        self.readers.run(read).await
    }

    async fn record_login(&self, uid: &Uid, now_ms: i64) -> Result<()> {
        let uid = uid.clone();
        let sql = "UPDATE app_user SET last_login_ms = ?2 WHERE uid = ?1";
        let write = move |connection: &Connection| execute(connection, sql, params![uid.0, now_ms]);
        self.writer.run(move |connection| write(connection).map(drop).map_err(Error::store)).await
    }

    async fn visual_keys(&self, now_ms: i64, published: DurationMs) -> Result<Vec<VisualKey>> {
        let read = move |reader: &Reader<'_>| keys(reader, &reader.readers.seal, now_ms - published);
        let stored = self.readers.run(read).await?;
        if stored.first().is_some_and(|key| key.retired_ms.is_none()) {
            return Ok(stored);
        }
        let seal = self.seal.clone();
        let write = move |connection: &Connection| {
            let stored = keys(connection, &seal, now_ms - published)?;
            if stored.first().is_some_and(|key| key.retired_ms.is_none()) {
                return Ok(stored);
            }
            add_key(connection, &seal, now_ms)?;
            keys(connection, &seal, now_ms - published)
        };
        self.writer.run(write).await
    }

    async fn rotate_visual_key(&self, now_ms: i64, published: DurationMs) -> Result<String> {
        let seal = self.seal.clone();
        let write = move |connection: &Connection| {
            let retire_current = || -> rusqlite::Result<()> {
                connection.execute("DELETE FROM visual_key WHERE retired_ms < ?1", params![now_ms - published])?;
                let retire = "UPDATE visual_key SET retired_ms = ?1 WHERE retired_ms IS NULL";
                connection.execute(retire, params![now_ms])?;
                Ok(())
            };
            retire_current().map_err(Error::store)?;
            add_key(connection, &seal, now_ms)
        };
        self.writer.run(write).await
    }
}

/// The current key and those retired at or after `retired_ms`, newest first.
fn keys(connection: &Connection, seal: &Seal, retired_ms: i64) -> Result<Vec<VisualKey>> {
    let mut statement = connection
        .prepare_cached(
            "SELECT kid, public, retired_ms, private_sealed FROM visual_key
             WHERE retired_ms IS NULL OR retired_ms >= ?1 ORDER BY key_no DESC",
        )
        .map_err(Error::store)?;
    let sealed = |row: &rusqlite::Row<'_>| {
        let (kid, public, retired_ms) = (row.get("kid")?, row.get("public")?, row.get("retired_ms")?);
        Ok((VisualKey { kid, private: Vec::new(), public, retired_ms }, row.get::<_, Vec<u8>>("private_sealed")?))
    };
    let rows = statement.query_map(params![retired_ms], sealed).map_err(Error::store)?;
    let decrypt = |row: rusqlite::Result<(VisualKey, Vec<u8>)>| {
        let (mut key, sealed) = row.map_err(Error::store)?;
        let private = hex::decode(seal.unseal(&sealed, &key_aad(&key.kid))?.as_bytes());
        key.private = private.ok_or_else(|| Error::store("a visual key is damaged"))?;
        Ok(key)
    };
    rows.map(decrypt).collect()
}

fn add_key(connection: &Connection, seal: &Seal, now_ms: i64) -> Result<String> {
    let (kid, private, public) = generate::es256_key()?;
    let sealed = seal.seal(&hex::encode(&private), &key_aad(&kid))?;
    connection
        .execute(
            "INSERT INTO visual_key (kid, private_sealed, public, created_ms) VALUES (?1, ?2, ?3, ?4)",
            params![kid, sealed, public, now_ms],
        )
        .map_err(Error::store)?;
    Ok(kid)
}

pub fn key_aad(kid: &str) -> String {
    format!("visual_key.private:{kid}")
}
