//! Tokens that pair devices, of which only hashes are kept.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::fmt::Write;

use super::SqliteRegistry;
use super::device::{COLUMNS, FROM};
use super::owner::{Owner, Owners, first_home, user_no};
use super::visibility::VISIBLE;
use crate::domain::handover::{HistoryCuts, Moves};
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
        from_ms: i64,
    ) -> Result<Option<(Option<Device>, Vec<Device>)>> {
        let hash = token_hash(token);
        self.readers.run(|connection| {
            let snapshot = connection.unchecked_transaction().map_err(Error::store)?;
            let sql = "SELECT device_no FROM pairing WHERE token_hash = ?1 AND project_no = ?2
                       AND (?3 IS NULL OR user_no = ?3) AND expires_ms >= ?4";
            let found: Option<Option<i64>> = snapshot
                .prepare_cached(sql)
                .and_then(|mut statement| {
                    let values = params![hash, project.0, user.map(|user| user.0), from_ms];
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

    async fn redeem_pairing(
        &self,
        device: DeviceNo,
        token: &str,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Redeemed, Moves)> {
        let sent = Sent::of(token);
        // Guesses write nothing.
        if self.readers.run(|connection| living(connection, &sent, now_ms))?.is_none() {
            return Ok((Redeemed::Unknown, Moves::default()));
        }
        self.change_owners(cuts, now_ms, move |owners| redeem(owners, device, &sent)).await
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

/// A token that can be redeemed.
struct Living {
    project_no: i64,
    owner: Owner,
}

/// The token that was sent, if it can be redeemed still: by a user who may bring devices into that home still.
fn living(connection: &Connection, sent: &Sent, now_ms: i64) -> Result<Option<Living>> {
    let sql = "SELECT p.project_no, p.user_no, p.home_id, p.secret_hash
               FROM pairing p JOIN app_user u USING (user_no) JOIN home h USING (home_id)
               WHERE p.token_hash = ?1 AND p.expires_ms > ?2 AND p.device_no IS NULL AND u.disabled = 0
               AND (h.owner_no = p.user_no OR EXISTS (SELECT 1 FROM home_member m
                   WHERE m.home_id = p.home_id AND m.user_no = p.user_no AND m.is_admin = 1))";
    let found = connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            let read = |row: &Row<'_>| {
                let owner = Owner { user_no: row.get(1)?, home_id: row.get(2)? };
                Ok((Living { project_no: row.get(0)?, owner }, row.get::<_, [u8; 32]>(3)?))
            };
            statement.query_row(params![sent.token, now_ms], read).optional()
        })
        .map_err(Error::store)?;
    let found = found.filter(|(_, secret)| sent.secret.is_none_or(|sent| sent == *secret));
    Ok(found.map(|(living, _)| living))
}

fn redeem(owners: &Owners<'_>, device: DeviceNo, sent: &Sent) -> Result<Redeemed> {
    let (connection, now_ms) = (owners.connection, owners.now_ms);
    let Some(Living { project_no, owner }) = living(connection, sent, now_ms)? else { return Ok(Redeemed::Unknown) };
    // Of the project's products, and nobody else's.
    let sql = "SELECT 1 FROM device d WHERE d.device_no = ?1 AND d.project_no = ?2 AND NOT EXISTS
               (SELECT 1 FROM binding b WHERE b.device_no = d.device_no AND b.owned = 1 AND b.user_no <> ?3)";
    let is_free = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.exists(params![device.0, project_no, owner.user_no]))
        .map_err(Error::store)?;
    if !is_free {
        let sql = "INSERT OR IGNORE INTO pairing_failure (token_hash, device_no) SELECT ?1, ?2
                   WHERE (SELECT count(*) FROM pairing_failure WHERE token_hash = ?1) < ?3";
        connection.execute(sql, params![sent.token, device.0, FAILURES_MAX]).map_err(Error::store)?;
        return Ok(Redeemed::Refused);
    }
    owners.hand_over(device.0, owner, false)?;
    owners.hand_over_behind(device.0, owner)?;
    let write = || -> rusqlite::Result<()> {
        connection.execute("UPDATE device SET active_ms = ?2 WHERE device_no = ?1", params![device.0, now_ms])?;
        let sql = "UPDATE pairing SET device_no = ?2 WHERE token_hash = ?1";
        connection.execute(sql, params![sent.token, device.0])?;
        Ok(())
    };
    write().map_err(Error::store)?;
    Ok(Redeemed::Bound)
}
