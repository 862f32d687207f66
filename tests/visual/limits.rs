//! Who guesses passwords is stopped, and nobody else with it.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use super::login::{NOW, PATH, body, plug, speaker, with_passwords};
use crate::support::TestCloud;
use crate::support::http::{Request, send_from};

/// The status of a login from an address of this machine.
fn from(cloud: &TestCloud, last: u8, user: &str, password: &str) -> u16 {
    let device = if user.contains('@') { speaker() } else { plug() };
    let mut request = Request::new("POST", PATH).with("Content-Type", "application/json");
    request.body = body(user, password, json!([device])).to_string().into_bytes();
    let source: IpAddr = [127, 0, 1, last].into();
    let answer = send_from(source, cloud.api, &request);
    // A login that is denied says so with status 200.
    if answer.status == 200 && answer.body["success"] == false { 403 } else { answer.status }
}

#[test]
fn a_stranger_does_not_lock_an_account_for_its_owner() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let owner = "18200000678";
    for _ in 0..10 {
        assert_eq!(from(&cloud, 1, owner, "wrong"), 403);
    }
    assert_eq!(from(&cloud, 1, owner, "owner's"), 429, "the stranger has no more tries");
    assert_eq!(from(&cloud, 2, owner, "owner's"), 200, "the owner is elsewhere");
    assert_eq!(from(&cloud, 1, "guest@example.com", "guest's"), 200, "another account at the stranger's address");
    // However the address is written, it is one account.
    for n in 0..10 {
        let name = if n % 2 == 0 { "guest@example.com" } else { "GUEST@example.com" };
        assert_eq!(from(&cloud, 3, name, "wrong"), 403);
    }
    assert_eq!(from(&cloud, 3, "Guest@Example.com", "guest's"), 429);
    cloud.advance(Duration::from_secs(60));
    assert_eq!(from(&cloud, 1, owner, "owner's"), 200, "a minute later");
}

#[test]
fn guesses_from_many_addresses_are_slowed_down() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    let owner = "18200000678";
    let tries = (1..=21).flat_map(|address| (0..10).map(move |_| address));
    let denied = tries.filter(|address| from(&cloud, *address, owner, "wrong") == 403).count();
    assert_eq!(denied, 200, "of one account in all");
    assert_eq!(from(&cloud, 100, owner, "owner's"), 429);
    assert_eq!(from(&cloud, 100, "guest@example.com", "guest's"), 200, "others go on");
    // A second later there is room for the owner, and for one further guess.
    cloud.advance(Duration::from_secs(1));
    for _ in 0..3 {
        assert_eq!(from(&cloud, 100, owner, "owner's"), 200, "success costs nothing");
    }
    assert_eq!(from(&cloud, 101, owner, "wrong"), 403);
    assert_eq!(from(&cloud, 101, owner, "wrong"), 429);
    assert_eq!(from(&cloud, 100, owner, "owner's"), 429);
}

#[test]
fn an_address_that_guesses_at_many_accounts_is_slowed_down() {
    let cloud = TestCloud::at(NOW);
    with_passwords(&cloud);
    for n in 0..100 {
        assert_eq!(from(&cloud, 1, &format!("nobody{n}"), "wrong"), 403);
    }
    assert_eq!(from(&cloud, 1, "nobody100", "wrong"), 429);
    assert_eq!(from(&cloud, 1, "18200000678", "owner's"), 429);
    assert_eq!(from(&cloud, 2, "18200000678", "owner's"), 200, "from elsewhere");
    cloud.advance(Duration::from_secs(1));
    assert_eq!(from(&cloud, 1, "18200000678", "owner's"), 200, "a second later");
    assert_eq!(from(&cloud, 1, "nobody100", "wrong"), 403);
    assert_eq!(from(&cloud, 1, "nobody100", "wrong"), 429);
}
