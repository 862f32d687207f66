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
const PRESENT_MAX: usize = 256;
/// A read that has waited this long is refused.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The limiter for long reads.
pub struct Turns {
    all: Arc<Semaphore>,
    all_max: usize,
    of_one_max: usize,
    wait_max: Duration,
    projects: Arc<Projects>,
    refused: Repeated,
}

/// The projects that have long reads. Reads without a project, such as those with a visualToken, share one entry.
type Projects = Mutex<HashMap<Option<ProjectNo>, Queue>>;

struct Queue {
    turns: Arc<Semaphore>,
    present: usize,
}

/// The permission to run one long read, until it is dropped.
pub struct Turn {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _place: Place,
}

/// One read in the count of its project, until it is dropped.
struct Place {
    projects: Arc<Projects>,
    project: Option<ProjectNo>,
}

impl Default for Turns {
    /// One permit for each processor core, at least two, and half of them for each project.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        Self::new(cores, cores / 2)
    }
}

impl Turns {
    /// Creates a limiter with this many permits in total and for each project.
    pub fn new(all_max: usize, of_one_max: usize) -> Self {
        let refused = Repeated::new("a long read was refused: too many of its project waited");
        let (all, projects) = (Arc::new(Semaphore::new(all_max)), Arc::default());
        Self { all, all_max, of_one_max, wait_max: WAIT_MAX, projects, refused }
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
        let turn = self.take(project).await?;
        let (answer, answered) = oneshot::channel();
        let work = move || {
            lower_priority();
            let result = read();
            // Held until the read has ended, even if the client has disconnected.
            drop(turn);
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
    pub async fn take(&self, project: Option<ProjectNo>) -> Result<Turn> {
        let turn = match self.place(project) {
            None => None,
            Some((place, own)) => {
                let wait = async {
                    // The project's permit comes first, so that a project has at most that many reads in the common
                    // queue.
                    let own = own.acquire_owned().await.ok()?;
                    let all = self.all.clone().acquire_owned().await.ok()?;
                    Some(Turn { _all: all, _own: own, _place: place })
                };
                tokio::time::timeout(self.wait_max, wait).await.unwrap_or(None)
            }
        };
        turn.ok_or_else(|| {
            self.refused.happened("busy");
            Error::Busy("too many long reads of this project are under way")
        })
    }

    /// Long reads that are running.
    pub fn taken(&self) -> u64 {
        self.all_max.saturating_sub(self.all.available_permits()) as u64
    }

    /// Long reads that were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.total()
    }

    fn place(&self, project: Option<ProjectNo>) -> Option<(Place, Arc<Semaphore>)> {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Queue { turns: Arc::new(Semaphore::new(self.of_one_max)), present: 0 };
        let queue = projects.entry(project).or_insert_with(new);
        if queue.present >= PRESENT_MAX {
            return None;
        }
        queue.present += 1;
        Some((Place { projects: self.projects.clone(), project }, queue.turns.clone()))
    }
}

/// Lowers the priority of this thread. Only on Linux, because on other systems `nice` applies to the whole process.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // From the normal priority to a low one. If it fails, other threads only wait a little longer.
    let _ = rustix::process::nice(10);
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        match projects.get_mut(&self.project) {
            Some(queue) if queue.present > 1 => queue.present -= 1,
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
    fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut context = Context::from_waker(Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn one_project_has_no_more_than_its_turns() {
        let turns = Turns::new(2, 1);
        let (one, two, three) = (Some(ProjectNo(1)), None, Some(ProjectNo(3)));
        let first = at_once(turns.take(one)).unwrap().unwrap();
        assert!(at_once(turns.take(one)).is_none());
        let second = at_once(turns.take(two)).unwrap().unwrap();
        assert!(at_once(turns.take(three)).is_none());
        assert_eq!(turns.taken(), 2);
        drop(first);
        let third = at_once(turns.take(three)).unwrap().unwrap();
        drop((second, third));
        assert_eq!(turns.taken(), 0);
        assert!(turns.projects.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn projects_come_in_turn_however_many_reads_one_of_them_has() {
        let turns = Turns::new(1, 1);
        let held = turns.take(Some(ProjectNo(9))).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut many: Vec<_> = (0..100).map(|_| Box::pin(turns.take(Some(ProjectNo(1))))).collect();
        for waiting in &mut many {
            assert!(waiting.as_mut().poll(&mut context).is_pending());
        }
        let mut other = Box::pin(turns.take(Some(ProjectNo(2))));
        assert!(other.as_mut().poll(&mut context).is_pending());
        drop(held);
        // One of the hundred reads was in the queue before; after that it is the other project's turn.
        assert!(other.as_mut().poll(&mut context).is_pending());
        assert!(matches!(many[0].as_mut().poll(&mut context), Poll::Ready(Ok(_))));
        assert!(many[1].as_mut().poll(&mut context).is_pending());
        assert!(matches!(other.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
    }

    #[tokio::test]
    async fn nobody_waits_without_end() {
        let hasty = Turns { wait_max: Duration::ZERO, ..Turns::new(2, 1) };
        let held = hasty.take(Some(ProjectNo(1))).await.unwrap();
        assert!(matches!(hasty.take(Some(ProjectNo(1))).await, Err(Error::Busy(_))));
        assert_eq!(hasty.refused(), 1);
        drop(held);
        assert!(hasty.take(Some(ProjectNo(1))).await.is_ok());

        let turns = Turns::new(2, 1);
        let held = turns.take(Some(ProjectNo(1))).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (1..PRESENT_MAX).map(|_| Box::pin(turns.take(Some(ProjectNo(1))))).collect();
        for waiting in &mut waiting {
            assert!(waiting.as_mut().poll(&mut context).is_pending());
        }
        assert!(matches!(at_once(turns.take(Some(ProjectNo(1)))), Some(Err(Error::Busy(_)))));
        assert_eq!(turns.refused(), 1);
        drop((waiting, held));
        assert!(turns.projects.lock().unwrap().is_empty());
    }
}
