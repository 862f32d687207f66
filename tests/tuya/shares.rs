//! Sharing devices between users: seen at once wherever devices are.

use serde_json::{Value, json};

use crate::support::TestCloud;
use crate::support::people::{MEMBER, STRANGER, people};
use crate::support::tuya::TuyaApp;
use crate::support::world::{FOREIGN, FOREIGN_USER, GUEST, LONELY, OWNER, PLUG};

fn path() -> String {
    format!("/v1.0/devices/{PLUG}/shares")
}

fn uids(app: &TuyaApp) -> Vec<Value> {
    let shares = app.get(&path())["result"].clone();
    shares.as_array().unwrap_or_else(|| panic!("{shares}")).iter().map(|share| share["uid"].clone()).collect()
}

#[test]
fn shares() {
    let cloud = TestCloud::start();
    let guest = json!([{"uid": GUEST, "username": "guest@example.com", "nick_name": ""}]);
    assert_eq!(cloud.first().get(&path())["result"], guest);
    let people = people(&cloud);
    let masked = json!([{"uid": GUEST, "username": "gue******om", "nick_name": ""}]);
    assert_eq!(people.owner.get(&path())["result"], masked, "users are not shown each other's accounts");
    for user in [&people.admin, &people.member, &people.sharee, &people.stranger, &cloud.second()] {
        assert_eq!(user.get(&path())["code"], 1106);
    }
    assert_eq!(cloud.first().get(&format!("/v1.0/devices/{FOREIGN}/shares"))["code"], 1106);
}

#[test]
fn share_device() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let share = |app: &TuyaApp, uid: &str| app.post(&path(), json!({"uid": uid}));
    for user in [&people.admin, &people.member, &people.sharee, &people.stranger, &cloud.second()] {
        assert_eq!(share(user, STRANGER)["code"], 1106);
    }
    let shared = |app: &TuyaApp| app.get(&format!("/v1.0/users/{STRANGER}/devices?from=sharing"))["result"].clone();
    let command = |app: &TuyaApp| {
        let body = json!({"commands": [{"code": "switch_1", "value": true}]});
        app.post(&format!("/v1.0/devices/{PLUG}/commands"), body)["code"].clone()
    };
    let in_the_other_dialect = || {
        let user = cloud.first().get(&format!("/v1.0/users/{STRANGER}/infos"));
        assert_eq!(user["success"], true);
        let accounts = cloud.aliyun().data("/cloud/account/queryIdentityByPage", json!({"offset": 0, "count": 100}));
        let identity = accounts.as_array().unwrap().iter().find(|row| row["loginName"] == "stranger").unwrap();
        let params = json!({"identityId": identity["identityId"]});
        cloud.aliyun().call_version("/cloud/device/queryByUser", "1.0.7", params).body["data"]["data"].clone()
    };
    assert_eq!((shared(&people.stranger), command(&people.stranger)), (json!([]), json!(1106)));
    assert_eq!(share(&people.owner, STRANGER)["result"], true);
    assert_eq!(shared(&people.stranger)[0]["id"], PLUG, "at once");
    assert_eq!(shared(&cloud.first())[0]["id"], PLUG);
    assert_eq!(command(&people.stranger), 2001, "may, if it were online");
    assert_eq!(in_the_other_dialect()[0]["owned"], 0);
    assert_eq!(share(&people.owner, STRANGER)["result"], true, "again");
    assert_eq!(uids(&people.owner), [GUEST, STRANGER]);
    assert_eq!(people.owner.delete(&format!("{}/{STRANGER}", path()))["result"], true);
    assert_eq!((shared(&people.stranger), command(&people.stranger)), (json!([]), json!(1106)), "at once");
    assert_eq!(in_the_other_dialect(), json!([]));

    for (uid, code) in [(OWNER, 1106), (FOREIGN_USER, 1106), ("nobody", 1106), ("", 1100), ("💡", 1106)] {
        assert_eq!(share(&people.owner, uid)["code"], code, "{uid}");
    }
    let nobodys = cloud.first().post(&format!("/v1.0/devices/{LONELY}/shares"), json!({"uid": GUEST}));
    assert_eq!(nobodys["code"], 1106, "what nobody owns is not shared");
    // To twenty at most.
    let users: Vec<Value> =
        (0..20).map(|n| json!({"schema": "testApp", "username": format!("u{n}"), "uid": format!("az{n}")})).collect();
    cloud.apply(&json!({"projects": [{"name": "first", "users": users}]}));
    for n in 0..19 {
        assert_eq!(share(&cloud.first(), &format!("az{n}"))["result"], true);
    }
    assert_eq!(share(&cloud.first(), "az19")["code"], 1101);
}

#[test]
fn withdraw_device() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let withdraw = |app: &TuyaApp, uid: &str| app.delete(&format!("{}/{uid}", path()));
    for user in [&people.admin, &people.member, &people.stranger, &cloud.second()] {
        assert_eq!(withdraw(user, GUEST)["code"], 1106);
    }
    for uid in [OWNER, MEMBER, FOREIGN_USER, "nobody"] {
        assert_eq!(withdraw(&people.owner, uid)["code"], 1106, "{uid}");
    }
    assert_eq!(withdraw(&people.sharee, GUEST)["result"], true, "given back");
    assert_eq!(withdraw(&people.owner, GUEST)["code"], 1106, "the second time");
    assert_eq!(people.sharee.get(&format!("/v1.0/devices/{PLUG}"))["code"], 1106);
    assert_eq!(cloud.first().get(&format!("/v1.0/devices/{PLUG}"))["result"]["uid"], OWNER, "the owner keeps it");
}

#[test]
fn what_one_owner_shares_keeps_no_other_owners_out() {
    let cloud = TestCloud::start();
    let people = people(&cloud);
    let device = |n: usize| {
        json!({"product_id": "dumb000000000001", "device_id": format!("flood{n:03}"),
        "owner": "stranger", "shared_with": ["member"]})
    };
    cloud.apply(&json!({"projects": [{"name": "first", "devices": (0..500).map(device).collect::<Vec<Value>>()}]}));
    let more = json!({"product_id": "dumb000000000001", "device_id": "flood500", "owner": "stranger"});
    cloud.apply(&json!({"projects": [{"name": "first", "devices": [more]}]}));
    let refused = people.stranger.post("/v1.0/devices/flood500/shares", json!({"uid": MEMBER}));
    assert_eq!(refused["code"], 1101, "{refused}");
    assert_eq!(people.owner.post(&path(), json!({"uid": MEMBER}))["result"], true, "another owner's");
    let shared = people.member.get(&format!("/v1.0/users/{MEMBER}/devices?from=sharing"))["result"].clone();
    assert_eq!(shared.as_array().unwrap().len(), 501);
}
