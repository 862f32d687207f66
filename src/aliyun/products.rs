//! Products (contract aliyun §5 rows 12, 13).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Aliyun;
use super::auth::Call;
use super::params::{Body, page, required, text, whole};
use super::reply::{Envelope, Reply};
use super::token::tenant_id;
use crate::domain::product::{PRODUCT_PAGE_MAX, Product};
use crate::domain::{Caller, NodeType};

pub fn routes() -> OpenApiRouter<Arc<Aliyun>> {
    OpenApiRouter::new().routes(routes!(product)).routes(routes!(products))
}

/// A product. The platform's `productSecret` is left out: it registers devices.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProductView {
    product_key: String,
    /// The id in the Tuya dialect.
    product_id: String,
    name: String,
    category_key: String,
    category_name: String,
    net_type: String,
    /// 0 a device, 1 a gateway.
    node_type: u8,
    /// 1: the platform's own format.
    data_format: u8,
    status: &'static str,
    region: &'static str,
    rbac_tenant_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_model: Option<String>,
}

impl ProductView {
    fn of(product: &Product, caller: &Caller) -> Self {
        Self {
            product_key: product.key.clone(),
            product_id: product.id.0.clone(),
            name: product.name.clone(),
            category_key: product.category.clone(),
            category_name: product.category.clone(),
            net_type: product.net_type.clone(),
            node_type: u8::from(product.node_type == NodeType::Gateway),
            data_format: 1,
            status: "RELEASE_STATUS",
            region: "local",
            rbac_tenant_id: tenant_id(caller.project()),
            product_model: product.model.clone(),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProductParams {
    #[serde(default, deserialize_with = "text")]
    product_key: Option<String>,
}

/// One product of the tenant, without the `productSecret`.
#[utoipa::path(post, path = "/cloud/thing/product/get", tag = "products", request_body = Body<ProductParams>,
    responses((status = 200, body = Envelope<ProductView>)))]
async fn product(call: Call) -> Reply {
    let params: ProductParams = call.params()?;
    let key = required(params.product_key, "productKey")?;
    let product = call.cloud().product(&call.caller, &key).await?;
    call.answer(ProductView::of(&product, &call.caller))
}

/// A page, beside or, in version 1.0.0, below `productInfoQuery`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProductsParams {
    product_info_query: Option<PageParams>,
    #[serde(flatten)]
    page: PageParams,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PageParams {
    /// From 1, the default.
    #[serde(default, deserialize_with = "whole")]
    page_no: Option<i64>,
    /// 1 to 200, 20 by default.
    #[serde(default, deserialize_with = "whole")]
    page_size: Option<i64>,
}

/// A page of the tenant's products, in order of creation. Its parameters stand alone or below `productInfoQuery`.
#[utoipa::path(post, path = "/cloud/thing/productList/get", tag = "products", request_body = Body<ProductsParams>,
    responses((status = 200, body = Envelope<Vec<ProductView>>)))]
async fn products(call: Call) -> Reply {
    let params: ProductsParams = call.params()?;
    let wanted = params.product_info_query.unwrap_or(params.page);
    let (offset, size) = page(wanted.page_no, wanted.page_size, PRODUCT_PAGE_MAX)?;
    let products = call.cloud().products(&call.caller, offset, size).await?;
    call.answer(products.iter().map(|product| ProductView::of(product, &call.caller)).collect::<Vec<_>>())
}
