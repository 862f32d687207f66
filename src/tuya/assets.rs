//! Assets, for clients that do not support homes (contract tuya §4.2). Each home is an asset without sub-assets.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Tuya;
use super::auth::AppCall;
use super::device_lists::{Page, page, page_size};
use super::homes::home_id;
use super::reply::{Envelope, Reply};
use crate::domain::device::DeviceQuery;
use crate::domain::home::{HOMES_MAX, Home};
use crate::domain::{Error, HomeId};

/// The id of the parent of all homes.
const ROOT: &str = "-1";

pub fn routes() -> OpenApiRouter<Arc<Tuya>> {
    OpenApiRouter::new()
        .routes(routes!(user_assets))
        .routes(routes!(asset))
        .routes(routes!(sub_assets))
        .routes(routes!(asset_devices))
}

/// A home as an asset.
#[derive(Serialize, ToSchema)]
struct AssetView<'a> {
    /// The home's id.
    asset_id: String,
    asset_name: &'a str,
    asset_full_name: &'a str,
    /// `-1`.
    parent_asset_id: &'static str,
}

impl<'a> AssetView<'a> {
    fn of(home: &'a Home) -> Self {
        let name = &home.name;
        Self { asset_id: home.id.0.to_string(), asset_name: name, asset_full_name: name, parent_asset_id: ROOT }
    }
}

#[derive(Serialize, ToSchema)]
struct UserAssetsView<'a> {
    assets: Vec<AssetView<'a>>,
    has_next: bool,
    page_no: i64,
    page_size: usize,
    total: usize,
}

/// A page of the homes that whoever asks sees, of the first 1,000; none below a home.
#[utoipa::path(get, path = "/v1.0/iot-03/users/assets", tag = "assets",
    params(("parent_asset_id" = Option<String>, Query, description = "Empty, `null` or `-1`: all; a home: none"),
        ("page_no" = Option<i64>, Query, description = "From 0"),
        ("page_size" = Option<i64>, Query, description = "1 to 200, 20 by default")),
    responses((status = 200, body = Envelope<UserAssetsView>)))]
async fn user_assets(call: AppCall) -> Reply {
    let page_size = page_size(&call, "page_size")?;
    let page_no = call.query.integer("page_no")?.unwrap_or(0).max(0);
    let homes = match call.query.text("parent_asset_id") {
        None | Some("null" | ROOT) => call.cloud().homes(&call.caller, None, HOMES_MAX).await?,
        Some(home) => {
            call.cloud().home(&call.caller, home_id(home)?).await?;
            Vec::new()
        }
    };
    let skipped = usize::try_from(page_no).unwrap_or(usize::MAX).saturating_mul(page_size);
    let assets: Vec<_> = homes.iter().skip(skipped).take(page_size).map(AssetView::of).collect();
    let has_next = skipped.saturating_add(assets.len()) < homes.len();
    call.answer(UserAssetsView { assets, has_next, page_no, page_size, total: homes.len() })
}

/// A home as an asset.
#[utoipa::path(get, path = "/v1.0/iot-02/assets/{asset_id}", tag = "assets",
    params(("asset_id" = String, Path, description = "The home")),
    responses((status = 200, body = Envelope<AssetView>)))]
async fn asset(call: AppCall) -> Reply {
    let home = call.cloud().home(&call.caller, home_id(call.path("asset_id"))?).await?;
    call.answer(AssetView::of(&home))
}

#[derive(Serialize, ToSchema)]
struct SubAssetsView<'a> {
    list: Vec<AssetView<'a>>,
    has_next: bool,
    /// Continues after this page; empty at the end.
    last_row_key: String,
    page_size: usize,
}

/// A page of the homes below the root, `-1`; none below a home.
#[utoipa::path(get, path = "/v1.0/iot-02/assets/{asset_id}/sub-assets", tag = "assets",
    params(("asset_id" = String, Path, description = "`-1`, or a home"),
        ("page_size" = Option<i64>, Query, description = "1 to 200, 20 by default"),
        ("last_row_key" = Option<String>, Query, description = "Of the page before")),
    responses((status = 200, body = Envelope<SubAssetsView>)))]
async fn sub_assets(call: AppCall) -> Reply {
    let page_size = page_size(&call, "page_size")?;
    let damaged = |_| Error::DamagedCursor("last_row_key");
    let after = call.query.text("last_row_key").map(|key| key.parse().map(HomeId).map_err(damaged)).transpose()?;
    let mut homes = match call.path("asset_id") {
        // One more than requested, to find out whether there is another page.
        ROOT => call.cloud().homes(&call.caller, after, page_size + 1).await?,
        home => {
            call.cloud().home(&call.caller, home_id(home)?).await?;
            Vec::new()
        }
    };
    let has_next = homes.len() > page_size;
    homes.truncate(page_size);
    let last_row_key = homes.last().filter(|_| has_next).map(|home| home.id.0.to_string()).unwrap_or_default();
    call.answer(SubAssetsView { list: homes.iter().map(AssetView::of).collect(), has_next, last_row_key, page_size })
}

#[derive(Serialize, ToSchema)]
struct AssetDevicesView {
    list: Vec<AssetDeviceView>,
    has_next: bool,
    /// Continues after this page; empty at the end.
    last_row_key: String,
    page_size: usize,
    total_size: u64,
}

#[derive(Serialize, ToSchema)]
struct AssetDeviceView {
    asset_id: String,
    asset_name: String,
    device_id: String,
}

/// A page of the devices that stand in a home.
#[utoipa::path(get, path = "/v1.0/iot-02/assets/{asset_id}/devices", tag = "assets",
    params(("asset_id" = String, Path, description = "The home"),
        ("page_size" = Option<i64>, Query, description = "1 to 200, 20 by default"),
        ("last_row_key" = Option<String>, Query, description = "Of the page before")),
    responses((status = 200, body = Envelope<AssetDevicesView>)))]
async fn asset_devices(call: AppCall) -> Reply {
    let home = call.cloud().home(&call.caller, home_id(call.path("asset_id"))?).await?;
    let page_size = page_size(&call, "page_size")?;
    let query = DeviceQuery { home: Some(home.id), ..DeviceQuery::default() };
    let Page { devices, has_more, last_row_key, total } = page(&call, "page_size", query).await?;
    let view = |state: &crate::domain::DeviceState| AssetDeviceView {
        asset_id: home.id.0.to_string(),
        asset_name: home.name.clone(),
        device_id: state.device.id.0.clone(),
    };
    let list = devices.iter().map(view).collect();
    call.answer(AssetDevicesView { list, has_next: has_more, last_row_key, page_size, total_size: total })
}
