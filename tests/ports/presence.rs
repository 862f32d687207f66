//! The contract of `Presence`.

use std::sync::Arc;

use ingle::domain::DeviceNo;
use ingle::domain::presence::{Lease, NodeId, Presence};
use ingle::in_process::MemoryPresence;

const PLUG: DeviceNo = DeviceNo(1);
const LAMP: DeviceNo = DeviceNo(2);

/// Opens the leases of a node of its own.
type Open = fn(NodeId) -> Arc<dyn Presence>;

fn implementations() -> Vec<Open> {
    vec![|node| Arc::new(MemoryPresence::new(node))]
}

async fn on_each(part: impl AsyncFn(Arc<dyn Presence>)) {
    for open in implementations() {
        part(open(NodeId(7))).await;
    }
}

async fn online(presence: &Arc<dyn Presence>, device: DeviceNo) -> bool {
    presence.online(&[device]).await.unwrap() == [true]
}

async fn acquire(presence: &Arc<dyn Presence>, device: DeviceNo) -> Lease {
    presence.acquire(&[device]).await.unwrap().remove(0)
}

async fn is_valid(presence: &Arc<dyn Presence>, lease: Lease) -> bool {
    presence.are_valid(&[lease]).await.unwrap() == [true]
}

#[tokio::test]
async fn a_device_is_online_from_the_mark_to_the_release() {
    on_each(async |presence| {
        assert!(!online(&presence, PLUG).await);
        let lease = acquire(&presence, PLUG).await;
        assert_eq!((lease.device, lease.owner), (PLUG, NodeId(7)));
        assert!(is_valid(&presence, lease).await);
        assert!(!online(&presence, PLUG).await, "the row of the connect is not written yet");
        presence.set_online(&[lease]).await.unwrap();
        assert_eq!(presence.online(&[LAMP, PLUG, LAMP, PLUG]).await.unwrap(), [false, true, false, true]);
        assert_eq!(presence.release(&[lease]).await.unwrap(), [true]);
        assert!(!online(&presence, PLUG).await && !is_valid(&presence, lease).await);
        presence.set_online(&[lease]).await.unwrap();
        assert_eq!(presence.release(&[lease]).await.unwrap(), [true], "there is none");
        assert!(!online(&presence, PLUG).await, "a lease that was released changes nothing");
    })
    .await;
}

#[tokio::test]
async fn the_latest_lease_counts() {
    on_each(async |presence| {
        let first = acquire(&presence, PLUG).await;
        presence.set_online(&[first]).await.unwrap();
        let second = acquire(&presence, PLUG).await;
        assert!(second.epoch > first.epoch);
        assert!(online(&presence, PLUG).await, "it stays as it was until the new session says so");
        assert_eq!(presence.are_valid(&[first, second]).await.unwrap(), [false, true]);
        assert_eq!(presence.release(&[first]).await.unwrap(), [false], "another session has the device");
        assert!(online(&presence, PLUG).await);
        assert_eq!(presence.release(&[second]).await.unwrap(), [true]);
        assert!(!online(&presence, PLUG).await);
    })
    .await;
}

#[tokio::test]
async fn a_session_that_was_replaced_before_it_was_online_brings_nobody_online() {
    on_each(async |presence| {
        let first = acquire(&presence, PLUG).await;
        let second = acquire(&presence, PLUG).await;
        presence.set_online(&[first]).await.unwrap();
        assert!(!online(&presence, PLUG).await);
        presence.set_online(&[second]).await.unwrap();
        assert!(online(&presence, PLUG).await);
    })
    .await;
}

#[tokio::test]
async fn many_leases_end_at_once() {
    on_each(async |presence| {
        let old = acquire(&presence, PLUG).await;
        let both = presence.acquire(&[PLUG, LAMP]).await.unwrap();
        let lamp = both[1];
        assert_eq!(both.iter().map(|lease| lease.device).collect::<Vec<_>>(), [PLUG, LAMP]);
        presence.set_online(&both).await.unwrap();
        assert_eq!(presence.release(&[lamp, old]).await.unwrap(), [true, false]);
        assert_eq!(presence.online(&[PLUG, LAMP]).await.unwrap(), [true, false]);
        assert_eq!(presence.release(&[]).await.unwrap(), [false; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_lease_of_a_node_that_stopped_is_not_valid() {
    for open in implementations() {
        let stopped = open(NodeId(1));
        let of_stopped = acquire(&stopped, PLUG).await;
        stopped.set_online(&[of_stopped]).await.unwrap();
        drop(stopped);
        let presence = open(NodeId(2));
        assert!(!online(&presence, PLUG).await);
        assert!(!is_valid(&presence, of_stopped).await);
        let lease = acquire(&presence, PLUG).await;
        presence.set_online(&[lease]).await.unwrap();
        // It may have the same epoch.
        assert_eq!(presence.are_valid(&[of_stopped, lease]).await.unwrap(), [false, true]);
        assert_eq!(presence.release(&[of_stopped]).await.unwrap(), [false]);
        assert!(online(&presence, PLUG).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_come_and_go_at_the_same_time_leave_none() {
    on_each(async |presence| {
        let sessions: Vec<_> = (0..4)
            .map(|_| {
                let presence = presence.clone();
                tokio::spawn(async move {
                    let mut epochs = Vec::new();
                    for _ in 0..500 {
                        let lease = acquire(&presence, PLUG).await;
                        tokio::task::yield_now().await;
                        presence.set_online(&[lease]).await.unwrap();
                        presence.release(&[lease]).await.unwrap();
                        epochs.push(lease.epoch);
                    }
                    epochs
                })
            })
            .collect();
        let mut all = Vec::new();
        for session in sessions {
            let epochs = session.await.unwrap();
            assert!(epochs.is_sorted_by(|one, next| one < next));
            all.extend(epochs);
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2000, "no two leases are the same");
        assert!(!online(&presence, PLUG).await);
    })
    .await;
}
