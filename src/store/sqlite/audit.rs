//! The audit in SQLite: triggers report the changed rows, and the writer stores them together with the write itself.

mod tables;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value as Json};

use super::SqliteRegistry;
use crate::domain::audit::{Actor, ActorKind, AuditQuery, AuditRow, AuditStore};
use crate::domain::{Clock, Error, Result};

use tables::TABLES;

/// The maximal number of rows that one operation adds. What it changes beyond that is counted in one row for each kind of
/// object.
const ROWS_OF_OPERATION_MAX: usize = 1000;
/// The maximal number of rows of one project; the oldest are deleted.
const ROWS_OF_PROJECT_MAX: i64 = 50_000;
/// The number of new rows of a project after which its oldest rows are deleted.
const DELETE_PERIOD: u32 = 512;
/// A text of a member is cut after this many bytes.
const TEXT_BYTES_MAX: usize = 500;
/// Shown in place of a secret.
const SECRET: &str = "***";
/// The kinds of object that devices change with what they report.
const REPORTED_KINDS: [&str; 2] = ["attribute", "desired_value"];
/// The names of operations without a change of a row.
const OTHER_OPERATIONS: [&str; 2] = ["import", "expire"];

/// A row to insert.
struct Entry {
    object_kind: &'static str,
    operation: Operation,
    project: String,
    object: String,
    before: Map<String, Json>,
    after: Map<String, Json>,
}

/// The operation of a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Create,
    Change,
    Delete,
    /// An operation of the operator that changes no row of the registry.
    Other(&'static str),
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Delete => "delete",
            Self::Other(name) => name,
        }
    }
}

/// The changes of the running operation. Several changes of one object are one entry.
#[derive(Default)]
struct Changes {
    rows: Vec<Entry>,
    /// The index of the entry of an object, by its kind and id.
    indexes: HashMap<(&'static str, String), usize>,
    /// The number of further changes.
    further: HashMap<(&'static str, Operation), u64>,
}

/// Collects the changes of each operation and stores them.
pub struct Audit {
    changes: Arc<Mutex<Changes>>,
    clock: Arc<dyn Clock>,
    /// The number of rows of each project since its oldest ones were last deleted.
    added: HashMap<String, u32>,
}

impl Audit {
    /// Records the writes of a connection from now on.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn watch(connection: &Connection, clock: Arc<dyn Clock>) -> Result<Self> {
        let changes = Arc::<Mutex<Changes>>::default();
        let recorded = changes.clone();
        let audited = move |context: &mut Context<'_>| {
            recorded.lock().unwrap_or_else(PoisonError::into_inner).add(context).map(|()| 0)
        };
        let triggers: String = TABLES.iter().enumerate().map(|(index, table)| table.triggers(index)).collect();
        let recorded = changes.clone();
        let operated = move |context: &mut Context<'_>| {
            recorded.lock().unwrap_or_else(PoisonError::into_inner).add_operation(context).map(|()| 0)
        };
        connection
            .create_scalar_function("audited", -1, FunctionFlags::SQLITE_UTF8, audited)
            .and_then(|()| connection.create_scalar_function("operated", 3, FunctionFlags::SQLITE_UTF8, operated))
            .and_then(|()| connection.execute_batch(&triggers))
            .map_err(Error::store)?;
        Ok(Self { changes, clock, added: HashMap::new() })
    }

    /// Forgets what was reported: an operation begins.
    pub fn begin(&self) {
        *self.lock() = Changes::default();
    }

    /// Stores what was reported since [`Audit::begin`], as changes by `actor`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn store(&mut self, connection: &Connection, actor: &Actor) -> Result<()> {
        let Changes { mut rows, further, .. } = std::mem::take(&mut *self.lock());
        for ((object_kind, operation), count) in further {
            let after = Map::from_iter([("further_objects".to_owned(), count.into())]);
            let (project, object, before) = Default::default();
            rows.push(Entry { object_kind, operation, project, object, before, after });
        }
        // What a device reports about itself is no change by a person. Its log and its attributes show it.
        rows.retain(|row| actor.kind != ActorKind::Device || !REPORTED_KINDS.contains(&row.object_kind));
        rows.retain(|row| row.operation != Operation::Change || !row.after.is_empty());
        if rows.is_empty() { Ok(()) } else { self.insert(connection, actor, rows).map_err(Error::store) }
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&mut self, connection: &Connection, actor: &Actor, rows: Vec<Entry>) -> rusqlite::Result<()> {
        let last = "SELECT seq FROM sqlite_sequence WHERE name = 'audit'";
        let last: Option<i64> = connection.prepare_cached(last)?.query_row([], |row| row.get(0)).optional()?;
        let (change_no, now_ms) = (last.unwrap_or(0) + 1, self.clock.now_ms());
        let mut insert = connection.prepare_cached(
            "INSERT INTO audit (change_no, time_ms, actor_kind, actor, origin, call, project, object_kind, object, operation,
             before, after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?;
        let text = |members: Map<String, Json>| (!members.is_empty()).then(|| Json::Object(members).to_string());
        for row in rows {
            insert.execute(params![
                change_no,
                now_ms,
                actor.kind.name(),
                actor.name,
                actor.origin,
                actor.call,
                row.project,
                row.object_kind,
                row.object,
                row.operation.name(),
                text(row.before),
                text(row.after)
            ])?;
            let added = self.added.entry(row.project.clone()).or_default();
            *added += 1;
            if *added >= DELETE_PERIOD {
                *added = 0;
                delete_oldest(connection, &row.project)?;
            }
        }
        Ok(())
    }
}

fn delete_oldest(connection: &Connection, project: &str) -> rusqlite::Result<()> {
    let sql = "DELETE FROM audit WHERE project = ?1 AND audit_no <=
               (SELECT audit_no FROM audit WHERE project = ?1 ORDER BY audit_no DESC LIMIT 1 OFFSET ?2)";
    connection.prepare_cached(sql)?.execute(params![project, ROWS_OF_PROJECT_MAX])?;
    Ok(())
}

impl Changes {
    /// Adds an operation that changes no row: its name, its object and its details as JSON.
    fn add_operation(&mut self, context: &Context<'_>) -> rusqlite::Result<()> {
        let (name, object, details): (String, String, String) = (context.get(0)?, context.get(1)?, context.get(2)?);
        let known = OTHER_OPERATIONS.iter().find(|known| **known == name);
        let operation = Operation::Other(known.ok_or(rusqlite::Error::InvalidParameterName(name))?);
        let after = serde_json::from_str(&details).unwrap_or_default();
        let (project, before) = Default::default();
        self.rows.push(Entry { object_kind: "operation", operation, project, object, before, after });
        Ok(())
    }

    /// Adds what a trigger reports: table, operation, project, id, and the old and new value of each member.
    fn add(&mut self, context: &Context<'_>) -> rusqlite::Result<()> {
        let Some(table) = TABLES.get(context.get::<usize>(0)?) else { return Ok(()) };
        let operation = match context.get_raw(1).as_str()? {
            "create" => Operation::Create,
            "delete" => Operation::Delete,
            _ => Operation::Change,
        };
        let pairs = table.members.iter().enumerate();
        let pairs =
            pairs.map(|(index, member)| (member, context.get_raw(4 + 2 * index), context.get_raw(5 + 2 * index)));
        let mut changed = pairs.filter(|(_, old, new)| old != new).peekable();
        if changed.peek().is_none() && operation == Operation::Change {
            return Ok(());
        }
        let object = context.get::<Option<String>>(3)?.unwrap_or_default();
        let key = (table.kind, object);
        let index = match self.indexes.get(&key) {
            Some(index) => *index,
            None if self.rows.len() >= ROWS_OF_OPERATION_MAX => {
                *self.further.entry((table.kind, operation)).or_default() += 1;
                return Ok(());
            }
            None => {
                let (object, project) = (key.1.clone(), context.get::<Option<String>>(2)?.unwrap_or_default());
                let (before, after) = Default::default();
                self.rows.push(Entry { object_kind: table.kind, operation, project, object, before, after });
                self.indexes.insert(key, self.rows.len() - 1);
                self.rows.len() - 1
            }
        };
        let Some(row) = self.rows.get_mut(index) else { return Ok(()) };
        row.operation = match (row.operation, operation) {
            (Operation::Create, Operation::Change) => Operation::Create,
            (Operation::Delete, Operation::Create) => Operation::Change,
            (_, now) => now,
        };
        for (member, old, new) in changed {
            let shown = |value: ValueRef<'_>| match value {
                ValueRef::Null => Json::Null,
                _ if member.is_secret => SECRET.into(),
                value => json(value),
            };
            if row.operation != Operation::Create {
                row.before.entry(member.name).or_insert_with(|| shown(old));
            }
            match row.operation {
                Operation::Delete => drop(row.after.remove(member.name)),
                _ => drop(row.after.insert(member.name.to_owned(), shown(new))),
            }
        }
        Ok(())
    }
}

/// A value for the audit. A long text is cut.
fn json(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Json::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) if text.len() <= TEXT_BYTES_MAX => String::from_utf8_lossy(text).into(),
        ValueRef::Text(text) => {
            let beginning = String::from_utf8_lossy(&text[..TEXT_BYTES_MAX]);
            format!("{beginning}... ({} bytes)", text.len()).into()
        }
    }
}

#[async_trait]
impl AuditStore for SqliteRegistry {
    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRow>> {
        let (readers, query) = (self.readers.clone(), query.clone());
        let read = move || readers.run_here(|reader| read(reader, &query).map_err(Error::store));
        self.readers.long_reads.run(None, read).await
    }

    async fn record_operation(&self, operation: &'static str, object: String, details: String) -> Result<()> {
        let write = move |connection: &Connection| {
            let sql = "SELECT operated(?1, ?2, ?3)";
            connection.query_row(sql, params![operation, object, details], |_| Ok(())).map_err(Error::store)
        };
        self.writer.run(write).await
    }
}

fn read(connection: &Connection, query: &AuditQuery) -> rusqlite::Result<Vec<AuditRow>> {
    // An id between slashes is also found in the ids of what connects it to other objects.
    let sql = "SELECT * FROM audit WHERE audit_no < ?1 AND (?2 IS NULL OR project = ?2)
               AND (?3 IS NULL OR object_kind = ?3) AND (?4 IS NULL OR instr('/' || object || '/', '/' || ?4 || '/') > 0)
               AND (?5 IS NULL OR actor = ?5) AND time_ms >= ?6 ORDER BY audit_no DESC LIMIT ?7";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(
        params![
            query.before_no.unwrap_or(i64::MAX),
            query.project,
            query.object_kind,
            query.object,
            query.actor,
            query.from_ms.unwrap_or(i64::MIN),
            query.limit
        ],
        row,
    )?;
    rows.collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let (kind, project): (String, String) = (row.get("actor_kind")?, row.get("project")?);
    Ok(AuditRow {
        no: row.get("audit_no")?,
        change_no: row.get("change_no")?,
        time_ms: row.get("time_ms")?,
        actor: Actor {
            kind: ActorKind::from_name(&kind).unwrap_or_default(),
            name: row.get("actor")?,
            origin: row.get("origin")?,
            call: row.get("call")?,
        },
        project: Some(project).filter(|project| !project.is_empty()),
        object_kind: row.get("object_kind")?,
        object: row.get("object")?,
        operation: row.get("operation")?,
        before: row.get("before")?,
        after: row.get("after")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoClock;

    impl Clock for NoClock {
        fn now_ms(&self) -> i64 {
            0
        }
    }

    /// The tables that are not audited: what passes by itself, and what describes the folder.
    const NOT_AUDITED: &[&str] =
        &["audit", "cloud_token", "folder", "kept_filter", "pairing", "pairing_failure", "token", "user_token"];

    fn connection(folder: &std::path::Path) -> Connection {
        drop(SqliteRegistry::open(folder, Arc::new(NoClock)).unwrap());
        Connection::open(folder.join(super::super::REGISTRY_FILE)).unwrap()
    }

    #[test]
    fn every_table_is_audited_or_named_here_and_every_trigger_compiles() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connection(folder.path());
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
        let mut statement = connection.prepare(sql).unwrap();
        let tables: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        let audited = |table: &str| TABLES.iter().any(|audited| audited.table == table);
        let missing: Vec<_> = tables.iter().filter(|table| !audited(table)).collect();
        assert_eq!(missing, NOT_AUDITED);
        let _audit = Audit::watch(&connection, Arc::new(NoClock)).unwrap();
        for table in TABLES {
            let name = table.table;
            let columns: Vec<String> = connection
                .prepare(&format!("SELECT name FROM pragma_table_info('{name}')"))
                .unwrap()
                .query_map([], |row| row.get(0))
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap();
            let all: Vec<String> = columns.iter().map(|column| format!("{column} = NULL")).collect();
            for sql in [
                format!("EXPLAIN INSERT INTO {name} DEFAULT VALUES"),
                format!("EXPLAIN UPDATE {name} SET {}", all.join(", ")),
                format!("EXPLAIN DELETE FROM {name}"),
            ] {
                connection.prepare(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
        }
    }

    #[test]
    fn the_rows_of_one_project_do_not_displace_those_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let connection = connection(folder.path());
        let mut audit = Audit::watch(&connection, Arc::new(NoClock)).unwrap();
        let row = |project: &str| Entry {
            object_kind: "device",
            operation: Operation::Change,
            project: project.to_owned(),
            object: "one".to_owned(),
            before: Map::new(),
            after: Map::new(),
        };
        let count = |project: &str| -> i64 {
            let sql = "SELECT count(*) FROM audit WHERE project = ?1";
            connection.query_row(sql, [project], |row| row.get(0)).unwrap()
        };
        connection.execute_batch("BEGIN").unwrap();
        audit.insert(&connection, &Actor::default(), vec![row("quiet")]).unwrap();
        for _ in 0..=ROWS_OF_PROJECT_MAX / 1000 {
            audit.insert(&connection, &Actor::default(), (0..1000).map(|_| row("busy")).collect()).unwrap();
        }
        assert_eq!(count("quiet"), 1);
        let busy = count("busy");
        let max = ROWS_OF_PROJECT_MAX + i64::from(DELETE_PERIOD);
        assert!((ROWS_OF_PROJECT_MAX..=max).contains(&busy), "{busy}");
    }

    #[test]
    fn a_long_text_is_cut() {
        let cut = json(ValueRef::Text("a".repeat(TEXT_BYTES_MAX + 1).as_bytes()));
        assert_eq!(cut, format!("{}... (501 bytes)", "a".repeat(TEXT_BYTES_MAX)));
    }
}
