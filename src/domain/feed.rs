//! The live feed: messages about devices for its subscribers (contract tuya §5.2–5.4). Messages are published after the
//! change is on disk. They may be lost: a subscriber that is too slow misses messages and must read the state again.

use std::sync::Arc;

use async_trait::async_trait;

use super::caller::{AppUser, check_self};
use super::{
    Cloud, DataPoint, Device, DeviceId, DeviceNo, DurationMs, Error, EventType, NewEvent, NodeType, Noun, Project,
    ProjectNo, Requester, Result, Uid, UserNo,
};

/// The time after which a subscriber must request new credentials.
pub const SUBSCRIPTION_LIFE_MS: i64 = 7200 * 1000;
/// The maximal number of devices of which one operation publishes the removal.
pub const LOSSES_MAX: usize = 256;

/// Publishes messages to subscribers, on whichever node they are connected.
///
/// Each method is atomic. Those that are not `async` are called on every report: they answer from the memory of this node
/// and never wait. The others fail with [`Error::Store`] or [`Error::Busy`] if the subscribers cannot be reached.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Whether anybody subscribes. Without subscribers, nothing needs to be published. The answer may be late, so a
    /// subscriber that has just connected may miss messages.
    fn has_subscribers(&self) -> bool;
    /// Publishes a message. If too many messages wait, it is dropped and counted.
    fn publish(&self, event: FeedEvent);
    /// The metrics of this node.
    fn figures(&self) -> FeedFigures;
    /// Admits a subscriber at `now_ms`, milliseconds since 1970, and replaces an earlier one of the same project, user and
    /// link; `None` if there are too many subscribers. Those that have expired by then are removed. The credentials are
    /// valid on every node, until the subscriber expires, is removed or is replaced.
    async fn admit(&self, subscriber: SubscriberIdentity, now_ms: i64) -> Result<Option<Credentials>>;
    /// The admitted subscribers of a selection, with their names. Those that expired after the last admission may be among them.
    async fn admitted(&self, selection: Selection<'_>) -> Result<Vec<(String, Arc<SubscriberIdentity>)>>;
    /// Removes subscribers by their names and closes their connections. Names of no subscribers are ignored.
    async fn end(&self, names: &[String]) -> Result<()>;
}

/// Selects admitted subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// All subscribers.
    All,
    /// Those that get messages about the devices of a user.
    OfUser(&'a Uid),
    /// Those with which a user subscribed by logins of its own.
    OfLogins(UserNo),
}

impl Selection<'_> {
    /// Whether it selects a subscriber.
    pub fn selects(self, subscriber: &SubscriberIdentity) -> bool {
        let user = subscriber.user.as_ref();
        match self {
            Self::All => true,
            Self::OfUser(uid) => user.is_some_and(|user| user.uid == *uid),
            Self::OfLogins(no) => subscriber.by_login && user.is_some_and(|user| user.no == no),
        }
    }
}

/// Metrics of the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedFigures {
    /// Subscribers that are connected.
    pub subscribers: u64,
    /// Messages that were dropped since the server started.
    pub dropped: u64,
}

/// A message of the feed.
#[derive(Clone)]
pub enum FeedEvent {
    /// New rows of the event log.
    Logged(Vec<NewEvent>),
    /// Another change, published to everyone who sees the device.
    News(DeviceNo, News),
    /// A device was removed from users: those who no longer see it are informed.
    Lost(DeviceLoss),
}

/// A change of a device that is not a row of the event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The device has a new name.
    Renamed(String),
    /// A function has a new name: its code and its name.
    FunctionNamed(String, String),
    /// The device has this user as new owner or sharee.
    Bound(Uid),
}

/// Who saw a device before it was removed from some of its users. Those who still see it are not informed.
#[derive(Clone)]
pub struct DeviceLoss {
    /// The store's number of the device.
    pub device: DeviceNo,
    /// The projects that saw it, each with the device as that project saw it.
    pub views: Vec<(ProjectNo, Arc<Device>)>,
    /// The users who saw it.
    pub users: Vec<UserNo>,
    /// The time of the removal, milliseconds since 1970.
    pub at_ms: i64,
}

impl DeviceLoss {
    /// The device as the subscriber saw it, if the subscriber was one of those who did.
    pub fn seen_by(&self, subscriber: &SubscriberIdentity) -> Option<&Arc<Device>> {
        let had_it = subscriber.user.as_ref().is_none_or(|user| self.users.contains(&user.no));
        let view = self.views.iter().find(|(project, _)| *project == subscriber.project);
        view.filter(|_| had_it).map(|(_, device)| device)
    }
}

/// A subscriber. No `Debug`: it holds the project's secret.
#[derive(Clone)]
pub struct SubscriberIdentity {
    /// The project.
    pub project: ProjectNo,
    /// The project's client id at the time of admission.
    pub client_id: String,
    /// The project's secret at the time of admission. If the secret changes, the subscriber loses its access.
    pub secret: String,
    /// The user whose devices are meant; `None` for the devices of the project.
    pub user: Option<Arc<AppUser>>,
    /// Whether the user subscribed with a login of its own, not the project on behalf of the user.
    pub by_login: bool,
    /// The caller's text that distinguishes several subscribers of one user.
    pub link: String,
    /// The encryption of the messages.
    pub form: MessageForm,
    /// When the access expires, milliseconds since 1970.
    pub expires_ms: i64,
}

/// Everyone who may see a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// The project of the product, and those of the owner and sharees.
    pub projects: Vec<ProjectNo>,
    /// The owner, the sharees, and the members of the home that it belongs to.
    pub users: Vec<UserNo>,
}

impl Audience {
    /// Whether a subscriber is among them.
    pub fn has(&self, subscriber: &SubscriberIdentity) -> bool {
        self.projects.contains(&subscriber.project)
            && subscriber.user.as_ref().is_none_or(|user| self.users.contains(&user.no))
    }
}

/// A subscriber and a device that it may be sent messages about.
#[derive(Clone, Copy)]
pub struct SubscribedQuery<'a> {
    /// The project.
    pub project: ProjectNo,
    /// The user, unless the project itself is the subscriber.
    pub user: Option<&'a AppUser>,
    /// The device.
    pub device: DeviceNo,
}

impl<'a> SubscribedQuery<'a> {
    /// The query for a subscriber and a device.
    pub fn new(subscriber: &'a SubscriberIdentity, device: DeviceNo) -> Self {
        Self { project: subscriber.project, user: subscriber.user.as_deref(), device }
    }
}

/// How messages are encrypted for a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageForm {
    /// The vendor's 1.0: AES-128-ECB.
    Ecb,
    /// The vendor's 2.0: AES-128-GCM.
    Gcm,
}

/// The credentials with which a subscriber connects. No `Debug`.
pub struct Credentials {
    /// Client id and user name.
    pub name: String,
    /// The password, which is also the key of the encryption.
    pub password: String,
    /// The topic of the messages.
    pub topic: String,
}

impl Cloud {
    /// Admits the requester as a subscriber: a user to the devices that the user sees, a project to all its devices or
    /// to those of one of its users.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and for a user other than the requester;
    /// [`Error::Busy`] if there are too many subscribers.
    pub async fn subscribe(
        &self,
        requester: &impl Requester,
        uid: Option<&Uid>,
        link: String,
        form: MessageForm,
    ) -> Result<Credentials> {
        let project = requester.project().no;
        let user = match (requester.user(), uid) {
            (Some(user), uid) => {
                uid.map_or(Ok(()), |uid| check_self(requester, uid))?;
                Some(user.clone())
            }
            (None, Some(uid)) if uid.as_str() != requester.project().admin_uid => {
                let found = self.registry.app_user(project, uid).await?;
                Some(found.ok_or(Error::NotVisible(Noun::User))?)
            }
            (None, _) => None,
        };
        let now_ms = self.now_ms();
        let expires_ms = now_ms + requester.project().life(DurationMs(SUBSCRIPTION_LIFE_MS), now_ms);
        let (client_id, secret) = (requester.project().client_id.clone(), requester.project().secret.clone());
        let (user, by_login) = (user.map(Arc::new), requester.user().is_some());
        let subscriber = SubscriberIdentity { project, client_id, secret, user, by_login, link, form, expires_ms };
        self.feed.admit(subscriber, now_ms).await?.ok_or(Error::Busy("too many listeners"))
    }

    /// Whether the credentials of a subscriber are still valid: the project's secret, and the user's account or login.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn may_subscribe(&self, subscriber: &SubscriberIdentity) -> Result<bool> {
        let project = self.registry.project_by_client_id(&subscriber.client_id).await?;
        let holds = |project: &Project| project.no == subscriber.project && project.secret == subscriber.secret;
        if !project.is_some_and(|project| holds(&project)) {
            return Ok(false);
        }
        let Some(user) = &subscriber.user else { return Ok(true) };
        let now = self.registry.app_user(subscriber.project, &user.uid).await?;
        Ok(now.is_some_and(|now| now == **user))
    }

    /// Removes the subscribers of a user whose credentials are no longer valid; without a user, those of all users.
    pub(super) async fn end_subscribers(&self, of: Option<&Uid>) -> Result<()> {
        for (name, subscriber) in self.feed.admitted(of.map_or(Selection::All, Selection::OfUser)).await? {
            if !self.may_subscribe(&subscriber).await? {
                self.feed.end(&[name]).await?;
            }
        }
        Ok(())
    }

    /// Removes the subscribers that a user has through logins.
    pub(super) async fn end_own_subscribers(&self, user: &AppUser) -> Result<()> {
        let own = self.feed.admitted(Selection::OfLogins(user.no)).await?;
        self.feed.end(&own.into_iter().map(|(name, _)| name).collect::<Vec<_>>()).await
    }

    /// Everyone who may see each of these devices now, in their order.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn audiences(&self, devices: &[DeviceNo]) -> Result<Vec<Audience>> {
        self.registry.audiences(devices).await
    }

    /// For each subscriber and device, in their order, the device as the subscriber sees it, while the subscriber's
    /// credentials are valid.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn subscribed_devices(&self, queries: &[SubscribedQuery<'_>]) -> Result<Vec<Option<Arc<Device>>>> {
        if queries.is_empty() { Ok(Vec::new()) } else { self.registry.subscribed_devices(queries).await }
    }

    /// Metrics of the feed.
    pub fn feed_figures(&self) -> FeedFigures {
        self.feed.figures()
    }

    /// Appends rows to the event log, and publishes them once they are on disk.
    pub(super) async fn log(&self, rows: Vec<NewEvent>) -> Result<()> {
        self.log_then(rows, std::future::ready(Ok(()))).await
    }

    /// The same, and completes `then` before it publishes, also if the append failed.
    pub(super) async fn log_then<T>(&self, rows: Vec<NewEvent>, then: impl Future<Output = Result<T>>) -> Result<T> {
        let published = (self.feed.has_subscribers() || self.watchers.is_any()).then(|| rows.clone());
        let appended = self.telemetry.append(rows).await;
        let done = then.await;
        appended?;
        if let Some(rows) = published {
            self.watchers.show(|watcher| watcher.logged(&rows));
            if self.feed.has_subscribers() {
                self.feed.publish(FeedEvent::Logged(self.publishable(rows).await));
            }
        }
        done
    }

    /// The rows to publish: a row that was uploaded later is published only if it is the latest value.
    async fn publishable(&self, mut rows: Vec<NewEvent>) -> Vec<NewEvent> {
        let is_late = |row: &&NewEvent| row.is_history && row.kind != EventType::ThingEvent;
        let mut late: Vec<DeviceNo> = rows.iter().filter(is_late).map(|row| row.device).collect();
        if late.is_empty() {
            return rows;
        }
        late.sort_unstable();
        late.dedup();
        // If the latest values cannot be read, the rows are not published. They are on disk in any case.
        let latest = self.telemetry.latest(&late).await.unwrap_or_default();
        rows.retain(|row| {
            let points =
                late.binary_search(&row.device).ok().and_then(|at| latest.get(at)).map(|latest| &latest.points);
            let is_state = |point: &DataPoint| {
                row.kind == EventType::DataPoint
                    && (Some(&point.code), Some(&point.value)) == (row.code.as_ref(), row.value.as_ref())
                    && point.row.time_ms == row.time_ms
            };
            !is_late(&row) || points.is_some_and(|points| points.iter().any(is_state))
        });
        rows
    }

    /// Publishes another change of a device.
    pub(super) fn publish(&self, device: DeviceNo, news: News) {
        self.watchers.show(|watcher| watcher.changed(device, &news));
        if self.feed.has_subscribers() {
            self.feed.publish(FeedEvent::News(device, news));
        }
    }

    /// Everyone who sees a device and its sub-devices, before it is removed from some users; empty without
    /// subscribers.
    pub(super) async fn viewers_of(&self, project: ProjectNo, device: &Arc<Device>) -> Result<Vec<DeviceLoss>> {
        if !self.feed.has_subscribers() {
            return Ok(Vec::new());
        }
        let mut all = vec![device.clone()];
        if device.product.node_type == NodeType::Gateway {
            // Sub-devices may be removed together with their gateway.
            all.extend(self.registry.behind(device.no, LOSSES_MAX).await?.into_iter().map(Arc::new));
        }
        self.viewers(&all, |no| (no == device.no).then_some(project)).await
    }

    /// The same for each of several devices of a project; only for the first [`LOSSES_MAX`].
    pub(super) async fn viewers_of_all(&self, project: ProjectNo, devices: &[Arc<Device>]) -> Result<Vec<DeviceLoss>> {
        if !self.feed.has_subscribers() {
            return Ok(Vec::new());
        }
        self.viewers(&devices[..devices.len().min(LOSSES_MAX)], |_| Some(project)).await
    }

    /// Everyone who sees each device. Subscribers of each project get the device as their project saw it, whichever
    /// project removes it. `known_to` returns the project that sees the device as it is given.
    pub(super) async fn viewers(
        &self,
        devices: &[Arc<Device>],
        known_to: impl Fn(DeviceNo) -> Option<ProjectNo>,
    ) -> Result<Vec<DeviceLoss>> {
        let numbers: Vec<DeviceNo> = devices.iter().map(|device| device.no).collect();
        let audiences = self.registry.audiences(&numbers).await?;
        let others = devices.iter().zip(&audiences).flat_map(|(device, audience)| {
            let known_to = known_to(device.no);
            let others = audience.projects.iter().filter(move |project| Some(**project) != known_to);
            others.map(|project| (*project, device.id.clone()))
        });
        let others: Vec<(ProjectNo, DeviceId)> = others.collect();
        let seen = if others.is_empty() { Vec::new() } else { self.registry.devices_seen(&others).await? };
        let mut seen = others.into_iter().zip(seen).peekable();
        let at_ms = self.now_ms();
        let loss = |(device, audience): (&Arc<Device>, Audience)| {
            let mut views = Vec::from_iter(known_to(device.no).map(|project| (project, device.clone())));
            while let Some(((project, _), found)) = seen.next_if(|((_, id), _)| *id == device.id) {
                views.extend(found.map(|found| (project, found)));
            }
            DeviceLoss { device: device.no, views, users: audience.users, at_ms }
        };
        Ok(devices.iter().zip(audiences).map(loss).collect())
    }

    /// Informs the subscribers who no longer see a device after its removal.
    pub(super) fn publish_losses(&self, losses: impl IntoIterator<Item = DeviceLoss>) {
        let at_ms = self.now_ms();
        losses.into_iter().for_each(|loss| self.feed.publish(FeedEvent::Lost(DeviceLoss { at_ms, ..loss })));
    }
}
