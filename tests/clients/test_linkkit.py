"""A device built with aliyun-iot-linkkit, unmodified: it is set up with the thing model that the server made, connects,
reports, and receives every reply though it subscribes to nothing. What it reported is read with the clouds' own clients."""

import json
import logging
import logging.handlers
import time
from queue import Queue

import pytest

from answers import good
from living import good as fine
from living import refused
from things import SECONDS
from world import make_strict

OK = (200, {}, "success")
# What its functions cannot have.
ODD = [("switch_1", 2), ("switch_1", "on"), ("countdown_1", "60"), ("countdown_1", 86401), ("countdown_1", 1.5),
       ("work_mode", 7), ("work_mode", "red"), ("work_mode", None), ("note", 5), ("note", "水" * 256),
       ("colour_data", 1)]
BOTH = pytest.mark.parametrize("thing", ["plain", "tls"], indirect=True)


@pytest.fixture
def strict(world):
    make_strict(world, "plug")


@pytest.fixture
def kettle(world, thing, log_in, tmp_path):
    """A plug, connected, with what its model has and an event of its own."""
    living = log_in(world.home)
    tsl = fine(living.ask("/cloud/thing/tsl/get", {"iotId": living.iot_id("plug")}))
    tsl["events"].append({"identifier": "overheat", "outputData": []})
    kettle = thing(world.home, world.home.devices["plug"])
    kettle.living = living
    return kettle.enable(tsl, tmp_path / "tsl.json")


@pytest.fixture
def paho_log():
    """What the MQTT client under the library says of each packet."""
    said = Queue()
    handler = logging.handlers.QueueHandler(said)
    logger = logging.getLogger("Paho")
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


def logged(said, text):
    """Waits for a line that has the text."""
    while text not in (line := said.get(timeout=SECONDS).getMessage()):
        pass
    return line


@BOTH
def test_a_property_goes_up(world, kettle, seen):
    plug = world.home.devices["plug"]
    assert seen(world.home, plug) == (True, {})
    sent = kettle.kit.thing_post_property({"switch_1": 1, "cur_power": 1200, "work_mode": 1, "note": "水"})
    assert kettle.answer(sent, "on_thing_prop_post") == OK
    assert seen(world.home, plug) == (
        True, {"switch_1": True, "cur_power": 1200, "work_mode": "colour", "note": "水"})
    shown = fine(kettle.living.ask("/cloud/thing/properties/get", {"iotId": kettle.living.iot_id("plug")}))
    assert {row["attribute"]: row["value"] for row in shown} == {
        "switch_1": 1, "cur_power": 1200, "work_mode": 1, "note": "水"}
    kettle.kit.disconnect()
    assert kettle.next("on_disconnect") == (0,)
    assert kettle.next("on_thing_disable") == ()


def test_properties_with_their_times(world, kettle, connect):
    now_ms = int(time.time() * 1000)
    for minutes, power in ((3, 30), (2, 20), (1, 10)):
        value = {"value": power, "time": now_ms - minutes * 60_000}
        assert kettle.answer(kettle.kit.thing_post_property({"cur_power": value}), "on_thing_prop_post") == OK
    params = {"iotId": kettle.living.iot_id("plug"), "identifier": "cur_power", "start": now_ms - 3_600_000,
              "end": now_ms + 60_000, "pageSize": 10, "ordered": True}
    rows = fine(kettle.living.ask("/cloud/thing/property/timeline/get", params))["items"]
    assert [(row["timestamp"], str(row["data"])) for row in rows] == [
        (now_ms - 180_000, "30"), (now_ms - 120_000, "20"), (now_ms - 60_000, "10")]
    path = f"/v1.0/devices/{world.home.devices['plug']}/logs"
    logs = good(connect(world.home).get(path, {"type": 7, "start_time": 0, "end_time": now_ms + 60_000, "size": 10}))
    assert [(row["code"], row["value"]) for row in logs["logs"]] == [
        ("cur_power", "10"), ("cur_power", "20"), ("cur_power", "30")]


def test_many_reports_are_each_answered(kettle):
    sent = [kettle.kit.thing_post_property({"cur_power": n}) for n in range(20)]
    received = [kettle.next("on_thing_prop_post") for _ in sent]
    assert sorted(answer[0] for answer in received) == sorted(request_id for _, request_id in sent)
    assert {answer[1] for answer in received} == {200}


def test_a_report_that_cannot_be(world, kettle, seen):
    for wrong in ([], "switch_1", None, 1):
        code, data, _ = kettle.answer(kettle.kit.thing_post_property(wrong), "on_thing_prop_post")
        assert (code, data) == (460, {})
    # It goes on.
    assert kettle.answer(kettle.kit.thing_post_property({"switch_1": 0}), "on_thing_prop_post") == OK
    assert seen(world.home, world.home.devices["plug"]) == (True, {"switch_1": False})


def test_values_off_the_specification(world, kettle, seen):
    """Kept as they came, as is what stands beside them; to either cloud."""
    kept = {}
    for n, (code, value) in enumerate(ODD):
        sent = kettle.kit.thing_post_property({code: value, "cur_power": n})
        assert kettle.answer(sent, "on_thing_prop_post") == OK, (code, value)
        kept |= {code: value, "cur_power": n}
        online, shown = seen(world.home, world.home.devices["plug"])
        assert online and json.dumps(shown, sort_keys=True) == json.dumps(kept, sort_keys=True)
        rows = fine(kettle.living.ask("/cloud/thing/properties/get", {"iotId": kettle.living.iot_id("plug")}))
        shown = {row["attribute"]: row["value"] for row in rows}
        assert json.dumps(shown, sort_keys=True) == json.dumps(kept, sort_keys=True)


def test_a_whole_number_with_a_fraction(world, kettle, seen):
    """As JSON is written where all numbers have one."""
    assert kettle.answer(kettle.kit.thing_post_property({"countdown_1": 200.0}), "on_thing_prop_post") == OK
    _, shown = seen(world.home, world.home.devices["plug"])
    assert shown == {"countdown_1": 200} and type(shown["countdown_1"]) is int


def test_a_document(world, kettle, seen):
    """As it came to its own cloud, and to that of the other vendor a text."""
    colour = {"h": 1, "s": [2, "水"]}
    assert kettle.answer(kettle.kit.thing_post_property({"colour_data": colour}), "on_thing_prop_post") == OK
    rows = fine(kettle.living.ask("/cloud/thing/properties/get", {"iotId": kettle.living.iot_id("plug")}))
    # What was not reported is not there.
    assert {row["attribute"]: row["value"] for row in rows} == {"colour_data": colour}
    _, shown = seen(world.home, world.home.devices["plug"])
    assert set(shown) == {"colour_data"} and json.loads(shown["colour_data"]) == colour


def test_a_strict_product(world, strict, kettle, seen):
    """What is off its specification stops the others of its message."""
    sent = kettle.kit.thing_post_property({"note": "before", "countdown_1": 20.0})
    assert kettle.answer(sent, "on_thing_prop_post") == OK
    for code, value in ODD:
        for values in ({code: value}, {"cur_power": 1, code: value}):
            received, data, _ = kettle.answer(kettle.kit.thing_post_property(values), "on_thing_prop_post")
            assert (received, data) == (460, {}), values
    assert seen(world.home, world.home.devices["plug"]) == (True, {"note": "before", "countdown_1": 20})


@BOTH
def test_an_event_goes_up(kettle):
    before_ms = int(time.time() * 1000)
    output = {"degrees": 104, "place": "壶", "inner": {"list": [1, 2]}}
    assert kettle.answer(kettle.kit.thing_trigger_event(("overheat", output)), "on_thing_event_post") == OK
    params = {"iotId": kettle.living.iot_id("plug"), "identifier": "overheat", "start": before_ms - 60_000,
              "end": before_ms + 60_000, "pageSize": 10, "ordered": False}
    (row,) = fine(kettle.living.ask("/cloud/thing/event/timeline/get", params))["items"]
    assert (row["eventCode"], json.loads(row["eventBody"])) == ("overheat", output)
    assert abs(row["timestamp"] - before_ms) < 60_000
    # What is not in its model the library does not send.
    assert kettle.kit.thing_trigger_event(("unknown", {})) == (1, None)


def test_tags(kettle):
    kit, get = kettle.kit, kettle.sys + "thing/deviceinfo/get"
    assert kettle.answer(kit.thing_update_tags({"room": "厨房", "floor": "2"}), "on_thing_device_info_update") == OK
    assert kettle.answer(kit.thing_update_tags({"floor": "3"}), "on_thing_device_info_update") == OK

    def tags():
        code, data = kettle.ask(get, [])
        assert code == 200
        return {row["attrKey"]: row["attrValue"] for row in data}

    assert tags() == {"room": "厨房", "floor": "3"}
    assert kettle.answer(kit.thing_remove_tags(["floor", "unknown"]), "on_thing_device_info_delete") == OK
    assert tags() == {"room": "厨房"}
    assert kettle.answer(kit.thing_remove_tags(("room",)), "on_thing_device_info_delete") == OK
    assert tags() == {}


def test_device_info(kettle):
    """As versions of the library sent it that upload it by themselves."""
    info = [{"domain": "SYSTEM", "attrKey": "SYS_SDK_LANGUAGE", "attrValue": "Python"},
            {"domain": "SYSTEM", "attrKey": "SYS_LP_SDK_VERSION", "attrValue": "1.2.13"}]
    assert kettle.answer(kettle.kit.thing_update_device_info(info), "on_thing_device_info_update") == OK
    assert kettle.answer(kettle.kit.thing_delete_device_info(info[:1]), "on_thing_device_info_delete") == OK
    for wrong in ({}, [1], "x"):
        code = kettle.answer(kettle.kit.thing_update_device_info(wrong), "on_thing_device_info_update")[0]
        assert code == 460


def test_the_shadow(kettle):
    def received():
        (answer,) = kettle.next("on_thing_shadow_get")
        assert answer["method"] == "reply" and abs(answer["timestamp"] - time.time()) < 600
        return answer["payload"]

    kit, local = kettle.kit, kettle.kit.local_get_latest_shadow()
    assert kit.thing_update_shadow({"colour": "red", "list": [1]}, 1)[0] == 0
    assert received() == {"status": "success", "version": 1}
    assert kit.thing_update_shadow({"note": "影"}, 2)[0] == 0
    assert received() == {"status": "success", "version": 2}
    assert kit.thing_get_shadow()[0] == 0
    whole = received()
    assert (whole["status"], whole["version"]) == ("success", 2)
    assert whole["state"]["reported"] == {"colour": "red", "list": [1], "note": "影"}
    assert set(whole["metadata"]["reported"]) == {"colour", "list", "note"}
    assert (local.get_version(), local.get_state()) == (2, whole["state"])
    # An older version is refused and changes nothing.
    assert kit.thing_update_shadow({"colour": "blue"}, 1)[0] == 0
    refusal = received()
    assert (refusal["status"], str(refusal["content"]["errorcode"])) == ("error", "409")
    assert kit.thing_get_shadow()[0] == 0
    assert received() == whole


def test_firmware(world, kettle, paho_log, connect):
    """Of these the library's own results say nothing: it compares the wrong things."""
    kettle.kit.enable_logger(logging.DEBUG)
    kettle.kit.ota_report_version("MCU", "1.0.7")
    kettle.kit.ota_report_version(None, "2.1.0")
    kettle.kit.query_ota_firmware("MCU")
    # There is nothing newer, and the library drops an answer that says so.
    assert "get_reply" in logged(paho_log, "Received PUBLISH")
    kettle.kit.query_ota_firmware()
    assert "get_reply" in logged(paho_log, "Received PUBLISH")
    kettle.kit.disable_logger()
    assert kettle.received["on_ota_message_arrived"].empty()
    # Its log keeps each change.
    query = {"type": 6, "start_time": 0, "end_time": int(time.time() * 1000) + 60_000, "size": 10}
    logs = good(connect(world.home).get(f"/v1.0/devices/{world.home.devices['plug']}/logs", query))["logs"]
    assert sorted(row["value"] for row in logs) == ["1.0.7", "2.1.0"]
    info = fine(kettle.living.ask("/cloud/thing/info/get", {"iotId": kettle.living.iot_id("plug")}))
    assert info["firmwareVersion"] == "2.1.0"


def test_the_time(kettle):
    key = f"{kettle.product_key}/{kettle.device_name}"
    kettle.publish(f"/ext/ntp/{key}/request", {"deviceSendTime": "1571724098000"}, qos=0)
    topic, answer = kettle.message()
    assert topic == f"/ext/ntp/{key}/response"
    assert answer["deviceSendTime"] == "1571724098000"
    for name in ("serverRecvTime", "serverSendTime"):
        assert type(answer[name]) is str and abs(int(answer[name]) - time.time() * 1000) < 600_000


def test_what_should_be_is_asked_and_taken(kettle, world, connect):
    """A desired value of a cloud, which the device requests itself."""
    path = f"/v2.0/cloud/thing/{world.home.devices['plug']}/shadow/properties/desired"
    good(connect(world.home).post(path, {"properties": {"countdown_1": 60}, "duration": 3600, "type": 0}))
    code, data = kettle.ask(kettle.sys + "thing/property/desired/get", ["countdown_1"])
    assert code == 200 and data["countdown_1"]["value"] == 60
    taken = {"countdown_1": {"version": data["countdown_1"]["version"]}}
    assert kettle.ask(kettle.sys + "thing/property/desired/delete", taken)[0] == 200
    assert kettle.ask(kettle.sys + "thing/property/desired/get", ["countdown_1"]) == (200, {})


def test_topics_of_others(world, kettle, seen):
    """Messages to topics of others are not processed. The connection stays open, and the device receives the reason."""
    lamp = world.home.facts[world.home.devices["lamp"]]
    key = world.home.product_keys[lamp["product_id"]]
    own = f"{kettle.product_key}/{kettle.device_name}"
    for topic in (f"/sys/{key}/{lamp['device_name']}/thing/event/property/post", "/sys/nothing", "x/y",
                  f"/ota/device/inform/{key}/{lamp['device_name']}"):
        kettle.publish(topic, {"id": "1", "params": {"switch_1": 1}, "version": "1.0"})
        received, error = kettle.message()
        assert (received, error["code"]) == (f"/ext/error/{own}", 6813)
    assert seen(world.home, lamp["device_id"]) == (False, {})
    assert seen(world.home, world.home.devices["plug"]) == (True, {})


def test_subscriptions(world, kettle):
    lamp = world.home.facts[world.home.devices["lamp"]]
    own = f"{kettle.product_key}/{kettle.device_name}"
    other = f"{world.home.product_keys[lamp['product_id']]}/{lamp['device_name']}"
    for topic, granted in [
        (f"/{own}/user/get", {0, 1}),
        (f"/sys/{own}/thing/service/property/set", {0, 1}),
        (f"/sys/{own}/#", {0, 1}),
        (f"/sys/{other}/thing/service/property/set", {128}),
        (f"/{other}/user/get", {128}),
        ("/sys/+/+/thing/service/property/set", {128}),
        ("#", {128}),
    ]:
        done, mid = kettle.kit.subscribe_topic(topic, 1)
        assert done == 0
        received, given = kettle.next("on_subscribe_topic")
        assert received == mid and given[0] in granted, (topic, given)


def test_raw_data_and_custom_topics_are_taken(kettle):
    """There is nobody who understands them here; they close nothing."""
    assert kettle.kit.thing_raw_post_data(b"\x00\xff\x01") == 0
    kettle.publish(f"/{kettle.product_key}/{kettle.device_name}/user/update", {"any": "thing"})
    assert kettle.answer(kettle.kit.thing_post_property({"switch_1": 1}), "on_thing_prop_post") == OK


@BOTH
def test_a_second_login_takes_the_place_of_the_first(world, thing):
    plug = world.home.devices["plug"]
    first = thing(world.home, plug).connect()
    thing(world.home, plug).connect()
    first.next("on_disconnect")


@BOTH
@pytest.mark.parametrize("wrong", [{"device_secret": "0" * 32}, {"device_name": "nobody"}, {"product_key": "a1"}])
def test_who_cannot_prove_it(world, thing, paho_log, wrong):
    """The library reports nothing, waits and tries again. The MQTT client below it shows the answer."""
    stranger = thing(world.home, world.home.devices["plug"], **wrong)
    stranger.kit.enable_logger(logging.DEBUG)
    stranger.kit.connect_async()
    assert logged(paho_log, "Received CONNACK").endswith("(0, 4)")
    stranger.kit.disable_logger()
    assert stranger.received["on_connect"].empty()


def test_another_ca(world, thing, server):
    stranger = thing(world.home, world.home.devices["plug"])
    # Without one of its own it trusts the vendor's alone.
    stranger.kit.config_mqtt(port=server.mqtt_tls_port, endpoint="localhost")
    stranger.kit.connect_async()
    assert stranger.next("on_connect")[1] == 9


def test_what_else_a_connection_may_say(world, thing, server):
    """The module that it sits in, a session that is kept, another keep-alive."""
    one = thing(world.home, world.home.devices["plug"])
    assert one.kit.config_device_info("x" * 160) == 0
    one.connect()
    two = thing(world.home, world.home.devices["lamp"])
    two.kit.config_mqtt(port=server.mqtt_port, secure="", keep_alive=1200, clean_session=False)
    two.connect()


def test_a_device_that_is_shut_out(world, thing, paho_log):
    plug = world.home.devices["plug"]
    shut = {"product_id": world.home.products["plug"], "device_id": plug, "disabled": True}
    world.apply({"projects": [{"name": world.home.written["name"], "devices": [shut]}]})
    one = thing(world.home, plug)
    one.kit.enable_logger(logging.DEBUG)
    one.kit.connect_async()
    assert logged(paho_log, "Received CONNACK").endswith(("(0, 4)", "(0, 5)"))
    one.kit.disable_logger()


def test_a_device_that_is_removed(world, kettle, connect):
    """It is let go at once, and its cloud no longer knows it."""
    good(connect(world.home).delete(f"/v1.0/devices/{world.home.devices['plug']}"))
    kettle.next("on_disconnect")
    refused(kettle.living.ask("/cloud/thing/status/get", {"iotId": kettle.living.iot_id("plug")}), 2063)
