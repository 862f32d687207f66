//! The contract of `Feed`, as far as no client is connected. `tests/feed` has what connected ones receive.

use std::sync::Arc;

use ingle::domain::caller::AppUser;
use ingle::domain::feed::{Credentials, Feed, FeedEvent, MessageForm, News, Selection, SubscriberIdentity};
use ingle::domain::{DeviceNo, ProjectNo, Uid, UserNo};

use super::NOW;

fn implementations() -> Vec<Arc<dyn Feed>> {
    vec![ingle::feed::feed().0]
}

/// A subscriber of the first project.
fn subscriber(user: Option<i64>, by_login: bool, link: &str) -> SubscriberIdentity {
    let user = user.map(|no| Arc::new(AppUser { no: UserNo(no), uid: uid(no), version: 1 }));
    SubscriberIdentity {
        project: ProjectNo(1),
        client_id: "client".to_owned(),
        secret: "secret".to_owned(),
        user,
        by_login,
        link: link.to_owned(),
        form: MessageForm::Gcm,
        expires_ms: NOW + 1000,
    }
}

fn uid(no: i64) -> Uid {
    Uid(format!("user{no}"))
}

async fn admit(feed: &Arc<dyn Feed>, subscriber: SubscriberIdentity) -> Credentials {
    feed.admit(subscriber, NOW).await.unwrap().unwrap()
}

/// The names of the selected subscribers, in order.
async fn names(feed: &Arc<dyn Feed>, selection: Selection<'_>) -> Vec<String> {
    let mut names: Vec<String> = feed.admitted(selection).await.unwrap().into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names
}

fn sorted<const N: usize>(subscribers: [&Credentials; N]) -> Vec<String> {
    let mut names = subscribers.map(|credentials| credentials.name.clone()).to_vec();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn subscribers_are_admitted_selected_and_removed() {
    for feed in implementations() {
        let project = admit(&feed, subscriber(None, false, "a")).await;
        let login = admit(&feed, subscriber(Some(1), true, "a")).await;
        let other = admit(&feed, subscriber(Some(2), true, "a")).await;
        let on_behalf = admit(&feed, subscriber(Some(1), false, "b")).await;
        let all = [&project, &login, &other, &on_behalf];
        assert_eq!(names(&feed, Selection::All).await, sorted(all));
        let mut secrets: Vec<&str> = all.iter().flat_map(|one| [&*one.name, &*one.password, &*one.topic]).collect();
        secrets.sort_unstable();
        secrets.dedup();
        assert_eq!(secrets.len(), 12, "nobody can guess the credentials of another one from its own");
        assert_eq!(names(&feed, Selection::OfUser(&uid(1))).await, sorted([&login, &on_behalf]));
        assert_eq!(names(&feed, Selection::OfLogins(UserNo(1))).await, sorted([&login]));
        let (_, identity) = feed.admitted(Selection::OfLogins(UserNo(2))).await.unwrap().pop().unwrap();
        assert_eq!((identity.user.as_ref().unwrap().no, identity.expires_ms), (UserNo(2), NOW + 1000));
        feed.end(&[login.name.clone(), "nobody".to_owned(), other.name.clone()]).await.unwrap();
        assert_eq!(names(&feed, Selection::All).await, sorted([&project, &on_behalf]));
    }
}

#[tokio::test]
async fn a_subscriber_replaces_an_earlier_one_of_the_same_link() {
    for feed in implementations() {
        let first = admit(&feed, subscriber(Some(1), true, "a")).await;
        let second = admit(&feed, subscriber(Some(1), true, "a")).await;
        assert_ne!(first.name, second.name);
        assert_eq!(names(&feed, Selection::All).await, sorted([&second]));
    }
}

#[tokio::test]
async fn expired_subscribers_are_gone_after_the_next_admission() {
    for feed in implementations() {
        admit(&feed, subscriber(Some(1), true, "a")).await;
        let later = SubscriberIdentity { expires_ms: NOW + 9000, ..subscriber(Some(2), true, "a") };
        let later = feed.admit(later, NOW + 1000).await.unwrap().unwrap();
        assert_eq!(names(&feed, Selection::All).await, sorted([&later]));
    }
}

#[tokio::test]
async fn an_admitted_subscriber_is_no_connected_one() {
    for feed in implementations() {
        admit(&feed, subscriber(None, false, "a")).await;
        assert!(!feed.has_subscribers());
        assert_eq!(feed.figures().subscribers, 0);
        // Nobody gets it, and the caller does not wait.
        for _ in 0..10_000 {
            feed.publish(FeedEvent::News(DeviceNo(1), News::Renamed("lamp".to_owned())));
        }
    }
}
