//! The world of most tests: two projects. The first has the devices of the examples in the seed documents.

use serde_json::{Value, json};

pub const FIRST_ID: &str = "firstclient000000001";
pub const FIRST_SECRET: &str = "0123456789abcdef0123456789abcdef";
pub const SECOND_ID: &str = "secondclient00000001";
pub const SECOND_SECRET: &str = "fedcba9876543210fedcba9876543210";

pub const FIRST_PROJECT_ID: &str = "a123ProjectId0001";
pub const FIRST_APP_KEY: &str = "60030000";
pub const FIRST_APP_SECRET: &str = "0123456789abcdef0123456789abcdef";
pub const SECOND_PROJECT_ID: &str = "a123ProjectId0002";
pub const SECOND_APP_KEY: &str = "60040000";
pub const SECOND_APP_SECRET: &str = "00112233445566778899aabbccddeeff";
/// The AppKey of the first project's `testApp`.
pub const APP_KEY: &str = "60030001";
/// The AppKey of the second project's app.
pub const OTHER_APP_KEY: &str = "60040001";

/// The owner of the first project's home.
pub const OWNER: &str = "az1578962398648owner1";
/// A user of the first project with whom devices are shared.
pub const GUEST: &str = "az1578962398648guest1";
/// The seed's body fat scale.
pub const SCALE: &str = "60613135b121cddc2941";
/// The seed's metering plug, shared to [`GUEST`].
pub const PLUG: &str = "27511006b4e62d4b8f21";
/// The seed's speaker, owned by [`GUEST`].
pub const SPEAKER: &str = "747b2165d94499641f21";
/// A gateway with the sub-devices [`LEAK`] and [`DOOR`].
pub const GATEWAY: &str = "6c0747cfe887e21e8b00";
pub const LEAK: &str = "6c0747cfe887e21e8b01";
pub const DOOR: &str = "6c0747cfe887e21e8b02";
/// A device of the first project without an owner.
pub const LONELY: &str = "lonely00000000000001";
/// A device whose product has no functions.
pub const DUMB: &str = "dumb0000000000000001";
/// The second project's device and its owner.
pub const FOREIGN: &str = "foreign0000000000001";
pub const FOREIGN_USER: &str = "az1578962398648other1";
/// A device of the first project's product that a user of the second project owns.
pub const HELD_ELSEWHERE: &str = "elsewhere00000000001";

/// The world document.
pub fn standard() -> Value {
    let number = |code: &str| json!({"code": code, "type": "Integer", "values": {"min": 0, "max": 1_000_000}});
    let boolean = |code: &str| json!({"code": code, "type": "Boolean"});
    let text = |code: &str| json!({"code": code, "type": "String"});
    json!({"projects": [
        {
            "name": "first",
            "tuya": {"client_id": FIRST_ID, "secret": FIRST_SECRET},
            "aliyun": {"project_id": FIRST_PROJECT_ID, "app_key": FIRST_APP_KEY, "app_secret": FIRST_APP_SECRET},
            "apps": [
                {"schema": "testApp", "app_key": APP_KEY, "country_codes": ["86", "1"]},
                {"schema": "emptyApp"},
            ],
            "products": [
                {"product_id": "g0er6hSKgMqr0001", "name": "Wifi scales_OEM", "category": "qt", "biz_type": 299_009,
                 "icon": "smart/icon/15402589135gknz23xajb_0.png",
                 "functions": [number("weight"), number("left_hand_r"), number("right_hand_r"), number("left_leg_r"),
                    number("right_leg_r"), number("body_r"), boolean("battery_low")]},
                {"product_id": "EvolhYPyZNWYP001", "name": "Wi-Fi 智能计量插座", "category": "cz", "biz_type": 293_964,
                 "icon": "smart/product_icon/cz.png",
                 "functions": [number("cur_power"), number("cur_voltage"), boolean("switch"), number("countdown_1"),
                    number("cur_current"), boolean("switch_1"), boolean("switch_2")]},
                {"product_id": "i9vkz00000000001", "name": "Wi-Fi 智能音箱 SS190", "category": "znyxss",
                 "biz_type": 310_002, "model": "SS190", "icon": "smart/program_category_icon/znyxss.png",
                 "functions": [number("smartspeaker_vol"), boolean("smartspeaker_mic"), text("ir_send")]},
                {"product_id": "gateway000000001", "name": "Gateway", "category": "wg2", "node_type": "gateway",
                 "functions": [boolean("master_state")]},
                {"product_id": "rzeSU2h9uoklx001", "name": "Water leak sensor", "category": "sj", "node_type": "sub",
                 "functions": [text("watersensor_state")]},
                {"product_id": "dumb000000000001", "name": "Dumb", "category": "qt"},
            ],
            "users": [
                {"schema": "testApp", "username": "18200000678", "username_type": 1, "country_code": "86",
                 "uid": OWNER, "nick_name": "Owner", "time_zone_id": "Asia/Shanghai"},
                {"schema": "testApp", "username": "guest@example.com", "username_type": 2, "country_code": "86",
                 "uid": GUEST},
            ],
            "homes": [
                {"home_id": 10_700_001, "name": "Home", "owner": "18200000678"},
                {"home_id": 11_600_001, "name": "Flat", "owner": "guest@example.com"},
            ],
            "devices": [
                {"product_id": "g0er6hSKgMqr0001", "device_id": SCALE, "uuid": "60613135b23cddc29410", "name": "体脂秤",
                 "local_key": "3a9b50126fe47301", "ip": "120.198.10.20", "time_zone": "+08:00", "owner": "18200000678"},
                {"product_id": "EvolhYPyZNWYP001", "device_id": PLUG, "uuid": PLUG, "name": "xxx测试",
                 "local_key": "11a53bdd67e40001", "ip": "10.62.43.7", "time_zone": "+08:00", "owner": "18200000678",
                 "shared_with": ["guest@example.com"], "sn": "SN-1", "mac": "5c:cf:7f:53:10:01"},
                {"product_id": "i9vkz00000000001", "device_id": SPEAKER, "uuid": "120000000001",
                 "name": "Wi-Fi 智能音箱 SS190", "local_key": "11d7f7286caa0001", "ip": "58.251.10.20",
                 "time_zone": "+08:00", "owner": "guest@example.com"},
                {"product_id": "gateway000000001", "device_id": GATEWAY, "name": "Gateway", "owner": "18200000678"},
                {"product_id": "rzeSU2h9uoklx001", "device_id": LEAK, "name": "水浸警报", "gateway": GATEWAY,
                 "node_id": "00124b0001", "owner": "18200000678"},
                {"product_id": "rzeSU2h9uoklx001", "device_id": DOOR, "name": "Door", "gateway": GATEWAY,
                 "node_id": "00124b0002", "owner": "18200000678"},
                {"product_id": "g0er6hSKgMqr0001", "device_id": LONELY, "name": "Nobody's"},
                {"product_id": "dumb000000000001", "device_id": DUMB, "name": "Dumb", "owner": "18200000678"},
            ],
        },
        {
            "name": "second",
            "tuya": {"client_id": SECOND_ID, "secret": SECOND_SECRET, "legacy_sign": true,
                     "mask_private_fields": false},
            "aliyun": {"project_id": SECOND_PROJECT_ID, "app_key": SECOND_APP_KEY, "app_secret": SECOND_APP_SECRET},
            "apps": [{"schema": "otherApp", "app_key": OTHER_APP_KEY}],
            "products": [
                {"product_id": "foreign000000001", "name": "Lamp", "category": "dj",
                 "functions": [boolean("switch_led")]},
            ],
            "users": [
                {"schema": "otherApp", "username": "other@example.com", "username_type": 2, "country_code": "49",
                 "uid": FOREIGN_USER},
            ],
            "devices": [
                {"product_id": "foreign000000001", "device_id": FOREIGN, "name": "Lamp", "owner": "other@example.com"},
                {"product_id": "g0er6hSKgMqr0001", "device_id": HELD_ELSEWHERE, "name": "Elsewhere",
                 "owner": "other@example.com"},
            ],
        },
    ]})
}
