//! Waiting for files that another process or thread changes.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// After this time the condition is checked even if no file was changed.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Waits until a condition is true, which is checked after each change of these files, or of files in these folders. Files
/// that do not exist are ignored. Panics after 30 seconds.
pub fn until(paths: &[&Path], mut is_so: impl FnMut() -> bool) {
    if is_so() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    #[expect(deprecated, reason = "the safe constructor; an OwnedFd keeps the descriptor open as long as it is used")]
    let changes = AsyncFd::new(queue).unwrap();
    for path in paths.iter().filter(|path| path.exists()) {
        let kinds = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        inotify::add_watch(&changes, *path, kinds).unwrap();
    }
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it did not happen");
        runtime.block_on(async {
            let Ok(ready) = tokio::time::timeout(PAUSE_MAX, changes.readable()).await else { return };
            let mut buffer = [0; 4096];
            while rustix::io::read(&changes, &mut buffer).is_ok() {}
            ready.unwrap().clear_ready();
        });
    }
}
