//! Tokens that pair devices, of which only hashes are kept.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use std::fmt::Write;

use super::SqliteRegistry;
use super::binding::{bind, first_home, user_no};
use super::device::{COLUMNS, FROM, VISIBLE};
use crate::domain::pairing::{FAILURES_MAX, PAIRING_KEPT_MS, PAIRINGS_MAX, PairingToken, Redeemed};
use crate::domain::store::PairingStore;
use crate::domain::{Device, DeviceNo, Error, HomeId, ProjectNo, Result, Uid, UserNo};
use crate::store::mint;
use crate::store::seal::token_hash;

#[async_trait]
impl PairingStore for SqliteRegistry {
    async fn make_pairing(
        &self,
        project: ProjectNo,
        uid: &Uid,
        home: Option<HomeId>,
        now_ms: i64,
        life_ms: i64,
    ) -> Result<Option<PairingToken>> {
        let uid = uid.clone();
        let write = move |connection: &Connection| {
            let Some(user_no) = user_no(connection, project, &uid).map_err(Error::store)? else { return Ok(None) };
            let home_id = match home {
                Some(home) => home.0,
                None => first_home(connection, user_no)?,
            };
            let made = PairingToken { token: mint::letters(12)?, secret: mint::letters(4)? };
            let add = || -> rusqlite::Result<()> {
                let old = "SELECT token_hash FROM pairing WHERE user_no = ?1 AND (expires_ms < ?2 OR token_hash IN
                    (SELECT token_hash FROM pairing WHERE user_no = ?1 ORDER BY expires_ms DESC LIMIT -1 OFFSET ?3))";
                let values = params![user_no, now_ms - PAIRING_KEPT_MS, PAIRINGS_MAX - 1];
                for table in ["pairing_failure", "pairing"] {
                    connection.execute(&format!("DELETE FROM {table} WHERE token_hash IN ({old})"), values)?;
                }
                connection.execute(
                    "INSERT INTO pairing (token_hash, secret_hash, project_no, user_no, home_id, expires_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![
                        token_hash(&made.token),
                        token_hash(&made.secret),
                        project.0,
                        user_no,
                        home_id,
                        now_ms + life_ms
                    ],
                )?;
                Ok(())
            };
            add().map_err(Error::store)?;
            Ok(Some(made))
        };
        self.writer.run(write).await
    }

    async fn pairing(
        &self,
        project: ProjectNo,
        user: Option<UserNo>,
        token: &str,
    ) -> Result<Option<(Option<Device>, Vec<Device>)>> {
        let hash = token_hash(token);
        self.readers.run(|connection| {
            let snapshot = connection.unchecked_transaction().map_err(Error::store)?;
            let sql = "SELECT device_no FROM pairing WHERE token_hash = ?1 AND project_no = ?2
                       AND (?3 IS NULL OR user_no = ?3)";
            let found: Option<Option<i64>> = snapshot
                .prepare_cached(sql)
                .and_then(|mut statement| {
                    let values = params![hash, project.0, user.map(|user| user.0)];
                    statement.query_row(values, |row| row.get(0)).optional()
                })
                .map_err(Error::store)?;
            let Some(paired) = found else { return Ok(None) };
            let mut sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE {VISIBLE} AND d.device_no ");
            let failed = format!("{sql} IN (SELECT device_no FROM pairing_failure WHERE token_hash = ?2)");
            let _ = write!(sql, "= ?2");
            let paired = self.first(&snapshot, &sql, params![project.0, paired])?;
            Ok(Some((paired, self.all(&snapshot, &failed, params![project.0, hash])?)))
        })
    }

    async fn redeem_pairing(&self, device: DeviceNo, token: &str, now_ms: i64) -> Result<Redeemed> {
        let token = Sent::of(token);
        self.writer.run(move |connection| redeem(connection, device, &token, now_ms)).await
    }
}

/// What a device sends: the token, or region, token and secret in one.
struct Sent {
    token: [u8; 32],
    secret: Option<[u8; 32]>,
}

impl Sent {
    fn of(text: &str) -> Self {
        let parts = (text.is_ascii() && text.len() == 18).then(|| (&text[2..14], &text[14..]));
        match parts {
            Some((token, secret)) => Self { token: token_hash(token), secret: Some(token_hash(secret)) },
            None => Self { token: token_hash(text), secret: None },
        }
    }
}

fn redeem(connection: &Connection, device: DeviceNo, sent: &Sent, now_ms: i64) -> Result<Redeemed> {
    let sql = "SELECT project_no, user_no, home_id, secret_hash FROM pairing
               WHERE token_hash = ?1 AND expires_ms > ?2 AND device_no IS NULL";
    let found: Option<(i64, i64, i64, [u8; 32])> = connection
        .query_row(sql, params![sent.token, now_ms], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()
        .map_err(Error::store)?;
    let found = found.filter(|(.., secret)| sent.secret.is_none_or(|sent| sent == *secret));
    let Some((project_no, user_no, home_id, _)) = found else { return Ok(Redeemed::Unknown) };
    // Of the project's products, and nobody else's.
    let sql = "SELECT 1 FROM device d WHERE d.device_no = ?1 AND d.project_no = ?2 AND NOT EXISTS
               (SELECT 1 FROM binding b WHERE b.device_no = d.device_no AND b.owned = 1 AND b.user_no <> ?3)";
    let is_free = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.exists(params![device.0, project_no, user_no]))
        .map_err(Error::store)?;
    if !is_free {
        let sql = "INSERT OR IGNORE INTO pairing_failure (token_hash, device_no) SELECT ?1, ?2
                   WHERE (SELECT count(*) FROM pairing_failure WHERE token_hash = ?1) < ?3";
        connection.execute(sql, params![sent.token, device.0, FAILURES_MAX]).map_err(Error::store)?;
        return Ok(Redeemed::Refused);
    }
    bind(connection, device.0, user_no, true, now_ms)?;
    let write = || -> rusqlite::Result<()> {
        let sql = "UPDATE device SET home_id = ?2, active_ms = ?3, updated_ms = ?3 WHERE device_no = ?1";
        connection.execute(sql, params![device.0, home_id, now_ms])?;
        let sql = "UPDATE pairing SET device_no = ?2 WHERE token_hash = ?1";
        connection.execute(sql, params![sent.token, device.0])?;
        Ok(())
    };
    write().map_err(Error::store)?;
    Ok(Redeemed::Bound)
}
