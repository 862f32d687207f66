//! Devices of the world document.

use serde::{Deserialize, Serialize};

use crate::domain::world::WorldDevice;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    product_id: String,
    device_id: Option<String>,
    secret: Option<String>,
    local_key: Option<String>,
    uuid: Option<String>,
    sn: Option<String>,
    mac: Option<String>,
    name: Option<String>,
    device_name: Option<String>,
    iot_id: Option<String>,
    gateway: Option<String>,
    node_id: Option<String>,
    owner: Option<String>,
    keep_history: Option<bool>,
    home_id: Option<i64>,
    shared_with: Option<Vec<String>>,
    ip: Option<String>,
    lat: Option<String>,
    lon: Option<String>,
    time_zone: Option<String>,
    #[serde(rename = "virtual")]
    is_virtual: Option<bool>,
    disabled: Option<bool>,
}

impl Device {
    pub fn into_domain(self) -> WorldDevice {
        WorldDevice {
            product_id: self.product_id,
            device_id: self.device_id,
            secret: self.secret,
            local_key: self.local_key,
            uuid: self.uuid,
            sn: self.sn,
            mac: self.mac,
            name: self.name,
            device_name: self.device_name,
            iot_id: self.iot_id,
            gateway: self.gateway,
            node_id: self.node_id,
            owner: self.owner,
            keep_history: self.keep_history,
            home_id: self.home_id,
            shared_with: self.shared_with,
            ip: self.ip,
            lat: self.lat,
            lon: self.lon,
            time_zone: self.time_zone,
            is_virtual: self.is_virtual,
            disabled: self.disabled,
        }
    }

    pub fn from_domain(world: WorldDevice) -> Self {
        Self {
            product_id: world.product_id,
            device_id: world.device_id,
            secret: world.secret,
            local_key: world.local_key,
            uuid: world.uuid,
            sn: world.sn,
            mac: world.mac,
            name: world.name,
            device_name: world.device_name,
            iot_id: world.iot_id,
            gateway: world.gateway,
            node_id: world.node_id,
            owner: world.owner,
            keep_history: world.keep_history,
            home_id: world.home_id,
            shared_with: world.shared_with,
            ip: world.ip,
            lat: world.lat,
            lon: world.lon,
            time_zone: world.time_zone,
            is_virtual: world.is_virtual,
            disabled: world.disabled,
        }
    }
}
