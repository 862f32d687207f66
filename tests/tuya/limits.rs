//! Wrong logins count for those who make them, and for no other project.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use crate::support::TestCloud;
use crate::support::http::send_from;
use crate::support::people::{PASSWORD, md5, people};
use crate::support::tuya::TuyaApp;

const NOW: i64 = 1_763_800_000_000;

/// The code of a login by a project's app, from an address of this machine.
fn from(app: &TuyaApp, last: u8, user: &str, password: &str) -> i64 {
    let body = json!({"username": user, "password": md5(password)}).to_string();
    let source: IpAddr = [127, 0, 1, last].into();
    send_from(source, app.api, &app.signed("POST", "/v1.0/iot-03/users/login", body.as_bytes(), "")).code()
}

/// Both projects have a user of this name.
fn both() -> TestCloud {
    let cloud = TestCloud::at(NOW);
    people(&cloud);
    let user = json!({"schema": "otherApp", "username": "member", "password": PASSWORD});
    cloud.apply(&json!({"projects": [{"name": "second", "users": [user]}]}));
    cloud
}

#[test]
fn wrong_logins_of_one_project_lock_no_others() {
    let cloud = both();
    let (first, second) = (cloud.first(), cloud.second());
    // All at one account, and then at many, from one address, as behind one back end.
    for _ in 0..10 {
        assert_eq!(from(&second, 1, "member", "wrong"), 2401);
    }
    assert_eq!(from(&second, 1, "member", PASSWORD), 1199);
    assert_eq!(from(&first, 1, "member", PASSWORD), 0, "an account of that name of another project");
    for n in 0..90 {
        assert_eq!(from(&second, 1, &format!("nobody{n}"), "wrong"), 2401);
    }
    assert_eq!(from(&second, 1, "nobody90", "wrong"), 1199);
    assert_eq!(from(&second, 1, "other@example.com", PASSWORD), 1199);
    assert_eq!(from(&first, 1, "member", PASSWORD), 0, "from the same address");
    assert_eq!(from(&first, 1, "nobody", "wrong"), 2401);
    // Slowed down, not locked out.
    cloud.advance(Duration::from_secs(1));
    let mut second = cloud.second();
    second.t = Some(cloud.now_ms());
    assert_eq!(from(&second, 1, "other@example.com", PASSWORD), 2401, "it has no password");
    assert_eq!(from(&second, 1, "other@example.com", PASSWORD), 1199);
}

#[test]
fn a_stranger_does_not_lock_an_account_for_its_owner() {
    let cloud = both();
    let app = cloud.first();
    for _ in 0..10 {
        assert_eq!(from(&app, 1, "member", "wrong"), 2401);
    }
    assert_eq!(from(&app, 1, "member", PASSWORD), 1199);
    assert_eq!(from(&app, 2, "member", PASSWORD), 0);
    assert_eq!(from(&app, 1, "admin", PASSWORD), 0, "another account at that address");
    // From many addresses: slowed down.
    let tries = (3..=22).flat_map(|address| (0..10).map(move |_| address));
    let denied = tries.filter(|address| from(&app, *address, "member", "wrong") == 2401).count();
    assert_eq!(denied, 190, "200 with those before");
    assert_eq!(from(&app, 100, "member", PASSWORD), 1199);
    cloud.advance(Duration::from_secs(1));
    let mut app = cloud.first();
    app.t = Some(cloud.now_ms());
    assert_eq!(from(&app, 100, "member", PASSWORD), 0);
}
