//! Products.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteRegistry;
use super::connection::{Reader, Readers};
use crate::domain::product::Registration;
use crate::domain::store::ProductStore;
use crate::domain::{Error, NodeType, Product, ProductId, ProjectNo, Result};
use crate::store::functions;

#[async_trait]
impl ProductStore for SqliteRegistry {
    async fn product_by_key(&self, project: ProjectNo, key: &str) -> Result<Option<Arc<Product>>> {
        let key = key.to_owned();
        let read = move |reader: &Reader<'_>| {
            let no: Option<i64> = reader
                .prepare_cached("SELECT product_no FROM product WHERE product_key = ?1 AND project_no = ?2")
                .and_then(|mut statement| statement.query_row(params![key, project.0], |row| row.get(0)).optional())
                .map_err(Error::store)?;
            no.map_or(Ok(None), |no| reader.readers.product(no))
        };
        self.readers.run(read).await
    }

    async fn products(&self, project: ProjectNo, offset: usize, limit: usize) -> Result<Vec<Arc<Product>>> {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let read = move |reader: &Reader<'_>| {
            let sql = "SELECT product_no FROM product WHERE project_no = ?1 ORDER BY product_no LIMIT ?2 OFFSET ?3";
            let mut statement = reader.prepare_cached(sql).map_err(Error::store)?;
            let rows = statement.query_map(params![project.0, limit, offset], |row| row.get(0));
            let numbers: Vec<i64> = rows.and_then(Iterator::collect).map_err(Error::store)?;
            numbers.into_iter().filter_map(|no| reader.readers.product(no).transpose()).collect()
        };
        self.readers.run(read).await
    }
}

impl Readers {
    /// Finds a product by its number, in the cache or in the database. Only for a thread for reads.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn product(&self, no: i64) -> Result<Option<Arc<Product>>> {
        // This needs its own connection, so that the product is not older than the number of commits in the cache.
        self.cache.get(&self.cache.products, &no, || self.run_here(|reader| read_product(reader, no)))
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
                        project: ProjectNo(row.get("project_no")?),
                        id: ProductId(row.get("product_id")?),
                        key: row.get("product_key")?,
                        name: row.get("name")?,
                        category: row.get("category")?,
                        model: row.get("model")?,
                        icon: row.get("icon")?,
                        net_type: row.get("net_type")?,
                        node_type: node_type(row.get_ref("node_type")?.as_str()?),
                        biz_type: row.get("biz_type")?,
                        functions: Vec::new(),
                        status_order: Vec::new(),
                        registration: registration(row.get_ref("registration")?.as_str()?),
                        strict: row.get("strict")?,
                    };
                    Ok((product, row.get::<_, String>("functions")?))
                })
                .optional()
        })
        .map_err(Error::store)?;
    let Some((mut product, text)) = row else { return Ok(None) };
    product.functions = functions::decode(&text)?;
    product.status_order = Product::status_order_of(&product.functions);
    Ok(Some(Arc::new(product)))
}

/// The text that the registry stores for a node type.
pub fn node_type_text(node_type: NodeType) -> &'static str {
    match node_type {
        NodeType::Device => "device",
        NodeType::Gateway => "gateway",
        NodeType::Sub => "sub",
    }
}

/// The text that the registry stores for a registration setting.
pub fn registration_text(registration: Registration) -> &'static str {
    match registration {
        Registration::Off => "off",
        Registration::Known => "known",
        Registration::Any => "any",
    }
}

/// The registration setting of a stored text.
pub fn registration(text: &str) -> Registration {
    match text {
        "known" => Registration::Known,
        "any" => Registration::Any,
        _ => Registration::Off,
    }
}

/// The node type of a stored text.
pub fn node_type(text: &str) -> NodeType {
    match text {
        "gateway" => NodeType::Gateway,
        "sub" => NodeType::Sub,
        _ => NodeType::Device,
    }
}
