//! Products.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteRegistry;
use crate::domain::product::Registration;
use crate::domain::store::ProductStore;
use crate::domain::{Error, NodeType, Product, ProductId, ProjectNo, Result};
use crate::store::functions;

#[async_trait]
impl ProductStore for SqliteRegistry {
    async fn product_by_key(&self, project: ProjectNo, key: &str) -> Result<Option<Arc<Product>>> {
        let no: Option<i64> = self.readers.run(|connection| {
            connection
                .prepare_cached("SELECT product_no FROM product WHERE product_key = ?1 AND project_no = ?2")
                .and_then(|mut statement| statement.query_row(params![key, project.0], |row| row.get(0)).optional())
                .map_err(Error::store)
        })?;
        no.map_or(Ok(None), |no| self.product(no))
    }

    async fn products(&self, project: ProjectNo, offset: usize, limit: usize) -> Result<Vec<Arc<Product>>> {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let numbers: Vec<i64> = self.readers.run(|connection| {
            let sql = "SELECT product_no FROM product WHERE project_no = ?1 ORDER BY product_no LIMIT ?2 OFFSET ?3";
            let mut statement = connection.prepare_cached(sql).map_err(Error::store)?;
            let rows = statement.query_map(params![project.0, limit, offset], |row| row.get(0));
            rows.and_then(Iterator::collect).map_err(Error::store)
        })?;
        numbers.into_iter().filter_map(|no| self.product(no).transpose()).collect()
    }
}

impl SqliteRegistry {
    /// A product by its number, from the cache if it is there.
    pub(super) fn product(&self, no: i64) -> Result<Option<Arc<Product>>> {
        // On a connection of its own, so that what is read is not older than the cache's number of commits.
        self.cache.get(&self.cache.products, no, || self.readers.run(|connection| read_product(connection, no)))
    }
}

fn read_product(connection: &Connection, no: i64) -> Result<Option<Arc<Product>>> {
    let row = connection
        .prepare_cached(
            "SELECT project_no, product_id, product_key, name, category, model, icon, net_type, node_type, biz_type,
             functions, registration, strict FROM product WHERE product_no = ?1",
        )
        .and_then(|mut statement| {
            statement
                .query_row(params![no], |row| {
                    let product = Product {
                        project: ProjectNo(row.get(0)?),
                        id: ProductId(row.get(1)?),
                        key: row.get(2)?,
                        name: row.get(3)?,
                        category: row.get(4)?,
                        model: row.get(5)?,
                        icon: row.get(6)?,
                        net_type: row.get(7)?,
                        node_type: node_type(row.get_ref(8)?.as_str()?),
                        biz_type: row.get(9)?,
                        functions: Vec::new(),
                        status_order: Vec::new(),
                        registration: registration(row.get_ref(11)?.as_str()?),
                        strict: row.get(12)?,
                    };
                    Ok((product, row.get::<_, String>(10)?))
                })
                .optional()
        })
        .map_err(Error::store)?;
    let Some((mut product, text)) = row else { return Ok(None) };
    product.functions = functions::decode(&text)?;
    product.status_order = Product::status_order_of(&product.functions);
    Ok(Some(Arc::new(product)))
}

/// The text of a node type in the registry.
pub fn node_type_text(node_type: NodeType) -> &'static str {
    match node_type {
        NodeType::Device => "device",
        NodeType::Gateway => "gateway",
        NodeType::Sub => "sub",
    }
}

/// The text of who may register in the registry.
pub fn registration_text(registration: Registration) -> &'static str {
    match registration {
        Registration::Off => "off",
        Registration::Known => "known",
        Registration::Any => "any",
    }
}

/// Who may register, of a text in the registry.
pub fn registration(text: &str) -> Registration {
    match text {
        "known" => Registration::Known,
        "any" => Registration::Any,
        _ => Registration::Off,
    }
}

/// The node type of a text in the registry.
pub fn node_type(text: &str) -> NodeType {
    match text {
        "gateway" => NodeType::Gateway,
        "sub" => NodeType::Sub,
        _ => NodeType::Device,
    }
}
