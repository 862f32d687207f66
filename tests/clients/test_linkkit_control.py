"""What the clouds ask of a device that is built with aliyun-iot-linkkit: properties, which it takes by itself, and
services, which the program around the library answers."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from answers import done, good
from answers import refused as no
from living import good as fine
from living import refused

BOTH = pytest.mark.parametrize("thing", ["plain", "tls"], indirect=True)
SET, INVOKE = "/cloud/thing/properties/set", "/cloud/thing/service/invoke"


@pytest.fixture
def plug(world):
    return world.home.devices["plug"]


@pytest.fixture
def kettle(world, plug, thing, log_in, tmp_path):
    """A plug, connected, that has a service of its own."""
    living = log_in(world.home)
    tsl = fine(living.ask("/cloud/thing/tsl/get", {"iotId": living.iot_id("plug")}))
    tsl["services"].append({"identifier": "boil"})
    kettle = thing(world.home, plug)
    kettle.living = living
    return kettle.enable(tsl, tmp_path / "tsl.json")


@pytest.fixture
def invoke(kettle):
    """Calls a service without waiting for what comes of it."""
    with ThreadPoolExecutor(8) as threads:

        def invoke(identifier, args=None, **name):
            name = name or {"iotId": kettle.living.iot_id("plug")}
            return threads.submit(kettle.living.ask, INVOKE, {"identifier": identifier, "args": args or {}} | name)

        yield invoke


@BOTH
def test_properties_set_by_the_living_cloud(world, plug, kettle):
    items = {"switch_1": 1, "work_mode": 1, "countdown_1": 60, "note": "水 \"é\"", "ir_code": "AAE="}
    assert fine(kettle.living.ask(SET, {"iotId": kettle.living.iot_id("plug"), "items": items})) == {}
    assert kettle.next("on_thing_prop_changed") == (items,)
    # A device by its other name.
    name = {"productKey": kettle.product_key, "deviceName": kettle.device_name}
    assert fine(kettle.living.ask(SET, name | {"items": {"switch_1": 0}})) == {}
    assert kettle.next("on_thing_prop_changed") == ({"switch_1": 0},)


@BOTH
@pytest.mark.parametrize("path", ["/v1.0/devices/{}/commands", "/v1.0/iot-03/devices/{}/commands"])
def test_commands_of_the_tuya_cloud(world, plug, kettle, connect, path):
    api, before_ms = connect(world.home), int(time.time() * 1000)
    commands = [{"code": "switch_1", "value": True}, {"code": "work_mode", "value": "colour"},
                {"code": "countdown_1", "value": 60}, {"code": "note", "value": "水"}]
    done(api.post(path.format(plug), {"commands": commands}))
    # In the values of the device's own model.
    assert kettle.next("on_thing_prop_changed") == ({"switch_1": 1, "work_mode": 1, "countdown_1": 60, "note": "水"},)
    # A list of one is not gathered with others.
    for on in (False, True):
        done(api.post(path.format(plug), {"commands": [{"code": "switch_1", "value": on}]}))
        assert kettle.next("on_thing_prop_changed") == ({"switch_1": int(on)},)
    query = {"type": 5, "start_time": before_ms - 60_000, "end_time": before_ms + 60_000, "size": 20}
    rows = good(api.get(f"/v1.0/devices/{plug}/logs", query))["logs"]
    assert {row["event_id"] for row in rows} == {5}
    assert [(row["code"], row["value"]) for row in rows][:2] == [("switch_1", "true"), ("switch_1", "false")]
    assert sorted((row["code"], row["value"]) for row in rows[2:]) == [
        ("countdown_1", "60"), ("note", "水"), ("switch_1", "true"), ("work_mode", "colour")]


def test_properties_issued_by_the_tuya_cloud(world, plug, kettle, connect):
    api, path = connect(world.home), f"/v2.0/cloud/thing/{plug}/shadow/properties/issue"
    # As text in one of the vendor's clients, as an object in another.
    for properties in ('{"switch_1":true,"colour_data":"{\\"h\\":1}"}', {"switch_1": True, "colour_data": '{"h":1}'}):
        assert good(api.post(path, {"properties": properties})) in ({}, True)
        (received,) = kettle.next("on_thing_prop_changed")
        assert received["switch_1"] == 1
        assert received["colour_data"] in ('{"h":1}', {"h": 1})


def test_commands_in_a_row(world, plug, kettle, connect):
    api = connect(world.home)
    for n in range(30):
        done(api.post(f"/v1.0/devices/{plug}/commands", {"commands": [{"code": "countdown_1", "value": n}]}))
    assert [kettle.next("on_thing_prop_changed") for _ in range(30)] == [({"countdown_1": n},) for n in range(30)]


def test_commands_that_cannot_be(world, plug, kettle, connect):
    api, path = connect(world.home), f"/v1.0/devices/{plug}/commands"
    for code, value in [("nothing", True), ("switch_1", 1), ("switch_1", "on"), ("countdown_1", 86401),
                        ("countdown_1", "1"), ("work_mode", "red"), ("cur_power", 1)]:
        no(api.post(path, {"commands": [{"code": code, "value": value}]}), 2008)
        # One that cannot be stops the others of its list.
        no(api.post(path, {"commands": [{"code": "switch_2", "value": True}, {"code": code, "value": value}]}), 2008)
    for body in ({}, {"commands": []}, {"command": [{"code": "switch_1", "value": True}]}):
        no(api.post(path, body), 1109)
    no(api.post(f"/v1.0/devices/{world.other.devices['away']}/commands",
                {"commands": [{"code": "switch_1", "value": True}]}), 1106)
    living, iot_id = kettle.living, kettle.living.iot_id("plug")
    for items in ({"nothing": 1}, {"countdown_1": -1}, {"cur_power": 1}, {"work_mode": 7}):
        assert living.ask(SET, {"iotId": iot_id, "items": items})["code"] == 460
    assert living.ask(SET, {"iotId": iot_id})["code"] == 460
    refused(living.ask(SET, {"iotId": "nothing", "items": {"switch_1": 1}}), 2063)
    # None of them came down.
    done(api.post(path, {"commands": [{"code": "switch_1", "value": False}]}))
    assert kettle.next("on_thing_prop_changed") == ({"switch_1": 0},)


def test_commands_to_nobody(world, thing, connect, log_in, seen):
    """Before it ever came, and after it went."""
    plug, living, api = world.home.devices["plug"], log_in(world.home), connect(world.home)

    def is_offline():
        commands = {"commands": [{"code": "switch_1", "value": True}]}
        no(api.post(f"/v1.0/devices/{plug}/commands", commands), 2001)
        no(api.post(f"/v1.0/iot-03/devices/{plug}/commands", commands), 2001)
        no(api.post(f"/v2.0/cloud/thing/{plug}/shadow/properties/issue", {"properties": {"switch_1": True}}), 2001)
        refused(living.ask(SET, {"iotId": living.iot_id("plug"), "items": {"switch_1": 1}}), 6205)
        refused(living.ask(INVOKE, {"iotId": living.iot_id("plug"), "identifier": "boil", "args": {}}), 6205)

    is_offline()
    kettle = thing(world.home, plug).connect()
    kettle.kit.disconnect()
    # The server processes its DISCONNECT later.
    seen.gone(world.home, plug)
    is_offline()


def test_a_desired_value_that_waits_for_the_device(world, plug, thing, connect):
    """The device receives it as soon as it is connected, and only once."""
    api = connect(world.home)
    desired = {"properties": {"countdown_1": 60, "switch_1": True}, "duration": 3600, "type": 1}
    good(api.post(f"/v2.0/cloud/thing/{plug}/shadow/properties/desired", desired))
    first = thing(world.home, plug).connect()
    assert first.next("on_thing_prop_changed") == ({"countdown_1": 60, "switch_1": 1},)
    # It is deleted after it was sent to the device, and before anything else on the connection is answered.
    assert first.ask(first.sys + "thing/property/desired/get", ["countdown_1"]) == (200, {})
    second = thing(world.home, plug).connect()
    done(api.post(f"/v1.0/devices/{plug}/commands", {"commands": [{"code": "switch_2", "value": True}]}))
    assert second.next("on_thing_prop_changed") == ({"switch_2": 1},)


@BOTH
def test_a_service_and_what_comes_of_it(kettle, invoke):
    args = {"degrees": 90, "how": {"slow": True, "für": ["茶", None, 1.5]}}
    answer = invoke("boil", args)
    identifier, request_id, params = kettle.next("on_thing_call_service")
    assert (identifier, params) == ("boil", args)
    output = {"minutes": 4, "text": "好", "list": [{"a": 1}]}
    assert kettle.kit.thing_answer_service(identifier, request_id, 200, output) == 0
    assert fine(answer.result()) == output
    # One without either.
    answer = invoke("boil", productKey=kettle.product_key, deviceName=kettle.device_name)
    identifier, request_id, params = kettle.next("on_thing_call_service")
    assert params == {}
    assert kettle.kit.thing_answer_service(identifier, request_id, 200) == 0
    assert fine(answer.result()) == {}


def test_services_at_once(kettle, invoke):
    """Each caller gets its own answer, whichever comes first."""
    answers = {n: invoke("boil", {"n": n}) for n in range(6)}
    calls = [kettle.next("on_thing_call_service") for _ in answers]
    for identifier, request_id, params in reversed(calls):
        assert kettle.kit.thing_answer_service(identifier, request_id, 200, {"n": params["n"] * 10}) == 0
    assert {n: fine(answer.result()) for n, answer in answers.items()} == {n: {"n": n * 10} for n in answers}


def test_a_service_that_the_device_refuses(kettle, invoke):
    answer = invoke("boil")
    identifier, request_id, _ = kettle.next("on_thing_call_service")
    assert kettle.kit.thing_answer_service(identifier, request_id, 100001, {"why": "empty"}) == 0
    assert answer.result()["code"] != 200


def test_a_service_that_is_not_answered(kettle, invoke):
    started = time.monotonic()
    answer = invoke("boil")
    identifier, request_id, _ = kettle.next("on_thing_call_service")
    refused(answer.result(), 20056)
    assert 7.5 < time.monotonic() - started < 20
    # An answer that comes late is nobody's, and those of others go on.
    assert kettle.kit.thing_answer_service(identifier, request_id, 200, {"late": 1}) == 0
    answer = invoke("boil")
    identifier, request_id, _ = kettle.next("on_thing_call_service")
    assert kettle.kit.thing_answer_service(identifier, request_id, 200, {"late": 0}) == 0
    assert fine(answer.result()) == {"late": 0}


def test_a_service_that_the_device_does_not_have(kettle, invoke):
    """The library hands it on as any message."""
    answer = invoke("sing", {"song": "x"})
    topic, payload = kettle.message()
    assert topic == kettle.sys + "thing/service/sing"
    assert payload["method"] == "thing.service.sing" and payload["params"] == {"song": "x"}
    kettle.publish(topic + "_reply", {"id": payload["id"], "code": 200, "data": {"la": 1}}, qos=0)
    assert fine(answer.result()) == {"la": 1}


def test_the_services_of_every_model(kettle, invoke):
    """Those that set and get properties."""
    assert fine(invoke("set", {"switch_1": 1}).result()) == {}
    assert kettle.next("on_thing_prop_changed") == ({"switch_1": 1},)
    answer = invoke("get", ["switch_1"])
    topic, payload = kettle.message()
    assert topic == kettle.sys + "thing/service/property/get" and payload["params"] == ["switch_1"]
    kettle.publish(topic + "_reply", {"id": payload["id"], "code": 200, "data": {"switch_1": 1}}, qos=0)
    assert fine(answer.result()) == {"switch_1": 1}


def test_answers_that_nobody_awaits(world, plug, kettle, seen):
    for request_id in ("1", "999999", "x", 7, None):
        kettle.publish(kettle.sys + "thing/service/boil_reply", {"id": request_id, "code": 200, "data": {}})
        kettle.publish(kettle.sys + "thing/service/property/set_reply", {"id": request_id, "code": 200, "data": {}})
    kettle.kit.publish_topic(kettle.sys + "thing/service/boil_reply", "no json", 1)
    assert kettle.answer(kettle.kit.thing_post_property({"switch_1": 1}), "on_thing_prop_post")[0] == 200
    assert seen(world.home, plug) == (True, {"switch_1": True})
