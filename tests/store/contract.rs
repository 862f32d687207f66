//! The contract of the engines: what each method of the traits of `domain::store` promises, what it refuses, and what of it
//! is one atomic fact. The tests know an engine as `Arc<dyn Registry>` or `Arc<dyn Telemetry>` alone. A further engine of
//! the registry is one line in [`engines`], one of the event log one line at the end of [`telemetry`].

mod access;
mod accounts;
mod audit;
mod contains;
mod devices;
mod inventory;
mod invitations;
mod lists;
mod registry;
pub mod telemetry;
mod users;

use std::path::Path;
use std::sync::Arc;

use ingle::app::SystemClock;
use ingle::domain::handover::HistoryCuts;
use ingle::domain::store::Registry;
use ingle::domain::world::World;
use ingle::domain::{DeviceId, DeviceNo, ProjectNo};
use ingle::store::sqlite::SqliteRegistry;

use crate::support::world::{FIRST_ID, SECOND_ID, standard};

pub const NOW: i64 = 1_763_800_000_000;

/// Opens a registry over a folder of its own.
type Open = fn(&Path) -> Arc<dyn Registry>;

/// The registry of every engine.
fn engines() -> Vec<Open> {
    vec![|folder| Arc::new(SqliteRegistry::open(folder, Arc::new(SystemClock)).unwrap())]
}

/// The history of every device ends here for somebody new.
pub struct Cut(pub i64);

#[async_trait::async_trait]
impl HistoryCuts for Cut {
    async fn history_from_ms(&self, devices: &[DeviceNo]) -> ingle::domain::Result<Vec<i64>> {
        Ok(vec![self.0; devices.len()])
    }
}

/// Runs a part of the suite on each engine, filled with the standard world.
pub fn on_engines(part: impl AsyncFn(Arc<dyn Registry>, ProjectNo, ProjectNo)) {
    for open in engines() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(folder.path());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            registry.apply(world(), &Cut(NOW), NOW).await.map_err(|error| format!("{error:?}")).unwrap();
            let first = registry.project_by_client_id(FIRST_ID).await.unwrap().unwrap().no;
            let second = registry.project_by_client_id(SECOND_ID).await.unwrap().unwrap().no;
            part(registry, first, second).await;
        });
    }
}

pub fn world() -> World {
    World::parse(&standard().to_string()).map_err(|error| error.to_string()).unwrap()
}

pub fn id(text: &str) -> DeviceId {
    DeviceId::from(text)
}
