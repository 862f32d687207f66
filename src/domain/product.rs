//! Products: types of devices, with their thing models.

use std::sync::Arc;

use super::{Caller, Cloud, Error, Noun, ProductId, ProjectNo, Result};

/// A type of device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// The tenant whose product it is.
    pub project: ProjectNo,
    /// Tuya's id.
    pub id: ProductId,
    /// Alibaba's `productKey`.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// Tuya's category, for example `cz` for a plug.
    pub category: String,
    /// The maker's model, if any.
    pub model: Option<String>,
    /// The path of its icon, relative to the vendor's image host.
    pub icon: String,
    /// How it reaches the network, for example `NET_WIFI`.
    pub net_type: String,
    /// Device, gateway or sub-device.
    pub node_type: NodeType,
    /// The vendor's business type, for example 299009.
    pub biz_type: i64,
    /// What it can do and report.
    pub functions: Vec<Function>,
}

impl Product {
    /// The function of that code.
    pub fn function(&self, code: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.code == code)
    }
}

/// Where a device of a product stands in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NodeType {
    /// Connects by itself.
    #[default]
    Device,
    /// Connects by itself and for its sub-devices.
    Gateway,
    /// Connects through a gateway.
    Sub,
}

/// One function (data point) of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its code, unique in the product.
    pub code: String,
    /// The number of the data point on the device.
    pub dp_id: u32,
    /// The type of its value.
    pub kind: FunctionType,
    /// The specification of its value: a JSON object as text, in the vendor's members (`min`, `max`, `range` …).
    pub values: String,
    /// What people call it.
    pub name: String,
    /// Who may read and write it.
    pub access: Access,
}

/// The types that a function's value can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionType {
    /// `true` or `false`.
    Boolean,
    /// A whole number within `min` and `max`.
    Integer,
    /// One of `range`.
    Enum,
    /// Text of at most `maxlen`.
    String,
    /// A JSON document in a string.
    Json,
    /// Opaque bytes in a string.
    Raw,
    /// Bits of named faults.
    Bitmap,
}

/// Whether a function can be commanded, reported, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Access {
    /// Commanded and reported.
    #[default]
    ReadWrite,
    /// Only reported.
    ReadOnly,
    /// Only commanded.
    WriteOnly,
}

/// Products a page may hold.
pub const PRODUCT_PAGE_MAX: usize = 200;

impl Cloud {
    /// A product of the caller's by Alibaba's id.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn product(&self, caller: &Caller, key: &str) -> Result<Arc<Product>> {
        let found = self.registry.product_by_key(caller.project.no, key).await?;
        found.ok_or(Error::NotVisible(Noun::Product))
    }

    /// A page of the caller's products, in order of creation.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn products(&self, caller: &Caller, offset: usize, limit: usize) -> Result<Vec<Arc<Product>>> {
        self.registry.products(caller.project.no, offset, limit.min(PRODUCT_PAGE_MAX)).await
    }
}
