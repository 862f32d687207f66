//! Invitations to homes.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use super::owner::user_no;
use super::user;
use crate::domain::home::{MemberChange, MemberResult};
use crate::domain::invitation::{INVITATION_LIFE_MS, Invitation, Waiting, may_accept};
use crate::domain::store::InvitationStore;
use crate::domain::{Error, HomeId, ProjectNo, Result, Uid, UserNo};

/// The invitations `i` of the user `?1` to homes `h` that were made after `?2` and whose inviter still has the right to invite.
const WAITING: &str = "home_invitation i JOIN home h USING (home_id)
    WHERE i.user_no = ?1 AND i.created_ms > ?2 AND h.owner_no <> ?1 AND (i.by_no = h.owner_no OR i.is_admin = 0 AND EXISTS
        (SELECT 1 FROM home_member b WHERE b.home_id = i.home_id AND b.user_no = i.by_no AND b.is_admin = 1))";

#[async_trait]
impl InvitationStore for SqliteRegistry {
    async fn invitations(
        &self,
        project: ProjectNo,
        uid: &Uid,
        from_ms: i64,
        limit: usize,
    ) -> Result<Option<Vec<Invitation>>> {
        let (columns, from) = (user::COLUMNS, user::FROM);
        let sql = format!(
            "SELECT {columns}, w.home_id, w.name, w.is_admin, w.created_ms AS invited_ms FROM {from} JOIN
             (SELECT i.home_id, h.name, i.is_admin, i.created_ms, i.by_no FROM {WAITING}) w ON w.by_no = u.user_no
             ORDER BY w.created_ms, w.home_id LIMIT ?3"
        );
        let uid = uid.clone();
        let read = move |connection: &Connection| -> rusqlite::Result<Option<Vec<Invitation>>> {
            let snapshot = connection.unchecked_transaction()?;
            let Some(user_no) = user_no(&snapshot, project, &uid)? else { return Ok(None) };
            let mut statement = snapshot.prepare_cached(&sql)?;
            let rows = statement.query_map(params![user_no, from_ms, limit], invitation)?;
            rows.collect::<rusqlite::Result<_>>().map(Some)
        };
        self.readers.run(move |reader| read(reader).map_err(Error::store)).await
    }

    async fn answer_invitation(
        &self,
        project: ProjectNo,
        uid: &Uid,
        home: HomeId,
        accept: bool,
        now_ms: i64,
    ) -> Result<MemberResult> {
        let uid = uid.clone();
        let write = move |connection: &Connection| -> rusqlite::Result<MemberResult> {
            let Some(user_no) = user_no(connection, project, &uid)? else { return Ok(MemberResult::Unknown) };
            let sql = format!("SELECT 1 FROM {WAITING} AND i.home_id = ?3");
            let values = params![user_no, now_ms - INVITATION_LIFE_MS, home.0];
            if !connection.prepare_cached(&sql)?.exists(values)? {
                return Ok(MemberResult::Unknown);
            }
            if accept {
                return accept_one(connection, home, user_no, now_ms);
            }
            remove(connection, home, user_no)?;
            Ok(MemberResult::Done)
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }

    async fn accept_all_invitations(&self, user: UserNo, now_ms: i64) -> Result<()> {
        let sql = format!("SELECT i.home_id FROM {WAITING} ORDER BY i.created_ms, i.home_id");
        let from_ms = now_ms - INVITATION_LIFE_MS;
        let waiting = move |connection: &Connection| -> rusqlite::Result<Vec<i64>> {
            connection.prepare_cached(&sql)?.query_map(params![user.0, from_ms], |row| row.get(0))?.collect()
        };
        // Most logins have nothing to accept and need no write.
        let read = waiting.clone();
        if self.readers.run(move |reader| read(reader).map_err(Error::store)).await?.is_empty() {
            return Ok(());
        }
        let write = move |connection: &Connection| -> rusqlite::Result<()> {
            for home in waiting(connection)? {
                accept_one(connection, HomeId(home), user.0, now_ms)?;
            }
            Ok(())
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }
}

/// The invitation in a row of a user's columns and the further columns of the statement.
fn invitation(row: &Row<'_>) -> rusqlite::Result<Invitation> {
    Ok(Invitation {
        by: user::user(row)?,
        home: HomeId(row.get("home_id")?),
        home_name: row.get("name")?,
        is_admin: row.get("is_admin")?,
        invited_ms: row.get("invited_ms")?,
    })
}

/// Invites a user who is not a member of the home. This replaces an earlier invitation to the same home. It is refused if
/// the inviter has too many invitations, but not because others have invited the same user.
pub fn invite(
    connection: &Connection,
    home: HomeId,
    user_no: i64,
    change: &MemberChange,
    now_ms: i64,
) -> rusqlite::Result<MemberResult> {
    let Some(by) = change.by else { return Ok(MemberResult::NotAllowed) };
    let expired = "DELETE FROM home_invitation WHERE created_ms <= ?3 AND (user_no = ?1 OR by_no = ?2)";
    connection.prepare_cached(expired)?.execute(params![user_no, by.0, now_ms - INVITATION_LIFE_MS])?;
    let sql = "SELECT count(*) AS by_one, count(*) FILTER (WHERE user_no = ?1) AS of_pair,
                   (SELECT count(*) FROM home_invitation WHERE user_no = ?1 AND home_id <> ?3) AS of_user,
                   (SELECT count(*) FROM home_member WHERE home_id = ?3) AS members
               FROM home_invitation WHERE by_no = ?2 AND (home_id <> ?3 OR user_no <> ?1)";
    let read = |row: &Row<'_>| {
        let (by_one, of_pair) = (row.get("by_one")?, row.get("of_pair")?);
        Ok(Waiting { by_one, of_pair, of_user: row.get("of_user")?, members: row.get("members")? })
    };
    let waiting = connection.query_row(sql, params![user_no, by.0, home.0], read)?;
    if !waiting.has_room() {
        return Ok(MemberResult::Full);
    }
    if waiting.replaces_another() {
        let sql = "DELETE FROM home_invitation WHERE user_no = ?1 AND home_id = (
                       SELECT i.home_id FROM home_invitation i WHERE i.user_no = ?1 AND i.home_id <> ?2 ORDER BY
                       (SELECT count(*) FROM home_invitation o WHERE o.by_no = i.by_no AND o.user_no = ?1) DESC,
                       i.created_ms, i.home_id LIMIT 1)";
        connection.prepare_cached(sql)?.execute(params![user_no, home.0])?;
    }
    let (is_admin, name) = (change.is_admin.unwrap_or(false), change.name.as_deref().unwrap_or_default());
    connection
        .prepare_cached(
            "INSERT INTO home_invitation (home_id, user_no, by_no, is_admin, name, created_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (home_id, user_no) DO UPDATE SET by_no = excluded.by_no,
             is_admin = excluded.is_admin, name = excluded.name, created_ms = excluded.created_ms",
        )?
        .execute(params![home.0, user_no, by.0, is_admin, name, now_ms])?;
    Ok(MemberResult::Invited)
}

/// Removes an invitation if it exists.
pub fn remove(connection: &Connection, home: HomeId, user_no: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM home_invitation WHERE home_id = ?1 AND user_no = ?2";
    connection.prepare_cached(sql)?.execute(params![home.0, user_no]).map(drop)
}

/// Makes an invited user a member of the home, unless a limit is reached.
fn accept_one(connection: &Connection, home: HomeId, user_no: i64, now_ms: i64) -> rusqlite::Result<MemberResult> {
    let sql = "SELECT (SELECT count(*) FROM home_member WHERE home_id = ?1) AS members,
                   (SELECT count(*) FROM home_member WHERE user_no = ?2) AS homes,
                   (SELECT count(*) FROM home_member m JOIN home h USING (home_id) WHERE m.user_no = ?2
                       AND h.owner_no = (SELECT owner_no FROM home WHERE home_id = ?1)) AS of_owner";
    let read = |row: &Row<'_>| Ok((row.get("members")?, row.get("homes")?, row.get("of_owner")?));
    let counts = connection.prepare_cached(sql)?.query_row(params![home.0, user_no], read).optional()?;
    let (members, homes, of_owner): (usize, usize, usize) = counts.unwrap_or_default();
    if !may_accept(members, homes, of_owner) {
        return Ok(MemberResult::Full);
    }
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO home_member (home_id, user_no, is_admin, name, created_ms)
             SELECT home_id, user_no, is_admin, name, ?3 FROM home_invitation WHERE home_id = ?1 AND user_no = ?2",
        )?
        .execute(params![home.0, user_no, now_ms])?;
    remove(connection, home, user_no)?;
    Ok(MemberResult::Done)
}
