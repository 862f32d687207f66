//! Tokens: what a project gets for its credentials (contract tuya §1.6; aliyun §3).

use std::sync::Arc;

use super::{AppCaller, Caller, Cloud, Error, Noun, Project, Result};

/// How long an access token lives.
pub const TOKEN_LIFE_MS: i64 = 7200 * 1000;
/// A living token with less than this left is not handed out again.
pub const TOKEN_LEFT_MS_MIN: i64 = 60 * 1000;

/// How long a cloudToken lives.
pub const CLOUD_TOKEN_LIFE_MS: i64 = 7200 * 1000;
/// How long a cloudToken lives on after it was refreshed.
pub const CLOUD_TOKEN_GRACE_MS: i64 = 5 * 60 * 1000;

/// An access token and the refresh token that renews it once.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// Opens business calls; 32 hex digits.
    pub access: String,
    /// Renews the pair, once; 32 hex digits.
    pub refresh: String,
    /// When the access token dies, milliseconds since 1970.
    pub expires_ms: i64,
}

impl TokenPair {
    /// Whole seconds that the access token still lives.
    pub fn seconds_left(&self, now_ms: i64) -> i64 {
        (self.expires_ms - now_ms).max(0) / 1000
    }
}

impl Cloud {
    /// The project of a client id, if there is one. Establishes who is asking, together with a signature.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn project_of(&self, client_id: &str) -> Result<Option<Arc<Project>>> {
        self.registry.project_by_client_id(client_id).await
    }

    /// The project's living token, or a new one when less than [`TOKEN_LEFT_MS_MIN`] is left of it: two processes
    /// with one credential do not invalidate each other.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn grant_token(&self, project: &Project) -> Result<TokenPair> {
        self.registry.grant_token(project.no, self.now_ms(), TOKEN_LIFE_MS, TOKEN_LEFT_MS_MIN).await
    }

    /// The project itself, by a living access token of its own. Call it after the signature is proven.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`]; [`Error::NotAllowed`] for one of its users' tokens.
    pub async fn caller(&self, project: Arc<Project>, access: &str) -> Result<Caller> {
        let AppCaller { project, user } = self.app_caller(project, access).await?;
        match user {
            None => Ok(Caller { project }),
            Some(_) => Err(Error::NotAllowed("the token is an app user's; this call takes the project's own")),
        }
    }

    /// The project of an AppKey, if there is one. Establishes who is asking, together with a signature.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn project_of_key(&self, app_key: &str) -> Result<Option<Arc<Project>>> {
        self.registry.project_by_app_key(app_key).await
    }

    /// A new cloudToken. The one before is dead from then on, unless the project keeps them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn grant_cloud_token(&self, project: &Project) -> Result<String> {
        let keep = project.keep_cloud_tokens;
        self.registry.grant_cloud_token(project.no, self.now_ms(), CLOUD_TOKEN_LIFE_MS, keep).await
    }

    /// A new cloudToken for a living one, which lives for [`CLOUD_TOKEN_GRACE_MS`] more at most.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] for one that is unknown or expired, [`Error::NotVisible`] for another project's.
    pub async fn refresh_cloud_token(&self, project: &Project, token: &str) -> Result<String> {
        self.check_cloud_token(project, token).await?;
        let (life_ms, grace_ms) = (CLOUD_TOKEN_LIFE_MS, CLOUD_TOKEN_GRACE_MS);
        let (now_ms, keep) = (self.now_ms(), project.keep_cloud_tokens);
        let fresh = self.registry.refresh_cloud_token(project.no, token, now_ms, life_ms, grace_ms, keep).await?;
        fresh.ok_or(Error::TokenInvalid)
    }

    /// Who signed with the project's AppSecret and sent this cloudToken. Call it after the signature is proven.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] for a token that is unknown or expired, or missing where the project requires one;
    /// [`Error::NotVisible`] for another project's.
    pub async fn cloud_caller(&self, project: Arc<Project>, token: Option<&str>) -> Result<Caller> {
        match token {
            Some(token) => self.check_cloud_token(&project, token).await?,
            None if project.require_cloud_token => return Err(Error::TokenInvalid),
            None => {}
        }
        Ok(Caller { project })
    }

    /// Who signed with the project's AppSecret, for the few calls that need no cloudToken. One that is sent all the
    /// same must be good. Call it after the signature is proven.
    ///
    /// # Errors
    /// As [`Cloud::cloud_caller`].
    pub async fn key_caller(&self, project: Arc<Project>, token: Option<&str>) -> Result<Caller> {
        if let Some(token) = token {
            self.check_cloud_token(&project, token).await?;
        }
        Ok(Caller { project })
    }

    async fn check_cloud_token(&self, project: &Project, token: &str) -> Result<()> {
        match self.registry.cloud_token_holder(token, self.now_ms()).await? {
            Some(holder) if holder == project.no => Ok(()),
            Some(_) => Err(Error::NotVisible(Noun::Project)),
            None => Err(Error::TokenInvalid),
        }
    }
}
