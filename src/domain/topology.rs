//! Gateways and the devices behind them, and devices that ask for their secret (contract tuya §6.3; aliyun §6.3, §6.4).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::device::{FactoryName, Leaving};
use super::ownership::Placement;
use super::product::Registration;
use super::session::{DeviceClaim, DeviceSecret};
use super::{Cloud, Device, DeviceNo, NodeType, Product, ProductId, ProjectNo, Result, UserNo};

/// Devices that a gateway may have behind it.
pub const SUB_DEVICES_MAX: usize = 1000;
/// Devices that a product may get by registration alone.
pub const REGISTERED_MAX: usize = 100_000;

/// A product and the secret that its devices share. No `Debug`.
pub struct ProductSecret {
    /// The product.
    pub product: Arc<Product>,
    /// The secret.
    pub secret: String,
}

/// A device that a gateway names for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubDevice {
    /// Its product, which must be of the gateway's project.
    pub product: ProductId,
    /// What the gateway calls it: its device name from then on.
    pub name: String,
    /// Its address behind the gateway.
    pub node_id: Option<String>,
}

/// What a store knows when a device is to be made, or taken as it is when there is one of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Making {
    /// The project of its product.
    pub project: ProjectNo,
    /// What its product is for.
    pub node_type: NodeType,
    /// The gateway that names it, if one does.
    pub gateway: Option<Placement>,
    /// The device of that name.
    pub known: Option<KnownDevice>,
    /// Devices that were made so already: by the gateway, or by themselves of that product.
    pub made: usize,
    /// How many those may be.
    pub max: usize,
}

/// A device that there is, as far as it matters to a gateway that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownDevice {
    /// The store's number.
    pub no: DeviceNo,
    /// Who owns it.
    pub owner: Option<UserNo>,
    /// The gateway that it is behind.
    pub gateway: Option<DeviceNo>,
    /// Whether it has ever been connected.
    pub is_active: bool,
    /// Whether it was removed and not bound since.
    pub removed: bool,
}

/// What becomes of a device that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is made, for the gateway's owner if there is one.
    New(Option<UserNo>),
    /// It is there, and goes behind the gateway if one names it.
    Known(DeviceNo),
    /// It is not to be had.
    Refused,
}

impl Making {
    /// Decides. Behind a gateway comes only a sub-device of the project whose product the gateway is. A name is no proof:
    /// only what nobody else has and what never was anywhere is there for the taking.
    pub fn decide(&self) -> Made {
        let fits = |gateway: Placement| self.node_type == NodeType::Sub && gateway.project == self.project;
        if !self.gateway.is_none_or(fits) {
            return Made::Refused;
        }
        let gateways_owner = self.gateway.and_then(|gateway| gateway.owner);
        match self.known {
            Some(known) => {
                let is_free = known.gateway.is_none()
                    && !known.is_active
                    && !known.removed
                    && known.owner.is_none_or(|owner| Some(owner) == gateways_owner);
                let is_there = known.gateway == self.gateway.map(|gateway| gateway.no);
                if is_there || is_free { Made::Known(known.no) } else { Made::Refused }
            }
            None if self.made >= self.max => Made::Refused,
            None => Made::New(gateways_owner),
        }
    }
}

/// Whether a gateway with these devices behind it has room for further ones; those that are there already need none.
pub fn has_room(behind: &[DeviceNo], subs: &[DeviceNo], max: usize) -> bool {
    behind.iter().chain(subs).collect::<BTreeSet<_>>().len() <= max
}

impl Cloud {
    /// A product by Alibaba's id, with its secret, for a device that has only that.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn product_secret(&self, key: &str) -> Result<Option<ProductSecret>> {
        self.registry.product_secret(key).await
    }

    /// The secret of a device that proved its product's, if the product allows that: once connected it is not given
    /// again.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn register(&self, product: &Product, device_name: &str) -> Result<Option<DeviceSecret>> {
        if product.registration == Registration::Off {
            return Ok(None);
        }
        self.unused_device(product, device_name).await
    }

    /// As [`Cloud::register`], and makes the device when there is none, if the product allows that.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn register_new(&self, product: &Product, device_name: &str) -> Result<Option<DeviceSecret>> {
        if product.registration != Registration::Any {
            return Ok(None);
        }
        let name = NewSubDevice { product: product.id.clone(), name: device_name.to_owned(), node_id: None };
        if is_name(device_name)
            && self.registry.make_device(&name, None, REGISTERED_MAX, self, self.now_ms()).await?.0.is_some()
        {
            return self.unused_device(product, device_name).await;
        }
        Ok(None)
    }

    /// The secret of a device that never connected, is behind no gateway or behind that one, and has no other owner, if
    /// its product allows that. It is made, behind the gateway, when there is none and its product allows that too.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn register_sub_device(&self, gateway: &Device, name: &FactoryName) -> Result<Option<DeviceSecret>> {
        let who = DeviceClaim::Factory(name.clone());
        let mut found = self.registry.device_secret(&who).await?;
        if found.is_none() && self.make_sub_device(gateway, name).await? {
            found = self.registry.device_secret(&who).await?;
        }
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
        Ok(found.filter(may_have))
    }

    /// Makes a device that nobody described behind a gateway, if its product lets any device register.
    async fn make_sub_device(&self, gateway: &Device, name: &FactoryName) -> Result<bool> {
        let Some(ProductSecret { product, .. }) = self.registry.product_secret(&name.product_key).await? else {
            return Ok(false);
        };
        if product.registration != Registration::Any || product.project != gateway.product.project {
            return Ok(false);
        }
        let sub = NewSubDevice { product: product.id.clone(), name: name.device_name.clone(), node_id: None };
        Ok(self.bind_sub_device(gateway, &sub).await?.is_some())
    }

    async fn unused_device(&self, product: &Product, device_name: &str) -> Result<Option<DeviceSecret>> {
        let name = FactoryName { product_key: product.key.clone(), device_name: device_name.to_owned() };
        let found = self.registry.device_secret(&DeviceClaim::Factory(name)).await?;
        Ok(found.filter(|found| found.device.active_ms == 0 && !found.device.disabled))
    }

    /// A device that a gateway names for itself, made when there is none. `None` when it may not have it: the product
    /// is not of the gateway's project or not one of sub-devices, the device is behind another gateway, or there are
    /// too many.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn bind_sub_device(&self, gateway: &Device, sub: &NewSubDevice) -> Result<Option<Device>> {
        if gateway.product.node_type != NodeType::Gateway || !is_name(&sub.name) {
            return Ok(None);
        }
        let now_ms = self.now_ms();
        let (made, moves) = self.registry.make_device(sub, Some(gateway.no), SUB_DEVICES_MAX, self, now_ms).await?;
        self.follow(moves, Leaving::Removed).await?;
        Ok(made)
    }

    /// Puts devices, which proved themselves, behind a gateway, all of them or none. Whether they can be that and there
    /// is room.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn attach(&self, gateway: &Device, subs: &[DeviceNo]) -> Result<bool> {
        let (attached, moves) = self.registry.attach(subs, gateway.no, SUB_DEVICES_MAX, self, self.now_ms()).await?;
        self.follow(moves, Leaving::Removed).await?;
        Ok(attached)
    }

    /// Whether a device is one to put behind that gateway.
    pub fn may_attach(gateway: &Device, sub: &Device) -> bool {
        gateway.product.node_type == NodeType::Gateway && sub.product.node_type == NodeType::Sub
    }

    /// Takes devices from behind a gateway, all of them or none. Whether all were there.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn detach(&self, gateway: &Device, subs: &[DeviceNo]) -> Result<bool> {
        self.registry.detach(subs, gateway.no, self.now_ms()).await
    }

    /// The devices behind a gateway, for its own session.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn behind(&self, gateway: &Device) -> Result<Vec<Device>> {
        self.registry.behind(gateway.no, SUB_DEVICES_MAX).await
    }
}

/// Whether a name that a device or gateway gives can be a device name.
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
        let new = Making { project: MAKER, node_type, gateway: Some(gateway), known: None, made: 0, max: 1 };
        let free = KnownDevice { no: DEVICE, owner: None, gateway: None, is_active: false, removed: false };
        let known = |known| Making { known: Some(known), ..new };
        let elsewhere = KnownDevice { gateway: Some(DeviceNo(21)), ..free };
        for (name, making, expected) in [
            ("new", new, Made::New(Some(ANN))),
            ("no room", Making { made: 1, ..new }, Made::Refused),
            ("no sub-device", Making { node_type: NodeType::Gateway, ..new }, Made::Refused),
            ("another project's", Making { project: ProjectNo(2), ..new }, Made::Refused),
            ("alone", Making { gateway: None, node_type: NodeType::Gateway, ..new }, Made::New(None)),
            ("free", known(free), Made::Known(DEVICE)),
            ("the owner's", known(KnownDevice { owner: Some(ANN), ..free }), Made::Known(DEVICE)),
            ("another's", known(KnownDevice { owner: Some(BOB), ..free }), Made::Refused),
            ("connected", known(KnownDevice { is_active: true, ..free }), Made::Refused),
            ("removed", known(KnownDevice { removed: true, ..free }), Made::Refused),
            ("elsewhere", known(elsewhere), Made::Refused),
            ("elsewhere, alone", Making { gateway: None, ..known(elsewhere) }, Made::Refused),
            (
                "there already, whatever else",
                known(KnownDevice { gateway: Some(GATEWAY), owner: Some(BOB), is_active: true, ..free }),
                Made::Known(DEVICE),
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
