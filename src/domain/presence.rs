//! The presence of devices. A session of a device holds the lease of the device, and a device is online while the holder of
//! its lease says so. The log rows and the time of the last change are only a record of it (decisions 0015 and 0026).

use std::sync::Arc;

use async_trait::async_trait;

use super::{Cloud, Device, DeviceId, DeviceNo, EventSource, EventType, Result};

/// A node: one run of a server process. A process that is started again is another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub u64);

/// The lease of a device. The session that holds it represents the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The device.
    pub device: DeviceNo,
    /// The node of the session.
    pub owner: NodeId,
    /// Of two leases of a device, the later one has the larger number.
    pub epoch: u64,
}

/// A device that a session represents, and the lease of the session.
#[derive(Clone)]
pub struct LeasedDevice {
    /// The device.
    pub device: Arc<Device>,
    /// The lease.
    pub lease: Lease,
}

/// The leases of all devices.
///
/// A device has at most one valid lease, the one that was acquired last, whichever node its owner is. A lease is valid until
/// it is released, until another one of the device is acquired, or until its owner has stopped or is not known to run any
/// more. So leases expire with their owner and not one by one: an idle session has nothing to renew.
///
/// Each method is atomic for each device, and fails with [`super::Error::Store`] or [`super::Error::Busy`] if the leases
/// cannot be reached. Then nothing has changed.
#[async_trait]
pub trait Presence: Send + Sync {
    /// Acquires the lease of each device for a session of this node, in the same order. An earlier lease of a device is not
    /// valid any more; the device stays online or offline as it was.
    async fn acquire(&self, devices: &[DeviceNo]) -> Result<Vec<Lease>>;
    /// Marks the devices of leases as online. Without effect for a lease that is not valid.
    async fn set_online(&self, leases: &[Lease]) -> Result<()>;
    /// Whether each of these leases is valid, in the same order.
    async fn are_valid(&self, leases: &[Lease]) -> Result<Vec<bool>>;
    /// Ends leases. The devices of those that were valid are offline from now on. Returns for each lease, in the same order,
    /// whether its device has no valid lease now; it may have one of another session.
    async fn release(&self, leases: &[Lease]) -> Result<Vec<bool>>;
    /// Whether each of these devices has a valid lease and is marked as online, in the same order.
    async fn online(&self, devices: &[DeviceNo]) -> Result<Vec<bool>>;
}

impl Cloud {
    /// A session of devices begins: returns each with the lease with which the session represents it. Every earlier
    /// session of a device has lost it.
    ///
    /// # Errors
    /// As of [`Presence`].
    pub async fn acquire_leases(&self, devices: Vec<Arc<Device>>) -> Result<Vec<LeasedDevice>> {
        let numbers: Vec<DeviceNo> = devices.iter().map(|device| device.no).collect();
        let leases = self.presence.acquire(&numbers).await?;
        Ok(devices.into_iter().zip(leases).map(|(device, lease)| LeasedDevice { device, lease }).collect())
    }

    /// Whether a session still represents the device of its lease.
    ///
    /// # Errors
    /// As of [`Presence`].
    pub async fn is_valid_lease(&self, lease: Lease) -> Result<bool> {
        Ok(self.presence.are_valid(&[lease]).await?.pop().unwrap_or_default())
    }

    /// Devices have connected. The first time also activates them. They are online after that is on disk and before it is
    /// published.
    ///
    /// # Errors
    /// [`super::Error::Store`], [`super::Error::Busy`]; the sessions must end then.
    pub async fn connected(&self, devices: &[LeasedDevice]) -> Result<()> {
        if devices.is_empty() {
            return Ok(());
        }
        // The registry is called only if this may be the first activation: a write invalidates cache entries.
        let new = devices.iter().map(|leased| &*leased.device).filter(|device| device.active_ms == 0);
        let new: Vec<&Device> = new.collect();
        let activated = match new.is_empty() {
            true => Vec::new(),
            false => self.registry.activate_devices(&new, self.now_ms()).await?,
        };
        let activated = new.iter().zip(activated).filter(|(_, is_new)| *is_new).map(|(device, _)| device.no);
        let activated: Vec<DeviceNo> = activated.collect();
        let mut rows = Vec::with_capacity(devices.len() + activated.len());
        for LeasedDevice { device, .. } in devices {
            if activated.contains(&device.no) {
                rows.push(self.row_now(device, EventType::Activated, EventSource::DEVICE));
            }
            rows.push(self.row_now(device, EventType::Online, EventSource::DEVICE));
        }
        let leases: Vec<Lease> = devices.iter().map(|leased| leased.lease).collect();
        self.log_then(rows, self.presence.set_online(&leases)).await
    }

    /// Devices of a session have disconnected. They are offline after that is on disk, also if it could not be written, and
    /// before it is published. A device that another session represents by now stays online, and nothing is logged.
    ///
    /// # Errors
    /// [`super::Error::Store`], [`super::Error::Busy`].
    pub async fn disconnected(&self, devices: &[LeasedDevice]) -> Result<()> {
        let leases: Vec<Lease> = devices.iter().map(|leased| leased.lease).collect();
        let valid = self.presence.are_valid(&leases).await?;
        let ended: Vec<&LeasedDevice> =
            devices.iter().zip(valid).filter(|(_, is_valid)| *is_valid).map(|(leased, _)| leased).collect();
        if ended.is_empty() {
            return Ok(());
        }
        let row = |leased: &LeasedDevice, kind| self.row_now(&leased.device, kind, EventSource::DEVICE);
        let rows = ended.iter().map(|leased| row(leased, EventType::Offline)).collect();
        let leases: Vec<Lease> = ended.iter().map(|leased| leased.lease).collect();
        let released = self.log_then(rows, self.presence.release(&leases)).await?;
        // A device that has connected again in the meantime is online, and that row may be the older one.
        let online = ended.iter().zip(released).filter(|(_, is_free)| !is_free);
        let rows: Vec<_> = online.map(|(leased, _)| row(leased, EventType::Online)).collect();
        if rows.is_empty() { Ok(()) } else { self.log(rows).await }
    }

    /// Whether each of these devices is online, in the same order.
    ///
    /// # Errors
    /// As of [`Presence`].
    pub async fn online(&self, devices: &[DeviceNo]) -> Result<Vec<bool>> {
        self.presence.online(devices).await
    }

    pub(super) async fn is_online(&self, device: DeviceNo) -> Result<bool> {
        Ok(self.presence.online(&[device]).await?.pop().unwrap_or_default())
    }

    /// A device by its id only, for its own authenticated session. Not for calls of the cloud APIs.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn device_by_id(&self, id: &DeviceId) -> Result<Option<Device>> {
        self.registry.device_by_id(id).await
    }

    /// Devices by their ids only, in the order of the ids, for the operator. Not for calls of the cloud APIs.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn devices_by_id(&self, ids: &[DeviceId]) -> Result<Vec<Option<Device>>> {
        self.registry.devices_by_id(ids).await
    }

    /// The devices that this process simulates, at most `limit`.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn virtual_devices(&self, limit: usize) -> Result<Vec<Device>> {
        self.registry.virtual_devices(limit).await
    }
}
