//! The tokens that a project receives for its credentials (contract tuya §1.6; aliyun §3).

use std::sync::Arc;

use super::{AppCaller, Caller, Cloud, DurationMs, Error, Noun, Project, Result};

/// The lifetime of an access token.
pub const TOKEN_LIFE: DurationMs = DurationMs(7200 * 1000);
/// A valid token with less remaining lifetime than this is replaced by a new one.
pub const TOKEN_LEFT_MIN: DurationMs = DurationMs(60 * 1000);

/// The lifetime of a cloudToken.
pub const CLOUD_TOKEN_LIFE: DurationMs = DurationMs(7200 * 1000);
/// The maximal remaining lifetime of a cloudToken after it was refreshed.
pub const CLOUD_TOKEN_GRACE: DurationMs = DurationMs(5 * 60 * 1000);

/// An access token and its refresh token, which can be used once.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// The token for calls; 32 hex digits.
    pub access: String,
    /// The token for a new pair, valid once; 32 hex digits.
    pub refresh: String,
    /// When the access token expires, milliseconds since 1970.
    pub expires_ms: i64,
}

/// What happens to the earlier cloudTokens of a project when a new one is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierTokens {
    /// They are revoked or, after a refresh, expire soon.
    Revoke,
    /// They remain valid.
    Keep,
}

impl EarlierTokens {
    fn of(project: &Project) -> Self {
        if project.keep_cloud_tokens { Self::Keep } else { Self::Revoke }
    }
}

impl TokenPair {
    /// The remaining lifetime of the access token in whole seconds.
    pub fn seconds_left(&self, now_ms: i64) -> i64 {
        (self.expires_ms - now_ms).max(0) / 1000
    }
}

impl Cloud {
    /// The project with a client id. Together with a signature this identifies the requester.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn project_of(&self, client_id: &str) -> Result<Option<Arc<Project>>> {
        self.registry.project_by_client_id(client_id).await
    }

    /// The project's valid token, or a new one if its remaining lifetime is less than [`TOKEN_LEFT_MIN`]. So two
    /// processes with the same credentials do not invalidate each other's token.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn grant_token(&self, project: &Project) -> Result<TokenPair> {
        let now_ms = self.now_ms();
        let life = project.life(TOKEN_LIFE, now_ms);
        self.registry.grant_token(project.no, now_ms, life, TOKEN_LEFT_MIN).await
    }

    /// The project to which a valid access token was issued. The signature must be checked first.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`]; [`Error::NotAllowed`] for a token of one of its users.
    pub async fn caller(&self, project: Arc<Project>, access: &str) -> Result<Caller> {
        let AppCaller { project, user } = self.app_caller(project, access).await?;
        match user {
            None => Ok(Caller { project }),
            Some(_) => Err(Error::NotAllowed("the token is an app user's; this call takes the project's own")),
        }
    }

    /// The project with an AppKey. Together with a signature this identifies the requester.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn project_of_key(&self, app_key: &str) -> Result<Option<Arc<Project>>> {
        self.registry.project_by_app_key(app_key).await
    }

    /// Issues a new cloudToken. Earlier ones are revoked, unless the project keeps them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn grant_cloud_token(&self, project: &Project) -> Result<String> {
        let earlier = EarlierTokens::of(project);
        let now_ms = self.now_ms();
        let life = project.life(CLOUD_TOKEN_LIFE, now_ms);
        self.registry.grant_cloud_token(project.no, now_ms, life, earlier).await
    }

    /// Issues a new cloudToken for a valid one, which then expires after at most [`CLOUD_TOKEN_GRACE`].
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] for a token that is unknown or expired, [`Error::NotVisible`] for one of another
    /// project.
    pub async fn refresh_cloud_token(&self, project: &Project, token: &str) -> Result<String> {
        self.check_cloud_token(project, token).await?;
        let (now_ms, earlier) = (self.now_ms(), EarlierTokens::of(project));
        let (life, grace) = (project.life(CLOUD_TOKEN_LIFE, now_ms), CLOUD_TOKEN_GRACE);
        let fresh = self.registry.refresh_cloud_token(project.no, token, now_ms, life, grace, earlier).await?;
        fresh.ok_or(Error::TokenInvalid)
    }

    /// The requester that signed with the project's AppSecret and sent this cloudToken. The signature must be checked
    /// first.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] for a token that is unknown or expired, or missing where the project requires one;
    /// [`Error::NotVisible`] for a token of another project.
    pub async fn cloud_caller(&self, project: Arc<Project>, token: Option<&str>) -> Result<Caller> {
        match token {
            Some(token) => self.check_cloud_token(&project, token).await?,
            None if project.require_cloud_token => return Err(Error::TokenInvalid),
            None => {}
        }
        Ok(Caller { project })
    }

    /// The requester that signed with the project's AppSecret, for the few calls that need no cloudToken. If a
    /// cloudToken is sent, it must be valid. The signature must be checked first.
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
