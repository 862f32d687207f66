//! The command line: one file a subcommand.

mod apply;
mod call;
mod check_config;
mod demo;
mod expire;
mod explain;
mod import;
mod openapi;
mod recover;
mod rotate;
mod serve;
mod simulate;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::app::{App, AppError, SystemClock};
use crate::config::Config;
use crate::control::{Control, SOCKET_FILE};

/// What a subcommand gives: nothing, or a text that says what to do.
type Outcome = Result<(), String>;

/// The IoT cloud that its owner runs.
///
/// Clients of the Tuya Cloud OpenAPI and of the Alibaba Living cloud API work with another endpoint. Those that cannot be
/// given one need its name in your DNS, and those that speak TLS must trust the certificate of its CA (ca.pem). Start with `ingle demo`, which needs nothing, then describe your own projects, products and devices in a document and `ingle apply` it.
#[derive(Parser)]
#[command(name = "ingle", version, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ingle demo                                    a demo project with virtual devices, data in ./ingle-demo
  ingle serve --data /var/lib/ingle             the real thing
  ingle apply home.json --data /var/lib/ingle   make what a document describes true
  ingle call GET /v1.0/devices                  a signed request to a running server

Every setting is in config.default.toml, and also an environment variable: INGLE_API_LISTEN=0.0.0.0:7700";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Apply(apply::Apply),
    Import(import::Import),
    Call(call::Call),
    Explain(explain::Explain),
    Rotate(rotate::Rotate),
    Expire(expire::Expire),
    Recover(recover::Recover),
    Simulate(simulate::Simulate),
    Openapi(openapi::Openapi),
    CheckConfig(check_config::CheckConfig),
}

/// Where the data is and how the server is set up.
#[derive(Args)]
struct Place {
    /// The data folder; it is created when it does not exist.
    #[arg(long, value_name = "DIR", default_value = "ingle-data")]
    data: PathBuf,
    /// A file with settings that differ from config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn config(&self) -> Result<Config, String> {
        Config::load(self.config.as_deref(), std::env::vars()).map_err(|error| format!("configuration: {error}"))
    }
}

/// Runs the command line of this process.
///
/// # Errors
/// What went wrong and what to do.
pub fn run() -> Outcome {
    let cli = Cli::parse();
    match cli.command {
        Command::Openapi(command) => command.run(),
        Command::CheckConfig(command) => command.run(),
        command => {
            log_to_stderr();
            // Every connection is an open file, and the usual limit is for people's shells.
            if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
                tracing::warn!(%error, "the limit of open files could not be raised");
            }
            let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("no runtime: {error}"))?;
            runtime.block_on(async {
                match command {
                    Command::Demo(command) => command.run().await,
                    Command::Serve(command) => command.run().await,
                    Command::Apply(command) => command.run().await,
                    Command::Import(command) => command.run().await,
                    Command::Call(command) => command.run().await,
                    Command::Explain(command) => command.run().await,
                    Command::Rotate(command) => command.run().await,
                    Command::Expire(command) => command.run().await,
                    Command::Recover(command) => command.run(),
                    Command::Simulate(command) => command.run().await,
                    Command::Openapi(command) => command.run(),
                    Command::CheckConfig(command) => command.run(),
                }
            })
        }
    }
}

/// Log lines go to standard error; `RUST_LOG` chooses which, `info` by default (`docs/choices.md`).
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let ansi = std::io::stderr().is_terminal();
    // A second subscriber in one process (a test) is no reason to stop.
    let _ = subscriber.with_ansi(ansi).try_init();
}

/// The operator's door: of the server that has the folder, or else of the folder opened here. The second value keeps
/// the folder open.
async fn control(place: &Place) -> Result<(Control, Option<App>), String> {
    let opened = App::open(&place.data, place.config()?, Arc::new(SystemClock));
    match opened {
        Ok(app) => Ok((Control::Here(app.control()), Some(app))),
        Err(AppError::InUse(folder)) => Ok((Control::Running(folder.join(SOCKET_FILE)), None)),
        Err(error) => Err(error.to_string()),
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    if path == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).map_err(|error| format!("standard input: {error}"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Prints to standard output; a reader that has gone away is no error.
fn print(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}
