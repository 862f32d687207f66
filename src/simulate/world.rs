//! Identities of the simulated devices, and the world documents that create them on a server.

use serde_json::{Value as Json, json};

use super::message::{Identity, mac};

/// Maximum number of data points in a report.
pub const POINTS_MAX: usize = 64;
const DEVICES_A_DOCUMENT: usize = 1_000;
/// Length of a secret, the same in both protocols.
const SECRET_CHARS: usize = 16;

const PROJECT: &str = "simulation";
const PRODUCT_ID: &str = "simulation";
const PRODUCT_KEY: &str = "a1simulated";

/// The type of a code's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On or off.
    Switch,
    /// A whole number from 0.
    Number {
        /// The largest value.
        max: u64,
    },
}

/// The type of the code with this index: switch, power and temperature in turn.
pub fn kind(index: usize) -> Kind {
    match index % 3 {
        0 => Kind::Switch,
        1 => Kind::Number { max: 20_000 },
        _ => Kind::Number { max: 450 },
    }
}

/// The codes of a report with this many data points.
pub fn codes(points: usize) -> Vec<String> {
    let names = ["switch", "power", "temperature"];
    (0..points).map(|index| format!("{}_{}", names[index % names.len()], index / names.len() + 1)).collect()
}

/// Identities whose secrets are derived from the seed.
pub fn identities(count: usize, seed: &str) -> Vec<Identity> {
    let identity = |n: usize| {
        let device_id = format!("sim{n:06}");
        let secret = mac(seed, &device_id).chars().take(SECRET_CHARS).collect();
        Identity { product_key: PRODUCT_KEY.to_owned(), device_name: device_id.clone(), device_id, secret }
    };
    (1..=count).map(identity).collect()
}

/// World documents that create the product, whose reports have this many data points, and the devices.
pub fn documents(devices: &[Identity], points: usize) -> impl Iterator<Item = String> {
    let functions: Vec<Json> = codes(points)
        .into_iter()
        .enumerate()
        .map(|(index, code)| match kind(index) {
            Kind::Switch => json!({"code": code, "type": "Boolean"}),
            Kind::Number { max } => json!({"code": code, "type": "Integer", "values": {"min": 0, "max": max}}),
        })
        .collect();
    let product = json!({"product_id": PRODUCT_ID, "product_key": PRODUCT_KEY, "name": "Simulated device",
        "category": "cz", "functions": functions});
    devices.chunks(DEVICES_A_DOCUMENT).map(move |devices| {
        let devices: Vec<Json> = devices
            .iter()
            .map(|who| {
                json!({"product_id": PRODUCT_ID, "device_id": who.device_id, "device_name": who.device_name,
                    "name": who.device_id, "secret": who.secret})
            })
            .collect();
        json!({"projects": [{"name": PROJECT, "products": [product], "devices": devices}]}).to_string()
    })
}
