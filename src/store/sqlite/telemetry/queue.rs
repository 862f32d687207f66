//! The bounded queue of the committer. A caller that finds it full waits asynchronously.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::fault::{Fault, Result};
use crate::domain::{self, NewEvent};

/// Maximum number of rows and bytes in one group commit; a single larger batch is committed alone.
const GROUP_ROWS_MAX: usize = 50_000;
const GROUP_BYTES_MAX: usize = 16 << 20;
/// Maximum size of the queued batches, in units of [`UNIT_BYTES`]. A larger batch occupies the whole queue.
const UNITS_MAX: u32 = 64 << 10;
const UNIT_BYTES: usize = 1 << 10;

/// A batch of rows that waits for its commit.
pub struct Job {
    /// The rows.
    pub rows: Vec<NewEvent>,
    bytes: usize,
    answer: oneshot::Sender<domain::Result<()>>,
    _permit: OwnedSemaphorePermit,
}

impl Job {
    /// Sends the result to the caller.
    pub fn answer(self, outcome: domain::Result<()>) {
        // The caller may have been cancelled.
        let _ = self.answer.send(outcome);
    }
}

/// What the committer does next.
pub enum Task {
    /// Commit these batches together.
    Commit(Vec<Job>),
    /// Make the active memtable immutable if it has rows, and send the number of the last memtable that has rows.
    Rotate(Option<SyncSender<i64>>),
    /// Run this between two commits.
    Run(Box<dyn FnOnce() + Send>),
    /// Stop.
    Stop,
}

/// The queue of the committer.
pub struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    capacity: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    rotations: VecDeque<Option<SyncSender<i64>>>,
    between: VecDeque<Box<dyn FnOnce() + Send>>,
    closed: bool,
}

impl Queue {
    /// Creates an empty queue.
    pub fn new() -> Self {
        let capacity = Arc::new(Semaphore::new(UNITS_MAX as usize));
        Self { state: Mutex::default(), ready: Condvar::new(), capacity }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch and waits until it is committed.
    pub async fn append(&self, rows: Vec<NewEvent>) -> domain::Result<()> {
        let bytes: usize = rows.iter().map(row_bytes).sum();
        let units = u32::try_from(1 + bytes / UNIT_BYTES).unwrap_or(UNITS_MAX).min(UNITS_MAX);
        let capacity = self.capacity.clone().acquire_many_owned(units).await;
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state();
            let Ok(_permit) = capacity else { return Err(Fault::Closed.into()) };
            if state.closed {
                return Err(Fault::Closed.into());
            }
            state.jobs.push_back(Job { rows, bytes, answer, _permit });
        }
        self.ready.notify_one();
        answered.await.unwrap_or_else(|_| Err(Fault::Closed.into()))
    }

    /// Makes the active memtable immutable. Returns the number of the last memtable that has rows.
    pub fn rotate(&self) -> Result<i64> {
        let (answer, answered) = sync_channel(1);
        self.push_rotation(Some(answer))?;
        answered.recv().map_err(|_| Fault::Failed("the active memtable cannot be made immutable".to_owned()))
    }

    /// Requests that the active memtable is made immutable, and does not wait for it.
    pub fn request_rotation(&self) {
        // If the queue is closed, the request is not needed any more.
        let _ = self.push_rotation(None);
    }

    fn push_rotation(&self, answer: Option<SyncSender<i64>>) -> Result<()> {
        {
            let mut state = self.state();
            if state.closed {
                return Err(Fault::Closed);
            }
            state.rotations.push_back(answer);
        }
        self.ready.notify_one();
        Ok(())
    }

    /// Runs `work` on the committer's thread between two commits, so that no row is written or acknowledged meanwhile.
    /// It must be short. Blocks.
    pub fn run_between_commits<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (answer, answered) = sync_channel(1);
        {
            let mut state = self.state();
            if state.closed {
                return Err(Fault::Closed);
            }
            state.between.push_back(Box::new(move || {
                // The caller waits for it.
                let _ = answer.send(work());
            }));
        }
        self.ready.notify_one();
        answered.recv().map_err(|_| Fault::Closed)
    }

    /// Rejects new batches; those in the queue are still committed.
    pub fn close(&self) {
        self.state().closed = true;
        self.capacity.close();
        self.ready.notify_one();
    }

    /// Rejects new batches and drops those in the queue, whose callers get an error.
    pub fn abandon(&self) {
        self.close();
        let mut state = self.state();
        let left =
            (std::mem::take(&mut state.jobs), std::mem::take(&mut state.rotations), std::mem::take(&mut state.between));
        drop(state);
        drop(left);
    }

    /// Waits for the next task.
    pub fn next(&self) -> Task {
        let mut state = self.state();
        loop {
            if let Some(answer) = state.rotations.pop_front() {
                return Task::Rotate(answer);
            }
            if let Some(work) = state.between.pop_front() {
                return Task::Run(work);
            }
            if !state.jobs.is_empty() {
                return Task::Commit(state.take_group());
            }
            if state.closed {
                return Task::Stop;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn take_group(&mut self) -> Vec<Job> {
        let (mut rows, mut bytes) = (0, 0);
        let mut group = Vec::new();
        while let Some(job) = self.jobs.front() {
            rows += job.rows.len();
            bytes += job.bytes;
            if !group.is_empty() && (rows > GROUP_ROWS_MAX || bytes > GROUP_BYTES_MAX) {
                break;
            }
            group.extend(self.jobs.pop_front());
        }
        group
    }
}

/// Approximate memory of a queued row.
fn row_bytes(row: &NewEvent) -> usize {
    size_of::<NewEvent>() + row.value.as_ref().map_or(0, |value| value.as_json().len())
}
