//! A user's devices (seed 002; contract aliyun §4.3, §4.4).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Aliyun;
use super::accounts::AccountParams;
use super::auth::{Call, SignedRequest};
use super::params::{Body, flag, required, text, whole};
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::binding::{BoundDevice, BoundDevices, DEVICES_OF_USER_MAX, Unbound};
use crate::domain::device::FactoryName;
use crate::domain::{Device, DeviceName, DeviceNo, DeviceState, NodeType, Uid};
use crate::http::Rendering;

/// The first version that reads `limit` and `offset`.
const PAGED: super::params::Version = (1, 0, 5);
/// The first version that reads `identityId` and the filters.
const BY_IDENTITY: super::params::Version = (1, 0, 7);
/// The digits of two states.
const OFFLINE: u8 = b'3';
const ONLINE: u8 = b'1';
const LIMIT_MAX: i64 = 100;

pub fn routes() -> OpenApiRouter<Arc<Aliyun>> {
    OpenApiRouter::new().routes(routes!(query_by_user)).routes(routes!(unbind_device))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueryByUserParams {
    /// What the app knows the account by.
    #[serde(default, deserialize_with = "text")]
    open_id: Option<String>,
    /// The AppKey of that app, or of the project.
    #[serde(default, deserialize_with = "text")]
    open_id_app_key: Option<String>,
    /// In place of both; from version 1.0.7.
    #[serde(default, deserialize_with = "text")]
    identity_id: Option<String>,
    /// At most so many, 1 to 100; from version 1.0.5. Without it all.
    #[serde(default, deserialize_with = "whole")]
    limit: Option<i64>,
    /// Devices to skip; from version 1.0.5.
    #[serde(default, deserialize_with = "whole")]
    offset: Option<i64>,
    /// Only those behind a gateway, or only others; from version 1.0.7.
    #[serde(default, deserialize_with = "flag")]
    is_sub_device: Option<bool>,
    /// `DEVICE` or `GATEWAY`; from version 1.0.7.
    #[serde(default, deserialize_with = "text")]
    node_type: Option<String>,
}

/// The vendor's second envelope, inside the first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the answer, which is written piece by piece")]
struct Nested<T> {
    code: u32,
    data: T,
    message: &'static str,
}

/// A device as one user has it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BoundDeviceView<'a> {
    iot_id: &'a str,
    identity_id: &'a str,
    product_key: &'a str,
    device_name: &'a str,
    product_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    category_image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_model: Option<&'a str>,
    /// Absent while it is called what its product is.
    #[serde(skip_serializing_if = "Option::is_none")]
    nick_name: Option<&'a str>,
    net_type: &'a str,
    /// `DEVICE`, or `VIRTUAL` for one that the server plays.
    thing_type: &'static str,
    /// `DEVICE` or `GATEWAY`.
    node_type: &'static str,
    /// 1 for the owner; for a sharee what `aliyun.sharee_owned` says, 0 by default.
    owned: u8,
    /// Of the binding; milliseconds.
    gmt_create: i64,
    /// Of the binding; milliseconds.
    gmt_modified: i64,
    group_id: &'static str,
    identity_alias: &'a str,
    /// 0 not activated, 1 online, 3 offline, 8 disabled. The last, since all before it seldom changes.
    status: u8,
}

impl<'a> BoundDeviceView<'a> {
    fn of(bound: &'a BoundDevice, user: &'a BoundDevices, sharee_owned: u8) -> Self {
        let device = &*bound.device;
        Self {
            iot_id: &device.iot_id,
            identity_id: &user.identity_id,
            product_key: &device.product.key,
            device_name: &device.device_name,
            product_name: &device.product.name,
            category_image: &device.product.icon,
            product_model: device.product.model.as_deref(),
            nick_name: nick_name(device),
            net_type: &device.product.net_type,
            thing_type: thing_type(device),
            node_type: node_type(device),
            owned: if bound.owned { 1 } else { sharee_owned },
            gmt_create: bound.bound_ms,
            gmt_modified: bound.bound_ms,
            group_id: "",
            identity_alias: &user.username,
            status: status_of(device, false),
        }
    }
}

/// The devices of a user as an answer shows them. Only one byte for each device changes often: its state.
pub(super) struct UserDevicesText {
    /// The text, with each device offline.
    text: Vec<u8>,
    /// The position of each device's state in the text.
    states: Vec<usize>,
    devices: Vec<DeviceNo>,
}

impl UserDevicesText {
    fn of<'a>(devices: impl Iterator<Item = &'a BoundDevice>, user: &BoundDevices, sharee_owned: u8) -> Self {
        let mut text = br#"{"code":200,"data":["#.to_vec();
        let (mut states, mut numbers) = (Vec::new(), Vec::new());
        for bound in devices {
            if !states.is_empty() {
                text.push(b',');
            }
            // Numbers and texts can always be written to memory.
            let _ = serde_json::to_writer(&mut text, &BoundDeviceView::of(bound, user, sharee_owned));
            // The state is one digit, just before the closing brace.
            states.push(text.len() - 2);
            numbers.push(bound.device.no);
        }
        text.extend_from_slice(br#"],"message":"success"}"#);
        text.shrink_to_fit();
        Self { text, states, devices: numbers }
    }
}

impl Rendering for UserDevicesText {
    fn heap_bytes(&self) -> usize {
        self.text.capacity() + size_of_val(self.states.as_slice()) + size_of_val(self.devices.as_slice())
    }
}

/// The devices that a user owns and those shared to the user, with their details, in a second envelope; without `limit` at
/// most the first 5,000. `limit` and `offset` count from version 1.0.5 on, `identityId` and the filters from 1.0.7.
#[utoipa::path(post, path = "/cloud/device/queryByUser", tag = "devices", request_body = Body<QueryByUserParams>,
    responses((status = 200, body = Envelope<Nested<Vec<BoundDeviceView>>>)))]
async fn query_by_user(call: Call) -> Reply {
    let mut params: QueryByUserParams = call.params()?;
    if call.version() < BY_IDENTITY {
        (params.identity_id, params.is_sub_device, params.node_type) = (None, None, None);
    }
    if call.version() < PAGED {
        (params.limit, params.offset) = (None, None);
    }
    let wrong = || Failure::new(Code::PARAM, format!("offset must be 0 or more, limit 1 to {LIMIT_MAX}"));
    let offset = usize::try_from(params.offset.unwrap_or(0)).map_err(|_| wrong())?;
    let limit = match params.limit {
        None => usize::MAX,
        Some(limit) if (1..=LIMIT_MAX).contains(&limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        Some(_) => return Err(wrong()),
    };
    let QueryByUserParams { open_id, open_id_app_key, identity_id, .. } = params;
    let user = AccountParams { open_id, open_id_app_key, identity_id }.find(&call, &call.caller).await?;
    let bound = call.cloud().bound_devices(&call.caller, &user.uid, 0).await?;
    let wanted = |bound: &&BoundDevice| {
        let device = &*bound.device;
        params.is_sub_device.is_none_or(|sub| sub == (device.product.node_type == NodeType::Sub))
            && params.node_type.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case(node_type(device)))
    };
    let is_whole = limit == usize::MAX && offset == 0 && params.is_sub_device.is_none() && params.node_type.is_none();
    let (part, cached);
    let written: &UserDevicesText = if is_whole {
        let write = || UserDevicesText::of(bound.list.iter(), &bound, call.sharee_owned());
        cached = call.user_devices().get(std::iter::once(&bound), write);
        &cached
    } else {
        let page = page(&call, &user.uid, &bound, wanted, (offset, limit)).await?;
        part = UserDevicesText::of(page.iter(), &bound, call.sharee_owned());
        &part
    };
    let online = call.cloud().online(&written.devices).await?;
    call.answer_written(&written.text, |text| {
        for (at, _) in written.states.iter().zip(online).filter(|(_, online)| *online) {
            if let Some(state) = text.get_mut(*at).filter(|state| **state == OFFLINE) {
                *state = ONLINE;
            }
        }
    })
}

/// The requested page of a user's devices: the number to skip and the number to return. Without a limit, only the
/// beginning of a long list is read.
async fn page(
    call: &Call,
    uid: &Uid,
    first: &Arc<BoundDevices>,
    wanted: impl Fn(&&BoundDevice) -> bool,
    (mut skip, limit): (usize, usize),
) -> Result<Vec<BoundDevice>, Failure> {
    let (mut page, mut part, mut read) = (Vec::new(), first.clone(), 0);
    loop {
        for bound in part.list.iter().filter(&wanted) {
            if skip > 0 {
                skip -= 1;
            } else if page.len() < limit {
                page.push(bound.clone());
            }
        }
        read += part.list.len();
        if page.len() == limit || limit == usize::MAX || part.list.len() < DEVICES_OF_USER_MAX {
            return Ok(page);
        }
        part = call.cloud().bound_devices(&call.caller, uid, read).await?;
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UnbindParams {
    #[serde(flatten)]
    account: AccountParams,
    #[serde(flatten)]
    device: DeviceParams,
}

/// Takes a device from one user; from everybody when that user owns it. `data` is the empty text; a second time it is
/// 2065.
#[utoipa::path(post, path = "/cloud/user/device/unbind", tag = "devices", request_body = Body<UnbindParams>,
    responses((status = 200, body = Envelope<String>)))]
async fn unbind_device(call: Call) -> Reply {
    let params: UnbindParams = call.params()?;
    let name = params.device.name()?;
    let user = params.account.find(&call, &call.caller).await?;
    match call.cloud().unbind_device(&call.caller, &user.uid, &name).await? {
        Unbound::Nothing => Err(Failure::new(Code::NOT_BOUND, "the user does not have that device")),
        Unbound::Share | Unbound::Owner => call.answer(""),
    }
}

/// How a call names a device.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceParams {
    #[serde(default, deserialize_with = "text")]
    pub iot_id: Option<String>,
    /// With `deviceName`, in place of `iotId`.
    #[serde(default, deserialize_with = "text")]
    pub product_key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub device_name: Option<String>,
}

impl DeviceParams {
    /// The device's name.
    ///
    /// # Errors
    /// 460 for neither.
    pub fn name(self) -> Result<DeviceName, Failure> {
        if let Some(iot_id) = self.iot_id {
            return Ok(DeviceName::IotId(iot_id));
        }
        let product_key = required(self.product_key, "iotId, or productKey and deviceName")?;
        let device_name = required(self.device_name, "deviceName")?;
        Ok(DeviceName::Factory(FactoryName { product_key, device_name }))
    }
}

impl SignedRequest {
    /// The device that the parameters name.
    ///
    /// # Errors
    /// Code 460.
    pub fn device_name(&self) -> Result<DeviceName, Failure> {
        self.params::<DeviceParams>()?.name()
    }
}

/// The name that the owner gave to the device; `None` while it has the name of its product.
pub fn nick_name(device: &Device) -> Option<&str> {
    Some(device.name.as_str()).filter(|name| !name.is_empty() && *name != device.product.name)
}

/// The vendor's number of a device's state: 0 not activated, 1 online, 3 offline, 8 disabled.
pub fn status(state: &DeviceState) -> u8 {
    status_of(&state.device, state.online)
}

fn status_of(device: &Device, online: bool) -> u8 {
    match device.active_ms {
        _ if device.disabled => 8,
        0 => 0,
        _ if online => 1,
        _ => 3,
    }
}

/// The vendor's name of the node type of a device.
pub fn thing_type(device: &Device) -> &'static str {
    if device.is_virtual { "VIRTUAL" } else { "DEVICE" }
}

fn node_type(device: &Device) -> &'static str {
    if device.product.node_type == NodeType::Gateway { "GATEWAY" } else { "DEVICE" }
}
