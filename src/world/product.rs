//! Products of the world document and their functions.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::product::{Bounds, Registration};
use crate::domain::world::WorldProduct;
use crate::domain::{Access, Error, Function, FunctionType, NodeType, Result};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    product_id: Option<String>,
    product_key: Option<String>,
    product_secret: Option<String>,
    name: String,
    category: String,
    model: Option<String>,
    icon: Option<String>,
    net_type: Option<String>,
    node_type: Option<Node>,
    biz_type: Option<i64>,
    dynamic_registration: Option<Registering>,
    strict: Option<bool>,
    functions: Option<Vec<FunctionRow>>,
}

impl Product {
    pub fn into_domain(self) -> Result<WorldProduct> {
        Ok(WorldProduct {
            product_id: self.product_id,
            product_key: self.product_key,
            product_secret: self.product_secret,
            name: self.name,
            category: self.category,
            model: self.model,
            icon: self.icon,
            net_type: self.net_type,
            node_type: self.node_type.map(Node::into_domain),
            biz_type: self.biz_type,
            registration: self.dynamic_registration.map(Registering::into_domain),
            strict: self.strict,
            functions: functions(self.functions)?,
        })
    }

    pub fn from_domain(world: WorldProduct) -> Self {
        Self {
            product_id: world.product_id,
            product_key: world.product_key,
            product_secret: world.product_secret,
            name: world.name,
            category: world.category,
            model: world.model,
            icon: world.icon,
            net_type: world.net_type,
            node_type: world.node_type.map(Node::from_domain),
            biz_type: world.biz_type,
            dynamic_registration: world.registration.map(Registering::from_domain),
            strict: world.strict,
            functions: world.functions.map(|rows| rows.into_iter().map(FunctionRow::from_domain).collect()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionRow {
    code: String,
    dp_id: Option<u32>,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    values: Map<String, Value>,
    name: Option<String>,
    #[serde(default)]
    access: Rights,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Kind {
    Boolean,
    Integer,
    Enum,
    String,
    Json,
    Raw,
    Bitmap,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
enum Rights {
    #[default]
    #[serde(rename = "rw")]
    ReadWrite,
    #[serde(rename = "ro")]
    ReadOnly,
    #[serde(rename = "wo")]
    WriteOnly,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Node {
    Device,
    Gateway,
    Sub,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Registering {
    Off,
    Known,
    Any,
}

/// Without a `dp_id` a function gets its place in the list, from 1.
fn functions(rows: Option<Vec<FunctionRow>>) -> Result<Option<Vec<Function>>> {
    let Some(rows) = rows else { return Ok(None) };
    let function = |(index, row): (usize, FunctionRow)| {
        let place = u32::try_from(index + 1).unwrap_or(u32::MAX);
        Ok(Function {
            dp_id: row.dp_id.unwrap_or(place),
            kind: row.kind.into_domain(),
            values: serde_json::to_string(&row.values).map_err(Error::store)?,
            name: row.name.unwrap_or_else(|| row.code.clone()),
            access: row.access.into_domain(),
            // The store reads them from the values.
            bounds: Bounds::default(),
            code: row.code,
        })
    };
    rows.into_iter().enumerate().map(function).collect::<Result<_>>().map(Some)
}

impl FunctionRow {
    fn from_domain(function: Function) -> Self {
        Self {
            code: function.code,
            dp_id: Some(function.dp_id),
            kind: Kind::from_domain(function.kind),
            values: serde_json::from_str(&function.values).unwrap_or_default(),
            name: Some(function.name),
            access: Rights::from_domain(function.access),
        }
    }
}

/// The same names on both sides.
macro_rules! alike {
    ($here:ident = $there:ident { $($name:ident),* }) => {
        impl $here {
            fn into_domain(self) -> $there {
                match self {
                    $(Self::$name => $there::$name,)*
                }
            }

            fn from_domain(value: $there) -> Self {
                match value {
                    $($there::$name => Self::$name,)*
                }
            }
        }
    };
}

alike!(Kind = FunctionType { Boolean, Integer, Enum, String, Json, Raw, Bitmap });
alike!(Rights = Access { ReadWrite, ReadOnly, WriteOnly });
alike!(Registering = Registration { Off, Known, Any });
alike!(Node = NodeType { Device, Gateway, Sub });
