//! What is odd in the reports of a connection's devices and is kept nevertheless: the log has a line of it once for each
//! device.

use crate::domain::data_point::Reported;
use crate::domain::{Device, DeviceNo};

/// Devices of a connection of which the log has a line, for each kind of oddity.
const DEVICES_MAX: usize = 64;

/// The devices of which the log has a line already.
#[derive(Default)]
pub struct Oddities {
    wrong_clocks: Vec<DeviceNo>,
    off_spec: Vec<DeviceNo>,
}

impl Oddities {
    /// Tells the log of what is odd in a report.
    pub fn tell(&mut self, device: &Device, reported: &Reported) {
        if let Some(code) = &reported.off_spec
            && is_first(&mut self.off_spec, device)
        {
            let (device, product) = (&device.id, &device.product.id);
            tracing::info!(%device, %product, %code, "a value is off its product's specification; it is kept as it came");
        }
        if reported.is_clock_wrong && is_first(&mut self.wrong_clocks, device) {
            tracing::debug!(device = %device.id, "a device's clock is wrong; what it says gets the server's time");
        }
    }
}

fn is_first(told: &mut Vec<DeviceNo>, device: &Device) -> bool {
    let is_first = told.len() < DEVICES_MAX && !told.contains(&device.no);
    if is_first {
        told.push(device.no);
    }
    is_first
}
