//! Handles what devices request besides reporting: tags, desired values, firmware, shadow, and sub-devices.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::Gateway;
use super::connect::in_session;
use super::dialect::{DeviceRequest, DeviceResponse, Fault, SubProof};
use super::session::Session;
use crate::domain::attribute::{AttributeChange, AttributeKind};
use crate::domain::device::FactoryName;
use crate::domain::pairing::Redeemed;
use crate::domain::presence::LeasedDevice;
use crate::domain::session::{DeviceClaim, DeviceSecret};
use crate::domain::topology::{ProductSecret, SUB_DEVICES_MAX};
use crate::domain::{Cloud, Device, DeviceNo, Error};
use crate::gateway::auth::Proof;

/// The only key of a shadow.
const SHADOW: &str = "shadow";

/// Every error is named, so that a new one stops the build until its fault is chosen. What the device can do nothing
/// about, a store that is busy or failed, is [`Fault::Service`]: it ends the session and is never acknowledged, so that
/// the device sends the message again.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Unfit(_) => Self::Unfit,
            Error::Busy(_) => Self::Service,
            Error::Store(cause) => {
                tracing::error!(error.cause = %cause, "the store failed");
                Self::Service
            }
            Error::Missing(_)
            | Error::WrongType { .. }
            | Error::OutOfRange { .. }
            | Error::NotVisible(_)
            | Error::InvalidCountry
            | Error::CountryNotServed(_)
            | Error::InvalidMobile
            | Error::InvalidEmail
            | Error::NoSuchDeviceUser
            | Error::LogsNotSupported
            | Error::FunctionNotSupported(_)
            | Error::CommandNotSupported(_)
            | Error::Offline
            | Error::NoAnswer
            | Error::TokenInvalid
            | Error::NotAllowed(_)
            | Error::WrongPassword
            | Error::TooManyFailures
            | Error::OtherCountry
            | Error::OtherRegion(_)
            | Error::DamagedCursor(_)
            | Error::Refused(_) => Self::Parameter,
        }
    }
}

/// Does what a device requests. `device` is the requester: the session's own device or a sub-device of it.
pub async fn handle(
    session: &mut Session,
    gateway: &Gateway,
    device: &Arc<Device>,
    request: DeviceRequest,
) -> Result<DeviceResponse, Fault> {
    let cloud = &*gateway.cloud;
    match request {
        DeviceRequest::Tags(keys) => {
            let mut tags = cloud.attributes(device, AttributeKind::Tag).await?;
            tags.retain(|tag| keys.is_empty() || keys.contains(&tag.key));
            Ok(DeviceResponse::Tags(tags))
        }
        DeviceRequest::ChangeTags(changes) => change(cloud, device, AttributeKind::Tag, changes).await,
        DeviceRequest::Desired(codes) => {
            let mut desired = cloud.desired(&[device]).await?.pop().unwrap_or_default();
            desired.retain(|desired| codes.is_empty() || codes.contains(&desired.code));
            Ok(DeviceResponse::Desired(desired))
        }
        DeviceRequest::ForgetDesired(changes) => {
            let versions = changes.into_iter().map(|change| (change.key, change.from_version)).collect();
            cloud.remove_desired(&[(device, versions)]).await?;
            Ok(DeviceResponse::Done)
        }
        DeviceRequest::ReportFirmware(versions) => {
            let noted = cloud.store_firmware(device, versions).await?;
            noted.then_some(DeviceResponse::Done).ok_or(Fault::Parameter)
        }
        DeviceRequest::Shadow(message) => Ok(DeviceResponse::Document(shadow(cloud, device, &message).await?)),
        DeviceRequest::SubDevices => {
            Ok(DeviceResponse::Devices(cloud.behind(device).await?.into_iter().map(Arc::new).collect()))
        }
        DeviceRequest::Attach(subs) => attach(cloud, device, subs).await,
        DeviceRequest::Detach(subs) => detach(session, gateway, device, subs).await,
        DeviceRequest::Login(subs) => login(session, gateway, device, subs).await,
        DeviceRequest::Logout(subs) => {
            // One that is not online in this session is offline already.
            let found = |sub| session.sub_devices.values().find(|known| is_named(&known.device, sub));
            let mut gone: Vec<Arc<Device>> = Vec::with_capacity(subs.len());
            for LeasedDevice { device: sub, .. } in subs.iter().filter_map(found) {
                if gone.iter().all(|other| other.no != sub.no) {
                    gone.push(sub.clone());
                }
            }
            session.remove_sub_devices(gateway, &gone).await;
            Ok(DeviceResponse::Devices(gone))
        }
        DeviceRequest::Pair(token) => pair(session, cloud, device, &token).await,
        DeviceRequest::Bind(subs) => {
            let bound = cloud.bind_sub_devices(device, &subs).await?;
            let is_complete = bound.len() == subs.len();
            let bound = DeviceResponse::Devices(bound.into_iter().map(Arc::new).collect());
            is_complete.then_some(bound).ok_or(Fault::Device)
        }
        // A secret goes only where nobody else reads it.
        DeviceRequest::Register(_) if !session.peer.is_confidential() => Err(Fault::Device),
        DeviceRequest::Register(subs) => register(cloud, device, subs).await,
    }
}

async fn change(
    cloud: &Cloud,
    device: &Device,
    kind: AttributeKind,
    changes: Vec<AttributeChange>,
) -> Result<DeviceResponse, Fault> {
    let changed = changes.is_empty() || cloud.change_attributes(device, kind, changes).await?;
    changed.then_some(DeviceResponse::Done).ok_or(Fault::Parameter)
}

/// For each claim, the device if it proves itself in one of the forms.
async fn proven(cloud: &Cloud, subs: Vec<SubProof>) -> Result<Vec<Result<Arc<Device>, Fault>>, Fault> {
    let (claims, proofs): (Vec<DeviceClaim>, Vec<_>) = subs.into_iter().map(|sub| (sub.who, sub.proofs)).unzip();
    let found = cloud.claimed_devices(&claims).await?.into_iter().zip(proofs);
    let checked = |(found, proofs): (Option<DeviceSecret>, Option<Vec<Proof>>)| {
        // One that is not there and one whose secret is another look alike.
        let found = match proofs {
            None => found.ok_or(Fault::Topology),
            Some(proofs) => {
                let is_proven = |found: &DeviceSecret| proofs.iter().any(|proof| proof.is_proven_by(&found.secret));
                found.filter(is_proven).ok_or(Fault::Proof)
            }
        };
        found.map(|found| Arc::new(found.device))
    };
    Ok(found.map(checked).collect())
}

/// A sub-device is bound to a user with its gateway, not by itself.
async fn pair(session: &mut Session, cloud: &Cloud, device: &Device, token: &str) -> Result<DeviceResponse, Fault> {
    if device.no != session.device.no {
        return Err(Fault::Device);
    }
    match cloud.redeem(device, token).await? {
        Redeemed::Bound => {}
        Redeemed::Refused => return Err(Fault::Parameter),
        Redeemed::Unknown => return Err(Fault::Proof),
    }
    if let Some(paired) = cloud.device_by_id(&device.id).await? {
        session.device = Arc::new(in_session(paired));
    }
    Ok(DeviceResponse::Done)
}

/// All of them or none, as far as their proofs and products go.
async fn attach(cloud: &Cloud, gateway: &Device, subs: Vec<SubProof>) -> Result<DeviceResponse, Fault> {
    let found = proven(cloud, subs).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
    if !found.iter().all(|sub| Cloud::may_attach(gateway, sub) && !sub.disabled) {
        return Err(Fault::Topology);
    }
    let numbers: Vec<DeviceNo> = found.iter().map(|sub| sub.no).collect();
    if !cloud.attach(gateway, &numbers).await? {
        return Err(Fault::Topology);
    }
    Ok(DeviceResponse::Devices(found))
}

async fn detach(
    session: &mut Session,
    gateway: &Gateway,
    device: &Device,
    subs: Vec<DeviceClaim>,
) -> Result<DeviceResponse, Fault> {
    let cloud = &gateway.cloud;
    let found = cloud.claimed_devices(&subs).await?.into_iter();
    let detached: Option<Vec<_>> = found.map(|found| Some(Arc::new(found?.device))).collect();
    let detached = detached.ok_or(Fault::Topology)?;
    let numbers: Vec<DeviceNo> = detached.iter().map(|sub| sub.no).collect();
    if !cloud.detach(device, &numbers).await? {
        return Err(Fault::Topology);
    }
    session.remove_sub_devices(gateway, &detached).await;
    Ok(DeviceResponse::Devices(detached))
}

async fn login(
    session: &mut Session,
    gateway: &Gateway,
    device: &Device,
    subs: Vec<SubProof>,
) -> Result<DeviceResponse, Fault> {
    if session.sub_devices.len() + subs.len() > SUB_DEVICES_MAX {
        return Err(Fault::TooMany);
    }
    // One that fails keeps no other out; its fault is reported all the same.
    let (mut found, mut fault) = (Vec::with_capacity(subs.len()), None);
    for sub in proven(&gateway.cloud, subs).await? {
        let may_login = |sub: &Arc<Device>| {
            let is_behind = sub.gateway.as_ref() == Some(&device.id) && device.no == session.device.no;
            is_behind && !sub.disabled
        };
        match sub {
            Ok(sub) if may_login(&sub) => found.push(sub),
            Ok(_) => fault = fault.or(Some(Fault::Topology)),
            Err(wrong) => fault = fault.or(Some(wrong)),
        }
    }
    session.add_sub_devices(gateway, &found).await?;
    fault.map_or(Ok(DeviceResponse::Devices(found)), Err)
}

/// Whether a claim names a device.
fn is_named(device: &Device, claim: &DeviceClaim) -> bool {
    match claim {
        DeviceClaim::Id(id) => *id == device.id,
        DeviceClaim::Factory(name) | DeviceClaim::Registered(_, name) => {
            name.product_key == device.product.key && name.device_name == device.device_name
        }
    }
}

async fn register(
    cloud: &Cloud,
    gateway: &Device,
    subs: Vec<(FactoryName, Option<Vec<Proof>>)>,
) -> Result<DeviceResponse, Fault> {
    let keys: Vec<&str> = subs.iter().map(|(name, _)| name.product_key.as_str()).collect();
    let products = cloud.product_secrets(&keys).await?;
    let fault = |((_, proofs), product): (&(FactoryName, Option<Vec<Proof>>), &Option<ProductSecret>)| {
        let proofs = proofs.as_ref()?;
        let Some(product) = product else { return Some(Fault::Device) };
        let is_proven = proofs.iter().any(|proof| proof.is_proven_by(&product.secret));
        (!is_proven).then_some(Fault::Proof)
    };
    // One that is refused ends the request; those before it are registered.
    let faults: Vec<Option<Fault>> = subs.iter().zip(&products).map(fault).collect();
    let names = subs.iter().zip(&faults).map_while(|((name, _), fault)| fault.is_none().then(|| name.clone()));
    let names: Vec<FactoryName> = names.collect();
    let found = cloud.register_sub_devices(gateway, &names).await?;
    if found.len() < names.len() {
        return Err(Fault::Device);
    }
    faults.into_iter().flatten().next().map_or(Ok(DeviceResponse::Secrets(found)), Err)
}

/// The shadow of a device, read or changed, in the vendor's words (contract aliyun §6.2).
async fn shadow(cloud: &Cloud, device: &Device, message: &Json) -> Result<Json, Fault> {
    let attributes = cloud.attributes(device, AttributeKind::Shadow).await?;
    let known = attributes.iter().find(|attribute| attribute.key == SHADOW);
    let mut document: Json = known.and_then(|attribute| serde_json::from_str(&attribute.text).ok()).unwrap_or_default();
    let (stored, version) = (known.map_or(0, |attribute| attribute.version), document["version"].as_i64().unwrap_or(0));
    let seconds = cloud.now_ms() / 1000;
    let reply = |payload: Json| json!({"method": "reply", "payload": payload, "timestamp": seconds});
    let refuse = |code: &str, text: &str| {
        Ok(reply(json!({"status": "error", "content": {"errorcode": code, "errormessage": text}})))
    };
    match message["method"].as_str() {
        Some("get") => {
            let (state, metadata) = (&document["state"], &document["metadata"]);
            let or_empty = |part: &Json| if part.is_null() { json!({}) } else { part.clone() };
            let payload = json!({"status": "success", "state": or_empty(state), "metadata": or_empty(metadata),
                "version": version});
            return Ok(reply(payload));
        }
        Some("update" | "delete") => {}
        _ => return refuse("401", "method is missing or unknown"),
    }
    let Some(given) = message["version"].as_i64() else { return refuse("402", "version is missing") };
    // −1 begins anew.
    if given != -1 && given <= version {
        return refuse("409", "version conflict");
    }
    if given == -1 {
        document = Json::Null;
    }
    let is_update = message["method"] == "update";
    for part in ["reported", "desired"] {
        merge(&mut document, part, &message["state"][part], is_update, seconds);
    }
    document["version"] = json!(given.max(0));
    let change =
        AttributeChange { key: SHADOW.to_owned(), text: Some(document.to_string()), from_version: Some(stored) };
    if !cloud.change_attributes(device, AttributeKind::Shadow, vec![change]).await? {
        return refuse("500", "the shadow is too long or was changed at the same time");
    }
    Ok(reply(json!({"status": "success", "version": given.max(0)})))
}

/// Lays one part of a shadow's state over what is known, or takes the named members out. A text `"null"` or a null
/// takes out all of it.
fn merge(document: &mut Json, part: &str, given: &Json, is_update: bool, seconds: i64) {
    let take = |document: &mut Json, key: &str| {
        for area in ["state", "metadata"] {
            if let Some(members) = document[area][part].as_object_mut() {
                members.remove(key);
            }
        }
    };
    match given {
        Json::Object(members) => {
            for (key, value) in members {
                if is_update && !value.is_null() {
                    document["state"][part][key] = value.clone();
                    document["metadata"][part][key] = json!({"timestamp": seconds});
                } else {
                    take(document, key);
                }
            }
        }
        Json::String(text) if text == "null" => {
            for area in ["state", "metadata"] {
                document[area][part] = Json::Object(Map::new());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Noun;

    #[test]
    fn a_busy_or_failed_store_is_a_fault_of_the_service() {
        for (error, fault) in [
            (Error::Busy("the event log waits for its disk"), Fault::Service),
            (Error::store("the disk failed"), Fault::Service),
            (Error::Unfit("switch".to_owned()), Fault::Unfit),
            (Error::NotVisible(Noun::Device), Fault::Parameter),
            (Error::FunctionNotSupported("switch".to_owned()), Fault::Parameter),
            (Error::Missing("token"), Fault::Parameter),
        ] {
            let text = error.to_string();
            assert_eq!(Fault::from(error), fault, "{text}");
        }
    }
}
