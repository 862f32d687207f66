//! Users who sign in to the first project's app, with different rights on [`super::world::PLUG`].

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::TestCloud;
use super::tuya::{TuyaApp, hex};
use super::world::{GUEST, OWNER};

pub const HOME: i64 = 10_700_001;
pub const ADMIN: &str = "az1578962398648admin1";
pub const MEMBER: &str = "az1578962398648membe1";
pub const STRANGER: &str = "az1578962398648stran1";
/// The user name of the owner.
pub const OWNER_NAME: &str = "18200000678";
/// The password of all users.
pub const PASSWORD: &str = "correct horse";

/// One signed-in user for each role.
pub struct People {
    /// Owns the plug and its home.
    pub owner: TuyaApp,
    /// An admin of that home.
    pub admin: TuyaApp,
    /// A plain member of it.
    pub member: TuyaApp,
    /// A sharee of the plug.
    pub sharee: TuyaApp,
    /// A user of the same app without any rights on the plug.
    pub stranger: TuyaApp,
}

/// The account of each user.
pub const ACCOUNTS: [(&str, &str); 5] =
    [(OWNER, OWNER_NAME), (GUEST, "guest@example.com"), (ADMIN, "admin"), (MEMBER, "member"), (STRANGER, "stranger")];

/// Sets the passwords, adds the members to the home, and signs all users in.
pub fn people(cloud: &TestCloud) -> People {
    let users: Vec<Value> = ACCOUNTS
        .iter()
        .map(|(uid, name)| {
            let mut user = json!({"schema": "testApp", "username": name, "uid": uid, "password": PASSWORD});
            if !name.contains('0') && !name.contains('@') {
                user["country_code"] = json!("86");
            }
            user
        })
        .collect();
    cloud.apply(&json!({"projects": [{"name": "first", "users": users}]}));
    let first = cloud.first();
    for (name, admin) in [("admin", true), ("member", false)] {
        let member = json!({"country_code": "86", "member_account": name, "admin": admin, "name": ""});
        let body = json!({"app_schema": "testApp", "member": member});
        assert_eq!(first.post(&format!("/v1.0/homes/{HOME}/members"), body)["result"], true);
    }
    let [owner, sharee, admin, member, stranger] = ACCOUNTS.map(|(_, name)| sign_in(cloud, name));
    People { owner, admin, member, sharee, stranger }
}

/// The app of a user, signed in in the way of the vendor's SDK.
pub fn sign_in(cloud: &TestCloud, username: &str) -> TuyaApp {
    let app = cloud.first();
    let answer = log_in(&app, username, &md5(PASSWORD));
    app.hold(answer["result"]["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")));
    app
}

/// The answer to a login with a password in some form.
pub fn log_in(app: &TuyaApp, username: &str, password: &str) -> Value {
    let body = json!({"username": username, "password": password, "country_code": "86", "schema": "testApp"});
    let path = "/v1.0/iot-01/associated-users/actions/authorized-login";
    app.send(&app.signed("POST", path, body.to_string().as_bytes(), "")).body
}

pub fn md5(text: &str) -> String {
    hex(&Md5::digest(text))
}
