//! Projects (tenants).

use super::{Cloud, DurationMs, Error, ProjectNo, Result};

/// The maximal number of projects in the operator's list.
const PROJECTS_MAX: usize = 1000;
/// The longest time for which replaced secrets can be accepted.
pub const GRACE_MAX: DurationMs = DurationMs(90 * 24 * 3600 * 1000);

/// A project: its credentials and its settings.
///
/// It has no `Debug`, so that its secrets cannot reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Project {
    /// The store's number.
    pub no: ProjectNo,
    /// Its name in the world document.
    pub name: String,
    /// Tuya's Access ID.
    pub client_id: String,
    /// Tuya's Access Secret, the key of its signatures.
    pub secret: String,
    /// Whether calls may be signed with the old method, which covers neither path nor body.
    pub legacy_sign: bool,
    /// Whether user lists contain `****` instead of names and addresses.
    pub mask_private_fields: bool,
    /// Alibaba's id of the project.
    pub aliyun_project_id: String,
    /// Alibaba's AppKey.
    pub app_key: String,
    /// Alibaba's AppSecret, the key of its signatures.
    pub app_secret: String,
    /// Whether cloud calls need a cloudToken; otherwise the AppKey's signature is enough.
    pub require_cloud_token: bool,
    /// Whether a cloudToken remains valid when a new one is issued.
    pub keep_cloud_tokens: bool,
    /// The project's own uid (`bay…`), which its token answers contain.
    pub admin_uid: String,
    /// The secrets before the last rotation, if they were given a time of grace.
    pub old: Option<OldSecrets>,
}

/// Secrets that were replaced, and are still accepted for a time. No `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct OldSecrets {
    /// Tuya's Access Secret.
    pub secret: String,
    /// Alibaba's AppSecret.
    pub app_secret: String,
    /// The time from which they are not accepted any more, milliseconds since 1970.
    pub until_ms: i64,
}

impl Project {
    fn old_at(&self, now_ms: i64) -> Option<&OldSecrets> {
        self.old.as_ref().filter(|old| now_ms < old.until_ms)
    }

    /// The secrets with which calls of Tuya's API may be signed at a time.
    pub fn secrets(&self, now_ms: i64) -> impl Iterator<Item = &str> {
        [self.secret.as_str()].into_iter().chain(self.old_at(now_ms).map(|old| old.secret.as_str()))
    }

    /// The secrets with which calls of Alibaba's API may be signed at a time.
    pub fn app_secrets(&self, now_ms: i64) -> impl Iterator<Item = &str> {
        [self.app_secret.as_str()].into_iter().chain(self.old_at(now_ms).map(|old| old.app_secret.as_str()))
    }

    /// The lifetime of something that is granted now. It ends with the old secrets, because it may be granted to one who
    /// has only these.
    #[must_use]
    pub fn life(&self, life: DurationMs, now_ms: i64) -> DurationMs {
        self.old_at(now_ms).map_or(life, |old| life.min(DurationMs(old.until_ms - now_ms)))
    }
}

impl Cloud {
    /// All projects with their credentials, only for the operator.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn projects(&self) -> Result<Vec<Project>> {
        self.registry.projects(PROJECTS_MAX).await
    }

    /// Gives a project new secrets for both APIs. Without a time of grace, all tokens of the project and of its users are
    /// revoked at once. With one, the old secrets and the tokens are valid until it ends; the returned time is its end. Only
    /// for the operator.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown project and for a time of grace over [`GRACE_MAX`]; [`Error::Store`].
    pub async fn rotate_secrets(&self, name: &str, grace: DurationMs) -> Result<Option<i64>> {
        if !(DurationMs(0)..=GRACE_MAX).contains(&grace) {
            return Err(Error::Refused("the time of grace must be 0 to 90 days".to_owned()));
        }
        let project = self.projects().await?.into_iter().find(|project| project.name == name);
        let project = project.ok_or_else(|| Error::Refused(format!("there is no project {name:?}")))?;
        let until_ms = (grace.0 > 0).then(|| self.now_ms() + grace);
        self.registry.rotate_secrets(project.no, until_ms).await?;
        self.end_subscribers(None).await?;
        Ok(until_ms)
    }
}
