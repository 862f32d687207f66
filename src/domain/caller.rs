//! Who is asking: a project, or an app's user with the rights of that user alone (DESIGN §1; contract tuya §1.7).

use std::sync::Arc;

use super::access::{DeviceRole, seen_as};
use super::{Cloud, Device, DeviceNo, Error, EventSource, Noun, Project, Result, Uid, UserNo};

/// A project that asks. Only [`Cloud::caller`] and its kin make one, so a handler that has one has proven it.
#[derive(Clone)]
pub struct Caller {
    pub(super) project: Arc<Project>,
}

impl Caller {
    /// The tenant.
    pub fn project(&self) -> &Project {
        &self.project
    }
}

/// An app's user, by a token of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppUser {
    /// The store's number.
    pub no: UserNo,
    /// Tuya's id.
    pub uid: Uid,
    /// The account's version when the user signed in: another password or a disablement makes it another.
    pub version: i64,
}

/// A project that asks, or one of its apps' users. Only [`Cloud::app_caller`] makes one.
#[derive(Clone)]
pub struct AppCaller {
    pub(super) project: Arc<Project>,
    pub(super) user: Option<Arc<AppUser>>,
}

/// Who asks where both may: what a user may not is refused by the operation itself.
pub trait Requester: Send + Sync {
    /// The tenant.
    fn project(&self) -> &Project;
    /// The user, when it is not the project itself that asks.
    fn user(&self) -> Option<&AppUser>;
}

impl Requester for Caller {
    fn project(&self) -> &Project {
        &self.project
    }

    fn user(&self) -> Option<&AppUser> {
        None
    }
}

impl Requester for AppCaller {
    fn project(&self) -> &Project {
        &self.project
    }

    fn user(&self) -> Option<&AppUser> {
        self.user.as_deref()
    }
}

/// Who caused what a caller commands.
pub(super) fn source(who: &impl Requester) -> EventSource {
    if who.user().is_some() { EventSource::APP_USER } else { EventSource::CLOUD }
}

/// Whether whoever asks may speak of a user: the project of all of its own, a user of nobody else.
///
/// # Errors
/// [`Error::NotVisible`].
pub(super) fn check_self(who: &impl Requester, uid: &Uid) -> Result<()> {
    who.user().is_none_or(|user| user.uid == *uid).then_some(()).ok_or(Error::NotVisible(Noun::User))
}

impl Cloud {
    /// What whoever asks has of each device; a project that sees them has all of it.
    pub(super) async fn roles(&self, who: &impl Requester, devices: &[DeviceNo]) -> Result<Vec<Option<DeviceRole>>> {
        match who.user() {
            None => Ok(vec![Some(DeviceRole::Owner); devices.len()]),
            Some(user) => self.registry.device_roles(user.no, devices).await,
        }
    }

    /// Those of a project's devices that whoever asks sees, as they are seen.
    pub(super) async fn as_seen(&self, who: &impl Requester, devices: Vec<Arc<Device>>) -> Result<Vec<Arc<Device>>> {
        if who.user().is_none() {
            return Ok(devices);
        }
        let numbers: Vec<DeviceNo> = devices.iter().map(|device| device.no).collect();
        let roles = self.roles(who, &numbers).await?;
        Ok(devices.into_iter().zip(roles).filter_map(|(device, role)| Some(seen_as(device, role?))).collect())
    }
}
