//! The feed: what happens to devices, told to whoever listens (contract tuya §5.2–5.4). It is told after it is on disk,
//! and best effort: a listener that is slow misses some of it and asks again.

use std::sync::Arc;

use super::caller::{AppUser, check_self};
use super::{
    Cloud, DataPoint, Device, DeviceId, DeviceNo, Error, EventType, NewEvent, NodeType, Noun, Project, ProjectNo,
    Requester, Result, Uid, UserNo,
};

/// How long a listener may listen before it must ask again.
pub const LISTEN_LIFE_MS: i64 = 7200 * 1000;
/// Devices whose loss is told when many are lost at once; a listener asks for the rest.
pub const TAKEN_MAX: usize = 256;

/// The way out to listeners.
pub trait Feed: Send + Sync {
    /// Whether anybody listens. What nobody hears need not be told.
    fn is_heard(&self) -> bool;
    /// Tells what happened.
    fn tell(&self, event: FeedEvent);
    /// Who is connected, and what was dropped because somebody was too slow.
    fn figures(&self) -> FeedFigures;
    /// Lets somebody listen, in place of an earlier listener of the same project, user and link; `None` when too many do.
    fn admit(&self, listener: Listener) -> Result<Option<Credentials>>;
    /// Those of the listeners that may listen which are meant, by their names.
    fn admitted(&self, is_meant: &dyn Fn(&Listener) -> bool) -> Vec<(String, Arc<Listener>)>;
    /// Ends what a listener was admitted with, and its connection.
    fn end(&self, name: &str);
}

/// What an operator wants to know of the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedFigures {
    /// Listeners that are connected.
    pub listeners: u64,
    /// Messages that were dropped since the start.
    pub dropped: u64,
}

/// Something that happened.
#[derive(Clone)]
pub enum FeedEvent {
    /// Rows of the log.
    Logged(Vec<NewEvent>),
    /// Something else, for everybody who sees the device.
    News(DeviceNo, News),
    /// A device was taken from people: those of them who no longer see it are told.
    Taken(Taken),
}

/// What can happen to a device besides rows of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Its owner calls it something else.
    Renamed(String),
    /// A function is called something else: its code, its name.
    FunctionNamed(String, String),
    /// It is a user's from now on, as owner or sharee.
    Bound(Uid),
}

/// Who saw a device before it was taken from some of them. Those who still see it are not told.
#[derive(Clone)]
pub struct Taken {
    /// The store's number of the device.
    pub device: DeviceNo,
    /// The projects that saw it, each with the device as that project saw it.
    pub views: Vec<(ProjectNo, Arc<Device>)>,
    /// The users who saw it.
    pub users: Vec<UserNo>,
    /// When it was taken, milliseconds since 1970.
    pub at_ms: i64,
}

impl Taken {
    /// The device as a listener saw it, when the listener was one of those who did.
    pub fn seen_by(&self, listener: &Listener) -> Option<&Arc<Device>> {
        let had_it = listener.user.as_ref().is_none_or(|user| self.users.contains(&user.no));
        let view = self.views.iter().find(|(project, _)| *project == listener.project);
        view.filter(|_| had_it).map(|(_, device)| device)
    }
}

/// Somebody who listens. No `Debug`: it holds the project's secret.
#[derive(Clone)]
pub struct Listener {
    /// The tenant.
    pub project: ProjectNo,
    /// The tenant's client id when the listener was admitted.
    pub client_id: String,
    /// The tenant's secret when the listener was admitted: with another nobody is admitted any more whom it admitted.
    pub secret: String,
    /// Whose devices are meant; the project's own without one.
    pub user: Option<Arc<AppUser>>,
    /// Whether that user asked by a login, and not the project for the user.
    pub by_login: bool,
    /// What tells several listeners of one user apart; the caller's own text.
    pub link: String,
    /// In which form messages are wanted.
    pub form: MessageForm,
    /// Until when, milliseconds since 1970.
    pub expires_ms: i64,
}

/// Who may see a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Projects that make it, or whose people have it.
    pub projects: Vec<ProjectNo>,
    /// Its owner, those to whom it is shared, and who lives in the home that it stands in.
    pub users: Vec<UserNo>,
}

impl Audience {
    /// Whether a listener is among them.
    pub fn has(&self, listener: &Listener) -> bool {
        self.projects.contains(&listener.project)
            && listener.user.as_ref().is_none_or(|user| self.users.contains(&user.no))
    }
}

/// How messages are encrypted for a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageForm {
    /// The vendor's 1.0: AES-128-ECB.
    Ecb,
    /// The vendor's 2.0: AES-128-GCM.
    Gcm,
}

/// What a listener connects with. No `Debug`.
pub struct Credentials {
    /// Client id and user name.
    pub name: String,
    /// The password, from which messages are encrypted too.
    pub password: String,
    /// Where messages come.
    pub topic: String,
}

impl Cloud {
    /// Lets whoever asks listen: a user to what the user sees, a project to all of it or to one of its users.
    ///
    /// # Errors
    /// [`Error::NotVisible`] for a user that is not the project's, and for another than the one who asks;
    /// [`Error::Busy`] when too many listen.
    pub async fn listen(
        &self,
        who: &impl Requester,
        uid: Option<&Uid>,
        link: String,
        form: MessageForm,
    ) -> Result<Credentials> {
        let project = who.project().no;
        let user = match (who.user(), uid) {
            (Some(user), uid) => {
                uid.map_or(Ok(()), |uid| check_self(who, uid))?;
                Some(user.clone())
            }
            (None, Some(uid)) if uid.as_str() != who.project().admin_uid => {
                let found = self.registry.app_user(project, uid).await?;
                Some(found.ok_or(Error::NotVisible(Noun::User))?)
            }
            (None, _) => None,
        };
        let expires_ms = self.now_ms() + LISTEN_LIFE_MS;
        let (client_id, secret) = (who.project().client_id.clone(), who.project().secret.clone());
        let (user, by_login) = (user.map(Arc::new), who.user().is_some());
        let listener = Listener { project, client_id, secret, user, by_login, link, form, expires_ms };
        self.feed.admit(listener)?.ok_or(Error::Busy("too many listeners"))
    }

    /// Whether what a listener was admitted by still holds: the project's secret, and the user's login.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn may_listen(&self, listener: &Listener) -> Result<bool> {
        let project = self.registry.project_by_client_id(&listener.client_id).await?;
        let holds = |project: &Project| project.no == listener.project && project.secret == listener.secret;
        if !project.is_some_and(|project| holds(&project)) {
            return Ok(false);
        }
        let Some(user) = &listener.user else { return Ok(true) };
        let now = self.registry.app_user(listener.project, &user.uid).await?;
        Ok(now.is_some_and(|now| now == **user))
    }

    /// Ends listeners of a user for whom what they were admitted by no longer holds; of everybody without a user.
    pub(super) async fn end_listeners(&self, of: Option<&Uid>) -> Result<()> {
        let is_meant =
            |listener: &Listener| of.is_none_or(|uid| listener.user.as_ref().is_some_and(|user| user.uid == *uid));
        for (name, listener) in self.feed.admitted(&is_meant) {
            if !self.may_listen(&listener).await? {
                self.feed.end(&name);
            }
        }
        Ok(())
    }

    /// Ends the listeners that a user has by logins.
    pub(super) fn end_own_listeners(&self, user: &AppUser) {
        let is_meant =
            |listener: &Listener| listener.by_login && listener.user.as_ref().is_some_and(|other| other.no == user.no);
        self.feed.admitted(&is_meant).iter().for_each(|(name, _)| self.feed.end(name));
    }

    /// Who may see a device at this moment.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn audience(&self, device: DeviceNo) -> Result<Audience> {
        self.registry.audience(device).await
    }

    /// A device as a listener sees it, as long as what the listener signed in with holds.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn heard_device(&self, listener: &Listener, device: DeviceNo) -> Result<Option<Arc<Device>>> {
        self.registry.heard_device(listener.project, listener.user.as_deref(), device).await
    }

    /// Figures of the feed, for the operator.
    pub fn feed_figures(&self) -> FeedFigures {
        self.feed.figures()
    }

    /// Appends rows to the log, and tells them once they are on disk.
    pub(super) async fn log(&self, rows: Vec<NewEvent>) -> Result<()> {
        self.log_then(rows, || ()).await
    }

    /// The same, and does something in between, also when nothing can be kept: before anybody hears of it.
    pub(super) async fn log_then(&self, rows: Vec<NewEvent>, then: impl FnOnce()) -> Result<()> {
        let told = self.feed.is_heard().then(|| rows.clone());
        let kept = self.telemetry.append(rows).await;
        then();
        kept?;
        if let Some(rows) = told {
            self.feed.tell(FeedEvent::Logged(self.news_of(rows).await));
        }
        Ok(())
    }

    /// What of these rows is news: of what was uploaded later only what is the state now.
    async fn news_of(&self, mut rows: Vec<NewEvent>) -> Vec<NewEvent> {
        let is_late = |row: &&NewEvent| row.is_history && row.kind != EventType::ThingEvent;
        let mut late: Vec<DeviceNo> = rows.iter().filter(is_late).map(|row| row.device).collect();
        if late.is_empty() {
            return rows;
        }
        late.sort_unstable();
        late.dedup();
        // They are on disk whether that can be read or not.
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

    /// Tells what else happened.
    pub(super) fn tell(&self, device: DeviceNo, news: News) {
        if self.feed.is_heard() {
            self.feed.tell(FeedEvent::News(device, news));
        }
    }

    /// Who sees a device, and those behind it when it is a gateway, before they are taken from some of them; nothing when
    /// nobody listens.
    pub(super) async fn people_of(&self, project: ProjectNo, device: &Arc<Device>) -> Result<Vec<Taken>> {
        if !self.feed.is_heard() {
            return Ok(Vec::new());
        }
        let mut all = vec![self.seers(device.no, &device.id, Some((project, device.clone()))).await?];
        if device.product.node_type == NodeType::Gateway {
            // What is behind a gateway may go with it.
            for sub in self.registry.behind(device.no, TAKEN_MAX).await? {
                all.push(self.seers(sub.no, &sub.id, None).await?);
            }
        }
        Ok(all)
    }

    /// Who sees each of several devices of a project's people; of the first [`TAKEN_MAX`].
    pub(super) async fn people_of_all(&self, project: ProjectNo, devices: &[Arc<Device>]) -> Result<Vec<Taken>> {
        let mut all = Vec::new();
        for device in devices.iter().take(TAKEN_MAX).filter(|_| self.feed.is_heard()) {
            all.push(self.seers(device.no, &device.id, Some((project, device.clone()))).await?);
        }
        Ok(all)
    }

    /// Who sees a device. Each project's listeners are told in what that project saw, whoever takes the device.
    async fn seers(&self, no: DeviceNo, id: &DeviceId, known: Option<(ProjectNo, Arc<Device>)>) -> Result<Taken> {
        let Audience { projects, users } = self.registry.audience(no).await?;
        let known_to = known.as_ref().map(|(project, _)| *project);
        let mut views = Vec::from_iter(known);
        for project in projects.into_iter().filter(|project| Some(*project) != known_to) {
            views.extend(self.registry.device(project, id).await?.map(|device| (project, device)));
        }
        Ok(Taken { device: no, views, users, at_ms: self.now_ms() })
    }

    /// Tells those who no longer see a device so, after it was taken.
    pub(super) fn tell_taken(&self, taken: impl IntoIterator<Item = Taken>) {
        let at_ms = self.now_ms();
        taken.into_iter().for_each(|taken| self.feed.tell(FeedEvent::Taken(Taken { at_ms, ..taken })));
    }
}
