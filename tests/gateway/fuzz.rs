//! The kept inputs of the fuzz targets, replayed: seeds, and whatever was found (CONTRIBUTING.md says how to fuzz).

#[path = "../../fuzz/harness.rs"]
mod harness;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        run(&input);
        // Also cut short anywhere.
        (0..input.len().min(64)).for_each(|length| run(&input[..length]));
        count += 1;
    }
    assert!(count > 5, "the inputs are kept");
}

#[test]
fn tuyalink_messages() {
    replay("tuyalink", harness::tuyalink);
}

#[test]
fn linkkit_messages() {
    replay("linkkit", harness::linkkit);
}

#[test]
fn sessions() {
    replay("session", |input| {
        harness::session(input);
    });
    // The device is let in, and answered.
    for seed in ["tuyalink", "tuyalink_v5", "linkkit", "linkkit_v5"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/session").join(seed);
        assert!(harness::session(&std::fs::read(path).unwrap()) > 50, "{seed}");
    }
}
