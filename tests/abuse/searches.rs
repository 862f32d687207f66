//! Searches for a row that is far away, or nowhere: one call looks through a bounded part of the log.

use std::sync::Arc;

use ingle::app::SystemClock;
use ingle::domain::event::PageStart;
use ingle::domain::presence::NodeId;
use ingle::domain::store::Telemetry;
use ingle::domain::{
    Caller, Clock, Cloud, DeviceId, Error, EventQuery, EventSource, EventType, EventTypes, Limits, NewEvent, Ports,
};
use ingle::in_process::{MemoryAttempts, MemoryPresence, MemoryReplays};
use ingle::store::sqlite::SqliteRegistry;
use ingle::store::sqlite::telemetry::{SqliteTelemetry, TelemetryOptions};

use crate::support::TestCloud;
use crate::support::world::{FIRST_ID, PLUG};

const ROWS: i64 = 2_000;

/// A cloud whose log may examine 50 rows a page and 500 a count, and which is asked by its first project. The plug's log
/// has a restart as its oldest row, and values after that.
async fn with_small_bounds() -> (TestCloud, Cloud, Caller, i64) {
    let server = TestCloud::start();
    let folder = server.folder.join("beside");
    let clock = Arc::new(SystemClock);
    let registry = Arc::new(SqliteRegistry::open(&server.folder, Arc::new(SystemClock)).unwrap());
    let options = TelemetryOptions { scan_rows: 50, count_rows: 500, ..TelemetryOptions::default() };
    let telemetry = SqliteTelemetry::open(&folder, options).unwrap();
    let begin = clock.now_ms() - 3_600_000;
    let (downlink, _) = ingle::virtual_devices::downlink(std::time::Duration::from_secs(8));
    let (feed, _) = ingle::feed::feed();
    let limits =
        Limits { retention_days: 30, failures_of_account: 10, failures_of_address: 100, accepts_at_login: false };
    let ports = Ports {
        registry,
        telemetry: telemetry.clone(),
        downlink: Arc::new(downlink),
        feed,
        presence: Arc::new(MemoryPresence::new(NodeId(1))),
        attempts: Arc::new(MemoryAttempts::default()),
        replays: Arc::new(MemoryReplays::default()),
        clock,
    };
    let cloud = Cloud::new(ports, limits);
    let device = cloud.device_by_id(&DeviceId(PLUG.to_owned())).await.unwrap().unwrap().no;
    let (source, code, value) = (EventSource::DEVICE, None, None);
    let row = |n| {
        let kind = if n == 0 { EventType::Restart } else { EventType::Signal };
        NewEvent {
            device,
            time_ms: begin + n,
            kind,
            source,
            code: code.clone(),
            value: value.clone(),
            is_history: false,
        }
    };
    telemetry.append((0..ROWS).map(row).collect()).await.unwrap();
    let project = cloud.project_of(FIRST_ID).await.unwrap().unwrap();
    let token = cloud.grant_token(&project).await.unwrap();
    let caller = cloud.caller(project, &token.access).await.unwrap();
    (server, cloud, caller, begin)
}

fn of(kind: EventType, from_ms: i64, to_ms: i64) -> EventQuery {
    let types = EventTypes::from_iter([kind]);
    EventQuery { types, codes: vec![], from_ms, to_ms, start: PageStart::Newest, limit: 20 }
}

#[tokio::test]
async fn a_counted_page_examines_a_bounded_part_of_the_log() {
    let (_server, cloud, caller, begin) = with_small_bounds().await;
    let plug = cloud.device_with_log(&caller, &DeviceId(PLUG.to_owned())).await.unwrap();
    let counted = async |query| cloud.events_counted(&caller, &plug, query).await;
    // Nothing matches within what one call looks through: the answer says that the caller should request less.
    let refused = counted(of(EventType::Restart, begin, begin + ROWS)).await;
    assert!(matches!(refused, Err(Error::OutOfRange { param: "start_time", .. })), "{refused:?}");
    // Nearer it is found.
    let (page, count) = counted(of(EventType::Restart, begin, begin + 300)).await.unwrap();
    assert_eq!((page.rows.len(), page.next, count), (1, None, 1));
    // Of many the page is right, and the count says at least so many.
    let (page, count) = counted(of(EventType::Signal, begin, begin + ROWS)).await.unwrap();
    assert_eq!((page.rows.len(), page.next.is_some()), (20, true));
    assert!((500..=502).contains(&count), "{count}");
    // Nothing in a short log is nothing.
    let (page, count) = counted(of(EventType::Timer, begin, begin + 300)).await.unwrap();
    assert_eq!((page.rows.len(), page.next, count), (0, None, 0));
}

#[tokio::test]
async fn a_timeline_that_finds_nothing_goes_on_where_it_stopped() {
    let (_server, cloud, caller, begin) = with_small_bounds().await;
    let device = cloud.device_by_id(&DeviceId(PLUG.to_owned())).await.unwrap().unwrap();
    let name = ingle::domain::DeviceName::IotId(device.iot_id);
    let (mut to_ms, mut calls) = (begin + ROWS * 4, 0);
    while to_ms > begin {
        let query = ingle::domain::timeline::TimelineQuery {
            code: "nothing".to_owned(),
            from_ms: begin,
            to_ms,
            limit: 20,
            oldest_first: false,
            types: [EventType::DataPoint].into_iter().collect(),
        };
        let (_, page) = cloud.timeline(&caller, &name, query).await.unwrap();
        assert!(page.rows.is_empty() && page.next_ms < to_ms, "it does not go on at {to_ms}");
        (to_ms, calls) = (page.next_ms, calls + 1);
    }
    assert!(calls < 10, "{calls}");
}
