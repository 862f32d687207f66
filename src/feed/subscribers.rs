//! The subscribers of the feed: admitted by the cloud API, connected by MQTT (contract tuya §5.2).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use subtle::ConstantTimeEq;
use tokio::sync::mpsc;

use super::message::{MessageKey, OutgoingMessage, Publisher};
use crate::domain::access::{DeviceRole, seen_as};
use crate::domain::feed::{
    Credentials, Feed, FeedEvent, FeedFigures, News, Selection, SubscribedQuery, SubscriberIdentity,
};
use crate::domain::{Cloud, Device, DeviceNo, Error, ProjectNo, Result};
use crate::shutdown::Shutdown;
use crate::{hex, random};

/// Subscribers that may be admitted at once.
const SUBSCRIBERS_MAX: usize = 10_000;
/// Of one project with its users.
const SUBSCRIBERS_OF_PROJECT_MAX: usize = 2_500;
/// Of one user, or of one project by itself.
const SUBSCRIBERS_OF_ONE_MAX: usize = 50;
/// Events that wait to be published; further ones are dropped.
const EVENTS_MAX: usize = 4096;
/// Messages that wait for one subscriber; further ones are dropped.
const MESSAGES_MAX: usize = 256;
/// What the client id of every subscriber begins with.
pub const CLIENT_ID_PREFIX: &str = "cloud_";

/// A message, encrypted for its subscriber.
pub type Message = Vec<u8>;

/// How many subscribers may be admitted at once.
#[derive(Clone, Copy)]
struct Bounds {
    in_all: usize,
    of_project: usize,
    of_one: usize,
}

const BOUNDS: Bounds =
    Bounds { in_all: SUBSCRIBERS_MAX, of_project: SUBSCRIBERS_OF_PROJECT_MAX, of_one: SUBSCRIBERS_OF_ONE_MAX };

/// The feed of this process.
pub struct Subscribers {
    admitted: Mutex<HashMap<String, Admission>>,
    bounds: Bounds,
    /// How many are connected.
    connected: AtomicUsize,
    dropped: AtomicU64,
    events: mpsc::Sender<FeedEvent>,
}

/// Events that wait to be published.
pub struct FeedEvents(mpsc::Receiver<FeedEvent>);

/// A connected subscriber, and the key that its messages are encrypted with.
struct Subscriber {
    identity: Arc<SubscriberIdentity>,
    key: MessageKey,
    to: mpsc::Sender<Message>,
}

/// Credentials that were given out, and the connection that uses them.
struct Admission {
    identity: Arc<SubscriberIdentity>,
    password: String,
    topic: String,
    /// The connection that has it.
    to: Option<mpsc::Sender<Message>>,
}

impl Admission {
    fn is_absent(&self) -> bool {
        self.to.as_ref().is_none_or(mpsc::Sender::is_closed)
    }
}

/// The subscription of a connected subscriber; it ends when this is dropped.
pub struct Subscription {
    /// What it may subscribe to.
    pub topic: String,
    /// Its messages, until the credentials end.
    pub messages: mpsc::Receiver<Message>,
    /// Until when, milliseconds since 1970.
    pub expires_ms: i64,
    /// Who it is.
    pub identity: Arc<SubscriberIdentity>,
    name: String,
    subscribers: Arc<Subscribers>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.messages.close();
        let mut admitted = self.subscribers.held();
        if let Some(here) = admitted.get_mut(&self.name)
            && here.to.as_ref().is_some_and(mpsc::Sender::is_closed)
        {
            here.to = None;
        }
        self.subscribers.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A feed, and the events that [`publish`] takes from it.
pub fn feed() -> (Arc<Subscribers>, FeedEvents) {
    bounded_feed(BOUNDS)
}

fn bounded_feed(bounds: Bounds) -> (Arc<Subscribers>, FeedEvents) {
    let (events, waiting) = mpsc::channel(EVENTS_MAX);
    let (admitted, connected, dropped) = Default::default();
    (Arc::new(Subscribers { admitted, bounds, connected, dropped, events }), FeedEvents(waiting))
}

impl Subscribers {
    fn held(&self) -> MutexGuard<'_, HashMap<String, Admission>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects the subscriber of a name and password. An earlier connection of it ends.
    pub fn connect(self: &Arc<Self>, name: &str, password: &[u8], now_ms: i64) -> Option<Subscription> {
        let mut admitted = self.held();
        let here = admitted.get_mut(name).filter(|here| here.identity.expires_ms > now_ms)?;
        if !bool::from(here.password.as_bytes().ct_eq(password)) {
            return None;
        }
        let (to, messages) = mpsc::channel(MESSAGES_MAX);
        here.to = Some(to);
        self.connected.fetch_add(1, Ordering::Relaxed);
        let (topic, identity, name) = (here.topic.clone(), here.identity.clone(), name.to_owned());
        let expires_ms = identity.expires_ms;
        Some(Subscription { topic, messages, expires_ms, identity, name, subscribers: self.clone() })
    }

    /// The connected subscribers for whom something is.
    fn connected(&self, is_for: impl Fn(&SubscriberIdentity) -> bool) -> Vec<Subscriber> {
        let admitted = self.held();
        let open = admitted.values().filter(|here| is_for(&here.identity));
        open.filter_map(|here| {
            Some(Subscriber {
                identity: here.identity.clone(),
                key: MessageKey::of(&here.password)?,
                to: here.to.clone()?,
            })
        })
        .collect()
    }

    /// Sends messages to one subscriber.
    fn pass_on(&self, subscriber: &Subscriber, messages: &[OutgoingMessage], now_ms: i64) {
        for message in
            messages.iter().filter_map(|message| message.encrypted(&subscriber.key, subscriber.identity.form, now_ms))
        {
            if subscriber.to.try_send(message).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[async_trait]
impl Feed for Subscribers {
    async fn admitted(&self, selection: Selection<'_>) -> Result<Vec<(String, Arc<SubscriberIdentity>)>> {
        let admitted = self.held();
        let selected = admitted.iter().filter(|(_, here)| selection.selects(&here.identity));
        Ok(selected.map(|(name, here)| (name.clone(), here.identity.clone())).collect())
    }

    async fn end(&self, names: &[String]) -> Result<()> {
        let mut admitted = self.held();
        // Their connections end with the senders that are kept here.
        names.iter().for_each(|name| drop(admitted.remove(name)));
        Ok(())
    }

    fn has_subscribers(&self) -> bool {
        self.connected.load(Ordering::Relaxed) > 0
    }

    fn publish(&self, event: FeedEvent) {
        if self.events.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn figures(&self) -> FeedFigures {
        let subscribers = self.connected.load(Ordering::Relaxed) as u64;
        FeedFigures { subscribers, dropped: self.dropped.load(Ordering::Relaxed) }
    }

    async fn admit(&self, identity: SubscriberIdentity, now_ms: i64) -> Result<Option<Credentials>> {
        let digits = || random::bytes::<16>().map(hex::encode).map_err(|error| Error::store(error.to_string()));
        let (name, password, topic) =
            (format!("{CLIENT_ID_PREFIX}{}", digits()?), digits()?, format!("cloud/token/in/{}", digits()?));
        let is_of_one = |other: &SubscriberIdentity| {
            let of = |identity: &SubscriberIdentity| identity.user.as_ref().map(|user| user.no);
            (other.project, of(other)) == (identity.project, of(&identity))
        };
        let mut admitted = self.held();
        admitted.retain(|_, here| {
            here.identity.expires_ms > now_ms && !(is_of_one(&here.identity) && here.identity.link == identity.link)
        });
        if !self.bounds.have_room(&mut admitted, identity.project, is_of_one) {
            return Ok(None);
        }
        let here =
            Admission { identity: Arc::new(identity), password: password.clone(), topic: topic.clone(), to: None };
        admitted.insert(name.clone(), here);
        Ok(Some(Credentials { name, password, topic }))
    }
}

impl Bounds {
    /// Makes room for a further subscriber of a project; whether there is room then.
    fn have_room(
        self,
        admitted: &mut HashMap<String, Admission>,
        project: ProjectNo,
        is_of_one: impl Fn(&SubscriberIdentity) -> bool,
    ) -> bool {
        let count = |admitted: &HashMap<String, Admission>, is_of_them: &dyn Fn(&SubscriberIdentity) -> bool| {
            admitted.values().filter(|here| is_of_them(&here.identity)).count()
        };
        let is_of_project = |identity: &SubscriberIdentity| identity.project == project;
        // An app that restarts often takes a new name each time: the oldest that is not connected is removed.
        if count(admitted, &is_of_one) >= self.of_one && !make_room(admitted, &is_of_one, false) {
            return false;
        }
        if count(admitted, &is_of_project) >= self.of_project && !make_room(admitted, is_of_project, false) {
            return false;
        }
        if admitted.len() < self.in_all {
            return true;
        }
        // The project that has most gives way, also with connected ones if it has more than this one.
        let mut counts = HashMap::<ProjectNo, usize>::new();
        admitted.values().for_each(|here| *counts.entry(here.identity.project).or_default() += 1);
        let own = counts.get(&project).copied().unwrap_or(0);
        let largest = counts.into_iter().max_by_key(|(_, count)| *count);
        let Some((largest, most)) = largest else { return false };
        make_room(admitted, |identity| identity.project == largest, most > own)
    }
}

/// Removes the oldest of some that is not connected, if there is one; or else, `if_need_be`, the oldest that is.
fn make_room(
    admitted: &mut HashMap<String, Admission>,
    is_of_them: impl Fn(&SubscriberIdentity) -> bool,
    if_need_be: bool,
) -> bool {
    let some = admitted.iter().filter(|(_, here)| is_of_them(&here.identity) && (if_need_be || here.is_absent()));
    let oldest = some.min_by_key(|(_, here)| (!here.is_absent(), here.identity.expires_ms));
    let oldest = oldest.map(|(name, _)| name.clone());
    oldest.is_some_and(|oldest| admitted.remove(&oldest).is_some())
}

/// Publishes events to those who may see them, until the shutdown.
pub async fn publish(cloud: Arc<Cloud>, subscribers: Arc<Subscribers>, mut events: FeedEvents, mut shutdown: Shutdown) {
    loop {
        let happened = tokio::select! {
            happened = events.0.recv() => happened,
            () = shutdown.begun() => return,
        };
        match happened {
            None => return,
            Some(FeedEvent::Logged(rows)) => {
                let mut numbers: Vec<DeviceNo> = rows.iter().map(|row| row.device).collect();
                numbers.sort_unstable();
                numbers.dedup();
                let said =
                    |device: &Device, _: &_| Publisher(device).rows(rows.iter().filter(|row| row.device == device.no));
                publish_of(&cloud, &subscribers, &numbers, said).await;
            }
            Some(FeedEvent::News(no, news)) => {
                let said = |device: &Device, identity: &SubscriberIdentity| {
                    let is_for = is_for(identity, device, &news);
                    is_for.then(|| Publisher(device).news(&news, cloud.now_ms())).into_iter().flatten().collect()
                };
                publish_of(&cloud, &subscribers, &[no], said).await;
            }
            Some(FeedEvent::Lost(taken)) => {
                // Those who still see it in another way have not lost it.
                let audience = cloud.audiences(&[taken.device]).await.ok().and_then(|mut audiences| audiences.pop());
                let Some(audience) = audience else { continue };
                let lost_it =
                    |identity: &SubscriberIdentity| taken.seen_by(identity).is_some() && !audience.has(identity);
                for subscriber in subscribers.connected(lost_it) {
                    let Some(device) = taken.seen_by(&subscriber.identity) else { continue };
                    let device = before_change(&subscriber.identity, device);
                    subscribers.pass_on(&subscriber, &[Publisher(&device).taken(taken.at_ms)], cloud.now_ms());
                }
            }
        }
    }
}

/// Publishes messages about devices to those who see them at this moment.
async fn publish_of(
    cloud: &Cloud,
    subscribers: &Subscribers,
    numbers: &[DeviceNo],
    said: impl Fn(&Device, &SubscriberIdentity) -> Vec<OutgoingMessage>,
) {
    // One query finds the candidates; another one then checks each of them exactly.
    let Ok(audiences) = cloud.audiences(numbers).await else { return };
    let candidates = numbers.iter().zip(&audiences).flat_map(|(no, audience)| {
        subscribers.connected(|identity| audience.has(identity)).into_iter().map(|subscriber| (*no, subscriber))
    });
    let candidates: Vec<(DeviceNo, Subscriber)> = candidates.collect();
    let queries = candidates.iter().map(|(no, subscriber)| SubscribedQuery::new(&subscriber.identity, *no));
    let Ok(devices) = cloud.subscribed_devices(&queries.collect::<Vec<_>>()).await else { return };
    for ((_, subscriber), device) in candidates.iter().zip(devices) {
        if let Some(device) = device {
            subscribers.pass_on(subscriber, &said(&device, &subscriber.identity), cloud.now_ms());
        }
    }
}

/// Whether a subscriber is sent something besides reports, by what it may read. What another project's people
/// call a device, and who they are, is theirs; and who else has a device is its owner's business.
fn is_for(identity: &SubscriberIdentity, device: &Device, news: &News) -> bool {
    if device.held_elsewhere {
        return false;
    }
    match (news, &identity.user) {
        (News::Bound(uid), Some(user)) => {
            let owner = device.owner.as_ref();
            owner == Some(uid) || owner == Some(&user.uid) || user.uid == *uid
        }
        // Its people are those of its owner's project.
        (News::Bound(_), None) => device.owner.is_some(),
        (News::Renamed(_) | News::FunctionNamed(..), _) => true,
    }
}

/// A device as a subscriber saw it before it lost the device.
fn before_change(identity: &SubscriberIdentity, device: &Arc<Device>) -> Arc<Device> {
    let owned = identity.user.as_ref().is_none_or(|user| device.owner.as_ref() == Some(&user.uid));
    let role = if owned { DeviceRole::Owner } else { DeviceRole::Sharee };
    seen_as(device.clone(), role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::feed::{MessageForm, SUBSCRIPTION_LIFE_MS};

    fn identity(project: i64, link: usize) -> SubscriberIdentity {
        SubscriberIdentity {
            project: ProjectNo(project),
            client_id: String::new(),
            secret: String::new(),
            user: None,
            by_login: false,
            link: link.to_string(),
            form: MessageForm::Ecb,
            expires_ms: SUBSCRIPTION_LIFE_MS + link as i64,
        }
    }

    fn of(subscribers: &Subscribers, project: i64) -> usize {
        subscribers.held().values().filter(|here| here.identity.project == ProjectNo(project)).count()
    }

    /// Whether somebody is admitted; the connection of one who stays there.
    async fn admit(
        subscribers: &Arc<Subscribers>,
        project: i64,
        link: usize,
        stays: bool,
    ) -> Option<Option<Subscription>> {
        let credentials = subscribers.admit(identity(project, link), link as i64).await.unwrap()?;
        Some(stays.then(|| subscribers.connect(&credentials.name, credentials.password.as_bytes(), 0).unwrap()))
    }

    #[tokio::test]
    async fn one_project_takes_no_more_than_its_share_and_starves_nobody() {
        let (subscribers, _happenings) = bounded_feed(Bounds { in_all: 12, of_project: 8, of_one: 100 });
        // Those of the first are all there, so none of them can make room for another of the same.
        let mut there = Vec::new();
        for link in 0..8 {
            there.push(admit(&subscribers, 1, link, true).await.unwrap().unwrap());
        }
        assert!(admit(&subscribers, 1, 8, true).await.is_none(), "bounded by project");
        let mut others = Vec::new();
        for link in 0..4 {
            others.push(admit(&subscribers, 2, link, true).await.unwrap().unwrap());
        }
        assert_eq!((of(&subscribers, 1), of(&subscribers, 2)), (8, 4), "all places are taken");
        for link in 0..2 {
            assert!(admit(&subscribers, 3, link, true).await.is_some(), "at the cost of the one that has most");
        }
        assert_eq!((of(&subscribers, 1), of(&subscribers, 2), of(&subscribers, 3)), (6, 4, 2));
        assert!(there[0].messages.try_recv().is_err_and(|error| error == mpsc::error::TryRecvError::Disconnected));
        assert!(admit(&subscribers, 1, 9, true).await.is_none(), "which takes no place of theirs in turn");
        assert_eq!((of(&subscribers, 1), of(&subscribers, 2), of(&subscribers, 3)), (6, 4, 2));
        drop(others);
    }

    #[tokio::test]
    async fn who_is_not_there_makes_room_first() {
        let (subscribers, _happenings) = bounded_feed(Bounds { in_all: 4, of_project: 3, of_one: 2 });
        let kept = admit(&subscribers, 1, 0, true).await.unwrap();
        for link in 1..5 {
            assert!(admit(&subscribers, 1, link, false).await.is_some(), "{link}");
            assert!(of(&subscribers, 1) <= 2, "of one");
        }
        assert!(kept.is_some_and(|mut kept| kept.messages.try_recv() == Err(mpsc::error::TryRecvError::Empty)));
    }
}
