//! The subscriptions of a session's devices.

use std::collections::HashMap;

use crate::domain::DeviceNo;
use crate::mqtt::filter::{SubscribeRefusal, is_valid, matches};

/// A filter may be this long.
const FILTER_BYTES_MAX: usize = 256;

/// How much one device may subscribe to.
#[derive(Clone, Copy)]
pub struct Bounds {
    filters: usize,
    bytes: usize,
}

/// Of the device that connected. The vendor's SDKs use up to 26 filters for it.
pub const OF_ITSELF: Bounds = Bounds { filters: 64, bytes: 8 * 1024 };
/// Of a sub-device. The vendor's SDKs use up to 16 filters for each.
pub const OF_A_SUB: Bounds = Bounds { filters: 32, bytes: 4 * 1024 };

/// Filters, by the device below whose topics they are.
#[derive(Default)]
pub struct Subscriptions(HashMap<DeviceNo, Vec<Box<str>>>);

impl Subscriptions {
    /// Subscribes; whether the filter is new. One that was granted before is granted again.
    ///
    /// # Errors
    /// [`SubscribeRefusal::Invalid`], [`SubscribeRefusal::TooMany`].
    pub fn add(&mut self, device: DeviceNo, filter: &str, bounds: Bounds) -> Result<bool, SubscribeRefusal> {
        if filter.len() > FILTER_BYTES_MAX || !is_valid(filter) {
            return Err(SubscribeRefusal::Invalid);
        }
        let known = self.0.get(&device).map_or(&[][..], Vec::as_slice);
        if known.iter().any(|known| **known == *filter) {
            return Ok(false);
        }
        let bytes = known.iter().map(|known| known.len()).sum::<usize>() + filter.len();
        if known.len() >= bounds.filters || bytes > bounds.bytes {
            return Err(SubscribeRefusal::TooMany);
        }
        self.0.entry(device).or_default().push(filter.into());
        Ok(true)
    }

    /// Unsubscribes; whether there was such a filter.
    pub fn remove(&mut self, device: DeviceNo, filter: &str) -> bool {
        let Some(known) = self.0.get_mut(&device) else { return false };
        let Some(at) = known.iter().position(|known| **known == *filter) else { return false };
        known.swap_remove(at);
        if known.is_empty() {
            self.0.remove(&device);
        }
        true
    }

    /// Forgets the filters of a device.
    pub fn forget(&mut self, device: DeviceNo) {
        self.0.remove(&device);
    }

    /// The filters of a device.
    pub fn of(&self, device: DeviceNo) -> impl Iterator<Item = &str> {
        self.0.get(&device).into_iter().flatten().map(|filter| &**filter)
    }

    /// Whether a filter of a device covers a topic.
    pub fn cover(&self, device: DeviceNo, topic: &str) -> bool {
        self.0.get(&device).is_some_and(|known| known.iter().any(|filter| matches(filter, topic)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_has_its_own_bound_and_keeps_what_it_was_granted() {
        let mut subscriptions = Subscriptions::default();
        for device in 0..100 {
            for n in 0..32 {
                assert_eq!(subscriptions.add(DeviceNo(device), &format!("/{device}/{n}"), OF_A_SUB), Ok(true));
            }
            assert_eq!(subscriptions.add(DeviceNo(device), "/more", OF_A_SUB), Err(SubscribeRefusal::TooMany));
            assert_eq!(subscriptions.add(DeviceNo(device), &format!("/{device}/7"), OF_A_SUB), Ok(false), "again");
        }
        assert!(subscriptions.remove(DeviceNo(5), "/5/7") && !subscriptions.remove(DeviceNo(5), "/5/7"));
        assert!(!subscriptions.cover(DeviceNo(5), "/5/7") && subscriptions.cover(DeviceNo(5), "/5/8"));
        assert!(!subscriptions.cover(DeviceNo(6), "/5/8"));
        assert_eq!(subscriptions.add(DeviceNo(5), "/more", OF_A_SUB), Ok(true));
        subscriptions.forget(DeviceNo(5));
        assert!(!subscriptions.cover(DeviceNo(5), "/more"));
        assert_eq!(subscriptions.0.len(), 99);
    }

    #[test]
    fn long_filters_are_bounded_by_their_bytes() {
        let mut subscriptions = Subscriptions::default();
        let long = |n: usize| format!("{n:0>256}");
        for n in 0..16 {
            assert_eq!(subscriptions.add(DeviceNo(1), &long(n), OF_A_SUB), Ok(true));
        }
        assert_eq!(subscriptions.add(DeviceNo(1), &long(16), OF_A_SUB), Err(SubscribeRefusal::TooMany));
        assert_eq!(subscriptions.add(DeviceNo(1), "short", OF_A_SUB), Err(SubscribeRefusal::TooMany));
        assert_eq!(subscriptions.add(DeviceNo(2), &"x".repeat(257), OF_A_SUB), Err(SubscribeRefusal::Invalid));
    }
}
