"""`ingle demo`, and the first lines that one writes with each client: address and secret are all that is filled in."""

import os
import re
import subprocess
import sys
from pathlib import Path
from queue import Queue
from threading import Timer

import pytest
import requests
from aliyun_api_gateway import ApiGatewayClient
from linkkit import linkkit
from tuya_connector import TuyaOpenAPI

from living import good
from server import Demo
from world import points

RUN_SECONDS = 60
README = (Path(__file__).parents[2] / "README.md").read_text()
# What it offers to paste for each integration.
INTEGRATIONS = re.findall("```(python|js)\n(.*?)```", README.partition("## Integrations")[2].partition("\n## ")[0],
                          re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    demo = Demo(os.environ["INGLE_BIN"], tmp_path_factory.mktemp("demo") / "stderr.log")
    try:
        yield demo
        demo.stop()
    finally:
        demo.remove()


FEIYAN = """
from feiyan.fy_client import FyClient
from feiyan.http.fy_request import FyRequest
fy = FyClient("60030000", SECRET); fy.host = "http://127.0.0.1:18080"
r = FyRequest(); r.set_url("/cloud/token"); r.set_params({"grantType": "project", "res": "a123ProjectId0001"})
print(fy.execute(r).json())
"""
FEIYAN_FACADE = """
from feiyan.fy_client import FyClient
o = FyClient.__init__
FyClient.__init__ = lambda s, *a, **k: (o(s, *a, **k), setattr(s, "host", "http://127.0.0.1:18080"))[0]
from feiyan.http.api import Cloud
print(Cloud("60030000", SECRET).token({"grantType": "project", "res": "a123ProjectId0001"}).json())
"""
IOT_API_GATEWAY = """
from alibabacloud_iot_api_gateway.client import Client
from alibabacloud_iot_api_gateway.models import Config, IoTApiRequest, CommonParams
from alibabacloud_tea_util.models import RuntimeOptions
c = Client(Config(app_key="60030000", app_secret=SECRET, domain="127.0.0.1:18080", protocol="http"))
b = IoTApiRequest(version="1.0", params={"grantType":"project","res":"a123ProjectId0001"},
                  request=CommonParams(api_ver="1.0.1"))
print(c.do_request("/cloud/token", "https", "POST", None, b, RuntimeOptions()).body)
"""
API_GATEWAY = """
from aliyun_api_gateway import ApiGatewayClient
g = ApiGatewayClient("https://localhost:18443", "60030000", SECRET, ca_file="ca.pem")
r = g.request("POST", "/cloud/token", json_body={"id":"1","version":"1.0","request":{"apiVer":"1.0.1"},
                                                 "params":{"grantType":"project","res":"a123ProjectId0001"}})
print(r.status, r.text())
"""
NODE = """
const {Client} = require('aliyun-api-gateway');
const c = new Client('60030000', SECRET);
(async () => console.log(await c.post('http://127.0.0.1:18080/cloud/token',
  {data: {id:'1', version:'1.0', request:{apiVer:'1.0.1'}, params:{grantType:'project', res:'a123ProjectId0001'}}})))();
"""


@pytest.mark.parametrize(
    ("program", "lines"),
    [
        pytest.param([sys.executable, "-c"], FEIYAN, id="feiyan"),
        pytest.param([sys.executable, "-c"], FEIYAN_FACADE, id="feiyan's facade"),
        pytest.param([sys.executable, "-c"], IOT_API_GATEWAY, id="alibabacloud_iot_api_gateway"),
        pytest.param([sys.executable, "-c"], API_GATEWAY, id="aliyun_api_gateway_python"),
        pytest.param([sys.executable, "-c"], API_GATEWAY.replace("https://localhost:18443", "http://127.0.0.1:18080")
                     .replace(', ca_file="ca.pem"', ""), id="aliyun_api_gateway_python, http"),
        pytest.param(["node", "-e"], NODE, id="npm"),
        pytest.param(["node", "-e"], NODE.replace("http://127.0.0.1:18080", "https://localhost:18443"),
                     id="npm, https"),
    ],
)
def test_the_first_lines(demo, program, lines):
    ports = {"18080": demo.http.rpartition(":")[2], "18443": demo.https.rpartition(":")[2]}
    for written, real in (ports | {"SECRET": f'"{demo.app_secret}"'}).items():
        lines = lines.replace(written, real)
    done = subprocess.run([*program, lines], cwd=demo.data, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert done.returncode == 0, done.stderr
    tokens = re.findall("cloudToken['\"]?: ?['\"]([0-9a-f]{32})['\"]", done.stdout)
    assert len(tokens) == 1 and re.search("['\"]?code['\"]?: ?200", done.stdout), done.stdout
    demo.secrets |= set(tokens)


@pytest.mark.parametrize(("language", "lines"), INTEGRATIONS, ids=lambda text: text.partition("\n")[0])
def test_the_integrations_of_the_readme(demo, language, lines):
    printed = {"CLIENT_ID": demo.client_id, "SECRET": demo.secret, "USER": demo.user, "PASSWORD": demo.password}
    for word, said in printed.items():
        lines = re.sub(rf"\b{word}\b", repr(said), lines)
    for written, real in (("http://127.0.0.1:7700", demo.http), ("127.0.0.1:7743", demo.https.removeprefix("https://"))):
        lines = lines.replace(written, real)
    program = {"python": [sys.executable, "-u", "-c"], "js": ["node", "-e"]}[language]
    with subprocess.Popen([*program, lines], cwd=demo.data, env=os.environ | {"REQUESTS_CA_BUNDLE": "ca.pem"},
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        said = ""
        if "add_message_listener" in lines:
            # The virtual devices report all the time.
            late = Timer(RUN_SECONDS, running.kill)
            late.start()
            while "'protocol': 4" not in said:
                line = running.stdout.readline()
                assert line, said
                said += line
            late.cancel()
        said += running.communicate("\n", timeout=RUN_SECONDS)[0]
    assert running.returncode == 0, said
    assert all(name in said for name in ("Kettle", "客厅灯", "Hall camera")) and "Purifier" not in said
    if "sendcommand" in lines:
        assert "'result': True, 'success': True" in said
    demo.secrets |= set(re.findall("'([0-9a-z]{16})'", said))


def test_there_are_three_integrations():
    assert [re.search("tuya_iot|tinytuya|iobroker", lines)[0] for _, lines in INTEGRATIONS] == [
        "tuya_iot", "tinytuya", "iobroker"]


def test_the_visual_login_of_its_user(demo):
    """All that it takes was printed."""
    assert (demo.app_key, demo.project_id, demo.user) == ("60030000", "a123ProjectId0001", "18200000678")
    client = ApiGatewayClient(demo.http, demo.app_key, demo.app_secret)

    def ask(path, params, token=None):
        head = {"apiVer": "1.0.0", "cloudToken": token}
        return good(client.request("POST", path, json_body={"request": head, "params": params}).json())

    token = ask("/cloud/token", {"grantType": "project", "res": demo.project_id})["cloudToken"]
    demo.secrets.add(token)
    person = {"openId": demo.open_id, "openIdAppKey": demo.open_id_app_key}
    rows = ask("/cloud/device/queryByUser", person, token)["data"]
    names = {row.get("nickName", row["productName"]) for row in rows}
    assert {"Kettle", "客厅灯", "水浸警报", "Vacuum"} <= names and "Purifier" not in names
    assert {row["thingType"] for row in rows} == {"VIRTUAL"}
    camera = next(row for row in rows if row.get("nickName") == "Hall camera")
    device = {name: camera[name] for name in ("productKey", "deviceName")}
    login = {"userName": demo.user, "password": demo.password, "deviceList": [device]}
    answer = requests.post(f"{demo.http}/v1.0/openapi/visual/d/user/login", json=login, timeout=30).json()
    assert answer["success"] is True, answer
    demo.secrets.add(answer["data"]["deviceVisualTokenList"][0]["visualToken"])


def test_a_device_of_one_vendor_and_a_cloud_of_the_other(demo):
    """The walk of the README: a property goes up, a command comes down."""
    received = Queue()
    tea = linkkit.LinkKit(host_name="127.0.0.1", product_key=demo.product_key, device_name=demo.device_name,
                          device_secret=demo.device_secret)
    tea.config_mqtt(port=demo.mqtt_port, secure="")
    tea.thing_setup()
    tea.on_thing_enable = lambda data: tea.thing_post_property({"switch": 0, "temp_current": 21})
    tea.on_thing_prop_post = lambda id, code, data, message, user_data: received.put(code)
    tea.on_thing_prop_changed = lambda wanted, data: received.put(wanted)
    tea.connect_async()
    assert received.get(timeout=30) == 200

    api = TuyaOpenAPI(demo.http, demo.client_id, demo.secret)
    api.connect()
    demo.secrets |= {api.token_info.access_token, api.token_info.refresh_token}
    status = api.get(f"/v1.0/devices/{demo.device}")["result"]["status"]
    # What it did not say is as its product has it from the beginning.
    assert status == points({"switch": False, "temp_set": 0, "temp_current": 21})
    answer = api.post(f"/v1.0/devices/{demo.device}/commands",
                      {"commands": [{"code": "switch", "value": True}, {"code": "temp_set", "value": 80}]})
    assert answer["result"] is True, answer
    assert received.get(timeout=30) == {"switch": 1, "temp_set": 80}
    tea.destruct()
