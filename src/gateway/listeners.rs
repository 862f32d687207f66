//! Who listens to what happens to devices: admitted by the cloud API, connected by MQTT (contract tuya §5.2).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use subtle::ConstantTimeEq;
use tokio::sync::mpsc;

use super::feed_message::{Key, Spoken, Teller};
use crate::domain::caller::{DeviceRole, seen_as};
use crate::domain::feed::{Credentials, Feed, FeedFigures, Happened, LISTEN_LIFE_MS, Listener, News};
use crate::domain::{Cloud, Device, DeviceNo, Error, ProjectNo, Result};
use crate::shutdown::Shutdown;

/// Listeners that may be admitted at once.
const LISTENERS_MAX: usize = 10_000;
/// Of one user, or of one project by itself.
const LISTENERS_OF_ONE_MAX: usize = 50;
/// Happenings that wait to be told; further ones are dropped.
const HAPPENINGS_MAX: usize = 4096;
/// Messages that wait for one listener; further ones are dropped.
const MESSAGES_MAX: usize = 256;
/// What begins the name of every listener.
pub const PREFIX: &str = "cloud_";

/// A message, encrypted for its listener.
pub type Message = Vec<u8>;

/// The feed of this process.
pub struct Listeners {
    admitted: Mutex<HashMap<String, Admitted>>,
    /// How many are connected.
    connected: AtomicUsize,
    dropped: AtomicU64,
    happenings: mpsc::Sender<Happened>,
}

/// What a feed is told, on its way to those who listen.
pub struct Happenings(mpsc::Receiver<Happened>);

/// Somebody who is connected, and how to speak so that only they understand.
struct Ear {
    listener: Listener,
    key: Key,
    to: mpsc::Sender<Message>,
}

struct Admitted {
    listener: Listener,
    password: String,
    topic: String,
    /// The connection that has it.
    to: Option<mpsc::Sender<Message>>,
}

impl Admitted {
    fn is_absent(&self) -> bool {
        self.to.as_ref().is_none_or(mpsc::Sender::is_closed)
    }
}

/// A listener that is connected.
pub struct Listening {
    /// What it may subscribe to.
    pub topic: String,
    /// Messages for it, until it must ask again.
    pub messages: mpsc::Receiver<Message>,
    /// Until when, milliseconds since 1970.
    pub expires_ms: i64,
    name: String,
    listeners: Arc<Listeners>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.messages.close();
        let mut admitted = self.listeners.admitted();
        if let Some(here) = admitted.get_mut(&self.name)
            && here.to.as_ref().is_some_and(mpsc::Sender::is_closed)
        {
            here.to = None;
        }
        self.listeners.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A feed, and what [`tell`] passes on of it.
pub fn feed() -> (Arc<Listeners>, Happenings) {
    let (happenings, waiting) = mpsc::channel(HAPPENINGS_MAX);
    let (admitted, connected, dropped) = Default::default();
    (Arc::new(Listeners { admitted, connected, dropped, happenings }), Happenings(waiting))
}

impl Listeners {
    fn admitted(&self) -> MutexGuard<'_, HashMap<String, Admitted>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The listener of a name and password, connected from now on; an earlier connection of it ends.
    pub fn connect(self: &Arc<Self>, name: &str, password: &[u8], now_ms: i64) -> Option<Listening> {
        let mut admitted = self.admitted();
        let here = admitted.get_mut(name).filter(|here| here.listener.expires_ms > now_ms)?;
        if !bool::from(here.password.as_bytes().ct_eq(password)) {
            return None;
        }
        let (to, messages) = mpsc::channel(MESSAGES_MAX);
        here.to = Some(to);
        self.connected.fetch_add(1, Ordering::Relaxed);
        let (topic, expires_ms) = (here.topic.clone(), here.listener.expires_ms);
        Some(Listening { topic, messages, expires_ms, name: name.to_owned(), listeners: self.clone() })
    }

    /// Who is connected, of those for whom something is.
    fn connected(&self, is_for: impl Fn(&Listener) -> bool) -> Vec<Ear> {
        let admitted = self.admitted();
        let open = admitted.values().filter(|here| is_for(&here.listener));
        open.filter_map(|here| {
            Some(Ear { listener: here.listener.clone(), key: Key::of(&here.password)?, to: here.to.clone()? })
        })
        .collect()
    }

    /// Passes on to one listener.
    fn pass_on(&self, ear: &Ear, told: &[Spoken], now_ms: i64) {
        for message in told.iter().filter_map(|spoken| spoken.encrypted(&ear.key, ear.listener.form, now_ms)) {
            if ear.to.try_send(message).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Feed for Listeners {
    fn is_heard(&self) -> bool {
        self.connected.load(Ordering::Relaxed) > 0
    }

    fn tell(&self, happened: Happened) {
        if self.happenings.try_send(happened).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn figures(&self) -> FeedFigures {
        let listeners = self.connected.load(Ordering::Relaxed) as u64;
        FeedFigures { listeners, dropped: self.dropped.load(Ordering::Relaxed) }
    }

    fn admit(&self, listener: Listener) -> Result<Option<Credentials>> {
        let hex = || -> Result<String> {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(|error| Error::store(error.to_string()))?;
            Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        };
        let (name, password, topic) = (format!("{PREFIX}{}", hex()?), hex()?, format!("cloud/token/in/{}", hex()?));
        let now_ms = listener.expires_ms - LISTEN_LIFE_MS;
        let is_of_one = |other: &Listener| {
            let of = |listener: &Listener| listener.user.as_ref().map(|user| user.no);
            (other.project, of(other)) == (listener.project, of(&listener))
        };
        let mut admitted = self.admitted();
        admitted.retain(|_, here| {
            here.listener.expires_ms > now_ms && !(is_of_one(&here.listener) && here.listener.link == listener.link)
        });
        // An app that starts again and again names itself anew each time.
        let are_too_many = admitted.values().filter(|here| is_of_one(&here.listener)).count() >= LISTENERS_OF_ONE_MAX;
        if are_too_many && !make_room(&mut admitted, is_of_one) {
            return Ok(None);
        }
        if admitted.len() >= LISTENERS_MAX {
            // At the cost of the project that has most who are not there.
            let mut counts = HashMap::<ProjectNo, usize>::new();
            let absent = admitted.values().filter(|here| here.is_absent());
            absent.for_each(|here| *counts.entry(here.listener.project).or_default() += 1);
            let largest = counts.into_iter().max_by_key(|(_, count)| *count).map(|(project, _)| project);
            if !make_room(&mut admitted, |listener| Some(listener.project) == largest) {
                return Ok(None);
            }
        }
        let here = Admitted { listener, password: password.clone(), topic: topic.clone(), to: None };
        admitted.insert(name.clone(), here);
        Ok(Some(Credentials { name, password, topic }))
    }
}

/// Lets go of the oldest of some that is not there, if there is one.
fn make_room(admitted: &mut HashMap<String, Admitted>, is_of_them: impl Fn(&Listener) -> bool) -> bool {
    let gone = admitted.iter().filter(|(_, here)| is_of_them(&here.listener) && here.is_absent());
    let oldest = gone.min_by_key(|(_, here)| here.listener.expires_ms).map(|(name, _)| name.clone());
    oldest.is_some_and(|oldest| admitted.remove(&oldest).is_some())
}

/// Passes on what happens, to those who may see it, until the shutdown.
pub async fn tell(cloud: Arc<Cloud>, listeners: Arc<Listeners>, mut happenings: Happenings, mut shutdown: Shutdown) {
    loop {
        let happened = tokio::select! {
            happened = happenings.0.recv() => happened,
            () = shutdown.begun() => return,
        };
        match happened {
            None => return,
            Some(Happened::Logged(rows)) => {
                let mut numbers: Vec<DeviceNo> = rows.iter().map(|row| row.device).collect();
                numbers.sort_unstable();
                numbers.dedup();
                for no in numbers {
                    let said = |device: &Device, _: &_| Teller(device).rows(rows.iter().filter(|row| row.device == no));
                    tell_of(&cloud, &listeners, no, said).await;
                }
            }
            Some(Happened::News(no, news)) => {
                let said = |device: &Device, listener: &Listener| {
                    let is_for = is_for(listener, device, &news);
                    is_for.then(|| Teller(device).news(&news, cloud.now_ms())).into_iter().flatten().collect()
                };
                tell_of(&cloud, &listeners, no, said).await;
            }
            Some(Happened::Taken(taken)) => {
                // Whoever has it in another way still, does not lose it.
                let Ok(audience) = cloud.audience(taken.device).await else { continue };
                let lost_it = |listener: &Listener| taken.seen_by(listener).is_some() && !audience.has(listener);
                for ear in listeners.connected(lost_it) {
                    let Some(device) = taken.seen_by(&ear.listener) else { continue };
                    let device = as_it_was(&ear.listener, device);
                    listeners.pass_on(&ear, &[Teller(&device).taken()], cloud.now_ms());
                }
            }
        }
    }
}

/// Tells those who see a device at this moment what was said of it.
async fn tell_of(cloud: &Cloud, listeners: &Listeners, no: DeviceNo, said: impl Fn(&Device, &Listener) -> Vec<Spoken>) {
    // One look for all, and then a closer one for each whom it may concern.
    let Ok(audience) = cloud.audience(no).await else { return };
    for ear in listeners.connected(|listener| audience.has(listener)) {
        if let Ok(Some(device)) = cloud.heard_device(&ear.listener, no).await {
            listeners.pass_on(&ear, &said(&device, &ear.listener), cloud.now_ms());
        }
    }
}

/// Whether a listener is told of something besides reports, by what the listener may read. What another project's people
/// call a device, and who they are, is theirs; and who else has a device is its owner's business.
fn is_for(listener: &Listener, device: &Device, news: &News) -> bool {
    if device.abroad {
        return false;
    }
    match (news, &listener.user) {
        (News::Bound(uid), Some(user)) => {
            let owner = device.owner.as_ref();
            owner == Some(uid) || owner == Some(&user.uid) || user.uid == *uid
        }
        // Its people are those of its owner's project.
        (News::Bound(_), None) => device.owner.is_some(),
        (News::Renamed(_) | News::FunctionNamed(..), _) => true,
    }
}

/// A device as somebody saw it from whom it was taken.
fn as_it_was(listener: &Listener, device: &Arc<Device>) -> Arc<Device> {
    let owned = listener.user.as_ref().is_none_or(|user| device.owner.as_ref() == Some(&user.uid));
    let role = if owned { DeviceRole::Owner } else { DeviceRole::Sharee };
    seen_as(device.clone(), role)
}
