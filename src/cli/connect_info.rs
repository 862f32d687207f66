//! `ingle device connect-info`

use clap::{Args, ValueEnum};
use serde_json::Value as Json;

use super::objects::{ask, escaped, iso};
use super::{Outcome, Place, existing, print};
use crate::control::Control;
use crate::control::connection::ConnectionRequest;
use crate::tls::CA_FILE;

/// Print what a device needs to connect.
///
/// The password is a code that is computed from the secret of the device and the present time. Neither protocol limits how long it is
/// valid, so whoever has it can connect as the device until the device gets another secret.
#[derive(Args)]
pub struct ConnectInfo {
    /// The device id.
    id: String,
    /// The form of the output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The protocol. By default, both as text and JSON, and otherwise TuyaLink.
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
    /// The name or address by which the device reaches this server. By default, the address of the listener.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Use the listener with TLS.
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// A command line of Mosquitto that sends one report.
    Mosquitto,
    /// A sketch for the PubSubClient library.
    Arduino,
    /// JSON.
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Tuyalink,
    Linkkit,
}

impl Protocol {
    /// Its name in the answer of the server.
    fn name(self) -> &'static str {
        match self {
            Self::Tuyalink => "tuyalink",
            Self::Linkkit => "linkkit",
        }
    }
}

/// Where the device connects.
struct Broker {
    host: String,
    port: String,
    /// The file with the certificate of the CA, for TLS.
    ca: Option<String>,
}

impl ConnectInfo {
    pub(super) async fn run(self) -> Outcome {
        let (control, _app) = existing(&self.place).await?;
        let broker = self.broker(&control).await?;
        let request = ConnectionRequest { device_id: self.id.clone(), is_tls: self.tls };
        let mut found = ask(&control, "/devices/connection", &request).await?;
        if found["behind_gateway"] == true {
            tracing::warn!(
                "the device is a sub-device: it connects through its gateway, with the gateway's connection"
            );
        }
        if found["disabled"] == true {
            tracing::warn!("the device is disabled: it cannot connect");
        }
        let protocol = self.protocol.unwrap_or(Protocol::Tuyalink);
        let of = &found[protocol.name()];
        let text = match self.format {
            Format::Mosquitto => mosquitto(&broker, of),
            Format::Arduino => arduino(&broker, of),
            Format::Text => {
                let both = [Protocol::Tuyalink, Protocol::Linkkit].into_iter();
                let chosen = both.filter(|one| self.protocol.is_none_or(|wanted| wanted == *one));
                let parts = chosen.map(|one| broker.text(one.name(), &found[one.name()]));
                let at = found["time_ms"].as_i64().map(iso).unwrap_or_default();
                format!("device          {}\ntime            {at}\n{}", escaped(&self.id), parts.collect::<String>())
            }
            Format::Json => {
                found["host"] = broker.host.into();
                found["port"] = broker.port.into();
                found["ca"] = broker.ca.into();
                serde_json::to_string_pretty(&found).map_err(|error| error.to_string())?
            }
        };
        print(text.trim_end());
        Ok(())
    }

    /// The listener for devices: that of the running server, or that of the settings.
    async fn broker(&self, control: &Control) -> Result<Broker, String> {
        let addresses = control.ask("/addresses", String::new()).await?;
        let addresses: Json = serde_json::from_slice(&addresses).map_err(|error| error.to_string())?;
        let mqtt = self.place.config()?.mqtt;
        let (running, set, setting) = match self.tls {
            true => (&addresses["mqtt_tls"], mqtt.tls_listen, "mqtt.tls_listen"),
            false => (&addresses["mqtt"], mqtt.listen, "mqtt.listen"),
        };
        let address = running.as_str().map_or(set, str::to_owned);
        let (host, port) = address.rsplit_once(':').ok_or_else(|| format!("{setting} is off"))?;
        let host = match &self.host {
            Some(host) => host.clone(),
            // A listener at all addresses of the machine is at its own too.
            None => host.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]").replace(['[', ']'], ""),
        };
        let ca = self.tls.then(|| self.place.data.join(CA_FILE).display().to_string());
        Ok(Broker { host, port: port.to_owned(), ca })
    }
}

/// A text of the answer.
fn text<'a>(of: &'a Json, member: &str) -> &'a str {
    of[member].as_str().unwrap_or_default()
}

impl Broker {
    fn text(&self, protocol: &str, of: &Json) -> String {
        let rows = [
            ("host", self.host.as_str()),
            ("port", &self.port),
            ("CA", self.ca.as_deref().unwrap_or("none, the connection is not encrypted")),
            ("client id", text(of, "client_id")),
            ("user name", text(of, "username")),
            ("password", text(of, "password")),
            ("reports to", text(of, "report_topic")),
            ("receives from", text(of, "command_filter")),
            ("a report", text(of, "payload")),
        ];
        let rows: String = rows.iter().map(|(name, value)| format!("  {name:14}{}\n", escaped(value))).collect();
        format!("\n{protocol}\n{rows}")
    }
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn mosquitto(broker: &Broker, of: &Json) -> String {
    let ca = broker.ca.as_ref().map(|ca| format!(" --cafile {}", quoted(ca))).unwrap_or_default();
    format!(
        "mosquitto_pub -V 311 -h {} -p {}{ca} -i {} -u {} -P {} -q 1 -t {} -m {}",
        quoted(&broker.host),
        broker.port,
        quoted(text(of, "client_id")),
        quoted(text(of, "username")),
        quoted(text(of, "password")),
        quoted(text(of, "report_topic")),
        quoted(text(of, "payload"))
    )
}

fn arduino(broker: &Broker, of: &Json) -> String {
    let literal = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let client = if broker.ca.is_some() { "WiFiClientSecure" } else { "WiFiClient" };
    let trust = match &broker.ca {
        Some(ca) => format!("  network.setCACert(CA);  // the text of {ca}\n"),
        None => String::new(),
    };
    let ca = if broker.ca.is_some() { "extern const char CA[];\n" } else { "" };
    format!(
        "#include <WiFi.h>
#include <{client}.h>
#include <PubSubClient.h>

const char HOST[] = {host};
const int PORT = {port};
const char CLIENT_ID[] = {client_id};
const char USER_NAME[] = {username};
const char PASSWORD[] = {password};
const char REPORT_TOPIC[] = {report_topic};
const char COMMAND_FILTER[] = {command_filter};
const char REPORT[] = {payload};
{ca}
{client} network;
PubSubClient mqtt(network);

void received(char *topic, byte *payload, unsigned int length) {{
  Serial.write(payload, length);
}}

void setup() {{
  Serial.begin(115200);
  WiFi.begin(\"your network\", \"its password\");
  while (WiFi.status() != WL_CONNECTED) delay(100);
{trust}  mqtt.setServer(HOST, PORT);
  mqtt.setBufferSize(2048);
  mqtt.setCallback(received);
}}

void loop() {{
  if (!mqtt.connected()) {{
    if (!mqtt.connect(CLIENT_ID, USER_NAME, PASSWORD)) {{ delay(5000); return; }}
    mqtt.subscribe(COMMAND_FILTER, 1);
    mqtt.publish(REPORT_TOPIC, REPORT);
  }}
  mqtt.loop();
}}",
        host = literal(&broker.host),
        port = broker.port,
        client_id = literal(text(of, "client_id")),
        username = literal(text(of, "username")),
        password = literal(text(of, "password")),
        report_topic = literal(text(of, "report_topic")),
        command_filter = literal(text(of, "command_filter")),
        payload = literal(text(of, "payload")),
    )
}
