//! Devices: what a project or user sees of them, and the operations on them (contract tuya §3.4–3.14).

use std::borrow::Cow;
use std::sync::Arc;

use super::access::{DeviceRole, Found, View, seen_as};
use super::caller::check_self;
use super::feed::News;
use super::{
    Access, Caller, Cloud, DataPoint, DeviceId, DeviceNo, Error, Function, HomeId, Latest, Noun, Product, ProductId,
    Requester, Result, Schema, Uid, UserNo,
};

/// The maximal length of a device's name, in characters.
pub const NAME_CHARS_MAX: usize = 128;
/// The maximal number of devices that one call may name.
pub const DEVICE_IDS_MAX: usize = 20;
/// The maximal number of devices on a page.
pub const DEVICE_PAGE_MAX: usize = 100;
/// The maximal number of devices in a list without paging. Paging gives the others.
pub const DEVICE_LIST_MAX: usize = 1000;

/// The time zone of a device whose time zone is unknown or hidden, as an offset from UTC.
pub const TIME_ZONE: &str = "+00:00";

/// A device as the registry stores it. No `Debug`: it holds the local key.
#[derive(Clone, PartialEq)]
pub struct Device {
    /// The store's number.
    pub no: DeviceNo,
    /// The proof that a store found it.
    pub found: Found,
    /// The id of the device in both clouds.
    pub id: DeviceId,
    /// The product.
    pub product: Arc<Product>,
    /// Alibaba's id.
    pub iot_id: String,
    /// The name that the factory gave, unique among the devices of the product.
    pub device_name: String,
    /// The manufacturer's unique id.
    pub uuid: String,
    /// The key for communication on the local network, 16 characters. Empty for the project of the product while the
    /// device is [`Device::held_elsewhere`], as are home and position.
    pub local_key: String,
    /// The name that the owner gave; the product's name while the device is [`Device::held_elsewhere`].
    pub name: String,
    /// Serial number.
    pub sn: Option<String>,
    /// MAC address.
    pub mac: Option<String>,
    /// The IP address of its last connection.
    pub ip: String,
    /// Latitude in degrees, as text.
    pub lat: Option<String>,
    /// Longitude in degrees, as text.
    pub lon: Option<String>,
    /// Offset from UTC, for example `+08:00`; `+00:00` while it is [`Device::held_elsewhere`].
    pub time_zone: String,
    /// The gateway through which it connects.
    pub gateway: Option<DeviceId>,
    /// Its address at that gateway.
    pub node_id: Option<String>,
    /// The home that it belongs to.
    pub home: Option<HomeId>,
    /// The owner.
    pub owner: Option<Uid>,
    /// Time of creation, milliseconds since 1970.
    pub created_ms: i64,
    /// Time of the last activation, milliseconds since 1970; 0 before the first one.
    pub active_ms: i64,
    /// Time of the last change of these values, milliseconds since 1970. While the device is
    /// [`Device::held_elsewhere`], the time of its creation or activation.
    pub updated_ms: i64,
    /// Log rows and data points before this time are hidden: the time of the last reset, or 0.
    pub history_from_ms: i64,
    /// Whether the server itself simulates the device.
    pub is_virtual: bool,
    /// Whether the device is disabled.
    pub disabled: bool,
    /// Whether users of another project have the device, or had it last, and no user of the requester's project has it.
    /// The requester's project then sees neither home, names nor time zone, and may only remove or reset the device
    /// (decision 0003).
    pub held_elsewhere: bool,
}

/// How a caller identifies a device other than by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// Alibaba's id.
    IotId(String),
    /// The name that the factory gave it.
    Factory(FactoryName),
}

/// The name that the factory gave to a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FactoryName {
    /// Alibaba's id of its product.
    pub product_key: String,
    /// Its name, unique among the devices of the product.
    pub device_name: String,
}

/// A device with its presence and its latest values.
#[derive(Clone, PartialEq)]
pub struct DeviceState {
    /// The device as stored in the registry.
    pub device: Arc<Device>,
    /// Whether the device is connected.
    pub online: bool,
    latest: Arc<Latest>,
}

impl DeviceState {
    /// When the device last connected or disconnected, if it did so since the last reset. If it stayed connected while
    /// its owner changed, the time of its activation for the new owner.
    pub fn presence_ms(&self) -> Option<i64> {
        let (_, row) = self.latest.presence?;
        let is_shown = row.time_ms >= self.device.history_from_ms;
        is_shown.then_some(row.time_ms).or(self.online.then_some(self.device.active_ms))
    }

    /// Calls `visit` for each code of the status: first every code that devices of the product report, in the order of
    /// the data points and with the default value if the device has not reported it; then codes that the product does
    /// not have, in the order of their first report.
    pub fn visit_status<'a>(&'a self, mut visit: impl FnMut(StatusPoint<'a>)) {
        let product = &self.device.product;
        let mut found = 0;
        // Most devices report in the order of their data points, so try the next point first and search only if it does
        // not match.
        let mut next = self.points().peekable();
        for function in product.status_order.iter().filter_map(|at| product.functions.get(*at)) {
            let is_it = |point: &&DataPoint| *point.code == *function.code;
            match next.next_if(is_it).or_else(|| self.points().find(is_it)) {
                Some(point) => {
                    found += 1;
                    visit(StatusPoint::reported(point, Some(function)));
                }
                None if function.access == Access::WriteOnly => {}
                None => visit(StatusPoint {
                    code: &function.code,
                    value: function.default_value(),
                    time_ms: 0,
                    function: Some(function),
                }),
            }
        }
        if self.points().count() > found {
            let others = self.points().filter(|point| product.function(&point.code).is_none());
            others.for_each(|point| visit(StatusPoint::reported(point, None)));
        }
    }

    /// The latest value of each code, without values from before the last reset.
    pub fn points(&self) -> impl Iterator<Item = &DataPoint> {
        self.latest.points.iter().filter(|point| point.row.time_ms >= self.device.history_from_ms)
    }
}

/// One code of a device's status.
pub struct StatusPoint<'a> {
    /// The code.
    pub code: &'a str,
    /// JSON text.
    pub value: Cow<'a, str>,
    /// When it was reported, milliseconds since 1970; 0 for a default.
    pub time_ms: i64,
    /// The function of that code, if the product has one.
    pub function: Option<&'a Function>,
}

impl<'a> StatusPoint<'a> {
    fn reported(point: &'a DataPoint, function: Option<&'a Function>) -> Self {
        Self { code: &point.code, value: point.value.as_json().into(), time_ms: point.row.time_ms, function }
    }
}

/// Selects devices of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserDevices {
    /// Devices in the user's homes and devices that the user owns.
    Home,
    /// Devices that are shared with the user.
    Shared,
}

/// A position in the list of devices, which is ordered by creation time, then by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCursor {
    /// The creation time of the last device of the previous page, milliseconds since 1970.
    pub created_ms: i64,
    /// Its id, which orders devices that were created in the same millisecond.
    pub id: DeviceId,
}

/// Selects devices among those that a project sees. A member that is `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceQuery {
    /// Only devices that this user owns, that are shared with this user, or that belong to a home of this user.
    pub user: Option<UserNo>,
    /// The same for a user of the project who need not be the requester.
    pub of_user: Option<Uid>,
    /// Only devices of this home.
    pub home: Option<HomeId>,
    /// Only devices of users of this app.
    pub schema: Option<Schema>,
    /// Only devices of these products; if empty, of all products.
    pub products: Vec<ProductId>,
    /// Only devices of products of these categories; if empty, of all categories.
    pub categories: Vec<String>,
    /// Only devices with these ids; at most [`DEVICE_IDS_MAX`].
    pub ids: Option<Vec<DeviceId>>,
    /// Only devices that changed at or after this time; milliseconds.
    pub from_ms: Option<i64>,
    /// Only devices that changed at or before this time; milliseconds.
    pub to_ms: Option<i64>,
    /// Only devices after this position.
    pub after: Option<DeviceCursor>,
    /// The number of devices to skip.
    pub offset: usize,
    /// The maximal number of devices to return, at most [`DEVICE_LIST_MAX`].
    pub limit: usize,
}

/// A page of devices.
#[derive(Clone, Default)]
pub struct DevicePage<T> {
    /// The devices, in order of creation.
    pub devices: Vec<T>,
    /// The number of all devices that the query selects.
    pub total: u64,
}

/// How a device is removed from its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The bindings are removed. Names, device users and history are stored for the case that the last owner binds it
    /// again.
    Removed,
    /// The bindings are removed, also all names, position and device users; the history is hidden.
    Reset,
}

impl Cloud {
    /// A device that the requester may see, with the members that the requester may see.
    ///
    /// # Errors
    /// [`Error::NotVisible`] if it does not exist, was removed or belongs to another project.
    pub(super) async fn visible_device(&self, requester: &impl Requester, id: &DeviceId) -> Result<Arc<Device>> {
        let (device, view) = self.device_and_view(requester, id).await?;
        Ok(seen_as(device, view.role))
    }

    /// A device that the requester may name and share: the requester is the owner, or a project that sees the device,
    /// unless it is [`Device::held_elsewhere`].
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for a device that is [`Device::held_elsewhere`]; [`Error::NotAllowed`] for a user
    /// who sees the device and does not own it.
    pub(super) async fn owned_device(&self, requester: &impl Requester, id: &DeviceId) -> Result<Arc<Device>> {
        let (device, view) = self.device_and_view(requester, id).await?;
        view.check_manages().map(|()| device)
    }

    async fn device_and_view(&self, requester: &impl Requester, id: &DeviceId) -> Result<(Arc<Device>, View)> {
        let device = self.registry.device(requester.project().no, id).await?.ok_or(Error::NotVisible(Noun::Device))?;
        let role = self.roles(requester, &[&device]).await?.pop().flatten().ok_or(Error::NotVisible(Noun::Device))?;
        let held_elsewhere = device.held_elsewhere;
        Ok((device, View { role, held_elsewhere }))
    }

    /// A device that the requester may see and that is not [`Device::held_elsewhere`].
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for a device that is [`Device::held_elsewhere`].
    pub(super) async fn device_at_home(&self, requester: &impl Requester, id: &DeviceId) -> Result<Arc<Device>> {
        let device = self.visible_device(requester, id).await?;
        (!device.held_elsewhere).then_some(device).ok_or(Error::NotVisible(Noun::Device))
    }

    /// A device with its presence and latest values.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn device(&self, requester: &impl Requester, id: &DeviceId) -> Result<DeviceState> {
        let device = self.visible_device(requester, id).await?;
        let mut states = self.with_state([device]).await?;
        states.pop().ok_or(Error::NotVisible(Noun::Device))
    }

    /// A device that the caller may see, identified by another name than its id.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub(super) async fn device_named(&self, caller: &Caller, name: &DeviceName) -> Result<Arc<Device>> {
        self.registry.device_named(caller.project.no, name).await?.ok_or(Error::NotVisible(Noun::Device))
    }

    /// A device, identified by another name than its id, with its presence and latest values.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn named_device(&self, caller: &Caller, name: &DeviceName) -> Result<DeviceState> {
        let device = self.device_named(caller, name).await?;
        self.with_state([device]).await?.pop().ok_or(Error::NotVisible(Noun::Device))
    }

    /// A user's devices, in order of creation; `offset` and `limit` count devices, at most [`DEVICE_LIST_MAX`].
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and if the requester is another user.
    pub async fn devices_of_user(
        &self,
        requester: &impl Requester,
        uid: &Uid,
        which: UserDevices,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<DeviceState>> {
        check_self(requester, uid)?;
        let limit = limit.min(DEVICE_LIST_MAX);
        let devices = self.registry.devices_of_user(requester.project().no, uid, which, offset, limit).await?;
        let mut devices = devices.ok_or(Error::NotVisible(Noun::User))?;
        // A requester may see some of these devices in another role too. This list shows them as a sharee sees them.
        if requester.user().is_some() && which == UserDevices::Shared {
            devices = devices.into_iter().map(|device| seen_as(device, DeviceRole::Sharee)).collect();
        }
        self.with_state(devices).await
    }

    /// A page of the devices that the requester sees.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a schema, product or user that is not the project's, and for a user other than the
    /// requester; [`Error::OutOfRange`] for too many ids.
    pub async fn devices(&self, requester: &impl Requester, mut query: DeviceQuery) -> Result<DevicePage<DeviceState>> {
        if query.ids.as_ref().is_some_and(|ids| ids.len() > DEVICE_IDS_MAX) {
            return Err(Error::OutOfRange { param: "device_ids", allowed: format!("at most {DEVICE_IDS_MAX} ids") });
        }
        query.of_user.as_ref().map_or(Ok(()), |uid| check_self(requester, uid))?;
        query.user = requester.user().map(|user| user.no);
        let page = self.registry.devices(requester.project().no, &query).await?;
        let page = page.ok_or(Error::NotVisible(Noun::App))?;
        Ok(DevicePage { devices: self.seen_with_state(requester, page.devices).await?, total: page.total })
    }

    /// The devices that connect through a gateway, at most [`DEVICE_LIST_MAX`]. Empty for a device that is not a
    /// gateway or that is [`Device::held_elsewhere`].
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn sub_devices(&self, requester: &impl Requester, gateway: &DeviceId) -> Result<Vec<DeviceState>> {
        let gateway = self.visible_device(requester, gateway).await?;
        if gateway.held_elsewhere {
            return Ok(Vec::new());
        }
        let devices = self.registry.sub_devices(requester.project().no, gateway.no, DEVICE_LIST_MAX).await?;
        self.seen_with_state(requester, devices).await
    }

    /// Those devices of `ids` that the requester sees, at most [`DEVICE_PAGE_MAX`], for their factory data.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for too many ids.
    pub async fn factory_infos(&self, requester: &impl Requester, ids: Vec<DeviceId>) -> Result<Vec<Arc<Device>>> {
        if ids.len() > DEVICE_PAGE_MAX {
            return Err(Error::OutOfRange { param: "device_ids", allowed: format!("at most {DEVICE_PAGE_MAX} ids") });
        }
        let user = requester.user().map(|user| user.no);
        let query = DeviceQuery { limit: ids.len(), ids: Some(ids), user, ..DeviceQuery::default() };
        let page = self.registry.devices(requester.project().no, &query).await?;
        let devices = page.map(|page| page.devices).unwrap_or_default();
        self.as_seen(requester, devices.into_iter().map(Arc::new).collect()).await
    }

    /// Renames a device.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::NotAllowed`] for a user who does not own it.
    pub async fn rename_device(&self, requester: &impl Requester, id: &DeviceId, name: &str) -> Result<()> {
        let device = self.owned_device(requester, id).await?;
        let renamed = self.registry.rename_device(requester.project().no, id, name, self.now_ms()).await?;
        renamed.then_some(()).ok_or(Error::NotVisible(Noun::Device))?;
        self.publish(device.no, News::Renamed(name.to_owned()));
        Ok(())
    }

    /// Removes devices from all their users, all of them or none. They are invisible until they are bound again, and
    /// their sessions end. A removal is written to the event log; a reset is the first visible row of the new history.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a device that the caller may not remove or that was removed already;
    /// [`Error::OutOfRange`] for more than [`DEVICE_IDS_MAX`].
    pub async fn remove_devices(&self, caller: &Caller, ids: &[DeviceId], removal: Removal) -> Result<()> {
        if ids.len() > DEVICE_IDS_MAX {
            return Err(Error::OutOfRange { param: "device_ids", allowed: format!("at most {DEVICE_IDS_MAX} ids") });
        }
        let moves = self.registry.remove_devices(caller.project.no, ids, removal, self, self.now_ms()).await?;
        self.follow(moves.ok_or(Error::NotVisible(Noun::Device))?, removal).await
    }

    /// Those devices that the requester sees, with presence and latest values.
    pub(super) async fn seen_with_state(
        &self,
        requester: &impl Requester,
        devices: Vec<Device>,
    ) -> Result<Vec<DeviceState>> {
        let seen = self.as_seen(requester, devices.into_iter().map(Arc::new).collect()).await?;
        self.with_state(seen).await
    }

    /// Adds presence and latest values to each device.
    pub async fn with_state(&self, devices: impl IntoIterator<Item = Arc<Device>>) -> Result<Vec<DeviceState>> {
        let devices: Vec<Arc<Device>> = devices.into_iter().collect();
        let numbers: Vec<DeviceNo> = devices.iter().map(|device| device.no).collect();
        let latest = self.telemetry.latest(&numbers).await?;
        let online = self.online(&numbers).await?;
        let states = devices.into_iter().zip(latest).zip(online);
        Ok(states.map(|((device, latest), online)| DeviceState { device, online, latest }).collect())
    }
}
