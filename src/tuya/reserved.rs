//! Words of the vendor's paths that stand where an id stands in paths that are served. They are no ids, so a call that is
//! not served yet is an unknown path and not a device that nobody has.

use std::sync::Arc;

use axum::Router;
use axum::routing::any;

use super::{Tuya, unknown_path};

/// Where a path goes on with the id of a device, and the words that the vendor has there besides those that are served.
pub const WORDS: [(&str, &[&str]); 3] = [
    ("/v1.0/devices", &["batch", "logs", "protocol", "specifications", "tokens"]),
    ("/v1.0/iot-03/devices", &["batch", "factory-infos", "functions", "logs", "protocol", "specifications"]),
    ("/v2.0/cloud/thing", &["batch", "factory-infos", "functions", "group", "protocol", "space", "status"]),
];

/// The answer to each of these words.
pub fn routes() -> Router<Arc<Tuya>> {
    let paths = WORDS.iter().flat_map(|(area, words)| words.iter().map(move |word| format!("{area}/{word}")));
    paths.fold(Router::new(), |router, path| router.route(&path, any(unknown_path)))
}
