//! Which devices a list is of: the conditions of a query as SQL.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::visibility::{OF_PROJECT, held_elsewhere, of_user};
use crate::domain::device::DeviceQuery;
use crate::domain::{Error, ProjectNo, Result};

/// When a device last changed, as the project `?1` is told: what another project's people changed is not told.
const UPDATED_MS: &str =
    concat!("CASE WHEN ", held_elsewhere!(), " THEN max(d.created_ms, d.active_ms) ELSE d.updated_ms END");

/// The conditions of a device list, as SQL over `device d`, and their values.
pub struct Filter {
    /// Conditions but for the project's.
    conditions: String,
    /// Values from `?1`, the project, on.
    values: Vec<Sql>,
    /// The app, when it is the only restriction.
    app_alone: Option<i64>,
    /// The place of the user whose devices alone are selected.
    user: Option<String>,
}

impl Filter {
    /// `None` when the schema or a product is not the project's.
    pub fn of(connection: &Connection, project: ProjectNo, query: &DeviceQuery) -> Result<Option<Self>> {
        let mut filter =
            Self { conditions: String::new(), values: vec![Sql::Integer(project.0)], app_alone: None, user: None };
        let mut user_no = query.user.map(|user| user.0);
        if let Some(uid) = &query.of_user {
            let sql = "SELECT user_no FROM app_user WHERE uid = ?1 AND project_no = ?2";
            let Some(no) = number(connection, sql, &uid.0, project)? else { return Ok(None) };
            user_no = Some(no);
        }
        if let Some(user_no) = user_no {
            filter.user = Some(filter.place(Sql::Integer(user_no)));
        }
        if let Some(home) = query.home {
            let place = filter.place(Sql::Integer(home.0));
            filter.conditions.push_str(&format!(" AND d.home_id = {place}"));
        }
        if let Some(ids) = &query.ids {
            let places: Vec<String> = ids.iter().map(|id| filter.place(Sql::Text(id.0.clone()))).collect();
            filter.conditions.push_str(&format!(" AND d.device_id IN ({})", places.join(", ")));
        }
        let mut products = Vec::with_capacity(query.products.len());
        for product in &query.products {
            let sql = "SELECT product_no FROM product WHERE product_id = ?1 AND project_no = ?2";
            let Some(no) = number(connection, sql, &product.0, project)? else { return Ok(None) };
            products.push(filter.place(Sql::Integer(no)));
        }
        if !products.is_empty() {
            filter.conditions.push_str(&format!(" AND d.product_no IN ({})", products.join(", ")));
        }
        if !query.categories.is_empty() {
            let places = query.categories.iter().map(|category| filter.place(Sql::Text(category.clone())));
            let places: Vec<String> = places.collect();
            filter.conditions.push_str(&format!(
                " AND d.product_no IN (SELECT product_no FROM product WHERE category IN ({}))",
                places.join(", ")
            ));
        }
        for (compare, bound) in [(">=", query.from_ms), ("<=", query.to_ms)] {
            if let Some(bound) = bound {
                let place = filter.place(Sql::Integer(bound));
                filter.conditions.push_str(&format!(" AND {UPDATED_MS} {compare} {place}"));
            }
        }
        if let Some(schema) = &query.schema {
            let sql = "SELECT app_no FROM app WHERE schema = ?1 AND project_no = ?2";
            let Some(no) = number(connection, sql, &schema.0, project)? else { return Ok(None) };
            filter.app_alone = (filter.conditions.is_empty() && filter.user.is_none()).then_some(no);
            let place = filter.place(Sql::Integer(no));
            filter.conditions.push_str(&format!(
                " AND EXISTS (SELECT 1 FROM binding s WHERE s.device_no = d.device_no AND s.app_no = {place})"
            ));
        }
        Ok(Some(filter))
    }

    fn place(&mut self, value: Sql) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    /// The parts of the list, which have no device in common: what the project sees, or only what one user has.
    fn parts(&self) -> Vec<String> {
        let with = |part: &str| format!("{part}{}", self.conditions);
        match &self.user {
            Some(user) => vec![with(&of_user(user))],
            None => OF_PROJECT.iter().copied().map(with).collect(),
        }
    }

    /// How many devices there are.
    pub fn count(&self, connection: &Connection) -> rusqlite::Result<u64> {
        if let Some(app_no) = self.app_alone {
            // A removed device has no binding.
            let mut statement =
                connection.prepare_cached("SELECT count(DISTINCT device_no) FROM binding WHERE app_no = ?1")?;
            return statement.query_row(params![app_no], |row| row.get(0));
        }
        let counts: Vec<String> = self.parts().iter().map(|part| format!("(SELECT count(*) {part})")).collect();
        let sql = format!("SELECT {}", counts.join(" + "));
        connection.prepare_cached(&sql)?.query_row(params_from_iter(&self.values), |row| row.get(0))
    }

    /// The numbers of a page of devices.
    pub fn page(mut self, connection: &Connection, query: &DeviceQuery) -> rusqlite::Result<Vec<i64>> {
        if let Some(after) = &query.after {
            let (created, id) = (self.place(Sql::Integer(after.created_ms)), self.place(Sql::Text(after.id.0.clone())));
            self.conditions.push_str(&format!(" AND (d.created_ms, d.device_id) > ({created}, {id})"));
        }
        let number = |count: usize| Sql::Integer(i64::try_from(count).unwrap_or(i64::MAX));
        let reach = self.place(number(query.offset.saturating_add(query.limit)));
        let (limit, offset) = (self.place(number(query.limit)), self.place(number(query.offset)));
        let parts = self.parts().into_iter().map(|part| {
            format!(
                "SELECT * FROM (SELECT d.device_no AS no, d.created_ms AS created, d.device_id AS id {part}
                 ORDER BY d.created_ms, d.device_id LIMIT {reach})"
            )
        });
        let sql = format!(
            "{} ORDER BY created, id LIMIT {limit} OFFSET {offset}",
            parts.collect::<Vec<_>>().join(" UNION ALL ")
        );
        connection.prepare_cached(&sql)?.query_map(params_from_iter(&self.values), |row| row.get(0))?.collect()
    }
}

fn number(connection: &Connection, sql: &str, name: &str, project: ProjectNo) -> Result<Option<i64>> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params![name, project.0], |row| row.get(0)).optional())
        .map_err(Error::store)
}
