//! The contract of `Attempts`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ingle::domain::ProjectNo;
use ingle::domain::attempts::{AttemptKey, Attempts, Bound};
use ingle::in_process::MemoryAttempts;

use super::NOW;

const HOUSEHOLD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn implementations() -> Vec<Arc<dyn Attempts>> {
    vec![Arc::new(MemoryAttempts::default())]
}

fn account(name: &str) -> AttemptKey<'_> {
    AttemptKey::Account(Some(ProjectNo(1)), name)
}

#[tokio::test]
async fn failures_are_counted_by_key_and_minute() {
    for attempts in implementations() {
        let address = (AttemptKey::Address(Some(ProjectNo(1)), HOUSEHOLD), Bound::Refused(3));
        let keys = [(account("ann"), Bound::Refused(2)), address];
        for after_ms in [0, 1] {
            assert!(attempts.allow(&keys, NOW + after_ms).await.unwrap());
            attempts.failed(&keys, NOW + after_ms).await.unwrap();
        }
        assert!(!attempts.allow(&keys, NOW + 2).await.unwrap(), "the account is used up");
        let other = [(account("bob"), Bound::Refused(2)), address];
        assert!(attempts.allow(&other, NOW + 3).await.unwrap());
        attempts.failed(&other, NOW + 3).await.unwrap();
        assert!(!attempts.allow(&[(account("eve"), Bound::Refused(2)), address], NOW + 4).await.unwrap());
        assert!(!attempts.allow(&keys, NOW + 59_999).await.unwrap());
        assert!(attempts.allow(&keys, NOW + 120_000).await.unwrap(), "later all is forgotten");
    }
}

#[tokio::test]
async fn keys_of_another_kind_or_project_are_others() {
    for attempts in implementations() {
        let project = Some(ProjectNo(1));
        let keys = |key| [(key, Bound::Refused(1))];
        attempts.failed(&keys(AttemptKey::Pair(project, "ann", HOUSEHOLD)), NOW).await.unwrap();
        assert!(!attempts.allow(&keys(AttemptKey::Pair(project, "ann", HOUSEHOLD)), NOW).await.unwrap());
        for key in [
            AttemptKey::Pair(Some(ProjectNo(2)), "ann", HOUSEHOLD),
            AttemptKey::Pair(None, "ann", HOUSEHOLD),
            AttemptKey::Pair(project, "ann", Ipv4Addr::new(192, 0, 2, 2).into()),
            AttemptKey::Account(project, "ann"),
            AttemptKey::Address(project, HOUSEHOLD),
        ] {
            assert!(attempts.allow(&keys(key), NOW).await.unwrap(), "{key:?}");
        }
    }
}

#[tokio::test]
async fn a_slowed_key_may_fail_once_a_second() {
    for attempts in implementations() {
        let keys = [(account("ann"), Bound::Slowed(2))];
        let allow = async |after_ms| attempts.allow(&keys, NOW + after_ms).await.unwrap();
        for _ in 0..2 {
            assert!(allow(0).await);
            attempts.failed(&keys, NOW).await.unwrap();
        }
        assert!(!allow(999).await);
        assert!(allow(1_000).await && allow(1_500).await, "success costs nothing");
        attempts.failed(&keys, NOW + 1_500).await.unwrap();
        assert!(!allow(1_999).await);
        assert!(allow(2_000).await);
        assert!(!allow(-1).await, "a clock that is set back gives none");
    }
}
