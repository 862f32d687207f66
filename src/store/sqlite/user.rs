//! Users of apps.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use super::attribute::delete_desired_values;
use super::connection::{Reader, execute};
use super::owner::{Owners, remove_homes, user_no};
use crate::domain::caller::AppUser;
use crate::domain::handover::{HistoryCuts, Moves};
use crate::domain::password::Password;
use crate::domain::store::UserStore;
use crate::domain::user::{Account, User, UserOrder, UserPage, UserQuery, UserSync};
use crate::domain::{Error, ProjectNo, Result, Schema, Uid, UserNo, UsernameType};
use crate::store::cache::UserName;
use crate::store::generate;
use crate::store::password::PasswordHashes;

/// The columns of [`user`].
pub const COLUMNS: &str = "u.uid, u.username, u.username_type, u.country_code, u.nick_name, u.avatar, u.time_zone_id,
    u.created_ms, u.updated_ms, u.identity_id, u.login_id, u.open_id, u.phone, u.email, u.gender, u.last_login_ms,
    a.app_key";

/// The condition that the name of a row of `app_user u` is the text in the parameter `?2`. E-mail addresses match without
/// regard to the case of ASCII letters, other names exactly. An exact match has priority ([`EXACT_FIRST`]).
pub const NAMED: &str = "u.username = ?2 COLLATE NOCASE AND (u.username = ?2 OR instr(?2, '@') > 0)";

/// The order that puts the exact match first.
pub const EXACT_FIRST: &str = "u.username = ?2 DESC, u.user_no";

/// The tables of [`COLUMNS`].
pub const FROM: &str = "app_user u JOIN app a USING (app_no)";

#[async_trait]
impl UserStore for SqliteRegistry {
    async fn app_countries(&self, project: ProjectNo, schema: &Schema) -> Result<Option<Vec<String>>> {
        let schema = schema.clone();
        let read = move |reader: &Reader<'_>| {
            let text: Option<String> = reader
                .prepare_cached("SELECT country_codes FROM app WHERE project_no = ?1 AND schema = ?2")
                .and_then(|mut statement| {
                    statement.query_row(params![project.0, schema.0], |row| row.get(0)).optional()
                })
                .map_err(Error::store)?;
            let split = |text: String| text.split(',').filter(|code| !code.is_empty()).map(str::to_owned).collect();
            Ok(text.map(split))
        };
        self.readers.run(read).await
    }

    async fn sync_user(&self, project: ProjectNo, schema: &Schema, user: UserSync, now_ms: i64) -> Result<Option<Uid>> {
        let (username, schema) = (user.username.clone(), schema.clone());
        let app = schema.clone();
        let read = move |reader: &Reader<'_>| {
            reader
                .prepare_cached(&format!(
                    "SELECT {PASSWORD_HASHES} FROM app_user u JOIN app a USING (app_no)
                     WHERE a.project_no = ?1 AND {NAMED} AND a.schema = ?3 ORDER BY {EXACT_FIRST} LIMIT 1"
                ))
                .and_then(|mut statement| {
                    let values = params![project.0, username, app.0];
                    statement.query_row(values, password_hashes).optional()
                })
                .map_err(Error::store)
        };
        let stored = self.readers.run(read).await?;
        let hashes = self.passwords.hash(project, user.password.clone(), stored.unwrap_or_default()).await?;
        let write = move |connection: &Connection| {
            let Some(app_no) = app_no(connection, project, &schema)? else { return Ok(None) };
            sync(connection, project, app_no, &user, hashes.as_ref(), now_ms).map(Some)
        };
        self.writer.run(write).await
    }

    async fn users(&self, project: ProjectNo, schema: &Schema, query: &UserQuery) -> Result<Option<UserPage>> {
        let (schema, query) = (schema.clone(), query.clone());
        let read = move |connection: &Connection| {
            let snapshot = connection.unchecked_transaction().map_err(Error::store)?;
            let Some(app_no) = app_no(&snapshot, project, &schema)? else { return Ok(None) };
            let mut users = users(&snapshot, app_no, &query).map_err(Error::store)?;
            let total = snapshot
                .prepare_cached("SELECT count(*) FROM app_user WHERE app_no = ?1")
                .and_then(|mut statement| statement.query_row(params![app_no], |row| row.get(0)))
                .map_err(Error::store)?;
            let has_more = query.limit > 0 && users.len() > query.limit;
            users.truncate(query.limit);
            Ok(Some(UserPage { users, has_more, total }))
        };
        self.readers.run_limited(project, read).await
    }

    async fn account_by_password(
        &self,
        project: ProjectNo,
        schema: Option<&Schema>,
        username: &str,
        password: Password,
    ) -> Result<Option<Account>> {
        let sql = format!(
            "SELECT u.user_no, u.uid, u.country_code, u.access_version, u.disabled, {PASSWORD_HASHES}, u.username
             FROM app_user u JOIN app a USING (app_no)
             WHERE {NAMED} AND a.project_no = ?1 AND (?3 IS NULL OR a.schema = ?3) ORDER BY {EXACT_FIRST} LIMIT 2"
        );
        let named = |row: &Row<'_>| Ok((account(row)?, row.get("username")?));
        let (schema, name) = (schema.cloned(), username.to_owned());
        let read = move |reader: &Reader<'_>| {
            let mut statement = reader.prepare_cached(&sql).map_err(Error::store)?;
            let values = params![project.0, name, schema.as_ref().map(Schema::as_str)];
            statement.query_map(values, named).and_then(Iterator::collect).map_err(Error::store)
        };
        let found: Vec<((Account, PasswordHashes), String)> = self.readers.run(read).await?;
        let (account, hashes) = unambiguous(found, username).unzip();
        let is_right = self.passwords.check(Some(project), password, hashes.unwrap_or_default()).await?;
        Ok(account.filter(|_| is_right))
    }

    async fn user_by_name(&self, project: ProjectNo, schema: Option<&Schema>, username: &str) -> Result<Option<User>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {FROM} WHERE {NAMED} AND a.project_no = ?1 AND (?3 IS NULL OR a.schema = ?3)
             ORDER BY {EXACT_FIRST} LIMIT 2"
        );
        let (schema, username) = (schema.cloned(), username.to_owned());
        let read = move |reader: &Reader<'_>| {
            let mut statement = reader.prepare_cached(&sql).map_err(Error::store)?;
            let values = params![project.0, username, schema.as_ref().map(Schema::as_str)];
            let users: Vec<User> =
                statement.query_map(values, user).and_then(Iterator::collect).map_err(Error::store)?;
            let named = users.into_iter().map(|user| (user.clone(), user.username)).collect();
            Ok(unambiguous(named, &username))
        };
        self.readers.run(read).await
    }

    async fn app_user(&self, project: ProjectNo, uid: &Uid) -> Result<Option<AppUser>> {
        let sql = "SELECT user_no, access_version FROM app_user WHERE uid = ?1 AND project_no = ?2 AND disabled = 0";
        let uid = uid.clone();
        let read = move |reader: &Reader<'_>| {
            let app_user = |row: &Row<'_>| {
                Ok(AppUser { no: UserNo(row.get("user_no")?), uid: uid.clone(), version: row.get("access_version")? })
            };
            reader
                .prepare_cached(sql)
                .and_then(|mut statement| statement.query_row(params![uid.0, project.0], app_user).optional())
                .map_err(Error::store)
        };
        self.readers.run(read).await
    }

    async fn user(&self, project: ProjectNo, uid: &Uid) -> Result<Option<User>> {
        let uid = uid.clone();
        let read = move |reader: &Reader<'_>| {
            reader
                .prepare_cached(&format!("SELECT {COLUMNS} FROM {FROM} WHERE u.uid = ?1 AND u.project_no = ?2"))
                .and_then(|mut statement| statement.query_row(params![uid.0, project.0], user).optional())
                .map_err(Error::store)
        };
        self.readers.run(read).await
    }

    async fn all_users(&self, project: ProjectNo, offset: usize, limit: usize, order: UserOrder) -> Result<Vec<User>> {
        let order = match order {
            UserOrder::OldestFirst => "ASC",
            UserOrder::NewestFirst => "DESC",
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM {FROM} WHERE u.project_no = ?1
             ORDER BY u.created_ms {order}, u.user_no {order} LIMIT ?2 OFFSET ?3"
        );
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let read = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(&sql).map_err(Error::store)?;
            let rows = statement.query_map(params![project.0, limit, offset], user);
            rows.and_then(Iterator::collect).map_err(Error::store)
        };
        self.readers.run_limited(project, read).await
    }

    async fn user_by_open_id(
        &self,
        project: ProjectNo,
        app_key: &str,
        open_id: &str,
    ) -> Result<Option<Option<Arc<User>>>> {
        const APPS: &str = "SELECT a.app_no FROM app a JOIN project p USING (project_no)
                            WHERE a.project_no = ?1 AND ?2 IN (a.app_key, p.aliyun_app_key)";
        let app_key = app_key.to_owned();
        let key = (project, UserName::OpenId(app_key.clone(), open_id.to_owned()));
        let read = |reader: &Reader<'_>, (project, name): &(ProjectNo, UserName)| {
            let UserName::OpenId(app_key, open_id) = name else { return Ok(None) };
            let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE u.open_id = ?3 AND u.app_no IN ({APPS}) LIMIT 2");
            let mut statement = reader.prepare_cached(&sql).map_err(Error::store)?;
            let rows = statement.query_map(params![project.0, app_key, open_id], user);
            let mut users: Vec<User> = rows.and_then(Iterator::collect).map_err(Error::store)?;
            // If two apps have different users with this open id, the project's own AppKey finds neither of them.
            let only = users.len() == 1;
            Ok(users.pop().filter(|_| only).map(Arc::new))
        };
        if let Some(found) = self.readers.cached(|cache| &cache.users, key, read).await? {
            return Ok(Some(Some(found)));
        }
        let app_exists = move |reader: &Reader<'_>| {
            let mut statement = reader.prepare_cached(APPS).map_err(Error::store)?;
            statement.exists(params![project.0, app_key]).map_err(Error::store)
        };
        Ok(self.readers.run(app_exists).await?.then_some(None))
    }

    async fn users_by_identity(&self, project: ProjectNo, ids: &[&str]) -> Result<Vec<Option<Arc<User>>>> {
        let read = |reader: &Reader<'_>, (project, name): &(ProjectNo, UserName)| {
            let UserName::Identity(identity_id) = name else { return Ok(None) };
            let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE u.identity_id = ?2 AND u.project_no = ?1");
            let mut statement = reader.prepare_cached(&sql).map_err(Error::store)?;
            let found = statement.query_row(params![project.0, identity_id], user).optional();
            Ok(found.map_err(Error::store)?.map(Arc::new))
        };
        let mut users = Vec::with_capacity(ids.len());
        for id in ids {
            let key = (project, UserName::Identity((*id).to_owned()));
            users.push(self.readers.cached(|cache| &cache.users, key, read).await?);
        }
        Ok(users)
    }

    async fn rename_user(&self, project: ProjectNo, uid: &Uid, nick_name: &str, now_ms: i64) -> Result<bool> {
        let (uid, nick_name) = (uid.clone(), nick_name.to_owned());
        let sql = "UPDATE app_user SET nick_name = ?3, updated_ms = ?4 WHERE uid = ?2 AND project_no = ?1";
        let write = move |connection: &Connection| {
            Ok(execute(connection, sql, params![project.0, uid.0, nick_name, now_ms]).map_err(Error::store)? == 1)
        };
        self.writer.run(write).await
    }

    async fn remove_user(
        &self,
        project: ProjectNo,
        uid: &Uid,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<Option<Moves>> {
        let uid = uid.clone();
        let work = move |owners: &Owners<'_>| {
            let found = user_no(owners.connection, project, &uid).map_err(Error::store)?;
            let Some(user_no) = found else { return Ok(false) };
            for device_no in
                owners.numbers("SELECT device_no FROM binding WHERE user_no = ?1 AND owned = 1", user_no)?
            {
                owners.release(device_no)?;
                // No later owner may see the history of a user who no longer exists.
                owners.reset(device_no)?;
            }
            // The same for devices that the user owned last but has given up.
            let given_up = "SELECT device_no FROM device d WHERE last_owner_no = ?1 AND NOT EXISTS
                (SELECT 1 FROM binding b WHERE b.device_no = d.device_no AND b.owned = 1)";
            for device_no in owners.numbers(given_up, user_no)? {
                owners.reset(device_no)?;
            }
            let ended = delete_user(owners.connection, user_no, owners.now_ms).map_err(Error::store)?;
            owners.end(ended);
            Ok(true)
        };
        let (done, moves) = self.change_owners(cuts, now_ms, work).await?;
        Ok(done.then_some(moves))
    }
}

/// Deletes a user who owns no device, with all data of the user. Returns the devices whose sessions must end.
fn delete_user(connection: &Connection, user_no: i64, now_ms: i64) -> rusqlite::Result<Vec<crate::domain::DeviceNo>> {
    let shared = "SELECT device_no FROM binding WHERE user_no = ?1 UNION
                  SELECT device_no FROM device JOIN home_member m USING (home_id) WHERE m.user_no = ?1";
    delete_desired_values(connection, shared, user_no)?;
    let ended = remove_homes(connection, "SELECT home_id FROM home WHERE owner_no = ?1", user_no, now_ms)?;
    let pairings = "SELECT token_hash FROM pairing WHERE user_no = ?1";
    connection.execute(&format!("DELETE FROM pairing_failure WHERE token_hash IN ({pairings})"), params![user_no])?;
    connection.execute("DELETE FROM home_invitation WHERE by_no = ?1", params![user_no])?;
    for table in ["binding", "home_member", "home_invitation", "pairing", "user_token", "app_user"] {
        connection.execute(&format!("DELETE FROM {table} WHERE user_no = ?1"), params![user_no])?;
    }
    Ok(ended)
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
    hashes: Option<&PasswordHashes>,
    now_ms: i64,
) -> Result<Uid> {
    let (md5, sha256) = hashes.map(|hashes| (&hashes.md5, &hashes.sha256)).unzip();
    let updated: Option<String> = connection
        .prepare_cached(&format!(
            "UPDATE app_user SET password_md5_hash = iif(?3, ?7, password_md5_hash),
             password_sha256_hash = iif(?3, ?8, password_sha256_hash), access_version = access_version + ?3,
             nick_name = coalesce(?4, nick_name), time_zone_id = coalesce(?5, time_zone_id), updated_ms = ?6
             WHERE user_no = (SELECT u.user_no FROM app_user u WHERE u.app_no = ?1 AND {NAMED} ORDER BY {EXACT_FIRST}
             LIMIT 1) RETURNING uid"
        ))
        .and_then(|mut statement| {
            let (name, is_changed) = (&user.username, hashes.is_some());
            let values = params![app_no, name, is_changed, user.nick_name, user.time_zone_id, now_ms, md5, sha256];
            statement.query_row(values, |row| row.get(0)).optional()
        })
        .map_err(Error::store)?;
    if let Some(uid) = updated {
        return Ok(Uid(uid));
    }
    let uid = generate::uid(now_ms)?;
    let (identity_id, login_id) = (generate::identity_id()?, generate::login_id()?);
    connection
        .prepare_cached(
            "INSERT INTO app_user (project_no, app_no, uid, username, username_type, country_code, password_md5_hash,
             nick_name, avatar, time_zone_id, identity_id, login_id, open_id, created_ms, updated_ms, password_sha256_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '', ?9, ?10, ?11, ?11, ?12, ?12, ?13)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                project.0,
                app_no,
                uid,
                user.username,
                user.username_type as i64,
                user.country_code,
                md5,
                user.nick_name.as_deref().unwrap_or_default(),
                user.time_zone_id,
                identity_id,
                login_id,
                now_ms,
                sha256
            ])
        })
        .map_err(Error::store)?;
    Ok(Uid(uid))
}

/// Chooses one of the users that match a name, where exact matches come first: the only exact match, or else the only match.
/// If users of two apps have the name, neither is chosen.
fn unambiguous<T>(found: Vec<(T, String)>, username: &str) -> Option<T> {
    let is_unique = match found.as_slice() {
        [_] => true,
        [(_, first), (_, second)] => first == username && second != username,
        _ => false,
    };
    found.into_iter().next().filter(|_| is_unique).map(|(user, _)| user)
}

/// A page of users with one more than the limit, to see if there are more.
fn users(connection: &Connection, app_no: i64, query: &UserQuery) -> rusqlite::Result<Vec<User>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM {FROM} WHERE u.app_no = ?1 AND (?2 IS NULL OR ({NAMED}))
             AND u.created_ms BETWEEN ?3 AND ?4 ORDER BY u.created_ms, u.user_no LIMIT ?5 OFFSET ?6"
        ))?
        .query_map(
            params![
                app_no,
                query.username,
                query.from_ms.unwrap_or(0),
                query.to_ms.unwrap_or(i64::MAX),
                query.limit + 1,
                i64::try_from(query.offset).unwrap_or(i64::MAX)
            ],
            user,
        )?
        .collect()
}

/// The columns of [`password_hashes`].
pub const PASSWORD_HASHES: &str = "u.password_md5_hash, u.password_sha256_hash";

/// The hashes in a row of [`PASSWORD_HASHES`].
pub fn password_hashes(row: &Row<'_>) -> rusqlite::Result<PasswordHashes> {
    Ok(PasswordHashes { md5: row.get("password_md5_hash")?, sha256: row.get("password_sha256_hash")? })
}

/// An account and the hashes of its password, which no password matches if the account is disabled. The row has
/// [`PASSWORD_HASHES`], `user_no`, `uid`, `country_code`, `access_version` and `disabled`.
pub fn account(row: &Row<'_>) -> rusqlite::Result<(Account, PasswordHashes)> {
    let (no, uid, version) = (UserNo(row.get("user_no")?), Uid(row.get("uid")?), row.get("access_version")?);
    let hashes = if row.get("disabled")? { PasswordHashes::default() } else { password_hashes(row)? };
    Ok((Account { no, uid, country_code: row.get("country_code")?, version }, hashes))
}

/// The user in a row of [`COLUMNS`].
pub fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        uid: Uid(row.get("uid")?),
        username: row.get("username")?,
        username_type: UsernameType::from_number(row.get("username_type")?).unwrap_or(UsernameType::Other),
        country_code: row.get("country_code")?,
        nick_name: row.get("nick_name")?,
        avatar: row.get("avatar")?,
        time_zone_id: row.get("time_zone_id")?,
        created_ms: row.get("created_ms")?,
        updated_ms: row.get("updated_ms")?,
        identity_id: row.get("identity_id")?,
        login_id: row.get("login_id")?,
        open_id: row.get("open_id")?,
        phone: row.get("phone")?,
        email: row.get("email")?,
        gender: row.get("gender")?,
        last_login_ms: Some(row.get("last_login_ms")?).filter(|ms| *ms > 0),
        app_key: row.get("app_key")?,
    })
}
