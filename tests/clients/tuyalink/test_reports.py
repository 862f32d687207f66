"""What a device reports, and what it is answered. The values are read with the vendor's own client."""

import json
import time

import pytest

from answers import good
from living import good as fine
from world import PLUG, make_strict, points, status_of

# The codes of the document.
PARAMETER, FORMAT, CHECK, PART, ALL, TOO_MANY = 1002, 1003, 2006, 2121, 2122, 2123
# What its functions cannot have.
ODD = [("switch_1", "on"), ("switch_1", 2), ("countdown_1", "60"), ("countdown_1", 86401), ("countdown_1", 1.5),
       ("work_mode", "red"), ("work_mode", 0), ("work_mode", None), ("note", 5), ("note", "水" * 256),
       ("colour_data", True)]


def now_ms():
    return int(time.time() * 1000)


@pytest.fixture
def logs(connect):
    """The data points of a device, newest first, as the log shows them: time, code, value."""

    def logs(project, device):
        query = {"type": 7, "start_time": 0, "end_time": now_ms() + 60_000, "size": 100}
        rows = good(connect(project).get(f"/v1.0/devices/{device}/logs", query))["logs"]
        return [(row["event_time"], row["code"], row["value"]) for row in rows]

    return logs


@pytest.fixture
def events(log_in):
    """The events of a device and code, oldest first: time and output."""

    def events(project, device, code):
        params = {"iotId": project.facts[device]["iot_id"], "identifier": code, "start": 0, "end": now_ms() + 60_000,
                  "ordered": True, "pageSize": 50}
        rows = fine(log_in(project).ask("/cloud/thing/event/timeline/get", params))["items"]
        return [(row["timestamp"], json.loads(row["eventBody"])) for row in rows]

    return events


def test_properties(world, device, version, tls, seen):
    plug = device(world.home, world.home.devices["plug"], version=version, tls=tls).connect().listen()
    values = {"switch_1": True, "countdown_1": 60, "work_mode": "colour", "note": "水 \"é\" 🔥", "cur_power": 0,
              "fault": 3}
    assert plug.report(values) == 0
    assert seen(world.home, plug.id) == (True, values)
    # With their times, as the vendor's library sends them, some of them.
    at = now_ms()
    assert plug.report({"switch_1": {"value": False, "time": at}, "cur_power": 7}) == 0
    assert seen(world.home, plug.id) == (True, values | {"switch_1": False, "cur_power": 7})


@pytest.mark.parametrize("qos", [0, 1])
def test_the_acknowledgement_is_given_on_request(world, plug, seen, qos):
    """The one of the document, beside that of MQTT."""
    plug.say("thing/property/report", {"countdown_1": 1}, qos=qos)
    plug.say("thing/property/report", {"countdown_1": 2}, qos=qos, ack=0)
    # Nor for one that cannot be.
    plug.say("thing/property/report", [], qos=qos)
    assert plug.is_quiet()
    assert seen(world.home, plug.id) == (True, {"countdown_1": 2})


def test_times(world, plug, logs):
    """In seconds or milliseconds, of the message or of each value."""
    at = now_ms() // 1000 * 1000 - 3_600_000
    assert plug.report({"countdown_1": 1}, time=at) == 0
    assert plug.report({"countdown_1": 2}, time=at // 1000 + 1) == 0
    assert plug.report({"countdown_1": {"value": 3, "time": at + 2000}}, time=at) == 0
    assert plug.report({"countdown_1": {"value": 4, "time": at // 1000 + 3}}, time=at) == 0
    assert logs(world.home, plug.id) == [(at + n * 1000, "countdown_1", str(n + 1)) for n in (3, 2, 1, 0)]


def test_ids_and_versions(world, plug):
    """Of any text, and as numbers, which one library sends."""
    for message_id in ("1", "x" * 32, "45lkj3551234001", "消息"):
        plug.say("thing/property/report", {"switch_1": True}, ack=1, msgId=message_id, version="1.0")
        answer = plug.next("thing/property/report_response")
        assert (answer["msgId"], answer["code"]) == (message_id, 0)
    plug.say("thing/property/report", {"switch_1": True}, ack=1, msgId=7)
    assert str(plug.next("thing/property/report_response")["msgId"]) == "7"


def test_reports_that_cannot_be(world, plug, seen):
    assert plug.report({"note": "before"}) == 0
    for data in ([], "x", 1, None):
        assert plug.report(data) == FORMAT, data
    assert plug.report({"note": "after"}, time="x") == PARAMETER
    assert plug.report({"note": {"value": "after", "time": "x"}}) == PARAMETER
    # What is no JSON has no id to answer to.
    for payload in (b"", b"{", b"\xff\xfe", b"[1]", b"null", b"{" * 5000):
        plug.put(plug.topic("thing/property/report"), payload)
    assert plug.is_quiet()
    assert seen(world.home, plug.id) == (True, {"note": "before"})


def test_values_off_the_specification(world, plug, seen, connect, logs):
    """Kept as they came, as is what stands beside them."""
    kept = {}
    for n, (code, value) in enumerate(ODD):
        assert plug.report({code: value, "cur_power": n}) == 0, (code, value)
        kept |= {code: value, "cur_power": n}
        online, shown = seen(world.home, plug.id)
        assert online and json.dumps(shown, sort_keys=True) == json.dumps(kept, sort_keys=True)
    status = good(connect(world.home).get(f"/v1.0/devices/{plug.id}/status"))
    assert json.dumps(status) == json.dumps(points(status_of(PLUG, kept)))
    assert len(logs(world.home, plug.id)) == 2 * len(ODD)


def test_numbers_that_are_whole(world, plug, seen):
    """However they are written."""
    for written, whole in (("200.0", 200), ("2e2", 200), ("3.0E1", 30)):
        plug.put(plug.topic("thing/property/report"), f'{{"msgId": "1", "data": {{"countdown_1": {written}}}}}')
        _, shown = seen(world.home, plug.id)
        assert shown == {"countdown_1": whole} and type(shown["countdown_1"]) is int, written


def test_documents(world, plug, seen):
    """They are texts to the cloud of this vendor, in which form they came."""
    for given in ({"h": 1, "s": [2, "水"]}, '{"h":1,"s":[2,"水"]}', {"value": {"h": 1, "s": [2, "水"]}}):
        assert plug.report({"colour_data": given, "other": {"value": [1, 2]}}) == 0
        assert seen(world.home, plug.id) == (True, {"colour_data": '{"h":1,"s":[2,"水"]}', "other": "[1,2]"})


def test_a_strict_product(world, device, seen):
    """What is off its specification stops the others of its message."""
    make_strict(world, "plug", "leak")
    plug = device(world.home, world.home.devices["plug"]).connect().listen()
    assert plug.report({"note": "before", "countdown_1": 20.0}) == 0
    for code, value in ODD:
        assert plug.report({code: value}) == CHECK, (code, value)
        assert plug.report({"cur_power": 1, code: value}) == CHECK, (code, value)
    assert seen(world.home, plug.id) == (True, {"note": "before", "countdown_1": 20})
    # And of the devices behind a gateway that one alone.
    hub = device(world.home, world.home.devices["gate"]).connect().listen()
    one, two = world.home.devices["sub1"], world.home.devices["sub2"]
    hub.say("device/sub/login", [one, two])

    def of(sub, state):
        return {"deviceId": sub, "properties": {"watersensor_state": {"value": state, "time": now_ms()}}}

    assert hub.ask("thing/data/batch_report", {"subDevices": [of(one, "alarm"), of(two, "flood")]}, ack=1)[0] == PART
    assert hub.ask("thing/data/batch_report", {"subDevices": [of(two, "flood")]}, ack=1)[0] == ALL
    assert seen(world.home, one) == (True, {"watersensor_state": "alarm"})
    assert seen(world.home, two) == (True, {})


def test_clocks_that_are_wrong(world, plug, logs, seen):
    """Nothing is refused because of them; what is said last is what is so, at the server's time."""
    begun = now_ms()
    for n, at in enumerate((begun + 2 * 86_400_000, begun + 600_000, 0, -1, 946_684_800, begun - 2 * 86_400_000)):
        assert plug.report({"countdown_1": 2 * n}, time=at) == 0, at
        assert plug.report({"countdown_1": {"value": 2 * n + 1, "time": at}}) == 0, at
        assert seen(world.home, plug.id) == (True, {"countdown_1": 2 * n + 1}), at
    rows = logs(world.home, plug.id)
    assert len(rows) == 12 and all(begun <= time <= now_ms() for time, _, _ in rows)


def test_unknown_topics_are_taken(world, plug, seen):
    for below in ("x", "thing/property/nothing", "channel/raw/up", "channel/rpc/request",
                  "thing/property/set_response"):
        plug.say(below, {"switch_1": True}, ack=1)
    assert plug.report({"switch_1": False}) == 0
    assert seen(world.home, plug.id) == (True, {"switch_1": False})


def test_events(world, plug, events, seen):
    at = now_ms() - 1000
    sent = {"eventCode": "boom", "eventTime": at, "outputParams": {"loud": True, "what": "鍋"}}
    assert plug.ask("thing/event/trigger", sent, ack=1)[0] == 0
    assert plug.ask("thing/event/trigger", {"eventCode": "boom"}, ack=1, time=at + 500)[0] == 0
    assert events(world.home, plug.id, "boom") == [(at, {"loud": True, "what": "鍋"}), (at + 500, {})]
    for wrong in ({}, {"outputParams": {}}, {"eventCode": 1}, {"eventCode": ""}, {"eventCode": "x", "eventTime": "x"}):
        assert plug.ask("thing/event/trigger", wrong, ack=1)[0] == PARAMETER, wrong
    plug.say("thing/event/trigger", {"eventCode": "quiet", "outputParams": {}})
    assert plug.is_quiet()
    assert len(events(world.home, plug.id, "quiet")) == 1
    # They are no values.
    assert seen(world.home, plug.id) == (True, {})


def test_a_batch(world, plug, events, seen):
    at = now_ms()
    data = {"properties": {"switch_1": {"value": True, "time": at}, "cur_power": {"value": 9, "time": at}},
            "events": {"boom": {"outputParams": {"loud": 1}, "eventTime": at}}}
    assert plug.ask("thing/data/batch_report", data, ack=1)[0] == 0
    assert seen(world.home, plug.id) == (True, {"switch_1": True, "cur_power": 9})
    assert events(world.home, plug.id, "boom") == [(at, {"loud": 1})]
    # As the demo of the vendor's library has it: a whole message in the message.
    inner = {"msgId": "45lkj3551234002", "time": at // 1000, "data": {"properties": {"cur_power": {"value": 10}}}}
    assert plug.ask("thing/data/batch_report", inner, ack=1)[0] == 0
    assert seen(world.home, plug.id) == (True, {"switch_1": True, "cur_power": 10})
    for wrong in ([], "x", None):
        assert plug.ask("thing/data/batch_report", wrong, ack=1)[0] == FORMAT, wrong


def test_history(world, plug, logs, seen, events):
    """What a device gathered while it was away: its values do not replace newer ones."""
    at = now_ms()
    assert plug.report({"countdown_1": {"value": 100, "time": at}}) == 0
    old = [{"value": n, "time": at - 60_000 * (50 - n)} for n in range(50)]
    data = {"properties": {"countdown_1": old},
            "events": {"boom": [{"outputParams": {"n": n}, "eventTime": at - 1000 * (9 - n)} for n in range(9)]}}
    assert plug.ask("thing/data/history_report", data, ack=1)[0] == 0
    assert seen(world.home, plug.id) == (True, {"countdown_1": 100})
    shown = logs(world.home, plug.id)
    assert shown[0] == (at, "countdown_1", "100")
    assert shown[1:] == [(row["time"], "countdown_1", str(row["value"])) for row in old[::-1]]
    assert [output["n"] for _, output in events(world.home, plug.id, "boom")] == list(range(9))


def test_a_batch_of_sub_devices(world, device, seen, events):
    home = world.home
    hub = device(home, home.devices["gate"]).connect().listen()
    one, two = home.devices["sub1"], home.devices["sub2"]
    hub.say("device/sub/login", [one, two])
    at = now_ms()

    def of(sub, state):
        return {"deviceId": sub, "properties": {"watersensor_state": {"value": state, "time": at}}}

    data = {"properties": {"master_state": {"value": True, "time": at}}, "subDevices": [
        of(one, "alarm") | {"events": {"leak": {"outputParams": {"litres": 2}, "eventTime": at}}}, of(two, "normal")]}
    assert hub.ask("thing/data/batch_report", data, ack=1)[0] == 0
    assert seen(home, hub.id) == (True, {"master_state": True})
    assert seen(home, one) == (True, {"watersensor_state": "alarm"})
    assert seen(home, two) == (True, {"watersensor_state": "normal"})
    assert events(home, one, "leak") == [(at, {"litres": 2})]
    # A part of it, and none of it.
    at += 1
    mixed = {"subDevices": [of(one, "normal"), of(two, "flood"), of(home.devices["plug"], "alarm")]}
    assert hub.ask("thing/data/batch_report", mixed, ack=1)[0] == PART
    assert seen(home, one) == (True, {"watersensor_state": "normal"})
    assert seen(home, two) == (True, {"watersensor_state": "flood"})
    none = {"subDevices": [of(home.devices["plug"], "alarm"), of("nobody", "alarm")]}
    assert hub.ask("thing/data/batch_report", none, ack=1)[0] == ALL
    assert seen(home, home.devices["plug"]) == (False, {})
    many = {"subDevices": [of(one, "alarm")] * 21}
    assert hub.ask("thing/data/batch_report", many, ack=1)[0] == TOO_MANY
    assert seen(home, one) == (True, {"watersensor_state": "normal"})


def test_many_reports_without_waiting(world, plug, seen, logs):
    """Each is acknowledged, in their order, and kept."""
    at = now_ms() - 1000
    ids = []
    for n in range(100):
        ids.append(f"r{n}")
        message = {"msgId": ids[-1], "time": at + n, "sys": {"ack": 1}, "data": {"countdown_1": n}}
        plug.client.publish(plug.topic("thing/property/report"), json.dumps(message), 1)
    answers = [plug.next("thing/property/report_response") for _ in ids]
    assert [answer["msgId"] for answer in answers] == ids and {answer["code"] for answer in answers} == {0}
    assert seen(world.home, plug.id) == (True, {"countdown_1": 99})
    assert logs(world.home, plug.id) == [(at + n, "countdown_1", str(n)) for n in reversed(range(100))]


def test_a_long_report(world, plug, seen):
    """Up to what the protocol allows of a message, and beyond."""
    text = "水" * 255
    assert plug.report({"note": text}) == 0
    assert seen(world.home, plug.id) == (True, {"note": text})
    # Of its function there are fewer.
    assert plug.report({"note": text * 16}) == 0
    assert seen(world.home, plug.id) == (True, {"note": text * 16})
    assert plug.ask("thing/property/report", {"switch_1": True}, ack=1, padding="x" * 250_000)[0] == 0
    plug.client.publish(plug.topic("thing/property/report"), b"x" * 300_000, 1)
    plug.gone.get(timeout=30)
