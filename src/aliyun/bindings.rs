//! Binding devices and users (contract aliyun §5 rows 14–16).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Aliyun;
use super::accounts::AccountParams;
use super::auth::Call;
use super::devices::nick_name;
use super::params::{Body, page, required, text, whole};
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::binding::{BINDING_PAGE_MAX, Bound, Unbound};
use crate::domain::device::FactoryName;
use crate::domain::{DeviceName, NodeType};

const DEVICES_MAX: usize = 20;

pub fn routes() -> OpenApiRouter<Arc<Aliyun>> {
    OpenApiRouter::new().routes(routes!(batch_bind)).routes(routes!(unbind_everybody)).routes(routes!(query_bindings))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BatchBindParams {
    #[serde(flatten)]
    account: AccountParams,
    /// The project's id; when it is there it must be the AppKey's own.
    #[serde(default, deserialize_with = "text")]
    project_id: Option<String>,
    /// 1 to 20.
    device_list: Option<Vec<FactoryParams>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FactoryParams {
    #[serde(default, deserialize_with = "text")]
    product_key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    device_name: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BindView {
    #[serde(skip_serializing_if = "Option::is_none")]
    iot_id: Option<String>,
    product_key: String,
    device_name: String,
    /// 0 the user owns it, 1 somebody else does, 7 there is no such device.
    bind_code: u8,
}

/// Makes a user the owner of devices that nobody owns, at most 20; each device by itself, with a `bindCode`: 0 bound, 1
/// somebody else's, 7 no such device.
#[utoipa::path(post, path = "/living/cloud/user/binding/device/batch/bind", tag = "bindings",
    request_body = Body<BatchBindParams>, responses((status = 200, body = Envelope<Vec<BindView>>)))]
async fn batch_bind(call: Call) -> Reply {
    let params: BatchBindParams = call.params()?;
    if params.project_id.is_some_and(|id| id != call.caller.project().aliyun_project_id) {
        return Err(Failure::new(Code::TENANT, "projectId must be that of the AppKey's own project"));
    }
    let list = params.device_list.unwrap_or_default();
    if !(1..=DEVICES_MAX).contains(&list.len()) {
        return Err(Failure::new(Code::AMOUNT, format!("deviceList must be 1 to {DEVICES_MAX} devices")));
    }
    let named = |device: FactoryParams| {
        let product_key = required(device.product_key, "productKey")?;
        Ok(FactoryName { product_key, device_name: required(device.device_name, "deviceName")? })
    };
    let names = list.into_iter().map(named).collect::<Result<Vec<_>, Failure>>()?;
    let user = params.account.find(&call, &call.caller).await?;
    let mut bindings = Vec::with_capacity(names.len());
    let bound = call.cloud().bind_devices(&call.caller, &user.uid, &names).await?;
    for (name, (bound, device)) in names.into_iter().zip(bound) {
        let bind_code = match bound {
            Bound::Owner => 0,
            // A project that may not see the device gets the same answer as for a device that does not exist.
            Bound::Taken if device.is_some() => 1,
            Bound::Taken | Bound::Unknown => 7,
        };
        let iot_id = device.map(|device| device.iot_id.clone());
        let FactoryName { product_key, device_name } = name;
        bindings.push(BindView { iot_id, product_key, device_name, bind_code });
    }
    call.answer(bindings)
}

/// Takes a device from everybody; when it is only shared to users of the caller, from those.
#[utoipa::path(post, path = "/living/cloud/user/binding/device/unbind", tag = "bindings",
    request_body = Body<super::devices::DeviceParams>, responses((status = 200, body = Envelope<String>)))]
async fn unbind_everybody(call: Call) -> Reply {
    match call.cloud().unbind_everybody(&call.caller, &call.device_name()?).await? {
        Unbound::Nothing => Err(Failure::new(Code::NOT_BOUND, "the device has no owner")),
        Unbound::Share | Unbound::Owner => call.answer(""),
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueryBindingsParams {
    #[serde(default, deserialize_with = "text")]
    iot_id: Option<String>,
    /// From 1, the default.
    #[serde(default, deserialize_with = "whole")]
    page_no: Option<i64>,
    /// 1 to 100, 20 by default.
    #[serde(default, deserialize_with = "whole")]
    page_size: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BindingsView {
    total: u64,
    account_dev_list: Vec<BindingView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BindingView {
    iot_id: String,
    product_key: String,
    device_name: String,
    product_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nick_name: Option<String>,
    owned: u8,
    identity_id: String,
    /// `DEVICE` or `GATEWAY`.
    node_type: &'static str,
}

/// The users who have a device, the owner first; of the caller's own users alone.
#[utoipa::path(post, path = "/living/user/device/binding/query", tag = "bindings",
    request_body = Body<QueryBindingsParams>, responses((status = 200, body = Envelope<BindingsView>)))]
async fn query_bindings(call: Call) -> Reply {
    let params: QueryBindingsParams = call.params()?;
    let name = DeviceName::IotId(required(params.iot_id, "iotId")?);
    let (offset, limit) = page(params.page_no, params.page_size, BINDING_PAGE_MAX)?;
    let (device, holders, total) = call.cloud().holders(&call.caller, &name, offset, limit).await?;
    let is_gateway = device.product.node_type == NodeType::Gateway;
    let view = |holder: crate::domain::binding::DeviceHolder| BindingView {
        iot_id: device.iot_id.clone(),
        product_key: device.product.key.clone(),
        device_name: device.device_name.clone(),
        product_name: device.product.name.clone(),
        nick_name: nick_name(&device).map(str::to_owned),
        owned: if holder.owned { 1 } else { call.sharee_owned() },
        identity_id: holder.identity_id,
        node_type: if is_gateway { "GATEWAY" } else { "DEVICE" },
    };
    call.answer(BindingsView { total, account_dev_list: holders.into_iter().map(view).collect() })
}
