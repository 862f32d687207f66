//! Gateways and their sub-devices, and devices that request their secret (contract tuya §6.3; aliyun §6.3, §6.4).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::device::{FactoryName, Removal};
use super::ownership::Placement;
use super::product::Registration;
use super::session::{DeviceClaim, DeviceSecret};
use super::{Cloud, Device, DeviceNo, NodeType, Product, ProductId, ProjectNo, Result, UserNo};

/// The maximal number of sub-devices of a gateway.
pub const SUB_DEVICES_MAX: usize = 1000;
/// The maximal number of devices of a product that are created by registration.
pub const REGISTERED_MAX: usize = 100_000;

/// A product and the secret that all its devices share. No `Debug`.
pub struct ProductSecret {
    /// The product.
    pub product: Arc<Product>,
    /// The secret.
    pub secret: String,
}

/// A sub-device that a gateway describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubDevice {
    /// Its product, which must be a product of the gateway's project.
    pub product: ProductId,
    /// The name that the gateway gives it; it becomes the device name.
    pub name: String,
    /// Its address at the gateway.
    pub node_id: Option<String>,
}

/// The state that decides whether a device may be created, or an existing device of that name may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewDeviceClaim {
    /// The project of its product.
    pub project: ProjectNo,
    /// The node type of its product.
    pub node_type: NodeType,
    /// The gateway that describes it, if any.
    pub gateway: Option<Placement>,
    /// The existing device of that name.
    pub known: Option<ExistingDevice>,
    /// The number of devices that were created this way already: by the gateway or, without a gateway, for the product.
    pub made: usize,
    /// The maximal value of that number.
    pub max: usize,
}

/// The properties of an existing device that decide whether a gateway may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExistingDevice {
    /// The store's number.
    pub no: DeviceNo,
    /// The owner.
    pub owner: Option<UserNo>,
    /// Its present gateway.
    pub gateway: Option<DeviceNo>,
    /// Whether it has ever connected.
    pub is_active: bool,
    /// Whether it was removed and not bound again.
    pub removed: bool,
}

/// The decision about such a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewDeviceDecision {
    /// It is created, and belongs to the gateway's owner, if there is one.
    New(Option<UserNo>),
    /// It exists, and becomes a sub-device of the gateway, if there is one.
    Existing(DeviceNo),
    /// It is refused.
    Refused,
}

impl NewDeviceClaim {
    /// Decides. A gateway may only have sub-devices of its own project. A device name proves nothing, so an existing
    /// device is accepted only if it has no other owner and gateway and never connected.
    pub fn decide(&self) -> NewDeviceDecision {
        let fits = |gateway: Placement| self.node_type == NodeType::Sub && gateway.project == self.project;
        if !self.gateway.is_none_or(fits) {
            return NewDeviceDecision::Refused;
        }
        let gateways_owner = self.gateway.and_then(|gateway| gateway.owner);
        match self.known {
            Some(known) => {
                let is_free = known.gateway.is_none()
                    && !known.is_active
                    && !known.removed
                    && known.owner.is_none_or(|owner| Some(owner) == gateways_owner);
                let is_there = known.gateway == self.gateway.map(|gateway| gateway.no);
                if is_there || is_free { NewDeviceDecision::Existing(known.no) } else { NewDeviceDecision::Refused }
            }
            None if self.made >= self.max => NewDeviceDecision::Refused,
            None => NewDeviceDecision::New(gateways_owner),
        }
    }
}

/// Whether a gateway with these sub-devices may have further ones. Those that it has already are not counted twice.
pub fn has_room(behind: &[DeviceNo], subs: &[DeviceNo], max: usize) -> bool {
    behind.iter().chain(subs).collect::<BTreeSet<_>>().len() <= max
}

impl Cloud {
    /// Products by Alibaba's ids, with their secrets, in the order of the ids, for devices that have only these secrets.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn product_secrets(&self, keys: &[&str]) -> Result<Vec<Option<ProductSecret>>> {
        self.registry.product_secrets(keys).await
    }

    /// The secret of a device that proved its product's secret, if the product allows it. `None` after the first
    /// connection.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn register(&self, product: &Product, device_name: &str) -> Result<Option<DeviceSecret>> {
        if product.registration == Registration::Off {
            return Ok(None);
        }
        self.unused_device(product, device_name).await
    }

    /// As [`Cloud::register`], but creates the device if it does not exist and the product allows it.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn register_new(&self, product: &Product, device_name: &str) -> Result<Option<DeviceSecret>> {
        if product.registration != Registration::Any {
            return Ok(None);
        }
        let name = NewSubDevice { product: product.id.clone(), name: device_name.to_owned(), node_id: None };
        if is_name(device_name)
            && !self.registry.make_devices(&[name], None, REGISTERED_MAX, self, self.now_ms()).await?.0.is_empty()
        {
            return self.unused_device(product, device_name).await;
        }
        Ok(None)
    }

    /// The secrets of sub-devices, in the order of their names, up to the first that is refused. A sub-device must never
    /// have connected and have neither another gateway nor another owner, and its product must allow it. Creates the
    /// devices that do not exist at the gateway, if their products allow that too.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn register_sub_devices(&self, gateway: &Device, names: &[FactoryName]) -> Result<Vec<DeviceSecret>> {
        let may_have = |found: &DeviceSecret| {
            let sub = &found.device;
            sub.product.node_type == NodeType::Sub
                && sub.product.registration != Registration::Off
                && sub.product.project == gateway.product.project
                && sub.owner.as_ref().is_none_or(|owner| Some(owner) == gateway.owner.as_ref())
                && sub.active_ms == 0
                && !sub.disabled
                && sub.gateway.as_ref().is_none_or(|other| *other == gateway.id)
        };
        let claims: Vec<DeviceClaim> = names.iter().cloned().map(DeviceClaim::Factory).collect();
        let mut found = self.registry.device_secrets(&claims).await?;
        // Nothing is created after one that is refused.
        found.truncate(found.iter().take_while(|found| found.as_ref().is_none_or(may_have)).count());
        let new: Vec<&FactoryName> =
            names.iter().zip(&found).filter_map(|(name, found)| found.is_none().then_some(name)).collect();
        if !new.is_empty() {
            self.make_sub_devices(gateway, &new).await?;
            found = self.registry.device_secrets(&claims[..found.len()]).await?;
        }
        Ok(found.into_iter().map_while(|found| found.filter(may_have)).collect())
    }

    /// Creates unknown sub-devices at a gateway, up to the first whose product does not let any device register.
    async fn make_sub_devices(&self, gateway: &Device, names: &[&FactoryName]) -> Result<()> {
        let keys: Vec<&str> = names.iter().map(|name| name.product_key.as_str()).collect();
        let products = self.registry.product_secrets(&keys).await?;
        let new = |(name, product): (&&FactoryName, Option<ProductSecret>)| {
            let product = product?.product;
            let may_register = product.registration == Registration::Any && product.project == gateway.product.project;
            let sub = NewSubDevice { product: product.id.clone(), name: name.device_name.clone(), node_id: None };
            may_register.then_some(sub)
        };
        let subs: Vec<NewSubDevice> = names.iter().zip(products).map_while(new).collect();
        self.bind_sub_devices(gateway, &subs).await.map(drop)
    }

    async fn unused_device(&self, product: &Product, device_name: &str) -> Result<Option<DeviceSecret>> {
        let name = FactoryName { product_key: product.key.clone(), device_name: device_name.to_owned() };
        let found = self.registry.device_secret(&DeviceClaim::Factory(name)).await?;
        Ok(found.filter(|found| found.device.active_ms == 0 && !found.device.disabled))
    }

    /// The sub-devices that a gateway describes, in their order, up to the first that is refused: its product is not one
    /// of the gateway's project or not one for sub-devices, it has another gateway, or there are too many. Those that do
    /// not exist are created.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn bind_sub_devices(&self, gateway: &Device, subs: &[NewSubDevice]) -> Result<Vec<Device>> {
        let named = &subs[..subs.iter().take_while(|sub| is_name(&sub.name)).count()];
        if gateway.product.node_type != NodeType::Gateway || named.is_empty() {
            return Ok(Vec::new());
        }
        let now_ms = self.now_ms();
        let (made, moves) = self.registry.make_devices(named, Some(gateway.no), SUB_DEVICES_MAX, self, now_ms).await?;
        self.follow(moves, Removal::Removed).await?;
        Ok(made)
    }

    /// Attaches authenticated devices to a gateway, all of them or none. `false` if one cannot be attached or there are
    /// too many.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn attach(&self, gateway: &Device, subs: &[DeviceNo]) -> Result<bool> {
        let (attached, moves) = self.registry.attach(subs, gateway.no, SUB_DEVICES_MAX, self, self.now_ms()).await?;
        self.follow(moves, Removal::Removed).await?;
        Ok(attached)
    }

    /// Whether a device can be a sub-device of that gateway.
    pub fn may_attach(gateway: &Device, sub: &Device) -> bool {
        gateway.product.node_type == NodeType::Gateway && sub.product.node_type == NodeType::Sub
    }

    /// Detaches sub-devices from a gateway, all of them or none. `false` if one of them was not attached to it.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn detach(&self, gateway: &Device, subs: &[DeviceNo]) -> Result<bool> {
        self.registry.detach(subs, gateway.no, self.now_ms()).await
    }

    /// The sub-devices of a gateway, for its own session.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn behind(&self, gateway: &Device) -> Result<Vec<Device>> {
        self.registry.behind(gateway.no, SUB_DEVICES_MAX).await
    }
}

/// Whether a text is valid as a device name.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@');
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKER: ProjectNo = ProjectNo(1);
    const ANN: UserNo = UserNo(11);
    const BOB: UserNo = UserNo(12);
    const GATEWAY: DeviceNo = DeviceNo(20);
    const DEVICE: DeviceNo = DeviceNo(30);

    #[test]
    fn a_gateway_gets_what_nobody_else_has() {
        let gateway = Placement { no: GATEWAY, project: MAKER, owner: Some(ANN), last_owner: Some(ANN), home: None };
        let node_type = NodeType::Sub;
        let new = NewDeviceClaim { project: MAKER, node_type, gateway: Some(gateway), known: None, made: 0, max: 1 };
        let free = ExistingDevice { no: DEVICE, owner: None, gateway: None, is_active: false, removed: false };
        let known = |known| NewDeviceClaim { known: Some(known), ..new };
        let elsewhere = ExistingDevice { gateway: Some(DeviceNo(21)), ..free };
        for (name, making, expected) in [
            ("new", new, NewDeviceDecision::New(Some(ANN))),
            ("no room", NewDeviceClaim { made: 1, ..new }, NewDeviceDecision::Refused),
            ("no sub-device", NewDeviceClaim { node_type: NodeType::Gateway, ..new }, NewDeviceDecision::Refused),
            ("another project's", NewDeviceClaim { project: ProjectNo(2), ..new }, NewDeviceDecision::Refused),
            (
                "alone",
                NewDeviceClaim { gateway: None, node_type: NodeType::Gateway, ..new },
                NewDeviceDecision::New(None),
            ),
            ("free", known(free), NewDeviceDecision::Existing(DEVICE)),
            ("the owner's", known(ExistingDevice { owner: Some(ANN), ..free }), NewDeviceDecision::Existing(DEVICE)),
            ("another's", known(ExistingDevice { owner: Some(BOB), ..free }), NewDeviceDecision::Refused),
            ("connected", known(ExistingDevice { is_active: true, ..free }), NewDeviceDecision::Refused),
            ("removed", known(ExistingDevice { removed: true, ..free }), NewDeviceDecision::Refused),
            ("elsewhere", known(elsewhere), NewDeviceDecision::Refused),
            ("elsewhere, alone", NewDeviceClaim { gateway: None, ..known(elsewhere) }, NewDeviceDecision::Refused),
            (
                "there already, whatever else",
                known(ExistingDevice { gateway: Some(GATEWAY), owner: Some(BOB), is_active: true, ..free }),
                NewDeviceDecision::Existing(DEVICE),
            ),
        ] {
            assert_eq!(making.decide(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_there_needs_no_room() {
        for (behind, subs, max, expected) in [
            (&[1, 2][..], &[3][..], 2, false),
            (&[1, 2], &[2], 2, true),
            (&[1, 2], &[3, 3], 3, true),
            (&[], &[], 0, true),
        ] {
            let numbers = |of: &[i64]| of.iter().map(|no| DeviceNo(*no)).collect::<Vec<_>>();
            assert_eq!(has_room(&numbers(behind), &numbers(subs), max), expected, "{behind:?} {subs:?} {max}");
        }
    }
}
