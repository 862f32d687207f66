//! Requesters: a project, or a user of one of its apps with only the rights of that user (contract tuya §1.7).

use std::sync::Arc;

use super::access::{DeviceRole, seen_as};
use super::{Cloud, Device, Error, EventSource, Noun, Project, Result, Uid, UserNo};

/// A project that makes a call. Only [`Cloud::caller`] and similar methods create it, so every handler that has one was
/// called with valid credentials.
#[derive(Clone)]
pub struct Caller {
    pub(super) project: Arc<Project>,
}

impl Caller {
    /// The project.
    pub fn project(&self) -> &Project {
        &self.project
    }
}

/// A user of an app who makes a call with the token of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppUser {
    /// The store's number.
    pub no: UserNo,
    /// Tuya's id.
    pub uid: Uid,
    /// The account's version at the time of the login. A new password and disabling the account change it.
    pub version: i64,
}

/// A project or a user of one of its apps that makes a call. Only [`Cloud::app_caller`] creates it.
#[derive(Clone)]
pub struct AppCaller {
    pub(super) project: Arc<Project>,
    pub(super) user: Option<Arc<AppUser>>,
}

/// The project or user that makes a call. The operations themselves refuse what a user may not do.
pub trait Requester: Send + Sync {
    /// The project.
    fn project(&self) -> &Project;
    /// The user, if the requester is a user.
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

/// The source of events that the requester causes.
pub(super) fn source(requester: &impl Requester) -> EventSource {
    if requester.user().is_some() { EventSource::APP_USER } else { EventSource::CLOUD }
}

/// Checks that the requester may access a user: a project all its users, a user only itself.
///
/// # Errors
/// [`Error::NotVisible`].
pub(super) fn check_self(requester: &impl Requester, uid: &Uid) -> Result<()> {
    requester.user().is_none_or(|user| user.uid == *uid).then_some(()).ok_or(Error::NotVisible(Noun::User))
}

impl Cloud {
    /// The requester's role for each device; a project has the role of an owner.
    pub(super) async fn roles(
        &self,
        requester: &impl Requester,
        devices: &[&Device],
    ) -> Result<Vec<Option<DeviceRole>>> {
        match requester.user() {
            None => Ok(vec![Some(DeviceRole::Owner); devices.len()]),
            Some(user) => self.registry.device_roles(user.no, devices).await,
        }
    }

    /// Those of a project's devices that the requester sees, with the members that the requester may see.
    pub(super) async fn as_seen(
        &self,
        requester: &impl Requester,
        devices: Vec<Arc<Device>>,
    ) -> Result<Vec<Arc<Device>>> {
        if requester.user().is_none() {
            return Ok(devices);
        }
        let of: Vec<&Device> = devices.iter().map(|device| &**device).collect();
        let roles = self.roles(requester, &of).await?;
        Ok(devices.into_iter().zip(roles).filter_map(|(device, role)| Some(seen_as(device, role?))).collect())
    }
}
