//! `ingle project`, `app`, `product`, `user`, `home`, `device`, `token` and `listener`

mod members;
mod table;

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::connect_info::ConnectInfo;
use super::{Outcome, Place, control, existing, print, read_text};
use crate::control::Control;
use crate::control::objects::{ChangeRequest, ListRequest, ObjectRequest, RotationRequest};
use crate::domain::inventory::{Loss, OBJECT_PAGE_MAX, ObjectChange, ObjectKind, ObjectQuery};
use members::{AppMembers, DeviceMembers, HomeMembers, Members, ProductMembers, ProjectMembers, UserMembers};
pub(super) use table::{escaped, iso};

/// What can be done with objects that a world document describes. `M` are the members of such an object.
#[derive(Subcommand)]
pub enum Operation<M: Args> {
    /// List objects.
    List(List),
    /// Show one object with all its members.
    Show(Show),
    /// Create an object. Members that are not given are generated, as by `ingle apply`.
    Create(Create<M>),
    /// Change an object. Members that are not given keep their values.
    Set(Set<M>),
    /// Delete an object. Says what is lost, and asks first.
    Delete(Delete),
}

/// What can be done with objects that no document describes.
#[derive(Subcommand)]
pub enum Watched {
    /// List objects, without secrets.
    List(List),
    /// Show one object, without secrets.
    Show(Show),
    /// End the object: a token is revoked, a subscriber is disconnected.
    Delete(Delete),
}

/// List, show, create, change and delete projects.
#[derive(Args)]
pub struct Project {
    #[command(subcommand)]
    operation: ProjectOperation,
}

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, for the life of the process")]
enum ProjectOperation {
    #[command(flatten)]
    Object(Operation<ProjectMembers>),
    RotateSecret(RotateSecret),
}

/// Give a project new secrets for both APIs, the Access Secret and the AppSecret.
///
/// All tokens of the project and of its users end at once. With --grace, the old secrets are accepted and the tokens are valid until
/// the time of grace ends.
#[derive(Args)]
struct RotateSecret {
    /// The name of the project.
    name: String,
    /// How long the old secrets stay valid, such as 30m, 12h or 7d; at most 90d.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = span_ms)]
    grace: i64,
    /// Print the new secrets.
    #[arg(long)]
    secrets: bool,
    #[command(flatten)]
    place: Place,
}

/// A span of time in milliseconds: a number with its unit.
fn span_ms(text: &str) -> Result<i64, String> {
    let units = [('s', 1_000), ('m', 60_000), ('h', 3_600_000), ('d', 86_400_000)];
    let span = units.iter().find_map(|(unit, ms)| text.strip_suffix(*unit)?.parse::<i64>().ok()?.checked_mul(*ms));
    span.ok_or_else(|| "write it as 30m, 12h or 7d".to_owned())
}

impl RotateSecret {
    async fn run(self) -> Outcome {
        let (control, _app) = existing(&self.place).await?;
        let request = RotationRequest { project: self.name.clone(), grace_ms: self.grace };
        let until = ask(&control, "/projects/rotate-secrets", &request).await?;
        let old = match until.as_i64() {
            Some(until_ms) => format!("the old ones and all tokens are valid until {}", iso(until_ms)),
            None => "the old ones and all tokens are revoked".to_owned(),
        };
        print(&format!("project {} has new secrets; {old}", escaped(&self.name)));
        if self.secrets {
            let (kind, id, project) = (ObjectKind::Project, self.name, None);
            let object = ask(&control, "/objects/show", &ObjectRequest { kind, id, project, secrets: true }).await?;
            return show(&object, false);
        }
        Ok(())
    }
}

/// List, show, create, change and delete the apps of projects.
#[derive(Args)]
pub struct App {
    #[command(subcommand)]
    operation: Operation<AppMembers>,
}

/// List, show, create, change and delete products. A product that has devices cannot be deleted.
#[derive(Args)]
pub struct Product {
    #[command(subcommand)]
    operation: Operation<ProductMembers>,
}

/// List, show, create, change and delete users. The devices of a deleted user have no owner and are as after a reset.
#[derive(Args)]
pub struct User {
    #[command(subcommand)]
    operation: Operation<UserMembers>,
}

/// List, show, create, change and delete homes.
#[derive(Args)]
pub struct Home {
    #[command(subcommand)]
    operation: Operation<HomeMembers>,
}

/// List, show, create, change, delete and connect devices.
#[derive(Args)]
pub struct Device {
    #[command(subcommand)]
    operation: DeviceOperation,
}

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, for the life of the process")]
enum DeviceOperation {
    #[command(flatten)]
    Object(Operation<DeviceMembers>),
    ConnectInfo(ConnectInfo),
}

/// List, show and revoke the tokens of projects and the logins of users.
#[derive(Args)]
pub struct Token {
    #[command(subcommand)]
    operation: Watched,
}

/// List, show and disconnect the subscribers of the live feed of a running server.
#[derive(Args)]
pub struct Listener {
    #[command(subcommand)]
    operation: Watched,
}

/// Lists objects, oldest first. All of them are printed, page by page, unless there is a limit.
#[derive(Args)]
pub struct List {
    /// Only those of this project. A device belongs to the project of its owner, or else of its product.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Only devices of this product.
    #[arg(long, value_name = "PRODUCT_ID")]
    product: Option<String>,
    /// Only homes and devices of this user.
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Only devices in this home.
    #[arg(long, value_name = "HOME_ID")]
    home: Option<i64>,
    /// Only devices that are connected, or with false those that are not.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    online: Option<bool>,
    /// Only those whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only devices with this MAC address.
    #[arg(long, value_name = "MAC")]
    mac: Option<String>,
    /// Print at most so many, and where to go on.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Go on where the list with a limit ended.
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Include secrets and local keys (only with --json).
    #[arg(long, requires = "json")]
    secrets: bool,
    #[command(flatten)]
    place: Place,
}

/// Shows one object.
#[derive(Args)]
pub struct Show {
    /// Its id: name of a project, schema, product_id, uid or user name, home_id, device_id, or what the list shows first.
    id: String,
    /// Its project, if the id is one in several projects.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Include secrets and local keys.
    #[arg(long)]
    secrets: bool,
    #[command(flatten)]
    place: Place,
}

/// How the changed object is printed, and where it is.
#[derive(Args)]
struct Changed {
    /// Print the object as JSON. With -, also read its members as a JSON object from standard input, before those of the
    /// options; what `show --json` prints can be edited and given back.
    #[arg(long, value_name = "-", num_args = 0..=1, default_missing_value = "")]
    json: Option<String>,
    /// The name of its project. By default, the only one.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Print secrets and local keys, also generated ones.
    #[arg(long)]
    secrets: bool,
    #[command(flatten)]
    place: Place,
}

/// Creates an object.
#[derive(Args)]
pub struct Create<M: Args> {
    #[command(flatten)]
    members: M,
    #[command(flatten)]
    changed: Changed,
}

/// Changes an object.
#[derive(Args)]
pub struct Set<M: Args> {
    /// Its id, as `show` takes it.
    id: String,
    #[command(flatten)]
    members: M,
    #[command(flatten)]
    changed: Changed,
}

/// Deletes an object.
#[derive(Args)]
pub struct Delete {
    /// Its id, as `show` takes it.
    id: String,
    /// Its project, if the id is one in several projects.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
}

macro_rules! runs {
    ($($noun:ident,)*) => {$(
        impl $noun {
            pub(super) async fn run(self) -> Outcome {
                self.operation.run(ObjectKind::$noun).await
            }
        }
    )*};
}

runs! { App, Product, User, Home, Token, Listener, }

impl Project {
    pub(super) async fn run(self) -> Outcome {
        match self.operation {
            ProjectOperation::Object(operation) => operation.run(ObjectKind::Project).await,
            ProjectOperation::RotateSecret(command) => command.run().await,
        }
    }
}

impl Device {
    pub(super) async fn run(self) -> Outcome {
        match self.operation {
            DeviceOperation::Object(operation) => operation.run(ObjectKind::Device).await,
            DeviceOperation::ConnectInfo(command) => command.run().await,
        }
    }
}

impl<M: Args + Members> Operation<M> {
    async fn run(self, kind: ObjectKind) -> Outcome {
        match self {
            Self::List(command) => command.run(kind).await,
            Self::Show(command) => command.run(kind).await,
            Self::Create(Create { members, changed }) => changed.run(kind, None, members).await,
            Self::Set(Set { id, members, changed }) => changed.run(kind, Some(id), members).await,
            Self::Delete(command) => command.run(kind).await,
        }
    }
}

impl Watched {
    async fn run(self, kind: ObjectKind) -> Outcome {
        match self {
            Self::List(command) => command.run(kind).await,
            Self::Show(command) => command.run(kind).await,
            Self::Delete(command) => command.run(kind).await,
        }
    }
}

/// Sends a request and reads the JSON of its answer.
pub(super) async fn ask(control: &Control, path: &str, request: &impl Serialize) -> Result<Json, String> {
    let body = serde_json::to_string(request).map_err(|error| error.to_string())?;
    let answer = control.ask(path, body).await?;
    serde_json::from_slice(&answer).map_err(|error| error.to_string())
}

impl List {
    async fn run(self, kind: ObjectKind) -> Outcome {
        let Self { project, product, owner, home, online, name, mac, after, secrets, .. } = self;
        let query =
            ObjectQuery { project, product, owner, home, online, name, mac, after, secrets, ..Default::default() };
        let mut request = ListRequest { kind, query };
        let (control, _app) = existing(&self.place).await?;
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut table = table::Table::of(kind);
        loop {
            request.query.limit = left.min(OBJECT_PAGE_MAX);
            let page = ask(&control, "/objects/list", &request).await?;
            let rows = page["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
            let is_read = match self.json {
                true => rows.iter().all(|row| printed(&row.to_string())),
                false => table.print(rows),
            };
            left = left.saturating_sub(rows.len());
            request.query.after = page["next"].as_str().map(str::to_owned);
            let Some(next) = &request.query.after else { return Ok(()) };
            if !is_read {
                return Ok(());
            }
            if left == 0 {
                let _ = writeln!(std::io::stderr(), "more: --after {next}");
                return Ok(());
            }
        }
    }
}

/// Prints a line; false if nobody reads any more.
pub(super) fn printed(line: &str) -> bool {
    writeln!(std::io::stdout(), "{line}").is_ok()
}

impl Show {
    async fn run(self, kind: ObjectKind) -> Outcome {
        let Self { id, project, secrets, .. } = self;
        let (control, _app) = existing(&self.place).await?;
        let object = ask(&control, "/objects/show", &ObjectRequest { kind, id, project, secrets }).await?;
        show(&object, self.json)
    }
}

fn show(object: &Json, is_json: bool) -> Outcome {
    let text = match is_json {
        true => serde_json::to_string_pretty(object).map_err(|error| error.to_string())?,
        false => table::members(object),
    };
    print(text.trim_end());
    Ok(())
}

impl Changed {
    async fn run(self, kind: ObjectKind, id: Option<String>, options: impl Members) -> Outcome {
        let mut members = Map::new();
        let (is_json, input) = match &self.json {
            None => (false, None),
            Some(path) => (true, Some(Path::new(path)).filter(|path| !path.as_os_str().is_empty())),
        };
        if let Some(path) = input {
            let text = read_text(path)?;
            members = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        options.put_into(&mut members)?;
        if members.is_empty() {
            return Err("nothing to change: give members as options, or as JSON with --json -".to_owned());
        }
        let change = ObjectChange { id, project: self.project, members, secrets: self.secrets };
        let (control, _app) = control(&self.place).await?;
        let object = ask(&control, "/objects/put", &ChangeRequest { kind, change }).await?;
        show(&object, is_json)
    }
}

impl Delete {
    async fn run(self, kind: ObjectKind) -> Outcome {
        let (control, _app) = existing(&self.place).await?;
        let Self { id, project, yes, .. } = self;
        let request = ObjectRequest { kind, id, project, secrets: false };
        let losses = ask(&control, "/objects/losses", &request).await?;
        let losses: Vec<Loss> = serde_json::from_value(losses).map_err(|error| error.to_string())?;
        let name = format!("{} {}", kind.noun(), escaped(&request.id));
        for Loss { count, what, forbids } in &losses {
            if *forbids {
                return Err(format!("{name} has {count} {what}: delete them first"));
            }
            let _ = writeln!(std::io::stderr(), "{name}: {count} {what}");
        }
        confirm(&format!("delete {name}"), yes)?;
        let body = serde_json::to_string(&request).map_err(|error| error.to_string())?;
        control.ask("/objects/delete", body).await?;
        print(&format!("{name} is deleted"));
        Ok(())
    }
}

/// Asks on a terminal whether to do something. Without a terminal `--yes` is required.
pub(super) fn confirm(what: &str, yes: bool) -> Outcome {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(format!("to {what}, give --yes"));
    }
    let _ = write!(std::io::stderr(), "Really {what}? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| error.to_string())?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err("nothing was changed".to_owned()) }
}
