//! No file descriptor left.

use std::net::TcpStream;

use super::metric;
use crate::support::TestCloud;
use crate::support::world::{PLUG, standard};

#[test]
fn a_server_without_file_descriptors_says_so_once_and_recovers() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let parent = tempfile::tempdir().unwrap();
    let (cloud, log) = TestCloud::logging(&parent.path().join("data"), "info");
    cloud.apply(&standard());
    let first = cloud.first();
    assert_eq!(first.get(&format!("/v1.0/devices/{PLUG}"))["success"], true);
    let pid = i32::try_from(cloud.pid()).unwrap();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    let (mut soft, mut hard) = (0, 0);
    let files = rlimit::Resource::NOFILE;
    rlimit::prlimit(pid, files, Some((open + 8, open + 4096)), Some((&mut soft, &mut hard))).unwrap();
    let streams: Vec<_> = (0..24).map(|_| TcpStream::connect(cloud.api).unwrap()).collect();
    let lines = || std::fs::read_to_string(&log).unwrap().matches("could not be accepted").count();
    cloud.wait(|| lines() > 0);
    rlimit::prlimit(pid, files, Some((open + 4096, open + 4096)), None).unwrap();
    // Those that waited are accepted now, and whoever comes.
    assert_eq!(first.get(&format!("/v1.0/devices/{PLUG}"))["success"], true);
    assert!(metric(&cloud, "ingle_accepts_failed_total") >= 1);
    assert_eq!(lines(), 1);
    drop(streams);
    cloud.stop();
}
