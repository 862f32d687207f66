//! Devices. Searches take the project and find only devices that it sees, except those for a device's own session.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteRegistry;
use super::connection::{Reader, execute};
use super::device_filter::Filter;
use super::owner::{Owners, user_no};
use super::visibility::{
    AT_HOME_OF_USER, HELD_ELSEWHERE, MANAGED, RELATION_TO_USER, SHARED_TO_USER, VISIBLE, held_elsewhere, relations,
    shows_gateways_key,
};
use crate::domain::access::{self, DeviceFinder, DeviceRole, Found, Viewer, as_held_elsewhere, seen_as};
use crate::domain::device::{DevicePage, DeviceQuery, FactoryName, Removal, UserDevices};
use crate::domain::feed::{Audience, SubscribedQuery};
use crate::domain::handover::{HistoryCuts, Moves};
use crate::domain::session::{DeviceClaim, DeviceSecret};
use crate::domain::store::DeviceStore;
use crate::domain::{Device, DeviceId, DeviceName, DeviceNo, Error, HomeId, Product, ProjectNo, Result, Uid, UserNo};
use crate::store::cache::LIST_MAX;

/// Defines the columns of [`device_of`]. They are read by position, because a search by name for every column of every
/// device would take most of the time of a long list.
macro_rules! columns {
    ($first:ident: $first_sql:expr, $($column:ident: $sql:expr,)*) => {
        #[derive(Clone, Copy)]
        enum Column { $first, $($column),* }

        /// The columns of [`device_of`]. `?1` is the project of the requester. For a device that is held elsewhere, the
        /// maker sees nothing of the home. Further columns of a statement are read by name.
        pub const COLUMNS: &str = concat!($first_sql, $(", ", $sql),*);
    };
}

columns! {
    No: "d.device_no",
    Id: "d.device_id",
    ProductNo: "d.product_no",
    Uuid: "d.uuid",
    LocalKey: "d.local_key_sealed",
    Name: "d.name",
    Sn: "d.sn",
    Mac: "d.mac",
    Ip: "d.ip",
    Lat: "d.lat",
    Lon: "d.lon",
    TimeZone: "d.time_zone",
    Gateway: "g.device_id",
    NodeId: "d.node_id",
    Home: "d.home_id",
    Owner: "u.uid",
    CreatedMs: "d.created_ms",
    ActiveMs: "d.active_ms",
    UpdatedMs: "d.updated_ms",
    HistoryFromMs: "d.history_from_ms",
    HeldElsewhere: held_elsewhere!(),
    IotId: "d.iot_id",
    DeviceName: "d.device_name",
    IsVirtual: "d.is_virtual",
    Disabled: "d.disabled",
    GatewaysKey: concat!("CASE WHEN ", shows_gateways_key!(), " THEN g.local_key_sealed END"),
}

/// The tables of [`COLUMNS`].
pub const FROM: &str = "device d
    LEFT JOIN device g ON g.device_no = d.gateway_no
    LEFT JOIN binding o ON o.device_no = d.device_no AND o.owned = 1
    LEFT JOIN app_user u ON u.user_no = o.user_no AND (?1 IS NULL OR u.project_no = ?1)";

#[async_trait]
impl DeviceStore for SqliteRegistry {
    async fn device(&self, project: ProjectNo, id: &DeviceId) -> Result<Option<Arc<Device>>> {
        let read = |reader: &Reader<'_>, (project, id): &(ProjectNo, DeviceId)| {
            Ok(reader.first(device_sql(), params![project.0, id.0])?.map(Arc::new))
        };
        self.readers.cached(|cache| &cache.devices, (project, id.clone()), read).await
    }

    async fn devices_seen(&self, devices: &[(ProjectNo, DeviceId)]) -> Result<Vec<Option<Arc<Device>>>> {
        let mut found = Vec::with_capacity(devices.len());
        for (project, id) in devices {
            found.push(self.device(*project, id).await?);
        }
        Ok(found)
    }

    async fn devices_named(&self, project: ProjectNo, names: &[DeviceName]) -> Result<Vec<Option<Arc<Device>>>> {
        let find = move |reader: &Reader<'_>, name: &DeviceName| match name {
            DeviceName::IotId(iot_id) => {
                let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE d.iot_id = ?2 AND {VISIBLE}");
                reader.first(&sql, params![project.0, iot_id])
            }
            DeviceName::Factory(FactoryName { product_key, device_name }) => {
                let sql = format!(
                    "SELECT {COLUMNS} FROM {FROM} WHERE d.device_name = ?3 AND {VISIBLE}
                     AND d.product_no = (SELECT product_no FROM product WHERE product_key = ?2)"
                );
                reader.first(&sql, params![project.0, product_key, device_name])
            }
        };
        let names = names.to_vec();
        let read = move |reader: &Reader<'_>| names.iter().map(|name| Ok(find(reader, name)?.map(Arc::new))).collect();
        self.readers.run(read).await
    }

    async fn device_roles(&self, user: UserNo, devices: &[&Device]) -> Result<Vec<Option<DeviceRole>>> {
        let numbers: Vec<String> = devices.iter().map(|device| device.found.no().0.to_string()).collect();
        let read = move |connection: &Connection| -> rusqlite::Result<Vec<Option<DeviceRole>>> {
            let values = params![user.0, format!("[{}]", numbers.join(","))];
            let role = |row: &Row<'_>| Ok(access::role(row.get("owns")?, row.get("is_resident")?, row.get("holds")?));
            connection.prepare_cached(RELATION_TO_USER)?.query_map(values, role)?.collect()
        };
        self.readers.run(move |reader| read(reader).map_err(Error::store)).await
    }

    async fn subscribed_devices(&self, queries: &[SubscribedQuery<'_>]) -> Result<Vec<Option<Arc<Device>>>> {
        let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE d.device_no = ?2");
        let account = "SELECT 1 FROM app_user WHERE user_no = ?1 AND access_version = ?2 AND disabled = 0";
        let find = move |reader: &Reader<'_>, (project, user, device): (ProjectNo, Option<(UserNo, i64)>, DeviceNo)| {
            if let Some((no, version)) = user {
                let mut statement = reader.prepare_cached(account).map_err(Error::store)?;
                if !statement.exists(params![no.0, version]).map_err(Error::store)? {
                    return Ok(None);
                }
            }
            let viewer = Viewer { project, user: user.map(|(no, _)| no) };
            let relations = relations(reader, device).map_err(Error::store)?;
            let Some(view) = relations.and_then(|relations| relations.view(viewer)) else { return Ok(None) };
            let found = reader.first(&sql, params![project.0, device.0])?;
            Ok(found.map(|device| seen_as(Arc::new(device), view.role)))
        };
        let queries =
            queries.iter().map(|query| (query.project, query.user.map(|user| (user.no, user.version)), query.device));
        let queries: Vec<_> = queries.collect();
        let read = move |reader: &Reader<'_>| {
            let _snapshot = reader.unchecked_transaction().map_err(Error::store)?;
            queries.into_iter().map(|query| find(reader, query)).collect()
        };
        self.readers.run(read).await
    }

    async fn audiences(&self, devices: &[DeviceNo]) -> Result<Vec<Audience>> {
        let audience = |connection: &Connection, device: &DeviceNo| -> rusqlite::Result<Audience> {
            Ok(relations(connection, *device)?.map(|relations| relations.audience()).unwrap_or_default())
        };
        let devices = devices.to_vec();
        let read = move |reader: &Reader<'_>| {
            let snapshot = reader.unchecked_transaction().map_err(Error::store)?;
            devices.iter().map(|device| audience(&snapshot, device).map_err(Error::store)).collect()
        };
        self.readers.run(read).await
    }

    async fn devices_of_user(
        &self,
        project: ProjectNo,
        uid: &Uid,
        which: UserDevices,
        offset: usize,
        limit: usize,
    ) -> Result<Option<Vec<Arc<Device>>>> {
        // A short list is read completely and cached.
        let key = (project, uid.clone(), which);
        let read = |reader: &Reader<'_>, key: &_| {
            let all = list_of_user(reader, key, 0, LIST_MAX + 1)?;
            Ok(all.map(|all| all.into_iter().map(Arc::new).collect::<Arc<[_]>>()))
        };
        match self.readers.cached(|cache| &cache.lists, key.clone(), read).await? {
            None => Ok(None),
            Some(all) if all.len() <= LIST_MAX => Ok(Some(all.iter().skip(offset).take(limit).cloned().collect())),
            Some(_) => {
                let page = self.readers.run(move |reader| list_of_user(reader, &key, offset, limit)).await?;
                Ok(page.map(|page| page.into_iter().map(Arc::new).collect()))
            }
        }
    }

    async fn devices(&self, project: ProjectNo, query: &DeviceQuery) -> Result<Option<DevicePage<Device>>> {
        let query = query.clone();
        let select = move |connection: &Connection| {
            let snapshot = connection.unchecked_transaction().map_err(Error::store)?;
            let Some(filter) = Filter::of(&snapshot, project, &query)? else { return Ok(None) };
            let total = filter.count(&snapshot).map_err(Error::store)?;
            let numbers = filter.page(&snapshot, &query).map_err(Error::store)?;
            Ok(Some((numbers, total)))
        };
        // Counting and finding many devices can take long; reading those of one page does not.
        let Some((numbers, total)) = self.readers.run_limited(project, select).await? else { return Ok(None) };
        let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE d.device_no = ?2 AND d.removed = 0");
        let read = move |reader: &Reader<'_>| {
            let _snapshot = reader.unchecked_transaction().map_err(Error::store)?;
            let device = |no| reader.first(&sql, params![project.0, no]);
            let devices = numbers.into_iter().filter_map(|no| device(no).transpose()).collect::<Result<Vec<_>>>()?;
            Ok(Some(DevicePage { devices, total }))
        };
        self.readers.run(read).await
    }

    async fn sub_devices(&self, project: ProjectNo, gateway: DeviceNo, limit: usize) -> Result<Vec<Device>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {FROM} WHERE {VISIBLE} AND NOT {HELD_ELSEWHERE} AND d.gateway_no = ?2
             ORDER BY d.created_ms, d.device_id LIMIT ?3"
        );
        self.readers.run(move |reader| reader.all(&sql, params![project.0, gateway.0, limit])).await
    }

    async fn rename_device(&self, project: ProjectNo, id: &DeviceId, name: &str, now_ms: i64) -> Result<bool> {
        let (id, name) = (id.clone(), name.to_owned());
        let write = move |connection: &Connection| {
            let sql = format!(
                "UPDATE device AS d SET name = ?3, updated_ms = ?4
                 WHERE device_id = ?2 AND {VISIBLE} AND NOT {HELD_ELSEWHERE}"
            );
            Ok(execute(connection, &sql, params![project.0, id.0, name, now_ms]).map_err(Error::store)? == 1)
        };
        self.writer.run(write).await
    }

    async fn remove_devices(
        &self,
        project: ProjectNo,
        ids: &[DeviceId],
        removal: Removal,
        cuts: &dyn HistoryCuts,
        now_ms: i64,
    ) -> Result<Option<Moves>> {
        let ids = ids.to_vec();
        let sql = format!("SELECT d.device_no FROM device d WHERE d.device_id = ?2 AND {MANAGED}");
        let work = move |owners: &Owners<'_>| -> Result<bool> {
            let mut numbers: Vec<i64> = Vec::with_capacity(ids.len());
            for id in &ids {
                let mut statement = owners.connection.prepare_cached(&sql).map_err(Error::store)?;
                let found = statement.query_row(params![project.0, id.0], |row| row.get(0)).optional();
                let Some(no) = found.map_err(Error::store)? else { return Ok(false) };
                numbers.push(no);
            }
            for no in numbers {
                owners.release(no)?;
                let sql = "UPDATE device SET removed = 1 WHERE device_no = ?1";
                owners.connection.execute(sql, params![no]).map_err(Error::store)?;
                if removal == Removal::Reset {
                    owners.reset(no)?;
                }
            }
            Ok(true)
        };
        let (done, moves) = self.change_owners(cuts, now_ms, work).await?;
        Ok(done.then_some(moves))
    }

    async fn activate_devices(&self, devices: &[&Device], now_ms: i64) -> Result<Vec<bool>> {
        let devices: Vec<DeviceNo> = devices.iter().map(|device| device.found.no()).collect();
        let write = move |connection: &Connection| -> rusqlite::Result<Vec<bool>> {
            let sql = "UPDATE device SET active_ms = ?2 WHERE device_no = ?1 AND active_ms = 0";
            let mut statement = connection.prepare_cached(sql)?;
            devices.iter().map(|device| Ok(statement.execute(params![device.0, now_ms])? == 1)).collect()
        };
        self.writer.run(move |connection| write(connection).map_err(Error::store)).await
    }

    async fn devices_by_id(&self, ids: &[DeviceId]) -> Result<Vec<Option<Device>>> {
        let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE d.device_id = ?2");
        let ids = ids.to_vec();
        let read =
            move |reader: &Reader<'_>| ids.iter().map(|id| reader.first(&sql, params![None::<i64>, id.0])).collect();
        self.readers.run(read).await
    }

    async fn device_secrets(&self, claims: &[DeviceClaim]) -> Result<Vec<Option<DeviceSecret>>> {
        let claims = claims.to_vec();
        self.readers.run(move |reader| claims.iter().map(|claim| reader.secret(claim)).collect()).await
    }

    async fn virtual_devices(&self, limit: usize) -> Result<Vec<Device>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {FROM} WHERE d.is_virtual = 1 AND d.removed = 0 AND d.disabled = 0 ORDER BY d.device_no LIMIT ?2"
        );
        self.readers.run(move |reader| reader.all(&sql, params![None::<i64>, limit])).await
    }
}

/// The statement that reads a single device. It is the most frequent one, so its text is built only once.
fn device_sql() -> &'static str {
    static SQL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("SELECT {COLUMNS} FROM {FROM} WHERE d.device_id = ?2 AND {VISIBLE}"));
    &SQL
}

/// A page of a user's devices, in order of creation.
fn list_of_user(
    reader: &Reader<'_>,
    (project, uid, which): &(ProjectNo, Uid, UserDevices),
    offset: usize,
    limit: usize,
) -> Result<Option<Vec<Device>>> {
    let selected = match which {
        UserDevices::Home => AT_HOME_OF_USER,
        UserDevices::Shared => SHARED_TO_USER,
    };
    let snapshot = reader.unchecked_transaction().map_err(Error::store)?;
    let Some(user_no) = user_no(&snapshot, *project, uid).map_err(Error::store)? else { return Ok(None) };
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE {VISIBLE} AND d.device_no IN ({selected})
         ORDER BY d.created_ms, d.device_id LIMIT ?3 OFFSET ?4"
    );
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    reader.all(&sql, params![project.0, user_no, limit, offset]).map(Some)
}

impl Reader<'_> {
    fn secret(&self, claim: &DeviceClaim) -> Result<Option<DeviceSecret>> {
        const BY_NAME: &str =
            "d.product_no = (SELECT product_no FROM product WHERE product_key = ?2) AND d.device_name = ?3";
        let (id, name) = match claim {
            DeviceClaim::Id(id) => (Some(id), None),
            DeviceClaim::Factory(name) => (None, Some(name)),
            DeviceClaim::Registered(id, name) => (Some(id), Some(name)),
        };
        let (condition, values) = match name {
            None => ("d.device_id = ?2 AND ?3 = ''", [id.map_or("", DeviceId::as_str), ""]),
            Some(name) => (BY_NAME, [name.product_key.as_str(), name.device_name.as_str()]),
        };
        let sql = format!("SELECT {COLUMNS}, d.secret_sealed FROM {FROM} WHERE {condition}");
        let mut statement = self.prepare_cached(&sql).map_err(Error::store)?;
        let mut rows = statement.query(params![None::<i64>, values[0], values[1]]).map_err(Error::store)?;
        let Some(row) = rows.next().map_err(Error::store)? else { return Ok(None) };
        let device = self.device_of(row)?;
        if id.is_some_and(|id| *id != device.id) {
            return Ok(None);
        }
        let sealed: Vec<u8> = row.get("secret_sealed").map_err(Error::store)?;
        let secret = self.readers.seal.unseal(&sealed, &secret_aad(&device.id.0))?;
        Ok(Some(DeviceSecret { device, secret }))
    }

    /// The first device that a statement returns. It must select [`COLUMNS`].
    pub fn first(&self, sql: &str, values: impl rusqlite::Params) -> Result<Option<Device>> {
        let mut statement = self.prepare_cached(sql).map_err(Error::store)?;
        let mut rows = statement.query(values).map_err(Error::store)?;
        let row = rows.next().map_err(Error::store)?;
        row.map(|row| self.device_of(row)).transpose()
    }

    /// All devices that a statement returns. It must select [`COLUMNS`].
    pub fn all(&self, sql: &str, values: impl rusqlite::Params) -> Result<Vec<Device>> {
        let mut statement = self.prepare_cached(sql).map_err(Error::store)?;
        let mut rows = statement.query(values).map_err(Error::store)?;
        let mut devices = Vec::new();
        while let Some(row) = rows.next().map_err(Error::store)? {
            devices.push(self.device_of(row)?);
        }
        Ok(devices)
    }

    /// The device in a row of [`COLUMNS`].
    pub fn device_of(&self, row: &Row<'_>) -> Result<Device> {
        let product_no: i64 = row.get(Column::ProductNo as usize).map_err(Error::store)?;
        let product = self.readers.product(product_no)?.ok_or_else(|| Error::store("a device has no product"))?;
        device_of(self, row, product)
    }
}

impl DeviceFinder for Reader<'_> {}

fn device_of(reader: &Reader<'_>, row: &Row<'_>, product: Arc<Product>) -> Result<Device> {
    let seal = &reader.readers.seal;
    let read = || -> rusqlite::Result<Device> {
        let no = DeviceNo(row.get(Column::No as usize)?);
        Ok(Device {
            no,
            found: Found::by(reader, no),
            id: DeviceId(row.get(Column::Id as usize)?),
            product,
            iot_id: row.get(Column::IotId as usize)?,
            device_name: row.get(Column::DeviceName as usize)?,
            uuid: row.get(Column::Uuid as usize)?,
            local_key: String::new(),
            name: row.get(Column::Name as usize)?,
            sn: row.get(Column::Sn as usize)?,
            mac: row.get(Column::Mac as usize)?,
            ip: row.get(Column::Ip as usize)?,
            lat: row.get(Column::Lat as usize)?,
            lon: row.get(Column::Lon as usize)?,
            time_zone: row.get(Column::TimeZone as usize)?,
            gateway: row.get::<_, Option<String>>(Column::Gateway as usize)?.map(DeviceId),
            node_id: row.get(Column::NodeId as usize)?,
            home: row.get::<_, Option<i64>>(Column::Home as usize)?.map(HomeId),
            owner: row.get::<_, Option<String>>(Column::Owner as usize)?.map(Uid),
            created_ms: row.get(Column::CreatedMs as usize)?,
            active_ms: row.get(Column::ActiveMs as usize)?,
            updated_ms: row.get(Column::UpdatedMs as usize)?,
            history_from_ms: row.get(Column::HistoryFromMs as usize)?,
            is_virtual: row.get(Column::IsVirtual as usize)?,
            disabled: row.get(Column::Disabled as usize)?,
            held_elsewhere: false,
        })
    };
    let mut device = read().map_err(Error::store)?;
    let held_elsewhere: bool = row.get(Column::HeldElsewhere as usize).map_err(Error::store)?;
    if held_elsewhere {
        return Ok(as_held_elsewhere(device));
    }
    let sealed = |column: Column| {
        row.get_ref(column as usize).and_then(|value| Ok(value.as_blob_or_null()?)).map_err(Error::store)
    };
    let (own, gateways) = (sealed(Column::LocalKey)?.unwrap_or_default(), sealed(Column::GatewaysKey)?);
    device.local_key = match (gateways, &device.gateway) {
        (Some(key), Some(gateway)) => seal.unseal(key, &local_key_aad(&gateway.0))?,
        _ => seal.unseal(own, &local_key_aad(&device.id.0))?,
    };
    Ok(device)
}

/// The additional authenticated data of an encrypted device secret.
pub fn secret_aad(device_id: &str) -> String {
    format!("device.secret:{device_id}")
}

/// The additional authenticated data of an encrypted local key.
pub fn local_key_aad(device_id: &str) -> String {
    format!("device.local_key:{device_id}")
}
