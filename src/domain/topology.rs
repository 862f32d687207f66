//! Gateways and the devices behind them, and devices that ask for their secret (contract tuya §6.3; aliyun §6.3, §6.4).

use std::sync::Arc;

use super::device::{FactoryName, Leaving};
use super::product::Registration;
use super::session::{DeviceClaim, DeviceSecret};
use super::{Cloud, Device, DeviceNo, NodeType, Product, ProductId, Result};

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
