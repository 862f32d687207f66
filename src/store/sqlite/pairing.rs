//! Pairing tokens. Only their hashes are stored.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::fmt::Write;

use super::SqliteRegistry;
use super::connection::Reader;
use super::device::{COLUMNS, FROM};
use super::owner::{Owner, Owners, first_home, user_no};
use super::visibility::{HOME_ROLE, VISIBLE, home_role};
use crate::domain::handover::{HistoryCuts, Moves};
use crate::domain::pairing::{Claim, Decision, PAIRING_KEPT_MS, PAIRINGS_MAX, PairingToken, Redeemed, SentToken};
use crate::domain::store::PairingStore;
use crate::domain::{Device, DeviceNo, DurationMs, Error, HomeId, ProjectNo, Result, Uid, UserNo};
use crate::store::generate;
use crate::store::seal::token_hash;

#[async_trait]
impl PairingStore for SqliteRegistry {
    async fn make_pairing(
        &self,
        project: ProjectNo,
        uid: &Uid,
        home: Option<HomeId>,
        now_ms: i64,
        life: DurationMs,
    ) -> Result<Option<PairingToken>> {
        let uid = uid.clone();
        let write = move |connection: &Connection| {
            let Some(user_no) = user_no(connection, project, &uid).map_err(Error::store)? else { return Ok(None) };
            let home_id = match home {
                Some(home) => home.0,
                None => first_home(connection, user_no)?,
            };
            let made = PairingToken { token: generate::letters(12)?, secret: generate::letters(4)? };
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
                        now_ms + life
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
        let read = move |reader: &Reader<'_>| {
            let snapshot = reader.unchecked_transaction().map_err(Error::store)?;
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
            let paired = reader.first(&sql, params![project.0, paired])?;
            Ok(Some((paired, reader.all(&failed, params![project.0, hash])?)))
        };
        self.readers.run(read).await
    }

    async fn redeem_pairing(
        &self,
        device: DeviceNo,
        token: &SentToken,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(Redeemed, Moves)> {
        let sent = SentHashes { token: token_hash(&token.token), secret: token.secret.as_deref().map(token_hash) };
        // An invalid token must not cause a write.
        let read = sent.clone();
        let found = self.readers.run(move |reader| claim(reader, &read).map_err(Error::store)).await?;
        if !found.is_some_and(|claim| claim.is_valid(now_ms)) {
            return Ok((Redeemed::Unknown, Moves::default()));
        }
        self.change_owners(cuts, now_ms, move |owners| redeem(owners, device, &sent)).await
    }
}

/// The hashes of the token and the secret that a device sent.
#[derive(Clone)]
struct SentHashes {
    token: [u8; 32],
    secret: Option<[u8; 32]>,
}

/// Reads the pairing token and the data that decides whether it can be redeemed.
fn claim(connection: &Connection, sent: &SentHashes) -> rusqlite::Result<Option<Claim>> {
    let role = HOME_ROLE.replace("?1", "p.user_no");
    let sql = format!(
        "SELECT p.project_no, p.user_no, p.home_id, {role} AS role, u.disabled, p.expires_ms, p.device_no, p.secret_hash
         FROM pairing p JOIN app_user u USING (user_no) JOIN home h USING (home_id) WHERE p.token_hash = ?1"
    );
    let claim = |row: &Row<'_>| {
        let secret: [u8; 32] = row.get("secret_hash")?;
        Ok(Claim {
            project: ProjectNo(row.get("project_no")?),
            user: UserNo(row.get("user_no")?),
            home: HomeId(row.get("home_id")?),
            role: row.get::<_, Option<i64>>("role")?.map(home_role),
            is_disabled: row.get("disabled")?,
            expires_ms: row.get("expires_ms")?,
            is_used: row.get::<_, Option<i64>>("device_no")?.is_some(),
            is_secret_right: sent.secret.is_none_or(|sent| sent == secret),
        })
    };
    connection.prepare_cached(&sql)?.query_row(params![sent.token], claim).optional()
}

fn redeem(owners: &Owners<'_>, device: DeviceNo, sent: &SentHashes) -> Result<Redeemed> {
    let (connection, now_ms) = (owners.connection, owners.now_ms);
    let Some(claim) = claim(connection, sent).map_err(Error::store)? else { return Ok(Redeemed::Unknown) };
    let sql = "SELECT count(*) FROM pairing_failure WHERE token_hash = ?1";
    let failures = connection.query_row(sql, params![sent.token], |row| row.get(0)).map_err(Error::store)?;
    let write = |sql: &str| -> Result<()> {
        connection.execute(sql, params![sent.token, device.0]).map(drop).map_err(Error::store)
    };
    match claim.decide(&owners.placement(device.0)?, failures, now_ms) {
        Decision::Unknown => Ok(Redeemed::Unknown),
        Decision::Refuse { is_noted } => {
            if is_noted {
                write("INSERT OR IGNORE INTO pairing_failure (token_hash, device_no) VALUES (?1, ?2)")?;
            }
            Ok(Redeemed::Refused)
        }
        Decision::Bind => {
            let owner = Owner { user_no: claim.user.0, home_id: claim.home.0 };
            owners.hand_over(device.0, owner, false)?;
            owners.hand_over_behind(device.0, owner)?;
            let activate = "UPDATE device SET active_ms = ?2 WHERE device_no = ?1";
            connection.execute(activate, params![device.0, now_ms]).map_err(Error::store)?;
            write("UPDATE pairing SET device_no = ?2 WHERE token_hash = ?1")?;
            Ok(Redeemed::Bound)
        }
    }
}
