//! What is kept of a password: argon2id hashes of the forms in which clients send it (decision 0009).
//!
//! Kept is one text: the hash of the MD5 digits and, after a space, the one of the SHA-256 digits; either may be empty.
//! What an older version kept has no space, and is of the text as it was given.

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

/// Passwords hashed at once: each takes a core for some 30 or 60 ms and 19 MiB.
const HASHES_AT_ONCE: usize = 2;
/// Callers that may wait for a hash before further ones are turned away.
const HASHES_WAITING_MAX: usize = 256;
/// Those of one project.
const HASHES_WAITING_OF_PROJECT_MAX: usize = 48;

/// Hashes passwords, a bounded number at a time.
pub struct Passwords {
    hashing: Arc<Semaphore>,
    waiting: Arc<Waiting>,
}

/// How many callers of each project wait for a hash; those of the visual login, which has no project, count as one.
type Waiting = Mutex<HashMap<Option<ProjectNo>, usize>>;

/// A place among those who wait, until it is dropped.
struct Place {
    waiting: Arc<Waiting>,
    project: Option<ProjectNo>,
}

impl Place {
    fn take(waiting: &Arc<Waiting>, project: Option<ProjectNo>) -> Result<Self> {
        let mut counts = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_project = counts.get(&project).copied().unwrap_or(0);
        if of_project >= HASHES_WAITING_OF_PROJECT_MAX || counts.values().sum::<usize>() >= HASHES_WAITING_MAX {
            return Err(Error::Busy("too many passwords are being hashed"));
        }
        counts.insert(project, of_project + 1);
        Ok(Self { waiting: waiting.clone(), project })
    }
}

impl Drop for Place {
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
    /// What to keep of a password, hashed with argon2id on a thread of its own, a bounded number at a time. `None` when it
    /// is the one of `known`, which then stays.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait already, of that project or in all.
    pub async fn hash(&self, project: ProjectNo, password: Password, known: Option<String>) -> Result<Option<String>> {
        self.with_argon2(Some(project), move || hash_unless_known(&password, known.as_deref())).await?
    }

    /// Whether a password is the one that was kept, in the way of [`Passwords::hash`]. Without one it is not, and
    /// that takes as long.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait already, of that project (or of none) or in all.
    pub async fn check(&self, project: Option<ProjectNo>, password: Password, kept: Option<String>) -> Result<bool> {
        self.with_argon2(project, move || is_kept(&password, kept.as_deref().unwrap_or_default())).await
    }

    async fn with_argon2<T: Send + 'static>(
        &self,
        project: Option<ProjectNo>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let place = Place::take(&self.waiting, project)?;
        let turn = self.hashing.clone().acquire_owned().await.map_err(|_| Error::Busy("shutting down"))?;
        let work = move || {
            // Held until the work is done, also when the caller hangs up.
            let _held = (place, turn);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::store)
    }
}

/// What to keep of a password, `None` when it is that of `known`, which then stays. Of digits of a hash only that form
/// can be kept.
///
/// # Errors
/// [`Error::Store`].
pub fn hash_unless_known(password: &Password, known: Option<&str>) -> Result<Option<String>> {
    let is_complete = |known: &&str| forms(known).1.is_some() || !matches!(password, Password::Clear(_));
    if known.filter(is_complete).is_some_and(|known| is_kept(password, known)) {
        return Ok(None);
    }
    let kept = match password {
        Password::Clear(text) => format!("{} {}", hash(&md5_digits(text))?, hash(&sha256_digits(text))?),
        Password::Md5(digits) => format!("{} ", hash(digits)?),
        Password::Sha256(digits) => format!(" {}", hash(digits)?),
    };
    Ok(Some(kept))
}

/// Whether a password is the one that was kept. Without one that takes as long as with another.
pub fn is_kept(password: &Password, kept: &str) -> bool {
    let (of_md5, of_sha256) = forms(kept);
    match password {
        Password::Md5(digits) => verify(digits, of_md5),
        Password::Sha256(digits) => verify(digits, of_sha256),
        Password::Clear(text) => match (of_md5, of_sha256) {
            // Twice, as any other.
            (None, Some(_)) => verify(&sha256_digits(text), of_sha256) || verify(text, None),
            // Digits may have been given for the text itself, or the text by an older version.
            _ => verify(&md5_digits(text), of_md5) || verify(text, of_md5),
        },
    }
}

/// The two hashes of what is kept.
fn forms(kept: &str) -> (Option<&str>, Option<&str>) {
    let (of_md5, of_sha256) = kept.split_once(' ').unwrap_or((kept, ""));
    ((!of_md5.is_empty()).then_some(of_md5), (!of_sha256.is_empty()).then_some(of_sha256))
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
    fn one_project_takes_no_other_its_turn_at_hashing() -> Result<()> {
        let waiting = Arc::default();
        let many = |project: i64| -> Vec<Place> {
            std::iter::from_fn(|| Place::take(&waiting, Some(ProjectNo(project))).ok()).collect()
        };
        let first = many(1);
        assert_eq!(first.len(), HASHES_WAITING_OF_PROJECT_MAX);
        let second = Place::take(&waiting, Some(ProjectNo(2)))?;
        Place::take(&waiting, None)?;
        drop((first, second));
        assert!(waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty(), "nothing is left of those who went");
        let all: Vec<Place> = (0..100).flat_map(many).collect();
        assert_eq!(all.len(), HASHES_WAITING_MAX);
        Ok(())
    }

    #[test]
    fn each_form_of_a_password_opens_what_was_kept_of_another() -> Result<()> {
        let (md5, sha256) = (Password::sent(md5_digits("secret")), Password::sent(sha256_digits("secret")));
        let opens = |kept: &str| [&clear("secret"), &md5, &sha256].map(|password| is_kept(password, kept));
        let of_text = hash_unless_known(&clear("secret"), None)?.unwrap_or_default();
        assert_eq!(opens(&of_text), [true, true, true]);
        let of_md5 = hash_unless_known(&md5, None)?.unwrap_or_default();
        assert_eq!(opens(&of_md5), [true, true, false], "the one form says nothing of the other");
        let of_sha256 = hash_unless_known(&sha256, None)?.unwrap_or_default();
        assert_eq!(opens(&of_sha256), [true, false, true]);
        assert_eq!(opens(&hash("secret")?), [true, false, false], "as an older version kept it");
        for kept in [&of_text, &of_md5, &of_sha256] {
            assert!(!is_kept(&clear("other"), kept) && !is_kept(&clear(""), kept));
        }
        Ok(())
    }

    #[test]
    fn what_is_known_stays_and_what_is_missing_comes() -> Result<()> {
        let kept = hash_unless_known(&clear("secret"), None)?.unwrap_or_default();
        assert_eq!(hash_unless_known(&clear("secret"), Some(&kept))?, None);
        assert_eq!(hash_unless_known(&Password::sent(md5_digits("secret")), Some(&kept))?, None);
        assert!(hash_unless_known(&clear("other"), Some(&kept))?.is_some());
        let half = hash_unless_known(&Password::sent(md5_digits("secret")), None)?.unwrap_or_default();
        assert!(hash_unless_known(&clear("secret"), Some(&half))?.is_some(), "the text brings the other form");
        Ok(())
    }
}
