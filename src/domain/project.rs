//! Projects (tenants).

use super::{Cloud, ProjectNo, Result};

/// The maximal number of projects in the operator's list.
const PROJECTS_MAX: usize = 1000;

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
}

impl Cloud {
    /// All projects with their credentials, only for the operator.
    ///
    /// # Errors
    /// [`super::Error::Store`].
    pub async fn projects(&self) -> Result<Vec<Project>> {
        self.registry.projects(PROJECTS_MAX).await
    }
}
