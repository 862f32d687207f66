//! Tokens: what a project gets for its credentials (contract tuya §1.6).

use super::{Caller, Cloud, Error, Project, Result};

/// How long an access token lives.
pub const TOKEN_LIFE_MS: i64 = 7200 * 1000;
/// A living token with less than this left is not handed out again.
pub const TOKEN_LEFT_MS_MIN: i64 = 60 * 1000;

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
    pub async fn project_of(&self, client_id: &str) -> Result<Option<std::sync::Arc<Project>>> {
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

    /// A new pair for a refresh token; the old pair is dead from then on.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`] for one that is unknown, another project's or used.
    pub async fn refresh_token(&self, project: &Project, refresh: &str) -> Result<TokenPair> {
        let pair = self.registry.refresh_token(project.no, refresh, self.now_ms(), TOKEN_LIFE_MS).await?;
        pair.ok_or(Error::TokenInvalid)
    }

    /// Who holds a living access token of `project`. Call it after the signature is proven.
    ///
    /// # Errors
    /// [`Error::TokenInvalid`].
    pub async fn caller(&self, project: std::sync::Arc<Project>, access: &str) -> Result<Caller> {
        if self.registry.token_lives(project.no, access, self.now_ms()).await? {
            Ok(Caller { project })
        } else {
            Err(Error::TokenInvalid)
        }
    }
}
