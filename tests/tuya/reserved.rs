//! Words of the vendor's paths that are no ids.

use std::collections::BTreeSet;

use ingle::tuya::reserved::WORDS;

use crate::openapi::routes;
use crate::support::TestCloud;
use crate::support::http::{Request, send};
use crate::support::world::PLUG;

/// Every word that the vendor has in the place of a device's id, in any of its areas.
fn words() -> BTreeSet<String> {
    let reserved = WORDS.iter().flat_map(|(_, words)| words.iter().map(|word| (*word).to_owned()));
    let served = routes("tuya").into_iter().filter_map(|route| {
        let (area, word) = route.path.rsplit_once('/')?;
        let is_word = !word.starts_with('{') && WORDS.iter().any(|(known, _)| *known == area);
        is_word.then(|| word.to_owned())
    });
    reserved.chain(served).collect()
}

#[test]
fn no_word_of_the_vendors_paths_is_read_as_an_id() {
    let cloud = TestCloud::start();
    let app = cloud.first();
    let served = routes("tuya");
    let is_served = |method: &str, path: &str| served.iter().any(|route| route.method == method && route.path == path);
    let words = words();
    for word in ["factory-infos", "batch", "status", "functions", "token", "tokens", "group", "device"] {
        assert!(words.contains(word), "{words:?}");
    }
    for (area, reserved) in WORDS {
        let own = served.iter().filter_map(|route| route.path.strip_prefix(area)?.strip_prefix('/'));
        let own = own.filter(|word| !word.contains(['/', '{']));
        let own: BTreeSet<&str> = own.chain(reserved.iter().copied()).collect();
        for word in &own {
            let path = format!("{area}/{word}");
            for method in ["GET", "POST", "PUT", "DELETE"].into_iter().filter(|method| !is_served(method, &path)) {
                for target in [path.clone(), format!("{path}/"), format!("{path}?device_ids={PLUG}")] {
                    let signed = app.signed(method, &target, b"{}", &app.token());
                    assert_eq!(app.send(&signed).code(), 1108, "{method} {target}");
                    assert_eq!(send(cloud.api, &Request::new(method, &target)).code(), 1108, "{method} {target}");
                }
            }
        }
        // What is no such word is an id.
        assert_eq!(app.get(&format!("{area}/{PLUG}"))["success"], true, "{area}");
        assert_eq!(app.get(&format!("{area}/batches"))["code"], 1106, "{area}");
    }
}
