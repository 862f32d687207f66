//! The threads on which short reads of databases and files run, so that no read blocks a worker of the runtime
//! (docs/decisions/0024-reads-run-on-threads-of-their-own.md).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::domain::{Error, Result};

/// The maximum number of threads. It is larger than the number of cores of a small machine, so that reads that wait for
/// the disk do not delay the others.
const THREADS_MAX: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// A limited number of threads that run reads in the order of arrival. Each thread is started when it is needed first.
/// They end when this is dropped.
pub struct ReadThreads(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    threads_max: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that were started.
    threads: usize,
    /// Threads that wait for a job.
    idle: usize,
    /// Whether a thread was woken or started and has not looked for a job yet.
    is_waking: bool,
    is_closed: bool,
}

impl Default for ReadThreads {
    fn default() -> Self {
        Self::new(THREADS_MAX)
    }
}

impl ReadThreads {
    /// Creates a pool of at most this many threads.
    pub fn new(threads_max: usize) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), threads_max }))
    }

    /// Runs a read on one of the threads. If the caller is cancelled before the read begins, it does not run.
    ///
    /// # Errors
    /// Those of `read`; [`Error::Store`] when no thread can be started.
    ///
    /// # Panics
    /// If `read` panics.
    pub async fn run<T: Send + 'static>(&self, read: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            if !answer.is_closed() {
                // This fails if the caller was cancelled during the read.
                let _ = answer.send(catch_unwind(AssertUnwindSafe(read)));
            }
        };
        self.0.add(Box::new(job))?;
        match answered.await.map_err(Error::store)? {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl Drop for ReadThreads {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(self: &Arc<Self>, job: Job) -> Result<()> {
        let mut state = self.state();
        state.jobs.push_back(job);
        self.wake_another(state)
    }

    /// If a job waits, wakes an idle thread or starts one. Only one at a time: that one calls this again if there are
    /// further jobs. So a thread that is fast enough runs several jobs for one wake-up.
    fn wake_another(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Result<()> {
        if state.jobs.is_empty() || state.is_waking || (state.idle == 0 && state.threads == self.threads_max) {
            return Ok(());
        }
        state.is_waking = true;
        if state.idle > 0 {
            drop(state);
            self.changed.notify_one();
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let shared = self.clone();
        let started = Builder::new().name("read".to_owned()).spawn(move || shared.run_jobs());
        started.map(drop).or_else(|error| {
            let mut state = self.state();
            (state.threads, state.is_waking) = (state.threads - 1, false);
            // The other threads, if there are any, run the job.
            if state.threads > 0 { Ok(()) } else { Err(Error::store(error)) }
        })
    }

    /// Runs jobs until the pool is dropped.
    fn run_jobs(self: &Arc<Self>) {
        let mut state = self.state();
        state.is_waking = false;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                // This cannot fail, because this thread is running.
                let _ = self.wake_another(state);
                job();
                state = self.state();
            } else if state.is_closed {
                return;
            } else {
                state.idle += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                (state.idle, state.is_waking) = (state.idle - 1, false);
            }
        }
    }
}

/// Checks in debug builds that the calling thread does not belong to the runtime. Every read of a database or file calls
/// it, so all tests look for reads that block a worker.
pub fn check_may_block() {
    debug_assert!(Handle::try_current().is_err(), "a read of a database or file blocks a worker of the runtime");
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;

    /// Polls a future once.
    pub fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
        std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    impl ReadThreads {
        /// Holds up all threads, as a disk that does not answer, until the returned senders are dropped.
        pub fn hold_up(&self) -> Vec<SyncSender<()>> {
            let hold_up = |_| {
                let (held, wait) = sync_channel::<()>(1);
                let (begin, begun) = sync_channel(1);
                let job = move || {
                    begin.send(()).unwrap();
                    let _ = wait.recv();
                };
                self.0.add(Box::new(job)).unwrap();
                begun.recv_timeout(Duration::from_secs(60)).expect("no thread is free");
                held
            };
            (0..self.0.threads_max).map(hold_up).collect()
        }
    }

    #[tokio::test]
    async fn a_read_that_waits_delays_neither_the_runtime_nor_other_reads() {
        let threads = Arc::new(ReadThreads::new(3));
        let (release, wait) = sync_channel::<i32>(1);
        let waiting = threads.clone();
        let mut waiting =
            Box::pin(async move { waiting.run(move || wait.recv().map_err(Error::store)).await.unwrap() });
        assert!(poll(&mut waiting).is_pending());
        // This test runs on the only thread of its runtime, and goes on.
        for n in 0..100 {
            assert_eq!(threads.run(move || Ok(n)).await.unwrap(), n);
        }
        release.send(7).unwrap();
        assert_eq!(waiting.await, 7);
    }

    #[tokio::test]
    async fn a_cancelled_read_does_not_run_and_all_others_do() {
        let threads = ReadThreads::new(2);
        let held = threads.hold_up();
        let (ran, runs) = sync_channel(100);
        let mut cancelled = Box::pin(threads.run({
            let ran = ran.clone();
            move || ran.send("cancelled").map_err(Error::store)
        }));
        assert!(poll(&mut cancelled).is_pending());
        drop(cancelled);
        let many: Vec<_> = (0..20)
            .map(|_| {
                let ran = ran.clone();
                let mut read = Box::pin(threads.run(move || ran.send("read").map_err(Error::store)));
                assert!(poll(&mut read).is_pending());
                read
            })
            .collect();
        drop((held, ran));
        for read in many {
            read.await.unwrap();
        }
        assert_eq!(runs.iter().collect::<Vec<_>>(), ["read"; 20]);
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_the_thread_continues() {
        let threads = Arc::new(ReadThreads::new(1));
        let panicking = threads.clone();
        let panicked = tokio::spawn(async move { panicking.run(|| -> Result<()> { panic!("a bug") }).await });
        assert!(panicked.await.unwrap_err().is_panic());
        assert_eq!(threads.run(|| Ok(1)).await.unwrap(), 1);
    }

    #[tokio::test]
    #[should_panic(expected = "blocks a worker")]
    async fn a_read_on_a_worker_of_the_runtime_is_detected() {
        check_may_block();
    }
}
