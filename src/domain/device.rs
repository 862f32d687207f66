//! Devices: what a project sees of them and may do to them (seed 003; contract tuya §3.4–3.14).

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use super::access::{DeviceRole, View, seen_as};
use super::caller::check_self;
use super::feed::News;
use super::{
    Access, Caller, Cloud, DataPoint, DeviceId, DeviceNo, Error, Function, HomeId, Latest, Noun, Product, ProductId,
    Requester, Result, Schema, Uid, UserNo,
};

/// A device's name may be this long, in characters.
pub const NAME_CHARS_MAX: usize = 128;
/// Devices that one call may name.
pub const DEVICE_IDS_MAX: usize = 20;
/// Devices a page may hold.
pub const DEVICE_PAGE_MAX: usize = 100;
/// Devices that a list without paging may hold: the first of more, which paging gives.
pub const DEVICE_LIST_MAX: usize = 1000;

/// The time zone of a device of which none is known or told, as an offset from UTC.
pub const TIME_ZONE: &str = "+00:00";

/// What the registry knows of a device. No `Debug`: it holds the local key.
#[derive(Clone, PartialEq)]
pub struct Device {
    /// The store's number.
    pub no: DeviceNo,
    /// Its id in both clouds.
    pub id: DeviceId,
    /// What it is.
    pub product: Arc<Product>,
    /// Alibaba's id.
    pub iot_id: String,
    /// Its name among the devices of its product, given by the factory.
    pub device_name: String,
    /// The maker's unique id.
    pub uuid: String,
    /// The key for talking to it on the local network, 16 characters. Empty, with home and place, for the project of
    /// its product while another project's user owns it.
    pub local_key: String,
    /// What its owner calls it; its product's name for a project to which it is [`Device::held_elsewhere`].
    pub name: String,
    /// Serial number.
    pub sn: Option<String>,
    /// Hardware address.
    pub mac: Option<String>,
    /// The address it was last seen at.
    pub ip: String,
    /// Latitude in degrees, as text.
    pub lat: Option<String>,
    /// Longitude in degrees, as text.
    pub lon: Option<String>,
    /// Offset from UTC, for example `+08:00`; `+00:00` while it is [`Device::held_elsewhere`].
    pub time_zone: String,
    /// The gateway it connects through.
    pub gateway: Option<DeviceId>,
    /// Its address behind that gateway.
    pub node_id: Option<String>,
    /// The home it stands in.
    pub home: Option<HomeId>,
    /// Who owns it.
    pub owner: Option<Uid>,
    /// Creation, milliseconds since 1970.
    pub created_ms: i64,
    /// Last activation, milliseconds since 1970; 0 before the first.
    pub active_ms: i64,
    /// Last change of these values, milliseconds since 1970. While it is [`Device::held_elsewhere`] its creation or activation.
    pub updated_ms: i64,
    /// Log rows and data points from before are hidden: the moment of the last reset, or 0.
    pub history_from_ms: i64,
    /// Whether the server plays it itself.
    pub is_virtual: bool,
    /// Whether its owner has shut it out.
    pub disabled: bool,
    /// Whether another project's users have it, or had it last, and none of the asking project's has: of their home nothing
    /// is shown, neither the names that they gave nor the time zone, and the asking project may only remove or reset it
    /// (decision 0003).
    pub held_elsewhere: bool,
    /// Where a dialect may keep how it writes all of that.
    pub written: CachedJson,
}

/// A text that is made once. A copy has none: what it is made from may be changed there.
#[derive(Default)]
pub struct CachedJson(OnceLock<Box<str>>);

impl CachedJson {
    /// The text, made if need be.
    pub fn get_or(&self, make: impl FnOnce() -> String) -> &str {
        self.0.get_or_init(|| make().into())
    }
}

impl Clone for CachedJson {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for CachedJson {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for CachedJson {}

/// How a caller names a device in place of its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// Alibaba's id.
    IotId(String),
    /// What the factory gave it.
    Factory(FactoryName),
}

/// What the factory calls a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FactoryName {
    /// Alibaba's id of its product.
    pub product_key: String,
    /// Its name among those of the product.
    pub device_name: String,
}

/// A device and what it last said.
#[derive(Clone, PartialEq)]
pub struct DeviceState {
    /// What the registry knows.
    pub device: Arc<Device>,
    /// Whether it is connected.
    pub online: bool,
    latest: Arc<Latest>,
}

impl DeviceState {
    /// When it last connected or disconnected, if it ever did since the last reset. One that stayed connected over a
    /// change of owners has been there since it was activated for the new one.
    pub fn presence_ms(&self) -> Option<i64> {
        let (_, row) = self.latest.presence?;
        let is_shown = row.time_ms >= self.device.history_from_ms;
        is_shown.then_some(row.time_ms).or(self.online.then_some(self.device.active_ms))
    }

    /// The status: every code of the product that its devices report, in the order of the data points and with the default
    /// where the device has not reported it; then the codes that the product does not have, in the order in which they
    /// first appeared.
    pub fn visit_status<'a>(&'a self, mut visit: impl FnMut(StatusPoint<'a>)) {
        let product = &self.device.product;
        let mut found = 0;
        // Most devices report in the order of their data points, so the next point is tried before all are searched.
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

    /// The latest value of each code, but for those from before the last reset.
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

/// Which of a user's devices are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserDevices {
    /// Those in the user's homes and those the user owns.
    Home,
    /// Those shared to the user.
    Shared,
}

/// A place in the list of devices, which is ordered by creation, then by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCursor {
    /// Creation of the last device seen, milliseconds since 1970.
    pub created_ms: i64,
    /// Its id, which orders devices of one millisecond.
    pub id: DeviceId,
}

/// Which devices of those that a project sees are wanted. What is `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceQuery {
    /// Only those that this user has: owned, shared, or in a home that the user lives in.
    pub user: Option<UserNo>,
    /// Only those that this user of the project has, whoever asks.
    pub of_user: Option<Uid>,
    /// Only devices that stand in this home.
    pub home: Option<HomeId>,
    /// Only devices bound to users of this app.
    pub schema: Option<Schema>,
    /// Only devices of these products; of all without one.
    pub products: Vec<ProductId>,
    /// Only devices of products of these categories; of all without one.
    pub categories: Vec<String>,
    /// Only these; at most [`DEVICE_IDS_MAX`].
    pub ids: Option<Vec<DeviceId>>,
    /// Changed at or after; milliseconds.
    pub from_ms: Option<i64>,
    /// Changed at or before; milliseconds.
    pub to_ms: Option<i64>,
    /// Only those after this place.
    pub after: Option<DeviceCursor>,
    /// Devices to skip.
    pub offset: usize,
    /// Devices wanted, at most [`DEVICE_PAGE_MAX`].
    pub limit: usize,
}

/// A page of devices.
#[derive(Clone, Default)]
pub struct DevicePage<T> {
    /// In order of creation.
    pub devices: Vec<T>,
    /// All devices that the query selects, whatever the page.
    pub total: u64,
}

/// How a device leaves its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// The bindings go; names, device users and history stay for its last owner.
    Removed,
    /// The bindings go, and with them its name and those of its functions, place, device users and the sight of all
    /// history.
    Reset,
}

impl Cloud {
    /// A device that whoever asks may see, as it is seen.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for an unknown, foreign or removed one alike.
    pub(super) async fn visible_device(&self, who: &impl Requester, id: &DeviceId) -> Result<Arc<Device>> {
        let (device, view) = self.device_and_view(who, id).await?;
        Ok(seen_as(device, view.role))
    }

    /// A device that whoever asks may name and share: its owner, or a project that sees it, unless another project's
    /// people have it.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for one that is [`Device::held_elsewhere`]; [`Error::NotAllowed`] for a user who sees it and
    /// does not own it.
    pub(super) async fn owned_device(&self, who: &impl Requester, id: &DeviceId) -> Result<Arc<Device>> {
        let (device, view) = self.device_and_view(who, id).await?;
        view.check_manages().map(|()| device)
    }

    async fn device_and_view(&self, who: &impl Requester, id: &DeviceId) -> Result<(Arc<Device>, View)> {
        let device = self.registry.device(who.project().no, id).await?.ok_or(Error::NotVisible(Noun::Device))?;
        let role = self.roles(who, &[device.no]).await?.pop().flatten().ok_or(Error::NotVisible(Noun::Device))?;
        let held_elsewhere = device.held_elsewhere;
        Ok((device, View { role, held_elsewhere }))
    }

    /// A device that whoever asks may see and whose people are the project's.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for one that is [`Device::held_elsewhere`].
    pub(super) async fn device_at_home(&self, who: &impl Requester, id: &DeviceId) -> Result<Arc<Device>> {
        let device = self.visible_device(who, id).await?;
        (!device.held_elsewhere).then_some(device).ok_or(Error::NotVisible(Noun::Device))
    }

    /// A device and what it last said.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn device(&self, who: &impl Requester, id: &DeviceId) -> Result<DeviceState> {
        let device = self.visible_device(who, id).await?;
        let mut states = self.with_state([device]).await?;
        states.pop().ok_or(Error::NotVisible(Noun::Device))
    }

    /// A device that the caller may see, by another name than its id.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub(super) async fn device_named(&self, caller: &Caller, name: &DeviceName) -> Result<Arc<Device>> {
        self.registry.device_named(caller.project.no, name).await?.ok_or(Error::NotVisible(Noun::Device))
    }

    /// A device by another name than its id, and what it last said.
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn named_device(&self, caller: &Caller, name: &DeviceName) -> Result<DeviceState> {
        let device = self.device_named(caller, name).await?;
        self.with_state([device]).await?.pop().ok_or(Error::NotVisible(Noun::Device))
    }

    /// A user's devices, in order of creation; `offset` and `limit` in devices, at most [`DEVICE_LIST_MAX`].
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and for another user than the one who asks.
    pub async fn devices_of_user(
        &self,
        who: &impl Requester,
        uid: &Uid,
        which: UserDevices,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<DeviceState>> {
        check_self(who, uid)?;
        let limit = limit.min(DEVICE_LIST_MAX);
        let devices = self.registry.devices_of_user(who.project().no, uid, which, offset, limit).await?;
        let mut devices = devices.ok_or(Error::NotVisible(Noun::User))?;
        // The user who asks has all of them, in the way that was asked for.
        if who.user().is_some() && which == UserDevices::Shared {
            devices = devices.into_iter().map(|device| seen_as(device, DeviceRole::Sharee)).collect();
        }
        self.with_state(devices).await
    }

    /// A page of the devices that whoever asks sees.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a schema, product or user that is not the project's, and for another user than the one who
    /// asks; [`Error::OutOfRange`] for too many ids.
    pub async fn devices(&self, who: &impl Requester, mut query: DeviceQuery) -> Result<DevicePage<DeviceState>> {
        if query.ids.as_ref().is_some_and(|ids| ids.len() > DEVICE_IDS_MAX) {
            return Err(Error::OutOfRange { param: "device_ids", allowed: format!("at most {DEVICE_IDS_MAX} ids") });
        }
        query.of_user.as_ref().map_or(Ok(()), |uid| check_self(who, uid))?;
        query.user = who.user().map(|user| user.no);
        let page = self.registry.devices(who.project().no, &query).await?;
        let page = page.ok_or(Error::NotVisible(Noun::App))?;
        Ok(DevicePage { devices: self.seen_with_state(who, page.devices).await?, total: page.total })
    }

    /// The devices that connect through a gateway, at most [`DEVICE_LIST_MAX`]. None for a device that is no gateway, and
    /// for one that is [`Device::held_elsewhere`].
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn sub_devices(&self, who: &impl Requester, gateway: &DeviceId) -> Result<Vec<DeviceState>> {
        let gateway = self.visible_device(who, gateway).await?;
        if gateway.held_elsewhere {
            return Ok(Vec::new());
        }
        let devices = self.registry.sub_devices(who.project().no, gateway.no, DEVICE_LIST_MAX).await?;
        self.seen_with_state(who, devices).await
    }

    /// What the factory gave those of `ids` that whoever asks sees, at most [`DEVICE_PAGE_MAX`].
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for too many ids.
    pub async fn factory_infos(&self, who: &impl Requester, ids: Vec<DeviceId>) -> Result<Vec<Arc<Device>>> {
        if ids.len() > DEVICE_PAGE_MAX {
            return Err(Error::OutOfRange { param: "device_ids", allowed: format!("at most {DEVICE_PAGE_MAX} ids") });
        }
        let user = who.user().map(|user| user.no);
        let query = DeviceQuery { limit: ids.len(), ids: Some(ids), user, ..DeviceQuery::default() };
        let page = self.registry.devices(who.project().no, &query).await?;
        let devices = page.map(|page| page.devices).unwrap_or_default();
        self.as_seen(who, devices.into_iter().map(Arc::new).collect()).await
    }

    /// Gives a device another name.
    ///
    /// # Errors
    /// [`Error::NotVisible`]; [`Error::NotAllowed`] for a user who does not own it.
    pub async fn rename_device(&self, who: &impl Requester, id: &DeviceId, name: &str) -> Result<()> {
        let device = self.owned_device(who, id).await?;
        let renamed = self.registry.rename_device(who.project().no, id, name, self.now_ms()).await?;
        renamed.then_some(()).ok_or(Error::NotVisible(Noun::Device))?;
        self.tell(device.no, News::Renamed(name.to_owned()));
        Ok(())
    }

    /// Takes devices from all their users, all of them or none. They are invisible from then on, until they are bound
    /// again; what is connected is told. The log keeps the removal, or the reset as the first row that is ever seen
    /// again.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for one that the caller may not remove, also the second time; [`Error::OutOfRange`] for more
    /// than [`DEVICE_IDS_MAX`].
    pub async fn remove_devices(&self, caller: &Caller, ids: &[DeviceId], leaving: Leaving) -> Result<()> {
        if ids.len() > DEVICE_IDS_MAX {
            return Err(Error::OutOfRange { param: "device_ids", allowed: format!("at most {DEVICE_IDS_MAX} ids") });
        }
        let moves = self.registry.remove_devices(caller.project.no, ids, leaving, self, self.now_ms()).await?;
        self.follow(moves.ok_or(Error::NotVisible(Noun::Device))?, leaving).await
    }

    /// Those of a project's devices that whoever asks sees, with what each last said.
    pub(super) async fn seen_with_state(&self, who: &impl Requester, devices: Vec<Device>) -> Result<Vec<DeviceState>> {
        let seen = self.as_seen(who, devices.into_iter().map(Arc::new).collect()).await?;
        self.with_state(seen).await
    }

    /// Adds what each device last said.
    pub async fn with_state(&self, devices: impl IntoIterator<Item = Arc<Device>>) -> Result<Vec<DeviceState>> {
        let devices: Vec<Arc<Device>> = devices.into_iter().collect();
        let numbers: Vec<DeviceNo> = devices.iter().map(|device| device.no).collect();
        let latest = self.telemetry.latest(&numbers).await?;
        let online = self.online(numbers);
        let states = devices.into_iter().zip(latest).zip(online);
        Ok(states.map(|((device, latest), online)| DeviceState { device, online, latest }).collect())
    }
}
