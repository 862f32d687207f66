//! Stores passwords as argon2id hashes of the forms in which clients send them (decision 0009).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::domain::password::Password;
use crate::domain::{Error, ProjectNo, Result};
use crate::hex;

/// Maximum number of passwords that are hashed at the same time; each occupies a core for 30 to 60 ms and 19 MiB.
const HASHES_AT_ONCE: usize = 2;
/// Maximum number of callers that wait for a hash; further ones are refused.
const HASHES_WAITING_MAX: usize = 256;
/// The same for each project.
const HASHES_WAITING_OF_PROJECT_MAX: usize = 48;

/// The stored hashes of a password. No `Debug`, although they are not the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PasswordHashes {
    /// Of its MD5 digits or, if an older version stored it, of the password as it was received.
    pub md5: Option<String>,
    /// Of its SHA-256 digits.
    pub sha256: Option<String>,
}

/// Hashes passwords, a limited number at the same time.
pub struct Passwords {
    hashing: Arc<Semaphore>,
    waiting: Arc<Waiting>,
}

/// How many callers of each project wait for a hash. Callers of the visual login, which has no project, share one
/// entry.
type Waiting = Mutex<HashMap<Option<ProjectNo>, usize>>;

/// One caller in the count of its project, until it is dropped.
struct WaitingCaller {
    waiting: Arc<Waiting>,
    project: Option<ProjectNo>,
}

impl WaitingCaller {
    fn enter(waiting: &Arc<Waiting>, project: Option<ProjectNo>) -> Result<Self> {
        let mut counts = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_project = counts.get(&project).copied().unwrap_or(0);
        if of_project >= HASHES_WAITING_OF_PROJECT_MAX || counts.values().sum::<usize>() >= HASHES_WAITING_MAX {
            return Err(Error::Busy("too many passwords are being hashed"));
        }
        counts.insert(project, of_project + 1);
        Ok(Self { waiting: waiting.clone(), project })
    }
}

impl Drop for WaitingCaller {
    fn drop(&mut self) {
        let mut counts = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.project) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.project)),
        }
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self { hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)), waiting: Arc::default() }
    }
}

impl Passwords {
    /// Hashes a password with argon2id on a blocking thread and returns what to store. `None` if the password matches
    /// `current`, which then remains stored.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many callers of the project, or in total, wait already.
    pub async fn hash(
        &self,
        project: ProjectNo,
        password: Password,
        current: PasswordHashes,
    ) -> Result<Option<PasswordHashes>> {
        self.with_argon2(Some(project), move || hash_if_changed(&password, &current)).await?
    }

    /// Whether a password matches the stored hashes. If nothing is stored, it does not, after the same time.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many callers of the project (or without a project), or in total, wait already.
    pub async fn check(&self, project: Option<ProjectNo>, password: Password, stored: PasswordHashes) -> Result<bool> {
        self.with_argon2(project, move || matches(&password, &stored)).await
    }

    async fn with_argon2<T: Send + 'static>(
        &self,
        project: Option<ProjectNo>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let caller = WaitingCaller::enter(&self.waiting, project)?;
        let permit = self.hashing.clone().acquire_owned().await.map_err(|_| Error::Busy("shutting down"))?;
        let work = move || {
            // Held until the work is done, even if the caller disconnects.
            let _held = (caller, permit);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::store)
    }
}

/// What to store for a password; `None` if it matches `current`, which then remains stored. From digits only the hash of
/// that form can be computed.
///
/// # Errors
/// [`Error::Store`].
pub fn hash_if_changed(password: &Password, current: &PasswordHashes) -> Result<Option<PasswordHashes>> {
    if is_stored(password, current) {
        return Ok(None);
    }
    let (md5, sha256) = match password {
        Password::Clear(text) => (Some(hash(&md5_digits(text))?), Some(hash(&sha256_digits(text))?)),
        Password::Md5(digits) => (Some(hash(digits)?), None),
        Password::Sha256(digits) => (None, Some(hash(digits)?)),
    };
    Ok(Some(PasswordHashes { md5, sha256 }))
}

/// Whether a password is the stored one, and all hashes of it are stored.
pub fn is_stored(password: &Password, current: &PasswordHashes) -> bool {
    let is_complete = match password {
        Password::Md5(_) => current.md5.is_some(),
        Password::Sha256(_) | Password::Clear(_) => current.sha256.is_some(),
    };
    is_complete && matches(password, current)
}

/// Whether a password matches the stored hashes. It takes the same time if nothing is stored.
pub fn matches(password: &Password, stored: &PasswordHashes) -> bool {
    let (of_md5, of_sha256) = (stored.md5.as_deref(), stored.sha256.as_deref());
    match password {
        Password::Md5(digits) => verify(digits, of_md5),
        Password::Sha256(digits) => verify(digits, of_sha256),
        Password::Clear(text) => match (of_md5, of_sha256) {
            // Verified twice, so that it takes as long as the other cases.
            (None, Some(_)) => verify(&sha256_digits(text), of_sha256) || verify(text, None),
            // The stored hash may be of digits or, from an older version, of the password itself.
            _ => verify(&md5_digits(text), of_md5) || verify(text, of_md5),
        },
    }
}

fn verify(text: &str, hash: Option<&str>) -> bool {
    match hash {
        Some(hash) => Argon2::default().verify_password(text.as_bytes(), hash).is_ok(),
        None => {
            let _ = Argon2::default().hash_password(text.as_bytes());
            false
        }
    }
}

fn hash(text: &str) -> Result<String> {
    let hash = Argon2::default().hash_password(text.as_bytes());
    Ok(hash.map_err(|error| Error::store(error.to_string()))?.to_string())
}

fn md5_digits(text: &str) -> String {
    hex::encode(Md5::digest(text.as_bytes()))
}

fn sha256_digits(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear(text: &str) -> Password {
        Password::Clear(text.to_owned())
    }

    #[test]
    fn one_project_cannot_use_up_the_hashing_queue() -> Result<()> {
        let waiting = Arc::default();
        let many = |project: i64| -> Vec<WaitingCaller> {
            std::iter::from_fn(|| WaitingCaller::enter(&waiting, Some(ProjectNo(project))).ok()).collect()
        };
        let first = many(1);
        assert_eq!(first.len(), HASHES_WAITING_OF_PROJECT_MAX);
        let second = WaitingCaller::enter(&waiting, Some(ProjectNo(2)))?;
        WaitingCaller::enter(&waiting, None)?;
        drop((first, second));
        assert!(waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty(), "callers that left are not counted");
        let all: Vec<WaitingCaller> = (0..100).flat_map(many).collect();
        assert_eq!(all.len(), HASHES_WAITING_MAX);
        Ok(())
    }

    #[test]
    fn each_form_of_a_password_matches_what_was_stored_of_another() -> Result<()> {
        let (md5, sha256) = (Password::sent(md5_digits("secret")), Password::sent(sha256_digits("secret")));
        let opens =
            |stored: &PasswordHashes| [&clear("secret"), &md5, &sha256].map(|password| matches(password, stored));
        let of_text = hash_if_changed(&clear("secret"), &PasswordHashes::default())?.unwrap_or_default();
        assert_eq!(opens(&of_text), [true, true, true]);
        let of_md5 = hash_if_changed(&md5, &PasswordHashes::default())?.unwrap_or_default();
        assert_eq!(opens(&of_md5), [true, true, false], "one form does not give the other");
        let of_sha256 = hash_if_changed(&sha256, &PasswordHashes::default())?.unwrap_or_default();
        assert_eq!(opens(&of_sha256), [true, false, true]);
        let of_old_version = PasswordHashes { md5: Some(hash("secret")?), sha256: None };
        assert_eq!(opens(&of_old_version), [true, false, false], "as an older version stored it");
        for stored in [&of_text, &of_md5, &of_sha256] {
            assert!(!matches(&clear("other"), stored) && !matches(&clear(""), stored));
        }
        Ok(())
    }

    #[test]
    fn an_unchanged_password_is_not_hashed_again() -> Result<()> {
        let stored = hash_if_changed(&clear("secret"), &PasswordHashes::default())?.unwrap_or_default();
        assert!(hash_if_changed(&clear("secret"), &stored)?.is_none());
        assert!(hash_if_changed(&Password::sent(md5_digits("secret")), &stored)?.is_none());
        assert!(hash_if_changed(&clear("other"), &stored)?.is_some());
        let none = PasswordHashes::default();
        let half = hash_if_changed(&Password::sent(md5_digits("secret")), &none)?.unwrap_or_default();
        assert!(hash_if_changed(&clear("secret"), &half)?.is_some(), "the text gives the other form");
        Ok(())
    }
}
