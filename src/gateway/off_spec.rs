//! Logs values off the specification in the reports of a connection's devices, one line for each device.

use crate::domain::data_point::Reported;
use crate::domain::{Device, DeviceNo};

/// Devices of a connection of which the log has a line.
const DEVICES_MAX: usize = 64;

/// The devices of which the log has a line already.
#[derive(Default)]
pub struct OffSpecLog(Vec<DeviceNo>);

impl OffSpecLog {
    /// Logs a value off the specification, the first of each device.
    pub fn log(&mut self, device: &Device, reported: &Reported) {
        let Some(code) = &reported.off_spec else { return };
        if self.0.len() < DEVICES_MAX && !self.0.contains(&device.no) {
            self.0.push(device.no);
            let (device, product) = (&device.id, &device.product.id);
            tracing::info!(%device, %product, %code, "a value is off its product's specification; it is kept as it came");
        }
    }
}
