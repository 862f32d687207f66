//! The command line: one file a subcommand.

mod apply;
mod audit;
mod backup;
mod call;
mod check_config;
mod connect_info;
mod demo;
mod doctor;
mod erase;
mod expire;
mod explain;
mod export;
mod import;
mod log;
mod log_level;
mod objects;
mod openapi;
mod recover;
mod restore;
mod rotate;
mod serve;
mod simulate;
mod times;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::app::{App, AppError, SystemClock};
use crate::config::{Config, Log, LogFormat};
use crate::control::{Control, SOCKET_FILE};
use crate::logging::{self, LogLevel};

/// The result of a subcommand; an error is a text that says what went wrong and what to do.
type Outcome = Result<(), String>;

/// A self-hosted IoT cloud, compatible with the Tuya Cloud OpenAPI and the Alibaba Living cloud API.
///
/// Clients of these clouds work when their endpoint is changed. A client whose endpoint cannot be changed needs a DNS entry that
/// points to this server, and a client that uses TLS must trust the certificate of its CA (ca.pem). Start with `ingle demo`, which
/// needs no preparation. Then describe your own projects, products and devices in a document and run `ingle apply`.
#[derive(Parser)]
#[command(name = "ingle", version, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ingle demo                                    run a demo project with virtual devices, data in ./ingle-demo
  ingle serve --data /var/lib/ingle             run a server
  ingle apply home.json --data /var/lib/ingle   create or update what a document describes
  ingle call GET /v1.0/devices                  send a signed request to a running server
  ingle backup ingle.tar --data /var/lib/ingle  copy everything into one file, also while the server runs

Every setting is described in config.default.toml and is also an environment variable: INGLE_API_LISTEN=0.0.0.0:7700";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Apply(apply::Apply),
    Import(import::Import),
    Export(export::Export),
    Erase(erase::Erase),
    Project(objects::Project),
    App(objects::App),
    Product(objects::Product),
    User(objects::User),
    Home(objects::Home),
    Device(objects::Device),
    Token(objects::Token),
    Listener(objects::Listener),
    Log(log::Log),
    Watch(log::Watch),
    Call(call::Call),
    Explain(explain::Explain),
    Audit(audit::Audit),
    LogLevel(log_level::LogLevel),
    Rotate(rotate::Rotate),
    Expire(expire::Expire),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Verify(verify::Verify),
    Doctor(doctor::Doctor),
    Recover(recover::Recover),
    Simulate(simulate::Simulate),
    Openapi(openapi::Openapi),
    CheckConfig(check_config::CheckConfig),
}

/// The data folder and the settings file.
#[derive(Args)]
struct Place {
    /// The data folder. It is created if it does not exist.
    #[arg(long, value_name = "DIR", default_value = "ingle-data")]
    data: PathBuf,
    /// A file with settings that differ from config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn config(&self) -> Result<Config, String> {
        load_config(self.config.as_deref())
    }
}

/// The settings of a file and of the environment.
fn load_config(file: Option<&Path>) -> Result<Config, String> {
    Config::load(file, std::env::vars()).map_err(|error| format!("configuration: {error}"))
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
            let log_level = command.start_log()?;
            // Every connection is an open file, and the usual limit of a shell is too low for a server.
            if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
                tracing::warn!(%error, "the limit of open files could not be raised");
            }
            let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("no runtime: {error}"))?;
            runtime.block_on(async {
                match command {
                    Command::Demo(command) => command.run(log_level).await,
                    Command::Serve(command) => command.run(log_level).await,
                    Command::Apply(command) => command.run().await,
                    Command::Import(command) => command.run().await,
                    Command::Export(command) => command.run().await,
                    Command::Erase(command) => command.run().await,
                    Command::Project(command) => command.run().await,
                    Command::App(command) => command.run().await,
                    Command::Product(command) => command.run().await,
                    Command::User(command) => command.run().await,
                    Command::Home(command) => command.run().await,
                    Command::Device(command) => command.run().await,
                    Command::Token(command) => command.run().await,
                    Command::Listener(command) => command.run().await,
                    Command::Log(command) => command.run().await,
                    Command::Watch(command) => command.run().await,
                    Command::Call(command) => command.run().await,
                    Command::Explain(command) => command.run().await,
                    Command::Audit(command) => command.run().await,
                    Command::LogLevel(command) => command.run().await,
                    Command::Rotate(command) => command.run().await,
                    Command::Expire(command) => command.run().await,
                    Command::Backup(command) => command.run().await,
                    Command::Restore(command) => command.run().await,
                    Command::Verify(command) => command.run().await,
                    Command::Doctor(command) => command.run().await,
                    Command::Recover(command) => command.run(),
                    Command::Simulate(command) => command.run().await,
                    Command::Openapi(command) => command.run(),
                    Command::CheckConfig(command) => command.run(),
                }
            })
        }
    }
}

impl Command {
    /// Starts the log: that of a server by its settings, any other as text at the level `info`. `RUST_LOG` overrides the level
    /// of both.
    fn start_log(&self) -> Result<LogLevel, String> {
        let log = match self {
            Self::Serve(serve) => serve.place.config()?.log,
            Self::Demo(demo) => load_config(demo.config.as_deref())?.log,
            _ => Log { format: LogFormat::Text, level: "info".to_owned() },
        };
        logging::start(log.format, &log.level).map_err(|text| format!("configuration: log.level: {text}"))
    }
}

/// The operator's interface of a running server, for what only a running server has.
fn running(place: &Place) -> Result<Control, String> {
    let socket = place.data.join(SOCKET_FILE);
    if !socket.exists() {
        return Err(format!("no server runs on the data folder {}: name it with --data", place.data.display()));
    }
    Ok(Control::Running(socket))
}

/// The operator's interface: the control socket of the server that has the folder open, or the folder itself, opened by this
/// process. The second value keeps the folder open.
async fn control(place: &Place) -> Result<(Control, Option<App>), String> {
    let opened = App::open(&place.data, place.config()?, Arc::new(SystemClock));
    match opened {
        Ok(app) => Ok((Control::InProcess(app.control()), Some(app))),
        Err(AppError::InUse(folder)) => Ok((Control::Running(folder.join(SOCKET_FILE)), None)),
        Err(error) => Err(error.to_string()),
    }
}

/// The same for a command that needs a folder with data.
async fn existing(place: &Place) -> Result<(Control, Option<App>), String> {
    if !place.data.exists() {
        return Err(format!("there is no data folder {}: name it with --data", place.data.display()));
    }
    control(place).await
}

fn read_text(path: &Path) -> Result<String, String> {
    if path == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).map_err(|error| format!("standard input: {error}"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Prints to standard output. It is not an error if the reader has closed it.
fn print(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}
