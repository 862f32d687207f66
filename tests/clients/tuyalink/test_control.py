"""Commands of the clouds to a TuyaLink device, and its answers."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from answers import done, good, refused
from living import good as fine
from living import refused as no

INVOKE = "/cloud/thing/service/invoke"


@pytest.fixture
def invoke(world, log_in):
    """Calls a service without waiting for what comes of it."""
    living = log_in(world.home)
    with ThreadPoolExecutor(8) as threads:

        def invoke(device, identifier, args):
            params = {"iotId": world.home.facts[device]["iot_id"], "identifier": identifier, "args": args}
            return threads.submit(living.ask, INVOKE, params)

        yield invoke


@pytest.mark.parametrize("path", ["/v1.0/devices/{}/commands", "/v1.0/iot-03/devices/{}/commands"])
def test_commands(world, device, version, tls, connect, seen, path):
    plug = device(world.home, world.home.devices["plug"], version=version, tls=tls).connect().listen()
    api = connect(world.home)
    values = {"switch_1": True, "countdown_1": 60, "work_mode": "colour", "note": "水 \"é\"", "ir_code": "AAE="}
    body = {"commands": [{"code": code, "value": value} for code, value in values.items()]}
    # One of the vendor's clients says it twice.
    done(api.post(path.format(plug.id), body | {"deviceId": plug.id}))
    received = plug.next("thing/property/set")
    assert received["data"] == values and type(received["msgId"]) is str and type(received["time"]) is int
    # What it answers is taken, and its values are what it reports.
    plug.put(plug.topic("thing/property/set_response"), f'{{"msgId": "{received["msgId"]}", "time": 1, "code": 0}}')
    assert seen(world.home, plug.id) == (True, {})
    assert plug.report({"switch_1": True}) == 0
    assert seen(world.home, plug.id) == (True, {"switch_1": True})


def test_properties_of_the_shadow(world, plug, connect):
    api, path = connect(world.home), f"/v2.0/cloud/thing/{plug.id}/shadow/properties/issue"
    for properties in ('{"switch_1":true,"countdown_1":5}', {"switch_1": True, "countdown_1": 5}):
        assert good(api.post(path, {"properties": properties})) in ({}, True)
        assert plug.next("thing/property/set")["data"] == {"switch_1": True, "countdown_1": 5}
    for body in ({}, {"properties": "{"}, {"properties": []}, {"properties": ""}):
        assert api.post(path, body)["success"] is False
    refused(api.post(path, {"properties": {"nothing": True}}), 2008)
    assert plug.is_quiet()


def test_properties_of_the_living_cloud(world, plug, log_in):
    """In the values of the other vendor's model, which become those of this one."""
    items = {"switch_1": 1, "work_mode": 1, "countdown_1": 60}
    params = {"iotId": world.home.facts[plug.id]["iot_id"], "items": items}
    fine(log_in(world.home).ask("/cloud/thing/properties/set", params))
    assert plug.next("thing/property/set")["data"] == {"switch_1": True, "work_mode": "colour", "countdown_1": 60}


def test_commands_that_cannot_be(world, plug, connect, seen):
    api = connect(world.home)
    for path in (f"/v1.0/devices/{plug.id}/commands", f"/v1.0/iot-03/devices/{plug.id}/commands"):
        for code, value in [("nothing", 1), ("switch_1", "true"), ("cur_power", 1), ("work_mode", 0)]:
            refused(api.post(path, {"commands": [{"code": code, "value": value}]}), 2008)
        refused(api.post(path, {}), 1109)
    assert plug.is_quiet()
    plug.stop()
    seen.gone(world.home, plug.id)
    refused(api.post(path, {"commands": [{"code": "switch_1", "value": True}]}), 2001)


def test_commands_in_their_order(world, plug, connect):
    api = connect(world.home)
    for n in range(30):
        done(api.post(f"/v1.0/devices/{plug.id}/commands", {"commands": [{"code": "countdown_1", "value": n}]}))
    received = [plug.next("thing/property/set") for _ in range(30)]
    assert [one["data"]["countdown_1"] for one in received] == list(range(30))
    assert len({one["msgId"] for one in received}) == 30


def test_an_action(world, device, version, tls, invoke):
    plug = device(world.home, world.home.devices["plug"], version=version, tls=tls).connect().listen()
    answer = invoke(plug.id, "open", {"how": {"far": 7, "für": ["茶", None]}})
    received = plug.next("thing/action/execute")
    assert received["data"] == {"actionCode": "open", "inputParams": {"how": {"far": 7, "für": ["茶", None]}}}
    output = {"result": 1, "text": "好"}
    plug.say("thing/action/execute_response", {"actionCode": "open", "outputParams": output},
             msgId=received["msgId"], code=0)
    assert fine(answer.result()) == output


def test_actions_at_once(plug, invoke):
    answers = {n: invoke(plug.id, f"a{n}", {"n": n}) for n in range(6)}
    for received in [plug.next("thing/action/execute") for _ in answers][::-1]:
        n = received["data"]["inputParams"]["n"]
        plug.say("thing/action/execute_response", {"actionCode": f"a{n}", "outputParams": {"n": n * 10}},
                 msgId=received["msgId"], code=0)
    assert {n: fine(answer.result()) for n, answer in answers.items()} == {n: {"n": n * 10} for n in answers}


def test_an_action_that_fails(plug, invoke):
    answer = invoke(plug.id, "open", {})
    received = plug.next("thing/action/execute")
    answered = {"actionCode": "open", "outputParams": {}}
    plug.say("thing/action/execute_response", answered, msgId=received["msgId"], code=1001)
    assert answer.result()["code"] != 200


def test_an_action_that_is_not_answered(world, plug, device, invoke):
    """Nor can another answer in its place."""
    answer = invoke(plug.id, "open", {})
    received = plug.next("thing/action/execute")
    lamp = device(world.home, world.home.devices["lamp"]).connect().listen()
    lamp.say("thing/action/execute_response", {"actionCode": "open", "outputParams": {}}, msgId=received["msgId"], code=0)
    no(answer.result(), 20056)


def test_a_device_that_goes_in_the_middle(plug, invoke):
    """A caller that waits receives an error."""
    answer = invoke(plug.id, "open", {})
    plug.next("thing/action/execute")
    plug.stop()
    assert answer.result()["code"] in (6205, 20056)


def test_what_should_be(world, plug, connect):
    """A desired value of the cloud, which the device requests and accepts."""
    api, path = connect(world.home), f"/v2.0/cloud/thing/{plug.id}/shadow/properties/desired"
    desire, forget = "thing/property/desired/get", "thing/property/desired/delete"
    assert plug.ask(desire, ["switch_1"]) == (0, {"properties": {}})
    good(api.post(path, {"properties": '{"switch_1":true,"countdown_1":9}', "duration": 3600, "type": 0}))
    # As one library asks, and as another does.
    for data in (["countdown_1"], {"properties": ["countdown_1"]}):
        code, received = plug.ask(desire, data)
        assert code == 0 and set(received["properties"]) == {"countdown_1"}
        assert received["properties"]["countdown_1"]["value"] == 9
    version = received["properties"]["countdown_1"]["version"]
    assert type(version) is int
    # A desired value that is newer than the accepted one stays.
    good(api.post(path, {"properties": {"countdown_1": 10}, "duration": 3600, "type": 0}))
    assert plug.ask(forget, {"properties": {"countdown_1": {"version": version}}})[0] == 0
    code, received = plug.ask(desire, ["countdown_1", "switch_1"])
    assert {code: desired["value"] for code, desired in received["properties"].items()} == {"countdown_1": 10, "switch_1": True}
    newer = received["properties"]
    assert newer["countdown_1"]["version"] > version
    taken = {code: {"version": desired["version"]} for code, desired in newer.items()}
    assert plug.ask(forget, {"properties": taken})[0] == 0
    assert plug.ask(desire, ["countdown_1", "switch_1"]) == (0, {"properties": {}})


def test_a_desired_value_that_waits_for_the_device(world, device, connect):
    """The device receives it as soon as it subscribes, and only once."""
    plug, api = world.home.devices["plug"], connect(world.home)
    desired = {"properties": {"switch_1": True}, "duration": 3600, "type": 1}
    good(api.post(f"/v2.0/cloud/thing/{plug}/shadow/properties/desired", desired))
    first = device(world.home, plug).connect()
    assert first.subscribe(first.topic("thing/#"))[0] in (0, 1)
    assert first.next("thing/property/set")["data"] == {"switch_1": True}
    # It is deleted after it was sent to the device, and before anything else on the connection is answered.
    assert first.subscribe(first.topic("ext/#"))[0] in (0, 1) and first.is_quiet()
    second = device(world.home, plug).connect().listen()
    assert second.is_quiet()
