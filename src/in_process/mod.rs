//! The ports of the domain whose state one process keeps in its memory: presence, failed logins and received requests. Each
//! begins empty when the server starts.

mod attempts;
mod presence;
mod replays;

pub use attempts::MemoryAttempts;
pub use presence::MemoryPresence;
pub use replays::MemoryReplays;
