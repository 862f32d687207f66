//! The contract of `Replays`.

use std::sync::Arc;

use ingle::domain::ProjectNo;
use ingle::domain::replay::{Replays, RequestId, Seen};
use ingle::in_process::MemoryReplays;

use super::NOW;

/// How long a request is valid before and after its own time.
const VALID_MS: i64 = 300_000;

fn implementations() -> Vec<Arc<dyn Replays>> {
    vec![Arc::new(MemoryReplays::default())]
}

fn request<'a>(parts: &'a [&'a str]) -> RequestId<'a> {
    RequestId { project: ProjectNo(1), kind: "one", parts }
}

#[tokio::test]
async fn a_request_is_new_once_for_as_long_as_it_is_valid() {
    for replays in implementations() {
        let first =
            async |part: &str, after_ms| replays.first(request(&["id", part]), NOW + after_ms, VALID_MS).await.unwrap();
        assert_eq!(first("a", 0).await, Seen::First);
        assert_eq!(first("b", 0).await, Seen::First);
        assert_eq!(first("a", 1).await, Seen::Again);
        assert_eq!(first("a", 599_999).await, Seen::Again);
        assert_eq!(first("c", 600_000).await, Seen::First);
        assert_eq!(first("c", 1_199_999).await, Seen::Again, "the request is of another time");
        assert_eq!(first("a", 9_000_000).await, Seen::First, "the memory does not grow for ever");
    }
}

#[tokio::test]
async fn requests_are_the_same_if_all_of_them_is() {
    for replays in implementations() {
        let first = async |request| replays.first(request, NOW, VALID_MS).await.unwrap();
        assert_eq!(first(request(&["ab", "c"])).await, Seen::First);
        assert_eq!(first(request(&["a", "bc"])).await, Seen::First);
        assert_eq!(first(request(&["ab"])).await, Seen::First);
        let parts = &["ab", "c"];
        assert_eq!(first(RequestId { project: ProjectNo(2), ..request(parts) }).await, Seen::First);
        assert_eq!(first(RequestId { kind: "two", ..request(parts) }).await, Seen::First);
        assert_eq!(first(request(parts)).await, Seen::Again);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_the_same_time_one_is_the_first() {
    for replays in implementations() {
        for round in 0..100 {
            let nonce = round.to_string();
            let calls: Vec<_> = (0..8)
                .map(|_| {
                    let (replays, nonce) = (replays.clone(), nonce.clone());
                    tokio::spawn(async move { replays.first(request(&[&nonce]), NOW, VALID_MS).await.unwrap() })
                })
                .collect();
            let mut firsts = 0;
            for call in calls {
                firsts += usize::from(call.await.unwrap() == Seen::First);
            }
            assert_eq!(firsts, 1);
        }
    }
}
