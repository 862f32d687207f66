//! `ingle doctor`

use clap::Args;
use serde_json::{Value, json};

use super::{Outcome, Place, print};
use crate::app::doctor::{self, Severity};
use crate::control::{Control, SOCKET_FILE};

/// Examine the machine and the settings: what keeps a server from starting, or will make it refuse or lose data.
///
/// The clock, the disk space, the kind of the file system, the permissions of the data folder, the ports of all listeners, the end of
/// the TLS certificate and the limit of open files are examined. Nothing is changed. `ingle verify` examines the data itself. The exit
/// code is 0 if nothing is wrong; a warning is not counted as wrong.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    #[command(flatten)]
    place: Place,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ingle doctor --data /var/lib/ingle
  ingle doctor --data /var/lib/ingle --config /etc/ingle.toml --json";

impl Doctor {
    pub(super) async fn run(self) -> Outcome {
        let config = self.place.config()?;
        let open_files = rlimit::Resource::NOFILE.get().map_err(|error| error.to_string())?;
        let (is_running, findings) = doctor::examine(&self.place.data, &config, open_files);
        let mut addresses = Value::Null;
        if is_running {
            // A server that is starting or stopping has no socket.
            let asked = Control::Running(self.place.data.join(SOCKET_FILE)).ask("/addresses", String::new()).await;
            addresses = asked.ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or(Value::Null);
        }
        if self.json {
            print(&json!({"running": is_running, "addresses": addresses, "findings": findings}).to_string());
        } else {
            for finding in &findings {
                let severity = match finding.severity {
                    Severity::Ok => "ok",
                    Severity::Warning => "warning",
                    Severity::Wrong => "wrong",
                };
                print(&format!("{severity:<8} {:<12} {}", finding.what, finding.text));
            }
            for (name, address) in addresses.as_object().into_iter().flatten() {
                print(&format!("ok       ports        the server listens: {name} {}", address.as_str().unwrap_or("")));
            }
        }
        match findings.iter().filter(|finding| finding.severity == Severity::Wrong).count() {
            0 => Ok(()),
            count => Err(format!("{count} things are wrong")),
        }
    }
}
