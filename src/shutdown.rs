//! Signals the shutdown of the server to all tasks.

use tokio::sync::watch;

/// Starts the shutdown.
pub struct Stop(watch::Sender<bool>);

/// Waits for the shutdown.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Both ends of the signal.
pub fn channel() -> (Stop, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Stop(sender), Shutdown(receiver))
}

impl Stop {
    /// Begins the shutdown.
    pub fn now(self) {
        let _ = self.0.send(true);
    }
}

impl Shutdown {
    /// Returns when the shutdown begins.
    pub async fn begun(&mut self) {
        // An error means that the other end was dropped, which is also a shutdown.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
