//! Limits the number of long reads that run at the same time, in total and for each project, so that one project cannot
//! occupy all processor cores or delay the reads of other projects. Long reads run on threads of low priority, so that
//! short requests do not wait for a processor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::domain::{Error, ProjectNo, Result};
use crate::repeated::Repeated;

/// Maximum number of long reads of one project that wait or run; further ones are refused immediately.
const READS_PER_PROJECT_MAX: usize = 256;
/// A read that has waited this long is refused.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The limiter for long reads.
pub struct LongReads {
    permits: Arc<Semaphore>,
    permits_max: usize,
    permits_per_project: usize,
    wait_max: Duration,
    projects: Arc<Projects>,
    refused: Repeated,
}

/// The projects that have long reads. Reads without a project, such as those with a visualToken, share one entry.
type Projects = Mutex<HashMap<Option<ProjectNo>, ProjectReads>>;

struct ProjectReads {
    permits: Arc<Semaphore>,
    count: usize,
}

/// The permission to run one long read, until it is dropped.
pub struct Permit {
    _all: OwnedSemaphorePermit,
    _of_project: OwnedSemaphorePermit,
    _entry: ProjectEntry,
}

/// One read in the count of its project, until it is dropped.
struct ProjectEntry {
    projects: Arc<Projects>,
    project: Option<ProjectNo>,
}

impl Default for LongReads {
    /// One permit for each processor core, at least two, and half of them for each project.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        Self::new(cores, cores / 2)
    }
}

impl LongReads {
    /// Creates a limiter with this many permits in total and for each project.
    pub fn new(permits_max: usize, permits_per_project: usize) -> Self {
        let refused = Repeated::new("a long read was refused: too many of its project waited");
        let (permits, projects) = (Arc::new(Semaphore::new(permits_max)), Arc::default());
        Self { permits, permits_max, permits_per_project, wait_max: WAIT_MAX, projects, refused }
    }

    /// Waits for a permit and runs a long read. The reads of one project run in their order of arrival; several
    /// projects take turns.
    ///
    /// # Errors
    /// Those of `read`; [`Error::Busy`] when too many reads of the project wait already, or this one waited too long;
    /// [`Error::Store`].
    pub async fn run<T: Send + 'static>(
        &self,
        project: Option<ProjectNo>,
        read: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.acquire(project).await?;
        let (answer, answered) = oneshot::channel();
        let work = move || {
            lower_priority();
            let result = read();
            // Held until the read has ended, even if the client has disconnected.
            drop(permit);
            let _ = answer.send(result);
        };
        // The read needs a thread of its own, because a lowered priority cannot be raised again.
        Builder::new().name("long-read".to_owned()).spawn(work).map_err(Error::store)?;
        answered.await.map_err(|_| Error::store("a long read panicked"))?
    }

    /// Waits for a permit.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many reads of the project wait already, or this one waited too long.
    pub async fn acquire(&self, project: Option<ProjectNo>) -> Result<Permit> {
        let permit = match self.enter(project) {
            None => None,
            Some((entry, of_project)) => {
                let wait = async {
                    // The project's permit comes first, so that a project has at most that many reads in the common
                    // queue.
                    let of_project = of_project.acquire_owned().await.ok()?;
                    let all = self.permits.clone().acquire_owned().await.ok()?;
                    Some(Permit { _all: all, _of_project: of_project, _entry: entry })
                };
                tokio::time::timeout(self.wait_max, wait).await.unwrap_or(None)
            }
        };
        permit.ok_or_else(|| {
            self.refused.record_failure("busy");
            Error::Busy("too many long reads of this project are under way")
        })
    }

    /// Long reads that are running.
    pub fn running(&self) -> u64 {
        self.permits_max.saturating_sub(self.permits.available_permits()) as u64
    }

    /// Long reads that were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.total()
    }

    fn enter(&self, project: Option<ProjectNo>) -> Option<(ProjectEntry, Arc<Semaphore>)> {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || ProjectReads { permits: Arc::new(Semaphore::new(self.permits_per_project)), count: 0 };
        let reads = projects.entry(project).or_insert_with(new);
        if reads.count >= READS_PER_PROJECT_MAX {
            return None;
        }
        reads.count += 1;
        Some((ProjectEntry { projects: self.projects.clone(), project }, reads.permits.clone()))
    }
}

/// Lowers the priority of this thread. Only on Linux, because on other systems `nice` applies to the whole process.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // From the normal priority to a low one. If it fails, other threads only wait a little longer.
    let _ = rustix::process::nice(10);
}

impl Drop for ProjectEntry {
    fn drop(&mut self) {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        match projects.get_mut(&self.project) {
            Some(reads) if reads.count > 1 => reads.count -= 1,
            _ => drop(projects.remove(&self.project)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The result of a future that is ready immediately.
    fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut context = Context::from_waker(Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn one_project_has_no_more_than_its_permits() {
        let permits = LongReads::new(2, 1);
        let (one, two, three) = (Some(ProjectNo(1)), None, Some(ProjectNo(3)));
        let first = ready(permits.acquire(one)).unwrap().unwrap();
        assert!(ready(permits.acquire(one)).is_none());
        let second = ready(permits.acquire(two)).unwrap().unwrap();
        assert!(ready(permits.acquire(three)).is_none());
        assert_eq!(permits.running(), 2);
        drop(first);
        let third = ready(permits.acquire(three)).unwrap().unwrap();
        drop((second, third));
        assert_eq!(permits.running(), 0);
        assert!(permits.projects.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn projects_come_in_turn_however_many_reads_one_of_them_has() {
        let permits = LongReads::new(1, 1);
        let held = permits.acquire(Some(ProjectNo(9))).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut many: Vec<_> = (0..100).map(|_| Box::pin(permits.acquire(Some(ProjectNo(1))))).collect();
        for waiting in &mut many {
            assert!(waiting.as_mut().poll(&mut context).is_pending());
        }
        let mut other = Box::pin(permits.acquire(Some(ProjectNo(2))));
        assert!(other.as_mut().poll(&mut context).is_pending());
        drop(held);
        // One of the hundred reads was in the queue before; after that it is the other project's turn.
        assert!(other.as_mut().poll(&mut context).is_pending());
        assert!(matches!(many[0].as_mut().poll(&mut context), Poll::Ready(Ok(_))));
        assert!(many[1].as_mut().poll(&mut context).is_pending());
        assert!(matches!(other.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
    }

    #[tokio::test]
    async fn a_read_that_waits_too_long_is_refused() {
        let impatient = LongReads { wait_max: Duration::ZERO, ..LongReads::new(2, 1) };
        let held = impatient.acquire(Some(ProjectNo(1))).await.unwrap();
        assert!(matches!(impatient.acquire(Some(ProjectNo(1))).await, Err(Error::Busy(_))));
        assert_eq!(impatient.refused(), 1);
        drop(held);
        assert!(impatient.acquire(Some(ProjectNo(1))).await.is_ok());

        let permits = LongReads::new(2, 1);
        let held = permits.acquire(Some(ProjectNo(1))).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> =
            (1..READS_PER_PROJECT_MAX).map(|_| Box::pin(permits.acquire(Some(ProjectNo(1))))).collect();
        for waiting in &mut waiting {
            assert!(waiting.as_mut().poll(&mut context).is_pending());
        }
        assert!(matches!(ready(permits.acquire(Some(ProjectNo(1)))), Some(Err(Error::Busy(_)))));
        assert_eq!(permits.refused(), 1);
        drop((waiting, held));
        assert!(permits.projects.lock().unwrap().is_empty());
    }
}
