"""A device built with aliyun-iot-linkkit, unmodified: it is set up with the thing model that the server made, connects,
reports, and hears the replies though it subscribes to nothing. What it reported is read with the clouds' own clients."""

import json
from queue import Queue

import pytest
from aliyun_api_gateway import ApiGatewayClient
from linkkit import linkkit

from answers import good
from living import good as fine

SECONDS = 30


@pytest.fixture
def ask(server):
    """One call of the Alibaba Living cloud API."""

    def ask(project, path, params):
        client = ApiGatewayClient(server.http, project.app_key, project.app_secret)

        def send(path, params, **more):
            body = {"id": "1", "version": "1.0", "request": {"apiVer": "1.0.1", **more}, "params": params}
            return fine(json.loads(client.request("POST", path, json_body=body).text()))

        token = send("/cloud/token", {"grantType": "project", "res": project.project_id})["cloudToken"]
        server.secrets.add(token)
        return send(path, params, cloudToken=token)

    return ask


@pytest.fixture(params=["plain", "tls"])
def device(request, server):
    """Makes a device of the library, not connected yet, and the queue in which its callbacks are told."""
    made = []

    def device(project, facts):
        one = linkkit.LinkKit(
            host_name="127.0.0.1",
            product_key=project.product_keys[facts["product_id"]],
            device_name=facts["device_name"],
            device_secret=facts["secret"],
        )
        if request.param == "plain":
            one.config_mqtt(port=server.mqtt_port, secure="")
        else:
            one.config_mqtt(port=server.mqtt_tls_port, endpoint="localhost", cadata=server.ca.read_text())
        told = Queue()
        one.on_connect = lambda session, code, user_data: told.put(("connect", code))
        one.on_thing_enable = lambda user_data: told.put(("enable",))
        one.on_disconnect = lambda code, user_data: told.put(("disconnect", code))
        one.on_thing_prop_post = lambda id, code, data, message, user_data: told.put(("post", code, data, message))
        made.append(one)
        return one, told

    yield device
    for one in made:
        one.destruct()


def status(connect, project, facts):
    device = good(connect(project).get(f"/v1.0/devices/{facts['device_id']}"))
    return device["online"], {point["code"]: point["value"] for point in device["status"]}


def test_a_property_goes_up(world, device, ask, connect, tmp_path):
    facts = world.home.facts[world.home.devices["plug"]]
    model = tmp_path / "tsl.json"
    model.write_text(json.dumps(ask(world.home, "/cloud/thing/tsl/get", {"iotId": facts["iot_id"]})))
    kettle, told = device(world.home, facts)
    assert kettle.thing_setup(str(model)) == 0
    kettle.connect_async()
    assert told.get(timeout=SECONDS) == ("connect", 0)
    assert told.get(timeout=SECONDS) == ("enable",)
    assert status(connect, world.home, facts)[0] is True

    done, _ = kettle.thing_post_property({"switch_1": 1, "cur_power": 1200, "work_mode": 1, "note": "水"})
    assert done == 0
    assert told.get(timeout=SECONDS) == ("post", 200, {}, "success")
    online, values = status(connect, world.home, facts)
    assert online is True
    assert values == {"switch_1": True, "cur_power": 1200, "work_mode": "colour", "note": "水"}
    seen = ask(world.home, "/cloud/thing/properties/get", {"iotId": facts["iot_id"]})
    assert {row["attribute"]: row["value"] for row in seen} == {
        "switch_1": 1, "cur_power": 1200, "work_mode": 1, "note": "水"
    }

    kettle.disconnect()
    assert told.get(timeout=SECONDS) == ("disconnect", 0)


def test_a_second_login_takes_the_place_of_the_first(world, device):
    facts = world.home.facts[world.home.devices["plug"]]
    first, first_told = device(world.home, facts)
    first.connect_async()
    assert first_told.get(timeout=SECONDS) == ("connect", 0)
    second, second_told = device(world.home, facts)
    second.connect_async()
    assert second_told.get(timeout=SECONDS) == ("connect", 0)
    assert first_told.get(timeout=SECONDS)[0] == "disconnect"
