//! The last refusals, in memory, for `ingle explain`: a limited number for each device, and a limited size in total.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Maximum number of refusals that are remembered for one device.
const OF_DEVICE_MAX: usize = 32;
/// Maximum size of each [`Shelf`] in bytes, roughly.
const SHELF_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The size of a refusal besides its texts, with its share of the maps, in bytes, roughly.
const REFUSAL_BYTES: usize = 320;

/// A refusal, as `ingle explain` shows it. The texts must not contain secrets; they are short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When it happened last, in milliseconds since 1970.
    pub time_ms: i64,
    /// How often the same was refused, one time after the other.
    pub count: u64,
    /// The address of the client.
    pub client: Option<IpAddr>,
    /// The device, by the id or name that the client used; empty if it named none.
    pub device: String,
    /// The label of the counter: a reason such as `wrong_password`, or a dialect and a code such as `tuya 1004`.
    pub code: String,
    /// The reason.
    pub reason: String,
    /// What was refused: a topic, a path, a user name.
    pub what: String,
}

/// How a refusal is related to its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It comes from the device's own session.
    Device,
    /// Its client only named the device. Such refusals never displace those of devices.
    Client,
}

/// The last refusals of all devices and requests.
#[derive(Default)]
pub struct RecentRefusals {
    of_devices: Mutex<Shelf>,
    of_clients: Mutex<Shelf>,
}

impl RecentRefusals {
    /// Remembers a refusal.
    pub fn record(&self, origin: Origin, refusal: Refusal) {
        self.shelf(origin).record(refusal);
    }

    /// The refusals of a device that has any of these ids and names, the newest last.
    pub fn of_device(&self, names: &[&str]) -> Vec<Refusal> {
        self.sorted(|refusal| names.contains(&refusal.device.as_str()))
    }

    /// All refusals, the newest last.
    pub fn all(&self) -> Vec<Refusal> {
        self.sorted(|_| true)
    }

    fn sorted(&self, is_wanted: impl Fn(&Refusal) -> bool) -> Vec<Refusal> {
        let mut found = Vec::new();
        for origin in [Origin::Device, Origin::Client] {
            let shelf = self.shelf(origin);
            let refusals = shelf.devices.values().flat_map(|device| &device.refusals);
            found.extend(refusals.filter(|refusal| is_wanted(refusal)).cloned());
        }
        found.sort_by_key(|refusal| refusal.time_ms);
        found
    }

    fn shelf(&self, origin: Origin) -> MutexGuard<'_, Shelf> {
        let shelf = match origin {
            Origin::Device => &self.of_devices,
            Origin::Client => &self.of_clients,
        };
        shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refusals by device. When it is full, the device that was refused least recently is forgotten.
#[derive(Default)]
struct Shelf {
    devices: HashMap<String, Device>,
    /// The devices in the order of their last refusals.
    order: BTreeMap<u64, String>,
    /// The number of refusals so far.
    number: u64,
    bytes: usize,
}

#[derive(Default)]
struct Device {
    /// Its place in [`Shelf::order`].
    place: u64,
    refusals: VecDeque<Refusal>,
}

impl Shelf {
    fn record(&mut self, refusal: Refusal) {
        self.number += 1;
        let key = refusal.device.clone();
        let device = self.devices.entry(key.clone()).or_default();
        self.order.remove(&device.place);
        device.place = self.number;
        self.order.insert(self.number, key);
        match device.refusals.back_mut() {
            Some(last) if is_same(last, &refusal) => {
                (last.time_ms, last.count) = (refusal.time_ms, last.count + refusal.count);
            }
            _ => {
                self.bytes += bytes(&refusal);
                device.refusals.push_back(refusal);
                if device.refusals.len() > OF_DEVICE_MAX {
                    let oldest = device.refusals.pop_front();
                    self.bytes -= oldest.as_ref().map_or(0, bytes);
                }
            }
        }
        while self.bytes > SHELF_BYTES_MAX {
            let Some((_, key)) = self.order.pop_first() else { return };
            let forgotten = self.devices.remove(&key).unwrap_or_default();
            self.bytes -= forgotten.refusals.iter().map(bytes).sum::<usize>();
        }
    }
}

/// Whether two refusals differ only in their times.
fn is_same(one: &Refusal, other: &Refusal) -> bool {
    (one.client, &one.code, &one.reason, &one.what) == (other.client, &other.code, &other.reason, &other.what)
}

fn bytes(refusal: &Refusal) -> usize {
    // The id of the device is also the key of two maps.
    REFUSAL_BYTES + 3 * refusal.device.len() + refusal.code.len() + refusal.reason.len() + refusal.what.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(device: &str, time_ms: i64, what: &str) -> Refusal {
        let (code, reason) = ("wrong_password".to_owned(), "a reason".to_owned());
        Refusal { time_ms, count: 1, client: None, device: device.to_owned(), code, reason, what: what.to_owned() }
    }

    #[test]
    fn the_last_refusals_of_a_device_are_remembered_and_the_same_is_counted() {
        let recent = RecentRefusals::default();
        for n in 0..100 {
            recent.record(Origin::Device, refusal("d1", n, &n.to_string()));
            recent.record(Origin::Device, refusal("d2", n, "the same"));
        }
        recent.record(Origin::Client, refusal("iot1", 7, "a request"));
        let of_first = recent.of_device(&["d1", "iot1"]);
        assert_eq!(of_first.len(), OF_DEVICE_MAX + 1);
        assert_eq!((of_first[0].what.as_str(), of_first[OF_DEVICE_MAX].time_ms), ("a request", 99));
        let of_second = recent.of_device(&["d2"]);
        assert_eq!((of_second.len(), of_second[0].count, of_second[0].time_ms), (1, 100, 99));
        assert_eq!(recent.all().len(), OF_DEVICE_MAX + 2);
        assert!(recent.of_device(&["d3"]).is_empty());
    }

    #[test]
    fn memory_is_bounded_and_clients_displace_no_refusal_of_a_device() {
        let recent = RecentRefusals::default();
        recent.record(Origin::Device, refusal("plug", 1, "a topic"));
        for n in 0..50_000 {
            recent.record(Origin::Client, refusal(&format!("nobody{n}"), n, &"x".repeat(80)));
            recent.record(Origin::Client, refusal("", n, &n.to_string()));
        }
        assert_eq!(recent.of_device(&["plug"]).len(), 1);
        let shelf = recent.of_clients.lock().unwrap();
        assert!(shelf.bytes <= SHELF_BYTES_MAX && shelf.devices.len() > 1000, "{}", shelf.devices.len());
        assert_eq!(shelf.devices.len(), shelf.order.len());
        let counted: usize = shelf.devices.values().flat_map(|device| &device.refusals).map(bytes).sum();
        assert_eq!(counted, shelf.bytes);
        assert!(shelf.devices.contains_key("nobody49999") && !shelf.devices.contains_key("nobody0"));
    }
}
