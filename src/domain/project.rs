//! Projects: the tenants.

use super::{Cloud, ProjectNo, Result};

/// Projects that the operator is shown at once.
const PROJECTS_MAX: usize = 1000;

/// A tenant: what its credentials open, and how it wants to be answered.
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
    /// Whether business calls may be signed by the old rule, which covers neither path nor body.
    pub legacy_sign: bool,
    /// Whether user lists show `****` in place of names and addresses.
    pub mask_private_fields: bool,
    /// Alibaba's id of the project.
    pub aliyun_project_id: String,
    /// Alibaba's AppKey.
    pub app_key: String,
    /// Alibaba's AppSecret, the key of its signatures.
    pub app_secret: String,
    /// Whether cloud calls need a cloudToken; otherwise the AppKey's signature is enough.
    pub require_cloud_token: bool,
    /// Whether a cloudToken lives to its end when the next one is fetched.
    pub keep_cloud_tokens: bool,
    /// The project's own uid (`bay…`), which its tokens carry.
    pub admin_uid: String,
}

impl Cloud {
    /// All projects with their credentials, for the operator alone.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn projects(&self) -> Result<Vec<Project>> {
        self.registry.projects(PROJECTS_MAX).await
    }
}
