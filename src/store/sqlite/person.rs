//! Everything that the registry has about one person, and the search for what is left after its erasure.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use serde_json::{Map, Value as Json};

use crate::domain::inventory::{Identifiers, Trace};
use crate::domain::{Error, Result};

/// The devices that the user `?1` owns.
const OWN: &str = "SELECT device_no FROM binding WHERE user_no = ?1 AND owned = 1";

/// What there is about the user `?1` besides the account. Hashes and secrets are left out.
const PARTS: [(&str, &str); 12] = [
    ("logins", "SELECT lower(hex(substr(access_hash, 1, 8))) AS id, granted_ms, expires_ms FROM user_token WHERE user_no = ?1"),
    ("homes", "SELECT home_id, name, geo_name, lat, lon FROM home WHERE owner_no = ?1"),
    ("memberships", "SELECT home_id, is_admin, name, created_ms FROM home_member WHERE user_no = ?1"),
    (
        "invitations",
        "SELECT i.home_id, u.uid AS invited, b.uid AS invited_by, i.is_admin, i.name, i.created_ms FROM home_invitation i
         JOIN app_user u ON u.user_no = i.user_no JOIN app_user b ON b.user_no = i.by_no
         WHERE i.user_no = ?1 OR i.by_no = ?1",
    ),
    (
        "devices",
        "SELECT d.device_id, p.product_id, d.name, d.home_id, d.sn, d.mac, d.ip, d.lat, d.lon, d.time_zone, d.node_id,
         b.created_ms AS owned_since_ms, d.active_ms, d.updated_ms FROM binding b JOIN device d USING (device_no)
         JOIN product p USING (product_no) WHERE b.user_no = ?1 AND b.owned = 1",
    ),
    (
        "shared_with_the_user",
        "SELECT d.device_id, b.created_ms FROM binding b JOIN device d USING (device_no)
         WHERE b.user_no = ?1 AND b.owned = 0",
    ),
    (
        "shared_by_the_user",
        "SELECT d.device_id, u.uid, s.created_ms FROM binding s JOIN device d USING (device_no)
         JOIN app_user u ON u.user_no = s.user_no WHERE s.owned = 0 AND s.device_no IN
         (SELECT device_no FROM binding WHERE user_no = ?1 AND owned = 1)",
    ),
    (
        "function_names",
        "SELECT d.device_id, f.code, f.name FROM function_name f JOIN device d USING (device_no) WHERE f.device_no IN ({own})",
    ),
    (
        "device_users",
        "SELECT d.device_id, f.user_id, f.nick_name, f.sex, f.birthday_ms, f.height_cm, f.weight_g, f.contact
         FROM device_user f JOIN device d USING (device_no) WHERE f.device_no IN ({own})",
    ),
    (
        "attributes",
        "SELECT d.device_id, f.kind, f.key, f.text FROM device_fact f JOIN device d USING (device_no)
         WHERE f.device_no IN ({own})",
    ),
    (
        "desired_values",
        "SELECT d.device_id, f.code, f.value, f.until_ms FROM desired_value f JOIN device d USING (device_no)
         WHERE f.device_no IN ({own})",
    ),
    ("pairings", "SELECT home_id, expires_ms FROM pairing WHERE user_no = ?1"),
];

/// Everything about the user with a number besides the account: the rows of each part.
pub fn parts(connection: &Connection, user_no: i64) -> Result<Map<String, Json>> {
    let snapshot = connection.unchecked_transaction().map_err(Error::store)?;
    let mut all = Map::new();
    for (part, sql) in PARTS {
        let rows = rows(&snapshot, &sql.replace("{own}", OWN), user_no).map_err(Error::store)?;
        all.insert(part.to_owned(), Json::Array(rows));
    }
    Ok(all)
}

fn rows(connection: &Connection, sql: &str, user_no: i64) -> rusqlite::Result<Vec<Json>> {
    let mut statement = connection.prepare(sql)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Json> {
        let mut members = Map::new();
        for (index, name) in names.iter().enumerate() {
            let value = match row.get_ref(index)? {
                ValueRef::Null | ValueRef::Blob(_) => continue,
                ValueRef::Integer(number) => number.into(),
                ValueRef::Real(number) => number.into(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
            };
            members.insert(name.clone(), value);
        }
        Ok(Json::Object(members))
    };
    statement.query_map(params![user_no], row)?.collect()
}

/// Removes from the audit what users entered for the devices that the user `?1` owned last.
const HIDE_ENTERED: [&str; 2] = [
    "UPDATE audit SET before = NULL, after = NULL
     WHERE object_kind IN ('device_user', 'function_name', 'attribute', 'desired_value')
     AND substr(object, 1, instr(object, '/') - 1) IN (SELECT device_id FROM device WHERE last_owner_no = ?1)",
    "UPDATE audit SET before = json_remove(before, '$.name', '$.ip', '$.lat', '$.lon', '$.time_zone'),
     after = json_remove(after, '$.name', '$.ip', '$.lat', '$.lon', '$.time_zone')
     WHERE object_kind = 'device' AND object IN (SELECT device_id FROM device WHERE last_owner_no = ?1)",
];

/// Removes the user with the uid `?1` from the audit: the members of the account, of the user's homes and of what refers to the
/// account, everything that the user changed, and then the uid itself.
const HIDE_USER: [&str; 3] = [
    "UPDATE audit SET before = NULL, after = NULL WHERE object_kind = 'home' AND object IN (SELECT h.object FROM audit h
     WHERE h.object_kind = 'home' AND ?1 IN (json_extract(h.before, '$.owner'), json_extract(h.after, '$.owner')))",
    "UPDATE audit SET before = NULL, after = NULL WHERE (actor_kind = 'user' AND actor = ?1)
     OR instr('/' || object || '/', '/' || ?1 || '/') > 0
     OR EXISTS (SELECT 1 FROM json_each(audit.before) WHERE value = ?1)
     OR EXISTS (SELECT 1 FROM json_each(audit.after) WHERE value = ?1)",
    "UPDATE audit SET actor = iif(actor_kind = 'user' AND actor = ?1, 'erased', actor),
     origin = iif(actor_kind = 'user' AND actor = ?1, '', origin),
     object = trim(replace('/' || object || '/', '/' || ?1 || '/', '/erased/'), '/')
     WHERE (actor_kind = 'user' AND actor = ?1) OR instr('/' || object || '/', '/' || ?1 || '/') > 0",
];

/// Removes the text `?1` from the audit. Another user may have the same one, and projects and products are not the user's.
const HIDE_TEXT: &str = "UPDATE audit SET before = NULL, after = NULL
    WHERE (instr(before, ?1) > 0 OR instr(after, ?1) > 0)
    AND object_kind NOT IN ('project', 'app', 'product', 'user', 'visual_key', 'operation')";

/// Removes a removed user from the audit. Its rows remain, so that they still show when something was changed.
fn redact_audit(connection: &Connection, who: &Identifiers) -> rusqlite::Result<()> {
    for sql in HIDE_ENTERED {
        connection.execute(sql, params![who.user_no])?;
    }
    for sql in HIDE_USER {
        connection.execute(sql, params![who.uid])?;
    }
    for text in who.texts.iter().filter(|text| is_searched_within(text)) {
        connection.execute(HIDE_TEXT, params![text])?;
    }
    Ok(())
}

/// Whether a text is searched within other texts. A short one is a part of many others.
fn is_searched_within(text: &str) -> bool {
    text.chars().count() >= 8
}

/// Forgets who owned the devices of a removed user last, removes the user from the audit, and searches all tables for the user.
/// Returns the number of columns that were searched, and where something was found.
pub fn forget(connection: &Connection, who: &Identifiers) -> rusqlite::Result<(u64, Vec<Trace>)> {
    redact_audit(connection, who)?;
    connection.execute("UPDATE device SET last_owner_no = 0 WHERE last_owner_no = ?1", params![who.user_no])?;
    let texts = |sql: &str| -> rusqlite::Result<Vec<(String, String)>> {
        connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let columns = texts(
        "SELECT t.name, c.name FROM main.sqlite_schema t JOIN pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY 1, c.cid",
    )?;
    let references = texts(
        "SELECT t.name, f.\"from\" FROM main.sqlite_schema t JOIN pragma_foreign_key_list(t.name) f
         WHERE t.type = 'table' AND f.\"table\" = 'app_user'",
    )?;
    let mut traces = Vec::new();
    let mut found = |place: String, rows: i64| {
        if rows > 0 {
            traces.push(Trace { place, rows: rows.unsigned_abs() });
        }
    };
    for (table, column) in &columns {
        let is_reference = column == "last_owner_no"
            || (table == "app_user" && column == "user_no")
            || references.iter().any(|(of, from)| of == table && from == column);
        if is_reference {
            let sql = format!("SELECT count(*) FROM \"{table}\" WHERE \"{column}\" = ?1");
            found(format!("{table}.{column}"), connection.query_row(&sql, params![who.user_no], |row| row.get(0))?);
        }
        for text in &who.texts {
            let is_in = if is_searched_within(text) { "instr(\"{}\", ?1) > 0" } else { "\"{}\" = ?1" };
            let condition = is_in.replace("{}", column);
            let sql = format!("SELECT count(*) FROM \"{table}\" WHERE typeof(\"{column}\") = 'text' AND {condition}");
            found(format!("{table}.{column}"), connection.query_row(&sql, params![text], |row| row.get(0))?);
        }
    }
    Ok((columns.len().try_into().unwrap_or(u64::MAX), traces))
}
