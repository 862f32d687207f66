"""A device built with alibabacloud-iot-device-sdk of npm, unmodified, which `node/linkkit.js` calls. It subscribes to
every topic by itself and keeps each callback under the id of its message, in which it writes the topic of the reply: an
id that comes back in part is no answer to it."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from answers import done
from javascript import started
from living import good as fine
from living import logged_in
from world import new_world

SET, INVOKE = "/cloud/thing/properties/set", "/cloud/thing/service/invoke"


def names(project, device):
    """What the SDK calls the triple of a device."""
    facts = project.facts[device]
    return {"productKey": project.product_keys[facts["product_id"]], "deviceName": facts["device_name"],
            "deviceSecret": facts["secret"]}


class Kit:
    """One process with one device, whose methods are those of the SDK. What the callbacks received is read by `next`."""

    def __init__(self, send, server, tls, project, device, kind="device", **more):
        self.send, self.names = send, names(project, device)
        url = f"mqtts://localhost:{server.mqtt_tls_port}" if tls else f"mqtt://127.0.0.1:{server.mqtt_port}"
        self.kind, self.config = kind, self.names | {"brokerUrl": url} | more

    def say(self, command, **words):
        return self.send(command=command, **words).get("received")

    def try_to_connect(self):
        return self.say("connect", kind=self.kind, config=self.config)

    def connect(self):
        assert self.try_to_connect() == {"connected": True}
        return self

    def call(self, method, *args, of=None):
        """Calls a method, and returns code and data of the answer that its callback received."""
        answer = self.say("call", method=method, args=args, of=of)
        return answer["code"], answer["data"]

    def next(self, what):
        return self.say("next", what=what)


@pytest.fixture(params=["plain", "tls"])
def kit(request, server, tmp_path):
    """Makes devices, not connected yet. All that TLS needs is what Node trusts."""
    with ExitStack() as running, (tmp_path / "stderr.log").open("wb") as stderr:

        def kit(project, device, *more, **options):
            send = running.enter_context(started("linkkit.js", stderr, NODE_EXTRA_CA_CERTS=str(server.ca)))
            return Kit(send, server, request.param == "tls", project, device, *more, **options)

        yield kit


@pytest.fixture
def plug(world, kit):
    return kit(world.home, world.home.devices["plug"]).connect()


@pytest.fixture
def invoke(world, log_in):
    """Calls a service of the plug without waiting for what comes of it."""
    living = log_in(world.home)
    with ThreadPoolExecutor(1) as threads:

        def invoke(identifier, args):
            params = {"iotId": living.iot_id("plug"), "identifier": identifier, "args": args}
            return threads.submit(living.ask, INVOKE, params)

        yield invoke


def test_properties_go_up(world, plug, seen, log_in):
    values = {"switch_1": 1, "cur_power": 1200, "work_mode": 1, "note": "水 \"é\" 🔥"}
    # The id that it sends, and looks its callback up by, is longer than most.
    assert plug.call("postProps", values) == (200, {})
    reply = f"/sys/{plug.names['productKey']}/{plug.names['deviceName']}/thing/event/property/post_reply"
    assert plug.next(reply)["id"] == f"1|exp-topic|{reply}"
    assert seen(world.home, world.home.devices["plug"]) == (True, values | {"switch_1": True, "work_mode": "colour"})
    living = log_in(world.home)
    shown = fine(living.ask("/cloud/thing/properties/get", {"iotId": living.iot_id("plug")}))
    assert {row["attribute"]: row["value"] for row in shown} == values
    for n in range(20):
        assert plug.call("postProps", {"cur_power": n}) == (200, {})
    # One that cannot be is answered, and the device goes on.
    assert plug.call("postProps", [])[0] == 460
    assert plug.call("postProps", {"switch_1": 0}) == (200, {})
    assert seen(world.home, world.home.devices["plug"])[1]["switch_1"] is False


def test_an_event_goes_up(world, plug, log_in):
    living, before_ms = log_in(world.home), int(time.time() * 1000)
    output = {"degrees": 104, "place": "壶", "inner": {"list": [1, 2]}}
    assert plug.call("postEvent", "overheat", output) == (200, {})
    params = {"iotId": living.iot_id("plug"), "identifier": "overheat", "start": before_ms - 60_000,
              "end": before_ms + 60_000, "pageSize": 10, "ordered": False}
    (row,) = fine(living.ask("/cloud/thing/event/timeline/get", params))["items"]
    assert (row["eventCode"], json.loads(row["eventBody"])) == ("overheat", output)


def test_properties_are_set(world, plug, connect, log_in):
    plug.say("props")
    # Once this is answered, so were its subscriptions.
    assert plug.call("postProps", {"switch_1": 0}) == (200, {})
    living, device = log_in(world.home), world.home.devices["plug"]
    items = {"switch_1": 1, "work_mode": 1, "countdown_1": 60, "note": "水 \"é\""}
    assert fine(living.ask(SET, {"iotId": living.iot_id("plug"), "items": items})) == {}
    received = plug.next("props")
    assert (received["method"], received["params"]) == ("thing.service.property.set", items)
    commands = [{"code": "switch_1", "value": False}, {"code": "work_mode", "value": "white"}]
    done(connect(world.home).post(f"/v1.0/devices/{device}/commands", {"commands": commands}))
    assert plug.next("props")["params"] == {"switch_1": 0, "work_mode": 0}


def test_a_service_is_called_and_answered(plug, invoke):
    plug.say("service", name="boil")
    assert plug.call("postProps", {"switch_1": 0}) == (200, {})
    args = {"degrees": 90, "how": {"slow": True, "für": ["茶", None, 1.5]}}
    for output in ({"minutes": 4, "text": "好", "list": [{"a": 1}]}, {}):
        answer = invoke("boil", args)
        received = plug.next("boil")
        assert (received["method"], received["params"]) == ("thing.service.boil", args)
        plug.say("reply", answer={"id": received["id"], "code": 200, "data": output})
        assert fine(answer.result()) == output


def test_tags_and_the_shadow(plug):
    """Of these the ids are short, or there are none."""
    assert plug.call("postTags", [{"attrKey": "room", "attrValue": "厨房"}]) == (200, {})
    assert plug.call("deleteTags", ["room"]) == (200, {})
    plug.say("shadow")
    plug.say("do", method="postShadow", args=[{"colour": "red", "list": [1]}])
    received = plug.next("shadow")
    assert (received["method"], received["payload"]["status"]) == ("reply", "success")
    plug.say("do", method="getShadow", args=[])
    received = plug.next("shadow")
    assert received["payload"]["state"]["reported"] == {"colour": "red", "list": [1]}


def test_it_comes_and_goes(world, plug, seen):
    assert seen(world.home, world.home.devices["plug"]) == (True, {})
    plug.say("end")
    seen.gone(world.home, world.home.devices["plug"])


def test_it_receives_messages_again_after_a_crash_of_the_server(new_server, tmp_path):
    """It keeps its session and sends no SUBSCRIBE when it connects again."""
    with ExitStack() as running, (tmp_path / "stderr.log").open("wb") as stderr:
        server = running.enter_context(new_server())
        server.environment["INGLE_MQTT_LISTEN"] = f"127.0.0.1:{server.mqtt_port}"
        project = new_world(server).home
        plug = Kit(running.enter_context(started("linkkit.js", stderr)), server, False, project, project.devices["plug"])
        plug.connect()
        plug.say("props")
        plug.say("service", name="boil")
        # Once this is answered, so were its subscriptions.
        assert plug.call("postProps", {"switch_1": 0}) == (200, {})
        assert plug.next("connected") is True

        server.kill()
        server.start()

        assert plug.next("connected") is True
        assert plug.call("postProps", {"switch_1": 1}) == (200, {})
        living = logged_in(server, project)
        assert fine(living.ask(SET, {"iotId": living.iot_id("plug"), "items": {"countdown_1": 60}})) == {}
        assert plug.next("props")["params"] == {"countdown_1": 60}
        with ThreadPoolExecutor(1) as threads:
            params = {"iotId": living.iot_id("plug"), "identifier": "boil", "args": {"degrees": 90}}
            answer = threads.submit(living.ask, INVOKE, params)
            plug.say("reply", answer={"id": plug.next("boil")["id"], "code": 200, "data": {"minutes": 4}})
            assert fine(answer.result()) == {"minutes": 4}


def test_who_cannot_prove_it(world, kit, seen):
    for wrong in ({"deviceSecret": "0" * 32}, {"deviceName": "nobody"}, {"productKey": "a1"}):
        received = kit(world.home, world.home.devices["plug"], **wrong).try_to_connect()
        assert received["connected"] is False and received["code"] in (4, 5), received
    assert seen(world.home, world.home.devices["plug"]) == (False, {})


def test_devices_behind_a_gateway(world, kit, seen):
    home = world.home
    hub = kit(home, home.devices["gate"], "gateway").connect()
    one, two = (names(home, home.devices[key]) for key in ("sub1", "sub2"))
    shown = [{"productKey": sub["productKey"], "deviceName": sub["deviceName"]} for sub in (one, two)]

    def behind():
        code, rows = hub.call("getTopo")
        assert code == 200
        return sorted(row["deviceName"] for row in rows)

    assert behind() == sorted(sub["deviceName"] for sub in shown)
    assert hub.call("removeTopo", shown)[0] == 200
    assert behind() == []
    assert hub.call("addTopo", [one, two])[0] == 200
    assert behind() == sorted(sub["deviceName"] for sub in shown)
    assert hub.call("login", one)[0] == 200
    assert seen(home, home.devices["sub1"]) == (True, {})
    assert hub.call("postProps", {"watersensor_state": 1}, of=0) == (200, {})
    assert seen(home, home.devices["sub1"]) == (True, {"watersensor_state": "alarm"})
    assert hub.call("logout", shown[0])[0] == 200
    assert seen(home, home.devices["sub1"]) == (False, {"watersensor_state": "alarm"})
