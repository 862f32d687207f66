//! The operator's lists of all kinds of objects. Each kind is one statement with the members of a world document and a few
//! facts; a list adds its filters and a limit to it, and the export of the world reads all of them.

use async_trait::async_trait;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde_json::{Map, Value as Json};

use super::SqliteRegistry;
use super::connection::Reader;
use super::inventory_rows::{app, device, home, product, project, token, user};
use super::owner::Owners;
use crate::domain::handover::{HistoryCuts, Moves};
use crate::domain::inventory::{Identifiers, Loss, ObjectKind, ObjectQuery, ObjectRow, Trace, WorldScope};
use crate::domain::store::InventoryStore;
use crate::domain::{DeviceId, DeviceNo, Error, Result};
use crate::store::generate;
use crate::store::seal::Seal;

/// The name by which a world document can name the user `$user`: the user name if only one user of the project has it,
/// otherwise the uid.
macro_rules! user_name {
    ($user:literal) => {
        concat!(
            "CASE WHEN (SELECT count(*) FROM app_user x WHERE x.project_no = ",
            $user,
            ".project_no AND x.username = ",
            $user,
            ".username COLLATE NOCASE AND x.username = ",
            $user,
            ".username) = 1 THEN ",
            $user,
            ".username ELSE ",
            $user,
            ".uid END"
        )
    };
}

/// How objects of one kind are listed.
struct Listing {
    /// The key of a row, by which it is ordered.
    key: &'static str,
    /// The columns that `read` needs, besides the name of the project as `project` and the key as `key`.
    columns: &'static str,
    from: &'static str,
    /// The condition for the id in the parameter `{}`.
    id: &'static str,
    /// The columns in which a name is searched.
    names: &'static [&'static str],
    /// Whether the key is a number.
    is_numbered: bool,
    read: fn(&Row<'_>, Option<&Seal>) -> Result<ObjectRow>,
}

const PROJECTS: Listing = Listing {
    key: "p.project_no",
    columns: "p.*",
    from: "project p",
    id: "p.name = {}",
    names: &["p.name"],
    is_numbered: true,
    read: project,
};

const APPS: Listing = Listing {
    key: "a.app_no",
    columns: "a.*, (SELECT count(*) FROM app_user c WHERE c.app_no = a.app_no) AS users",
    from: "app a JOIN project p USING (project_no)",
    id: "a.schema = {}",
    names: &["a.schema", "a.name"],
    is_numbered: true,
    read: app,
};

const PRODUCTS: Listing = Listing {
    key: "t.product_no",
    columns: "t.*, (SELECT count(*) FROM device c WHERE c.product_no = t.product_no) AS devices",
    from: "product t JOIN project p USING (project_no)",
    id: "{} IN (t.product_id, t.product_key)",
    names: &["t.name"],
    is_numbered: true,
    read: product,
};

const USERS: Listing = Listing {
    key: "u.user_no",
    columns: "u.*, a.schema",
    from: "app_user u JOIN app a USING (app_no) JOIN project p ON p.project_no = u.project_no",
    id: "u.user_no IN (SELECT user_no FROM app_user WHERE uid = {} UNION SELECT user_no FROM app_user
         WHERE username = {} COLLATE NOCASE AND (username = {} OR instr(username, '@') > 0))",
    names: &["u.username", "u.nick_name"],
    is_numbered: true,
    read: user,
};

const HOMES: Listing = Listing {
    key: "h.home_id",
    columns: concat!(
        "h.*, ",
        user_name!("u"),
        " AS owner, (SELECT count(*) FROM device c WHERE c.home_id = h.home_id) AS devices,
         (SELECT json_group_array(m.username) FROM home_member e JOIN app_user m USING (user_no)
          WHERE e.home_id = h.home_id) AS members"
    ),
    from: "home h JOIN app_user u ON u.user_no = h.owner_no JOIN project p ON p.project_no = h.project_no",
    id: "h.home_id = CAST({} AS INTEGER)",
    names: &["h.name"],
    is_numbered: true,
    read: home,
};

/// A gateway is named if it belongs to the same project as the device: a document refuses others. Sharees are named if all
/// of them are of that project, for the same reason. The local key is left out if the device shows that of its gateway.
const DEVICES: Listing = Listing {
    key: "d.device_no",
    columns: concat!(
        "d.*, t.product_id, o.user_no AS owner_no, ",
        user_name!("u"),
        " AS owner, CASE WHEN g.device_no IS NOT NULL AND coalesce((SELECT k.project_no FROM app_user k WHERE k.user_no =
          coalesce((SELECT w.user_no FROM binding w WHERE w.device_no = g.device_no AND w.owned = 1), g.last_owner_no)),
          g.project_no) = coalesce(u.project_no, d.project_no) THEN g.device_id END AS gateway,
         (o.user_no IS NULL AND d.last_owner_no IS NOT NULL) AS is_given_up, ",
        super::visibility::shows_gateways_key!(),
        " AS shows_gateways_key,
         (SELECT CASE WHEN max(s.project_no <> coalesce(u.project_no, d.project_no)) THEN NULL
            ELSE json_group_array(",
        user_name!("s"),
        ") END FROM binding b JOIN app_user s USING (user_no) WHERE b.device_no = d.device_no AND b.owned = 0) AS sharees"
    ),
    from: "device d JOIN product t USING (product_no) LEFT JOIN device g ON g.device_no = d.gateway_no
           LEFT JOIN binding o ON o.device_no = d.device_no AND o.owned = 1 LEFT JOIN app_user u ON u.user_no = o.user_no
           JOIN project p ON p.project_no = coalesce(u.project_no, d.project_no)",
    id: "d.device_id = {}",
    names: &["d.name", "d.device_name"],
    is_numbered: true,
    read: device,
};

/// The id of a token is the beginning of its hash, from which the token cannot be computed.
const TOKENS: Listing = Listing {
    key: "k.id",
    columns: "k.*",
    from: "(SELECT lower(hex(substr(access_hash, 1, 8))) AS id, 'project' AS kind, project_no AS of_project, NULL AS uid,
              NULL AS username, NULL AS granted_ms, expires_ms FROM token
            UNION ALL SELECT lower(hex(substr(token_hash, 1, 8))), 'cloud', project_no, NULL, NULL, NULL, expires_ms
              FROM cloud_token
            UNION ALL SELECT lower(hex(substr(access_hash, 1, 8))), 'user', u.project_no, u.uid, u.username, granted_ms,
              expires_ms FROM user_token JOIN app_user u USING (user_no)) k JOIN project p ON p.project_no = k.of_project",
    id: "k.id = {}",
    names: &[],
    is_numbered: false,
    read: token,
};

fn listing(kind: ObjectKind) -> Result<&'static Listing> {
    match kind {
        ObjectKind::Project => Ok(&PROJECTS),
        ObjectKind::App => Ok(&APPS),
        ObjectKind::Product => Ok(&PRODUCTS),
        ObjectKind::User => Ok(&USERS),
        ObjectKind::Home => Ok(&HOMES),
        ObjectKind::Device => Ok(&DEVICES),
        ObjectKind::Token => Ok(&TOKENS),
        ObjectKind::Listener => Err(Error::store("the store knows no subscribers")),
    }
}

/// A statement with its values.
struct Statement {
    sql: String,
    values: Vec<Sql>,
}

impl Statement {
    /// Adds a condition in which `{}` stands for the value.
    fn and(&mut self, condition: &str, value: impl Into<Sql>) {
        self.values.push(value.into());
        let parameter = format!("?{}", self.values.len());
        self.sql.push_str(&format!(" AND ({})", condition.replace("{}", &parameter)));
    }

    /// The statement for a list; with the number of a project only of that project.
    fn of(kind: ObjectKind, query: &ObjectQuery, project_no: Option<i64>) -> Result<Self> {
        let listing = listing(kind)?;
        let Listing { key, columns, from, .. } = listing;
        let sql = format!("SELECT {columns}, {key} AS key, p.name AS project_name FROM {from} WHERE 1");
        let mut statement = Self { sql, values: Vec::new() };
        if let Some(no) = project_no {
            statement.and(if kind == ObjectKind::Device { DEVICES_OF_PROJECT } else { "p.project_no = {}" }, no);
        }
        if let Some(id) = &query.id {
            statement.and(listing.id, id.clone());
        }
        if let Some(project) = &query.project {
            statement.and("p.name = {}", project.clone());
        }
        if let Some(product) = &query.product {
            statement.and("{} IN (t.product_id, t.product_key)", product.clone());
        }
        if let Some(owner) = &query.owner {
            statement.and(USERS.id, owner.clone());
        }
        if let Some(home) = query.home {
            statement.and("d.home_id = {}", home);
        }
        if let Some(name) = &query.name {
            let search: Vec<String> =
                listing.names.iter().map(|column| format!("instr(lower({column}), lower({{}})) > 0")).collect();
            statement.and(&search.join(" OR "), name.clone());
        }
        if let Some(mac) = &query.mac {
            let digits: String = mac.chars().filter(char::is_ascii_alphanumeric).collect();
            statement.and("replace(replace(lower(d.mac), ':', ''), '-', '') = {}", digits.to_ascii_lowercase());
        }
        if let Some(after) = &query.after {
            let damaged = |_| Error::Refused(format!("{after:?} is no cursor of this list"));
            match listing.is_numbered {
                true => statement.and(&format!("{key} > {{}}"), after.parse::<i64>().map_err(damaged)?),
                false => statement.and(&format!("{key} > {{}}"), after.clone()),
            }
        }
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        statement.sql.push_str(&format!(" ORDER BY {key} LIMIT {limit}"));
        Ok(statement)
    }

    /// Calls `each` for every row.
    fn read(
        &self,
        connection: &Connection,
        kind: ObjectKind,
        seal: Option<&Seal>,
        each: &mut dyn FnMut(ObjectRow) -> Result<()>,
    ) -> Result<()> {
        let read = listing(kind)?.read;
        let mut statement = connection.prepare_cached(&self.sql).map_err(Error::store)?;
        let mut rows = statement.query(params_from_iter(&self.values)).map_err(Error::store)?;
        while let Some(row) = rows.next().map_err(Error::store)? {
            each(read(row, seal)?)?;
        }
        Ok(())
    }
}

/// The devices that belong to the project in the parameter `{}`, found by indexes.
const DEVICES_OF_PROJECT: &str = "d.device_no IN (SELECT b.device_no FROM app_user c JOIN binding b
    ON b.user_no = c.user_no AND b.owned = 1 WHERE c.project_no = {}
    UNION ALL SELECT c.device_no FROM device c WHERE c.project_no = {} AND NOT EXISTS
    (SELECT 1 FROM binding b WHERE b.device_no = c.device_no AND b.owned = 1))";

#[async_trait]
impl InventoryStore for SqliteRegistry {
    async fn objects(&self, kind: ObjectKind, query: &ObjectQuery) -> Result<Vec<ObjectRow>> {
        let (statement, seal) = (Statement::of(kind, query, None)?, query.secrets.then(|| self.seal.clone()));
        let read = move |reader: &Reader<'_>| {
            let mut found = Vec::new();
            statement.read(reader, kind, seal.as_deref(), &mut |row| {
                found.push(row);
                Ok(())
            })?;
            Ok(found)
        };
        if query.id.is_some() {
            return self.readers.run(read).await;
        }
        // A list with a filter may read a whole table.
        let readers = self.readers.clone();
        self.readers.long_reads.run(None, move || readers.run_here(read)).await
    }

    fn export_world(
        &self,
        scope: &WorldScope,
        each: &mut dyn FnMut(ObjectKind, ObjectRow) -> Result<()>,
    ) -> Result<()> {
        let seal = scope.secrets.then_some(&*self.seal);
        self.readers.run_here(|reader| {
            let snapshot = reader.unchecked_transaction().map_err(Error::store)?;
            let query = ObjectQuery { limit: usize::MAX, ..ObjectQuery::default() };
            let mut projects = Vec::new();
            let named = ObjectQuery { id: scope.project.clone(), ..query.clone() };
            Statement::of(ObjectKind::Project, &named, None)?.read(
                &snapshot,
                ObjectKind::Project,
                seal,
                &mut |row| {
                    projects.push(row);
                    Ok(())
                },
            )?;
            if let (true, Some(project)) = (projects.is_empty(), &scope.project) {
                return Err(Error::Refused(format!("there is no project {project:?}")));
            }
            for project in projects {
                let no: i64 = project.cursor.parse().map_err(Error::store)?;
                each(ObjectKind::Project, project)?;
                for kind in ObjectKind::OF_DOCUMENT.into_iter().skip(1) {
                    let statement = Statement::of(kind, &query, Some(no))?;
                    statement.read(&snapshot, kind, seal, &mut |row| each(kind, row))?;
                }
            }
            Ok(())
        })
    }

    async fn device_ids(&self, devices: &[DeviceNo]) -> Result<Vec<Option<DeviceId>>> {
        let devices = devices.to_vec();
        let read = move |connection: &Connection| -> rusqlite::Result<Vec<Option<DeviceId>>> {
            let mut statement = connection.prepare_cached("SELECT device_id FROM device WHERE device_no = ?1")?;
            let id = |device: DeviceNo| statement.query_row([device.0], |row| row.get(0).map(DeviceId)).optional();
            devices.into_iter().map(id).collect()
        };
        self.readers.run(move |reader| read(reader).map_err(Error::store)).await
    }

    fn new_device_id(&self) -> Result<String> {
        generate::device_id()
    }

    async fn losses(&self, kind: ObjectKind, key: &str) -> Result<Vec<Loss>> {
        let key = key.to_owned();
        self.readers.run(move |reader| super::inventory_delete::losses(reader, kind, &key)).await
    }

    async fn delete_object(
        &self,
        kind: ObjectKind,
        key: &str,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<(bool, Moves)> {
        let key = key.to_owned();
        let work = move |owners: &Owners<'_>| super::inventory_delete::delete(owners, kind, &key);
        self.change_owners(cuts, now_ms, work).await
    }

    async fn person(&self, key: &str) -> Result<Map<String, Json>> {
        let user_no: i64 = key.parse().map_err(Error::store)?;
        self.readers.run(move |reader| super::person::parts(reader, user_no)).await
    }

    async fn forget_user(&self, who: Identifiers) -> Result<(u64, Vec<Trace>)> {
        self.writer.run(move |connection| super::person::forget(connection, &who).map_err(Error::store)).await
    }
}
