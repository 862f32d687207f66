//! Homes and their members.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use super::attribute::delete_desired_values;
use super::connection::Reader;
use super::device::{COLUMNS, FROM};
use super::owner::{behind_gateways, new_home, remove_homes, user_no};
use super::visibility::{HOME_ROLE, HOMES_OF_USER, VISIBLE, home_role};
use super::{invitation, user};
use crate::domain::home::{
    Home, HomePatch, HomeRole, Member, MemberChange, MemberClaim, MemberDecision, MemberResult, check_removes,
    check_role,
};
use crate::domain::ownership::detached_by_leaving;
use crate::domain::store::HomeStore;
use crate::domain::{Device, DeviceNo, Error, HomeId, Noun, ProjectNo, Result, Uid, UserNo};

/// The columns of [`home`].
const HOME: &str = "h.home_id, h.name, o.uid, h.geo_name, h.lat, h.lon";
/// The tables of [`HOME`].
const HOMES: &str = "home h JOIN app_user o ON o.user_no = h.owner_no";

#[async_trait]
impl HomeStore for SqliteRegistry {
    async fn homes_of_user(
        &self,
        project: ProjectNo,
        uid: &Uid,
        limit: usize,
    ) -> Result<Option<Vec<(Home, HomeRole)>>> {
        let uid = uid.clone();
        let read = move |connection: &Connection| -> rusqlite::Result<Option<Vec<(Home, HomeRole)>>> {
            let snapshot = connection.unchecked_transaction()?;
            let Some(user_no) = user_no(&snapshot, project, &uid)? else { return Ok(None) };
            let sql = format!(
                "SELECT {HOME}, {HOME_ROLE} AS role FROM {HOMES} WHERE h.home_id IN ({HOMES_OF_USER}) ORDER BY h.home_id LIMIT ?2"
            );
            let both = |row: &Row<'_>| Ok((home(row)?, home_role(row.get("role")?)));
            let homes: rusqlite::Result<Vec<_>> =
                snapshot.prepare_cached(&sql)?.query_map(params![user_no, limit], both)?.collect();
            homes.map(Some)
        };
        self.readers.run(move |reader| read(reader).map_err(Error::store)).await
    }

    async fn homes(&self, project: ProjectNo, user: Option<UserNo>, after: HomeId, limit: usize) -> Result<Vec<Home>> {
        let sql = format!(
            "SELECT {HOME} FROM {HOMES} WHERE h.project_no = ?2 AND h.home_id > ?3
             AND (?1 IS NULL OR h.home_id IN ({HOMES_OF_USER})) ORDER BY h.home_id LIMIT ?4"
        );
        let read = move |reader: &Reader<'_>| {
            let mut statement = reader.prepare_cached(&sql).map_err(Error::store)?;
            let rows = statement.query_map(params![user.map(|user| user.0), project.0, after.0, limit], home);
            rows.and_then(Iterator::collect).map_err(Error::store)
        };
        self.readers.run(read).await
    }

    async fn home(&self, project: ProjectNo, id: HomeId) -> Result<Option<Home>> {
        let sql = format!("SELECT {HOME} FROM {HOMES} WHERE h.home_id = ?1 AND h.project_no = ?2");
        let read = move |reader: &Reader<'_>| {
            reader
                .prepare_cached(&sql)
                .and_then(|mut statement| statement.query_row(params![id.0, project.0], home).optional())
                .map_err(Error::store)
        };
        self.readers.run(read).await
    }

    async fn devices_of_home(
        &self,
        project: ProjectNo,
        id: HomeId,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<Device>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {FROM} WHERE {VISIBLE} AND d.home_id = ?2
             ORDER BY d.created_ms, d.device_id LIMIT ?3 OFFSET ?4"
        );
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        self.readers.run(move |reader| reader.all(&sql, params![project.0, id.0, limit, offset])).await
    }

    async fn home_role(&self, user: UserNo, id: HomeId) -> Result<Option<HomeRole>> {
        self.readers.run(move |reader| role_of(reader, id, user.0).map_err(Error::store)).await
    }

    async fn make_home(
        &self,
        project: ProjectNo,
        owner: &Uid,
        patch: HomePatch,
        max: usize,
    ) -> Result<Option<Option<HomeId>>> {
        let owner = owner.clone();
        let write = move |connection: &Connection| {
            let Some(owner_no) = user_no(connection, project, &owner).map_err(Error::store)? else { return Ok(None) };
            let sql = "SELECT count(*) FROM home WHERE owner_no = ?1";
            let count: usize = connection.query_row(sql, params![owner_no], |row| row.get(0)).map_err(Error::store)?;
            if count >= max {
                return Ok(Some(None));
            }
            let id = HomeId(new_home(connection, project.0, owner_no, patch.name.as_deref().unwrap_or_default())?);
            change(connection, project, id, &patch).map_err(Error::store)?;
            Ok(Some(Some(id)))
        };
        self.writer.run(write).await
    }

    async fn change_home(&self, project: ProjectNo, by: Option<UserNo>, id: HomeId, patch: HomePatch) -> Result<()> {
        let write = move |connection: &Connection| {
            check(connection, project, by, id, HomeRole::Owner)?;
            change(connection, project, id, &patch).map_err(Error::store)
        };
        self.writer.run(write).await
    }

    async fn remove_home(
        &self,
        project: ProjectNo,
        by: Option<UserNo>,
        id: HomeId,
        now_ms: i64,
    ) -> Result<Vec<DeviceNo>> {
        let write = move |connection: &Connection| {
            check(connection, project, by, id, HomeRole::Owner)?;
            remove_homes(connection, "?1", id.0, now_ms).map_err(Error::store)
        };
        self.writer.run(write).await
    }

    async fn members(&self, project: ProjectNo, id: HomeId, limit: usize) -> Result<Vec<Member>> {
        let (columns, from) = (user::COLUMNS, user::FROM);
        let sql = format!(
            "SELECT {columns}, l.role, l.name FROM {from} JOIN (
                 SELECT owner_no AS user_no, 2 AS role, '' AS name, 0 AS joined_ms FROM home WHERE home_id = ?1
                 UNION ALL SELECT m.user_no, m.is_admin, m.name, m.created_ms FROM home_member m JOIN home h USING (home_id)
                     WHERE m.home_id = ?1 AND m.user_no <> h.owner_no
             ) l ON l.user_no = u.user_no
             WHERE u.project_no = ?2 ORDER BY l.role = 2 DESC, l.joined_ms, u.user_no LIMIT ?3"
        );
        let member = |row: &Row<'_>| {
            Ok(Member { user: user::user(row)?, role: home_role(row.get("role")?), name: row.get("name")? })
        };
        let read = move |reader: &Reader<'_>| {
            let mut statement = reader.prepare_cached(&sql).map_err(Error::store)?;
            let rows = statement.query_map(params![id.0, project.0, limit], member);
            rows.and_then(Iterator::collect).map_err(Error::store)
        };
        self.readers.run(read).await
    }

    async fn put_member(
        &self,
        project: ProjectNo,
        id: HomeId,
        uid: &Uid,
        change: MemberChange,
        now_ms: i64,
    ) -> Result<MemberResult> {
        let uid = uid.clone();
        let write = move |connection: &Connection| {
            let Some(user_no) = user_no(connection, project, &uid)? else { return Ok(MemberResult::Unknown) };
            put(connection, project, id, user_no, &change, now_ms)
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }

    async fn remove_member(
        &self,
        project: ProjectNo,
        by: Option<UserNo>,
        id: HomeId,
        uid: &Uid,
        now_ms: i64,
    ) -> Result<Vec<DeviceNo>> {
        let uid = uid.clone();
        let write = move |connection: &Connection| {
            let by_role = check(connection, project, by, id, HomeRole::Member)?;
            let member = user_no(connection, project, &uid).map_err(Error::store)?;
            let role = |user_no| role_of(connection, id, user_no).map_err(Error::store);
            let is_self = by.is_none() || by.map(|by| by.0) == member;
            check_removes(by_role, is_self, member.map(role).transpose()?.flatten())?;
            let sql = "DELETE FROM home_member WHERE home_id = ?1 AND user_no = ?2";
            let removed = connection.execute(sql, params![id.0, member]).map_err(Error::store)?;
            let member = member.filter(|_| removed == 1).ok_or(Error::NotVisible(Noun::User))?;
            leave_home(connection, id, UserNo(member), now_ms).map_err(Error::store)
        };
        self.writer.run(write).await
    }
}

/// Checks that the project has the home and that the requester, if it is a user, has at least a role in it. Returns the role
/// of that user.
fn check(
    connection: &Connection,
    project: ProjectNo,
    by: Option<UserNo>,
    id: HomeId,
    least: HomeRole,
) -> Result<Option<HomeRole>> {
    let sql = "SELECT 1 FROM home WHERE home_id = ?1 AND project_no = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(Error::store)?;
    if !statement.exists(params![id.0, project.0]).map_err(Error::store)? {
        return Err(Error::NotVisible(Noun::Home));
    }
    let Some(by) = by else { return Ok(None) };
    let role = role_of(connection, id, by.0).map_err(Error::store)?;
    check_role(role, least).map(|()| role)
}

/// The role of a user in a home.
fn role_of(connection: &Connection, id: HomeId, user_no: i64) -> rusqlite::Result<Option<HomeRole>> {
    let sql = format!("SELECT {HOME_ROLE} AS role FROM home h WHERE h.home_id = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_row(params![user_no, id.0], |row| row.get::<_, Option<i64>>("role")).optional()?;
    Ok(found.flatten().map(home_role))
}

/// Removes a former member's devices from a home and deletes the desired values of all devices of the home. A device is
/// detached from its gateway if only one of them leaves. Returns the detached devices, whose sessions must end.
pub fn leave_home(connection: &Connection, home: HomeId, user: UserNo, now_ms: i64) -> rusqlite::Result<Vec<DeviceNo>> {
    delete_desired_values(connection, "SELECT device_no FROM device WHERE home_id = ?1", home.0)?;
    let owned = "SELECT device_no FROM binding WHERE user_no = ?2 AND owned = 1";
    let leaves = format!("SELECT device_no FROM device WHERE home_id = ?1 AND device_no IN ({owned})");
    let behind = behind_gateways(connection, "?1", home.0)?;
    let detached = detached_by_leaving(home, user, behind);
    for device in &detached {
        let sql = "UPDATE device SET gateway_no = NULL, updated_ms = ?2 WHERE device_no = ?1";
        connection.prepare_cached(sql)?.execute(params![device.0, now_ms])?;
    }
    let sql = format!("UPDATE device SET home_id = NULL, updated_ms = ?3 WHERE device_no IN ({leaves})");
    connection.prepare_cached(&sql)?.execute(params![home.0, user.0, now_ms])?;
    Ok(detached)
}

fn home(row: &Row<'_>) -> rusqlite::Result<Home> {
    Ok(Home {
        id: HomeId(row.get("home_id")?),
        name: row.get("name")?,
        owner: Uid(row.get("uid")?),
        geo_name: row.get("geo_name")?,
        lat: row.get("lat")?,
        lon: row.get("lon")?,
    })
}

/// Carries out [`HomeStore::put_member`] with the current role of the requester.
fn put(
    connection: &Connection,
    project: ProjectNo,
    id: HomeId,
    user_no: i64,
    change: &MemberChange,
    now_ms: i64,
) -> rusqlite::Result<MemberResult> {
    let sql = "SELECT (SELECT count(*) FROM home_member WHERE home_id = ?1 AND user_no <> ?2) AS members,
                   (SELECT count(*) FROM home_member WHERE user_no = ?2 AND home_id <> ?1) AS homes
               FROM home WHERE home_id = ?1 AND project_no = ?3";
    let before = role_of(connection, id, user_no)?;
    let by_role = change.by.map(|by| role_of(connection, id, by.0)).transpose()?.flatten();
    let read =
        |row: &Row<'_>| Ok(MemberClaim { before, by: by_role, members: row.get("members")?, homes: row.get("homes")? });
    let claim = connection.query_row(sql, params![id.0, user_no, project.0], read).optional()?;
    let Some(claim) = claim else { return Ok(MemberResult::Unknown) };
    let is_admin = match change.decide(&claim) {
        MemberDecision::Refuse(why) => return Ok(why),
        MemberDecision::Invite => return invitation::invite(connection, id, user_no, change, now_ms),
        MemberDecision::Put { is_admin } => is_admin,
    };
    connection
        .prepare_cached(
            "INSERT INTO home_member (home_id, user_no, is_admin, name, created_ms)
             VALUES (?1, ?2, ?3, coalesce(?4, ''), ?5) ON CONFLICT (home_id, user_no)
             DO UPDATE SET is_admin = excluded.is_admin, name = coalesce(?4, name)",
        )?
        .execute(params![id.0, user_no, is_admin, change.name, now_ms])?;
    invitation::remove(connection, id, user_no)?;
    Ok(MemberResult::Done)
}

fn change(connection: &Connection, project: ProjectNo, id: HomeId, patch: &HomePatch) -> rusqlite::Result<()> {
    let HomePatch { name, geo_name, lat, lon } = patch;
    let sql = "UPDATE home SET name = coalesce(?3, name), geo_name = coalesce(?4, geo_name), lat = coalesce(?5, lat),
               lon = coalesce(?6, lon) WHERE home_id = ?2 AND project_no = ?1";
    connection.prepare_cached(sql)?.execute(params![project.0, id.0, name, geo_name, lat, lon]).map(drop)
}
