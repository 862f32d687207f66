"""The built binary as a process of its own, on free ports, with a data folder that lives as long as it does."""

import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

START_SECONDS = 30
STOP_SECONDS = 30
COMMAND_SECONDS = 60


class Server:
    COMMAND = ("serve", "--json")

    def __init__(self, binary, log):
        self.binary = binary
        self.log = log
        # Not below pytest's folder: the path of the control socket must stay short.
        self.data = Path(tempfile.mkdtemp(prefix="ingle-"))
        # What must never stand in the log.
        self.secrets = set()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("INGLE_")}
        self.environment |= {
            "INGLE_API_LISTEN": "127.0.0.1:0",
            "INGLE_API_TLS_LISTEN": "127.0.0.1:0",
            "INGLE_MQTT_LISTEN": "127.0.0.1:0",
            "INGLE_MQTT_TLS_LISTEN": "127.0.0.1:0",
            "INGLE_METRICS_LISTEN": "",
            # Everything that the server itself can say, so that what it should not say would be seen.
            "RUST_LOG": "info,ingle=trace",
        }
        self.start()

    def start(self):
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [self.binary, *self.COMMAND, "--data", self.data],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,
            )
        try:
            self._read_addresses()
        except BaseException:
            self.remove()
            raise
        self.ca = self.data / "ca.pem"

    def _read_addresses(self):
        addresses = json.loads(self._line())
        self.http, self.https = addresses["api"], addresses["api_tls"]
        self.mqtt_port, self.mqtt_tls_port = (int(addresses[name].rsplit(":", 1)[1]) for name in ("mqtt", "mqtt_tls"))

    def _line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if ready else b""
        assert line, f"the server did not say where it listens:\n{self.log.read_text()}"
        return line.decode()

    def _command(self, *arguments):
        done = subprocess.run(
            [self.binary, *arguments, "--data", self.data],
            env=self.environment | {"RUST_LOG": "warn"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == 0, f"ingle {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def _command_on(self, text, *arguments):
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            return self._command(*arguments, file.name)

    def apply(self, document):
        """Makes a world true and gives it back with everything filled in."""
        text = json.dumps(document, ensure_ascii=False)
        world = json.loads(self._command_on(text, "apply", "--json", "--replace-secrets"))
        for project in world["projects"]:
            self.secrets |= {project["tuya"]["secret"], project["aliyun"]["app_secret"]}
            self.secrets |= {device["secret"] for device in project.get("devices", [])}
            self.secrets |= {product["product_secret"] for product in project.get("products", [])}
        for user in (user for project in document["projects"] for user in project.get("users", [])):
            if "password" in user:
                # An app's login sends a hash, which opens as much as the password does.
                word = user["password"].encode()
                self.secrets |= {user["password"], hashlib.md5(word).hexdigest(), hashlib.sha256(word).hexdigest()}
        return world

    def import_events(self, rows):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        said = self._command_on(lines, "import", "events", "--lenient")
        assert said.startswith(f"{len(rows)} events imported, 0 were there already\n"), said

    def rotate_visual_key(self):
        """Gives back the name of the new key."""
        said = self._command("rotate", "visual-key")
        return re.fullmatch("visual tokens are signed with (.+) from now on\n", said)[1]

    def stop(self):
        """Stops as an operator would, and looks at how it went."""
        assert self.process.poll() is None, f"the server was gone before the end:\n{self.log.read_text()}"
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_SECONDS)
        self.process.stdout.close()
        said = self.log.read_text(errors="replace")
        assert code == 0, f"exit code {code}:\n{said}"
        assert "panicked" not in said, said
        leaked = [secret for secret in self.secrets if secret in said]
        assert not leaked, f"the log holds {len(leaked)} secrets or tokens"

    def kill(self):
        """Stops as a crash would."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def remove(self):
        """Leaves no process and no data behind, whatever happened."""
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.data, ignore_errors=True)


class Demo(Server):
    """`ingle demo`, and the credentials that it prints for people to paste."""

    COMMAND = ("demo",)

    def _read_addresses(self):
        said = ""
        while "Stop with Ctrl-C" not in said:
            said += self._line()

        def printed(pattern):
            found = re.search(pattern, said, re.MULTILINE)
            assert found, said
            return found

        self.http = printed("^api (.+)$")[1]
        self.https = printed("^api_tls (.+)$")[1]
        alibaba = printed("^Alibaba +AppKey ([0-9]+)  AppSecret ([0-9a-f]{32})  project ([0-9A-Za-z]+)$")
        self.app_key, self.app_secret, self.project_id = alibaba.groups()
        user = printed("^user +([0-9]+)  password ([^ ]+)  openId ([^ ]+)  openIdAppKey ([0-9]+)$")
        self.user, self.password, self.open_id, self.open_id_app_key = user.groups()
        self.client_id, self.secret = printed("^Tuya +client_id ([^ ]+)  secret ([0-9a-f]+)$").groups()
        device = printed("^device +([^ ]+)  productKey ([^ ]+)  deviceName ([^ ]+)  deviceSecret ([0-9a-z]+)$")
        self.device, self.product_key, self.device_name, self.device_secret = device.groups()
        self.mqtt_port = int(printed("^mqtt .+:([0-9]+)$")[1])
        self.secrets |= {self.app_secret, self.password, self.secret, self.device_secret}
