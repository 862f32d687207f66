//! Who listens to what happens to devices: admitted by the cloud API, connected by MQTT (contract tuya §5.2).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use subtle::ConstantTimeEq;
use tokio::sync::mpsc;

use super::feed_message::{Key, Spoken, Teller};
use crate::domain::feed::{Credentials, Feed, FeedFigures, Happened, LISTEN_LIFE_MS, Listener, Taken};
use crate::domain::{Cloud, DeviceNo, Error, Result};
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

struct Admitted {
    listener: Listener,
    password: String,
    topic: String,
    /// The connection that has it.
    to: Option<mpsc::Sender<Message>>,
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

    /// Everybody who is connected.
    fn connected(&self) -> Vec<(Listener, Key, mpsc::Sender<Message>)> {
        let admitted = self.admitted();
        let open = admitted.values().filter_map(|here| Some((here, here.to.clone()?)));
        open.filter_map(|(here, to)| Some((here.listener.clone(), Key::of(&here.password)?, to))).collect()
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
        if admitted.values().filter(|here| is_of_one(&here.listener)).count() >= LISTENERS_OF_ONE_MAX {
            // An app that starts again and again names itself anew each time: the oldest that is not there makes room.
            let absent = |here: &Admitted| here.to.as_ref().is_none_or(mpsc::Sender::is_closed);
            let gone = admitted.iter().filter(|(_, here)| is_of_one(&here.listener) && absent(here));
            let oldest = gone.min_by_key(|(_, here)| here.listener.expires_ms).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { return Ok(None) };
            admitted.remove(&oldest);
        }
        if admitted.len() >= LISTENERS_MAX {
            return Ok(None);
        }
        let here = Admitted { listener, password: password.clone(), topic: topic.clone(), to: None };
        admitted.insert(name.clone(), here);
        Ok(Some(Credentials { name, password, topic }))
    }
}

/// Passes on what happens, to those who may see it, until the shutdown.
pub async fn tell(cloud: Arc<Cloud>, listeners: Arc<Listeners>, mut happenings: Happenings, mut shutdown: Shutdown) {
    loop {
        let happened = tokio::select! {
            happened = happenings.0.recv() => happened,
            () = shutdown.begun() => return,
        };
        let Some(happened) = happened else { return };
        for (listener, key, to) in listeners.connected() {
            let told = spoken(&cloud, &listener, &happened).await;
            for message in told.iter().filter_map(|spoken| spoken.encrypted(&key, listener.form, cloud.now_ms())) {
                if to.try_send(message).is_err() {
                    listeners.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// What a listener is told of something that happened.
async fn spoken(cloud: &Cloud, listener: &Listener, happened: &Happened) -> Vec<Spoken> {
    let mut told = Vec::new();
    match happened {
        Happened::Logged(rows) => {
            let mut numbers: Vec<DeviceNo> = rows.iter().map(|row| row.device).collect();
            numbers.sort_unstable();
            numbers.dedup();
            for no in numbers {
                if let Ok(Some(device)) = cloud.heard_device(listener, no).await {
                    told.extend(Teller(&device).rows(rows.iter().filter(|row| row.device == no)));
                }
            }
        }
        Happened::News(no, news) => {
            if let Ok(Some(device)) = cloud.heard_device(listener, *no).await {
                told.extend(Teller(&device).news(news, cloud.now_ms()));
            }
        }
        Happened::Taken(taken) => told.extend(was_taken(listener, taken).then(|| Teller(&taken.device).taken())),
    }
    told
}

/// Whether a listener is one of those from whom a device was taken.
fn was_taken(listener: &Listener, taken: &Taken) -> bool {
    match &listener.user {
        Some(user) => taken.users.contains(&user.no),
        None => listener.project == taken.project && !taken.is_shared_on,
    }
}
