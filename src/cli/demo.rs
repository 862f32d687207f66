//! `ingle demo`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::serve::stopped;
use super::{Outcome, Place, print};
use crate::app::{Addresses, App, SystemClock};
use crate::control::{Control, Credentials};

const WORLD: &str = include_str!("demo_world.json");
/// The device that the printed request asks for.
const DEVICE: &str = "vdevo156083035305868";

/// A device that nobody plays: it waits for one to connect.
const REAL_DEVICE: &str = "teamaker000000000001";
const REAL_PRODUCT: &str = "demotea000000001";
const REAL_PRODUCT_KEY: &str = "a1demotea01";

/// The user whose devices the printed requests ask for, and the app that the user belongs to.
const USER: &str = "18200000678";
const APP_KEY: &str = "60030001";
const OPEN_ID: &str = "10000000001";

/// Run a server with a demo project and virtual devices that report for ever.
///
/// Nothing else is needed. Credentials and a request to paste are printed. Refused requests are explained in the
/// header x-ingle-explain.
#[derive(Args)]
pub struct Demo {
    /// The data folder; it is created when it does not exist, and used again when it does.
    #[arg(long, value_name = "DIR", default_value = "ingle-demo")]
    data: PathBuf,
    /// A file with settings that differ from config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Demo {
    pub(super) async fn run(self) -> Outcome {
        let place = Place { data: self.data, config: self.config };
        let app = App::open(&place.data, place.demo_config()?, Arc::new(SystemClock));
        let app = app.map_err(|error| error.to_string())?;
        let control = Control::Here(app.control());
        let mut project = first_project(&control).await?;
        if project.is_none() {
            // Only a new folder: a device that somebody removed stays removed.
            control.ask("/world", WORLD.to_owned()).await?;
            project = first_project(&control).await?;
        }
        let project = project.ok_or("the demo project was not made")?;
        let filled = control.ask("/world", what_is_printed(&project)).await?;
        let filled: serde_json::Value = serde_json::from_slice(&filled).map_err(|error| error.to_string())?;
        let secret = filled["projects"][0]["devices"][0]["secret"].as_str().unwrap_or_default().to_owned();
        let folder = place.data.display().to_string();
        let announce = |addresses: &Addresses| print(&welcome(addresses, &project, &secret, &folder));
        app.serve(announce, stopped()).await.map_err(|error| error.to_string())
    }
}

/// The demo user and the device to connect as they are printed, also in an older folder. The password is the AppSecret,
/// so that each demo has one of its own that can be shown again.
fn what_is_printed(project: &Credentials) -> String {
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

/// The projects of the data folder, in the order in which they were made.
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

Ask for a device, in another terminal:

  {ingle} call GET /v1.0/devices/{DEVICE} --data {folder}

Or with nothing but a shell, curl and openssl:

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
Stop with Ctrl-C; the data stays in {folder}.",
        name = project.name,
        client_id = project.client_id,
        secret = project.secret,
        project_id = project.aliyun_project_id,
        app_key = project.app_key,
        app_secret = project.app_secret,
    )
}
