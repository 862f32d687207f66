//! The deletion of projects, apps, products, devices and tokens by the operator.

use rusqlite::{Connection, params};

use super::attribute::delete_desired_values;
use super::owner::Owners;
use crate::domain::inventory::{Loss, ObjectKind};
use crate::domain::{Error, Result};

/// What belongs to an object: a statement that counts it by the key `?1`, what it is, and whether it forbids the deletion.
type Part = (&'static str, &'static str, bool);

const OF_PROJECT: &[Part] = &[
    ("SELECT count(*) FROM device WHERE project_no = ?1", "devices of its products", true),
    ("SELECT count(*) FROM app_user WHERE project_no = ?1", "users", true),
    ("SELECT count(*) FROM product WHERE project_no = ?1", "products", false),
    ("SELECT count(*) FROM app WHERE project_no = ?1", "apps", false),
    (
        "SELECT (SELECT count(*) FROM token WHERE project_no = ?1) + (SELECT count(*) FROM cloud_token WHERE project_no = ?1)",
        "tokens",
        false,
    ),
];
const OF_APP: &[Part] = &[("SELECT count(*) FROM app_user WHERE app_no = ?1", "users", true)];
const OF_PRODUCT: &[Part] = &[("SELECT count(*) FROM device WHERE product_no = ?1", "devices", true)];
const OF_USER: &[Part] = &[
    (
        "SELECT count(*) FROM binding WHERE user_no = ?1 AND owned = 1",
        "devices, which will have no owner and lose their history and names",
        false,
    ),
    ("SELECT count(*) FROM binding WHERE user_no = ?1 AND owned = 0", "devices that others share", false),
    ("SELECT count(*) FROM home WHERE owner_no = ?1", "homes", false),
    ("SELECT count(*) FROM home_member WHERE user_no = ?1", "memberships of homes of others", false),
    ("SELECT count(*) FROM user_token WHERE user_no = ?1", "logins", false),
];
const OF_HOME: &[Part] = &[
    ("SELECT count(*) FROM device WHERE home_id = ?1", "devices, which will be in no home", false),
    ("SELECT count(*) FROM home_member WHERE home_id = ?1", "members", false),
];
const OF_DEVICE: &[Part] = &[
    ("SELECT count(*) FROM binding WHERE device_no = ?1 AND owned = 1", "owner", false),
    ("SELECT count(*) FROM binding WHERE device_no = ?1 AND owned = 0", "users with whom it is shared", false),
    (
        "SELECT count(*) FROM device WHERE gateway_no = ?1",
        "sub-devices, which will have no gateway; those with the same owner will have no owner",
        false,
    ),
    ("SELECT count(*) FROM device_user WHERE device_no = ?1", "device users", false),
    (
        "SELECT (SELECT count(*) FROM function_name WHERE device_no = ?1) + (SELECT count(*) FROM device_fact
      WHERE device_no = ?1) + (SELECT count(*) FROM desired_value WHERE device_no = ?1)",
        "names, attributes and desired values",
        false,
    ),
    (
        "SELECT 1 FROM device WHERE device_no = ?1",
        "device log; its rows remain on disk until the retention removes them",
        false,
    ),
];

/// What is lost when an object is deleted.
pub fn losses(connection: &Connection, kind: ObjectKind, key: &str) -> Result<Vec<Loss>> {
    let parts = match kind {
        ObjectKind::Project => OF_PROJECT,
        ObjectKind::App => OF_APP,
        ObjectKind::Product => OF_PRODUCT,
        ObjectKind::User => OF_USER,
        ObjectKind::Home => OF_HOME,
        ObjectKind::Device => OF_DEVICE,
        ObjectKind::Token | ObjectKind::Listener => return Ok(Vec::new()),
    };
    let no: i64 = key.parse().map_err(Error::store)?;
    let mut losses = Vec::new();
    for (sql, what, forbids) in parts {
        let count: u64 = connection.query_row(sql, params![no], |row| row.get(0)).map_err(Error::store)?;
        if count > 0 {
            losses.push(Loss { count, what: (*what).to_owned(), forbids: *forbids });
        }
    }
    Ok(losses)
}

/// Deletes an object; `false` if there is none.
pub fn delete(owners: &Owners<'_>, kind: ObjectKind, key: &str) -> Result<bool> {
    let connection = owners.connection;
    if kind == ObjectKind::Token {
        return delete_token(connection, key).map_err(Error::store);
    }
    if let Some(loss) = losses(connection, kind, key)?.iter().find(|loss| loss.forbids) {
        let Loss { count, what, .. } = loss;
        return Err(Error::Refused(format!("the {} has {count} {what}: delete them first", kind.noun())));
    }
    let no: i64 = key.parse().map_err(Error::store)?;
    if kind == ObjectKind::Device {
        return delete_device(owners, no);
    }
    let statements: &[&str] = match kind {
        ObjectKind::Project => &[
            "DELETE FROM token WHERE project_no = ?1",
            "DELETE FROM cloud_token WHERE project_no = ?1",
            "DELETE FROM product WHERE project_no = ?1",
            "DELETE FROM app WHERE project_no = ?1",
            "DELETE FROM project WHERE project_no = ?1",
        ],
        ObjectKind::App => &["DELETE FROM app WHERE app_no = ?1"],
        ObjectKind::Product => &["DELETE FROM product WHERE product_no = ?1"],
        _ => return Err(Error::store("users and homes have their own methods")),
    };
    let mut deleted = 0;
    for sql in statements {
        deleted = connection.execute(sql, params![no]).map_err(Error::store)?;
    }
    Ok(deleted == 1)
}

fn delete_token(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    let mut deleted = 0;
    for (table, hash) in [("token", "access_hash"), ("cloud_token", "token_hash"), ("user_token", "access_hash")] {
        let sql = format!("DELETE FROM {table} WHERE lower(hex(substr({hash}, 1, 8))) = ?1");
        deleted += connection.execute(&sql, params![id])?;
    }
    Ok(deleted > 0)
}

fn delete_device(owners: &Owners<'_>, no: i64) -> Result<bool> {
    owners.release(no)?;
    let connection = owners.connection;
    let write = || -> rusqlite::Result<bool> {
        delete_desired_values(connection, "?1", no)?;
        connection.execute("UPDATE pairing SET device_no = NULL WHERE device_no = ?1", params![no])?;
        connection.execute("DELETE FROM kept_filter WHERE device_no = ?1 OR session_no = ?1", params![no])?;
        for table in ["pairing_failure", "function_name", "device_user", "device_fact", "device"] {
            let sql = format!("DELETE FROM {table} WHERE device_no = ?1");
            if connection.execute(&sql, params![no])? == 0 && table == "device" {
                return Ok(false);
            }
        }
        Ok(true)
    };
    write().map_err(Error::store)
}
