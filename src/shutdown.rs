//! Telling every task that the server stops.

use tokio::sync::watch;

/// Ends every [`Shutdown`] that came with it.
pub struct Stop(watch::Sender<bool>);

/// What a task waits on besides its work.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Both ends.
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
    /// Done when the shutdown begins.
    pub async fn begun(&mut self) {
        // An error means that the other end is gone, which is a shutdown too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
