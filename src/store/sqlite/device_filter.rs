//! The conditions of a device query, as SQL.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::visibility::{OF_PROJECT, held_elsewhere, of_user};
use crate::domain::device::DeviceQuery;
use crate::domain::{Error, ProjectNo, Result};

/// The time of the last change of a device, as the project `?1` sees it. Changes by users of another project do not count.
const UPDATED_MS: &str =
    concat!("CASE WHEN ", held_elsewhere!(), " THEN max(d.created_ms, d.active_ms) ELSE d.updated_ms END");

/// The conditions of a device query, as SQL over `device d`, and their values.
pub struct Filter {
    /// The conditions, except the one for the project.
    conditions: String,
    /// The values of the parameters. The first, `?1`, is the project.
    values: Vec<Sql>,
    /// The app, if it is the only condition.
    only_app: Option<i64>,
    /// The parameter for the user, if only the devices of one user are selected.
    user: Option<String>,
}

impl Filter {
    /// Creates a filter. `None` if the user, schema or a product does not belong to the project.
    pub fn of(connection: &Connection, project: ProjectNo, query: &DeviceQuery) -> Result<Option<Self>> {
        let mut filter =
            Self { conditions: String::new(), values: vec![Sql::Integer(project.0)], only_app: None, user: None };
        let mut user_no = query.user.map(|user| user.0);
        if let Some(uid) = &query.of_user {
            let sql = "SELECT user_no FROM app_user WHERE uid = ?1 AND project_no = ?2";
            let Some(no) = number(connection, sql, &uid.0, project)? else { return Ok(None) };
            user_no = Some(no);
        }
        if let Some(user_no) = user_no {
            filter.user = Some(filter.parameter(Sql::Integer(user_no)));
        }
        if let Some(home) = query.home {
            let parameter = filter.parameter(Sql::Integer(home.0));
            filter.conditions.push_str(&format!(" AND d.home_id = {parameter}"));
        }
        if let Some(ids) = &query.ids {
            let parameters: Vec<String> = ids.iter().map(|id| filter.parameter(Sql::Text(id.0.clone()))).collect();
            filter.conditions.push_str(&format!(" AND d.device_id IN ({})", parameters.join(", ")));
        }
        let mut products = Vec::with_capacity(query.products.len());
        for product in &query.products {
            let sql = "SELECT product_no FROM product WHERE product_id = ?1 AND project_no = ?2";
            let Some(no) = number(connection, sql, &product.0, project)? else { return Ok(None) };
            products.push(filter.parameter(Sql::Integer(no)));
        }
        if !products.is_empty() {
            filter.conditions.push_str(&format!(" AND d.product_no IN ({})", products.join(", ")));
        }
        if !query.categories.is_empty() {
            let parameters = query.categories.iter().map(|category| filter.parameter(Sql::Text(category.clone())));
            let parameters: Vec<String> = parameters.collect();
            filter.conditions.push_str(&format!(
                " AND d.product_no IN (SELECT product_no FROM product WHERE category IN ({}))",
                parameters.join(", ")
            ));
        }
        for (compare, bound) in [(">=", query.from_ms), ("<=", query.to_ms)] {
            if let Some(bound) = bound {
                let parameter = filter.parameter(Sql::Integer(bound));
                filter.conditions.push_str(&format!(" AND {UPDATED_MS} {compare} {parameter}"));
            }
        }
        if let Some(schema) = &query.schema {
            let sql = "SELECT app_no FROM app WHERE schema = ?1 AND project_no = ?2";
            let Some(no) = number(connection, sql, &schema.0, project)? else { return Ok(None) };
            filter.only_app = (filter.conditions.is_empty() && filter.user.is_none()).then_some(no);
            let parameter = filter.parameter(Sql::Integer(no));
            filter.conditions.push_str(&format!(
                " AND EXISTS (SELECT 1 FROM binding s WHERE s.device_no = d.device_no AND s.app_no = {parameter})"
            ));
        }
        Ok(Some(filter))
    }

    /// Adds a value and returns its parameter.
    fn parameter(&mut self, value: Sql) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    /// Queries that have no device in common and together select all devices that the project sees, or those of the user.
    fn parts(&self) -> Vec<String> {
        let with = |part: &str| format!("{part}{}", self.conditions);
        match &self.user {
            Some(user) => vec![with(&of_user(user))],
            None => OF_PROJECT.iter().copied().map(with).collect(),
        }
    }

    /// The number of matching devices.
    pub fn count(&self, connection: &Connection) -> rusqlite::Result<u64> {
        if let Some(app_no) = self.only_app {
            // A removed device has no binding.
            let mut statement =
                connection.prepare_cached("SELECT count(DISTINCT device_no) FROM binding WHERE app_no = ?1")?;
            return statement.query_row(params![app_no], |row| row.get(0));
        }
        let counts: Vec<String> = self.parts().iter().map(|part| format!("(SELECT count(*) {part})")).collect();
        let sql = format!("SELECT {}", counts.join(" + "));
        connection.prepare_cached(&sql)?.query_row(params_from_iter(&self.values), |row| row.get(0))
    }

    /// The numbers of the devices of one page.
    pub fn page(mut self, connection: &Connection, query: &DeviceQuery) -> rusqlite::Result<Vec<i64>> {
        if let Some(after) = &query.after {
            let (created, id) =
                (self.parameter(Sql::Integer(after.created_ms)), self.parameter(Sql::Text(after.id.0.clone())));
            self.conditions.push_str(&format!(" AND (d.created_ms, d.device_id) > ({created}, {id})"));
        }
        let number = |count: usize| Sql::Integer(i64::try_from(count).unwrap_or(i64::MAX));
        let end = self.parameter(number(query.offset.saturating_add(query.limit)));
        let (limit, offset) = (self.parameter(number(query.limit)), self.parameter(number(query.offset)));
        let parts = self.parts().into_iter().map(|part| {
            format!(
                "SELECT * FROM (SELECT d.device_no AS no, d.created_ms AS created, d.device_id AS id {part}
                 ORDER BY d.created_ms, d.device_id LIMIT {end})"
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
