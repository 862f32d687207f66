//! Words in the vendor's paths at positions where served paths have an id. They are never ids, so a call that is not
//! implemented is an unknown path and not an unknown device.

use std::sync::Arc;

use axum::Router;
use axum::routing::any;

use super::{Tuya, unknown_path};

/// The path before a device id, and the words that the vendor has at that position in paths that are not served.
pub const WORDS: [(&str, &[&str]); 3] = [
    ("/v1.0/devices", &["batch", "logs", "protocol", "specifications", "tokens"]),
    ("/v1.0/iot-03/devices", &["batch", "factory-infos", "functions", "logs", "protocol", "specifications"]),
    ("/v2.0/cloud/thing", &["batch", "factory-infos", "functions", "group", "protocol", "space", "status"]),
];

/// Routes that answer each of these words as an unknown path.
pub fn routes() -> Router<Arc<Tuya>> {
    let paths = WORDS.iter().flat_map(|(area, words)| words.iter().map(move |word| format!("{area}/{word}")));
    paths.fold(Router::new(), |router, path| router.route(&path, any(unknown_path)))
}
