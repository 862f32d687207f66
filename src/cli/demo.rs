//! `ingle demo`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::serve::stopped;
use super::{Outcome, Place, print};
use crate::app::{Addresses, App, SystemClock};
use crate::control::world::{APPLY, FILL, REPLACE_SECRETS};
use crate::control::{Control, Credentials};
use crate::logging::LogLevel;

const WORLD: &str = include_str!("demo_world.json");
/// The device in the printed example request.
const DEVICE: &str = "vdevo156083035305868";

/// A device that is not virtual, so that a real one can connect as it.
const REAL_DEVICE: &str = "teamaker000000000001";
const REAL_PRODUCT: &str = "demotea000000001";
const REAL_PRODUCT_KEY: &str = "a1demotea01";

/// The user in the printed examples, and the app of that user.
const USER: &str = "18200000678";
const APP_KEY: &str = "60030001";
const OPEN_ID: &str = "10000000001";

/// Run a server with a demo project and virtual devices that report continuously.
///
/// No preparation is needed. Credentials and an example request are printed. The header x-ingle-explain of a refused request
/// explains the refusal.
#[derive(Args)]
pub struct Demo {
    /// The data folder. It is created if it does not exist, and used again if it does.
    #[arg(long, value_name = "DIR", default_value = "ingle-demo")]
    pub(super) data: PathBuf,
    /// A file with settings that differ from config.default.toml.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl Demo {
    pub(super) async fn run(self, log_level: LogLevel) -> Outcome {
        let place = Place { data: self.data, config: self.config };
        let app = App::open(&place.data, place.demo_config()?, Arc::new(SystemClock));
        let mut app = app.map_err(|error| error.to_string())?;
        app.log_level = Some(log_level);
        let control = Control::InProcess(app.control());
        let mut project = first_project(&control).await?;
        if project.is_none() {
            // Only in a new folder, so that a device that was removed stays removed.
            control.ask(APPLY, WORLD).await?;
            project = first_project(&control).await?;
        }
        let project = project.ok_or("the demo project was not created")?;
        let examples = world_of_examples(&project);
        // The password is the one that the printed examples use.
        control.ask(&format!("{APPLY}?{REPLACE_SECRETS}"), examples.clone()).await?;
        let filled = control.ask(FILL, examples).await?;
        let filled: serde_json::Value = serde_json::from_slice(&filled).map_err(|error| error.to_string())?;
        let secret = filled["projects"][0]["devices"][0]["secret"].as_str().unwrap_or_default().to_owned();
        let folder = place.data.display().to_string();
        let announce = |addresses: &Addresses| print(&welcome(addresses, &project, &secret, &folder));
        app.serve(announce, stopped()).await.map_err(|error| error.to_string())
    }
}

/// The world document with the user and the real device of the printed examples. It is applied at every start, so that a folder
/// of an older version has them too. The password of the user is the AppSecret, which is different in each demo and can be printed
/// again.
fn world_of_examples(project: &Credentials) -> String {
    let user = json!({"schema": "testApp", "username": USER, "password": project.app_secret, "open_id": OPEN_ID});
    let app = json!({"schema": "testApp", "app_key": APP_KEY});
    let function = |code, kind, values, access| json!({"code": code, "type": kind, "values": values, "access": access});
    let degrees = || json!({"min": 0, "max": 100, "unit": "℃", "scale": 0, "step": 1});
    let product = json!({"product_id": REAL_PRODUCT, "product_key": REAL_PRODUCT_KEY, "name": "Tea maker",
        "category": "bh", "functions": [function("switch", "Boolean", json!({}), "rw"),
            function("temp_set", "Integer", degrees(), "rw"), function("temp_current", "Integer", degrees(), "ro")]});
    let device = json!({"product_id": REAL_PRODUCT, "device_id": REAL_DEVICE, "device_name": REAL_DEVICE,
        "name": "Tea maker"});
    let (apps, users, products, devices) = ([app], [user], [product], [device]);
    let project = json!({"name": project.name, "apps": apps, "users": users, "products": products, "devices": devices});
    json!({"projects": [project]}).to_string()
}

pub(super) async fn first_project(control: &Control) -> Result<Option<Credentials>, String> {
    Ok(projects(control).await?.into_iter().next())
}

/// The projects of the data folder, in the order in which they were created.
pub(super) async fn projects(control: &Control) -> Result<Vec<Credentials>, String> {
    let bytes = control.ask("/projects", String::new()).await?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

fn welcome(addresses: &Addresses, project: &Credentials, device_secret: &str, folder: &str) -> String {
    let ingle = std::env::args().next().unwrap_or_else(|| "ingle".to_owned());
    let listeners: String = addresses.lines().map(|(name, address)| format!("{name} {address}\n")).collect();
    let api = addresses.api.as_deref().or(addresses.api_tls.as_deref()).unwrap_or_default();
    format!(
        "{listeners}
project   {name}
Tuya      client_id {client_id}  secret {secret}
Alibaba   AppKey {app_key}  AppSecret {app_secret}  project {project_id}
user      {USER}  password {app_secret}  openId {OPEN_ID}  openIdAppKey {APP_KEY}
device    {REAL_DEVICE}  productKey {REAL_PRODUCT_KEY}  deviceName {REAL_DEVICE}  deviceSecret {device_secret}

Read a device, from another terminal:

  {ingle} call GET /v1.0/devices/{DEVICE} --data {folder}

Or with only a shell, curl and openssl:

  base={api} id={client_id} secret={secret}
  tuya() {{
    t=$(date +%s)000 none=$(printf '' | openssl dgst -sha256 -r | cut -c1-64)
    sign=$(printf '%s%s%sGET\\n%s\\n\\n%s' $id \"$2\" $t $none \"$1\" |
      openssl dgst -sha256 -hmac $secret -r | cut -c1-64 | tr a-f A-F)
    curl -s \"$base$1\" -H \"client_id: $id\" -H \"access_token: $2\" -H \"t: $t\" -H \"sign: $sign\"
  }}
  token=$(tuya '/v1.0/token?grant_type=1' | grep -o '[0-9a-f]\\{{32\\}}' | head -1)
  tuya /v1.0/devices/{DEVICE} $token

In Python: TuyaOpenAPI(\"{api}\", \"{client_id}\", \"{secret}\")
Alibaba:   ApiGatewayClient(\"{api}\", \"{app_key}\", \"{app_secret}\")
Stop with Ctrl-C. The data stays in {folder}.",
        name = project.name,
        client_id = project.client_id,
        secret = project.secret,
        project_id = project.aliyun_project_id,
        app_key = project.app_key,
        app_secret = project.app_secret,
    )
}
