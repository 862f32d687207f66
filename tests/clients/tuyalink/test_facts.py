"""What a device asks for and leaves with the cloud besides its reports: its model, tags, the time, its firmware."""

import time

import pytest

from answers import good

# The codes of the document.
PARAMETER, FORMAT = 1002, 1003


def test_the_model(world, plug, version, device):
    one = device(world.home, plug.id, version=version).connect().listen()
    code, model = one.ask("thing/model/get", {"format": "simple"})
    assert code == 0
    (service,) = model["services"]
    assert set(service) >= {"properties", "actions", "events"}
    properties = {row["code"]: row for row in service["properties"]}
    assert set(properties) == {row["code"] for row in world.document["projects"][0]["products"][0]["functions"]}
    assert {code: properties[code]["accessMode"] for code in ("switch_1", "cur_power", "ir_code")} == {
        "switch_1": "rw", "cur_power": "ro", "ir_code": "wr"}
    assert properties["switch_1"]["abilityId"] == 1 and properties["switch_1"]["typeSpec"] == {"type": "bool"}
    spec = properties["countdown_1"]["typeSpec"]
    assert (spec["type"], spec["min"], spec["max"], spec["unit"]) == ("value", 0, 86400, "s")
    assert properties["work_mode"]["typeSpec"] == {"type": "enum", "range": ["white", "colour"]}


def test_tags(plug):
    assert plug.ask("device/tag/get", []) == (0, [])
    assert plug.ask("device/tag/report", [{"key": "room", "value": "厨房"}, {"key": "floor", "value": "2"}])[0] == 0
    assert plug.ask("device/tag/report", [{"key": "floor", "value": "3"}])[0] == 0

    def tags():
        code, rows = plug.ask("device/tag/get", ["room", "floor"])
        assert code == 0
        return {row["key"]: row["value"] for row in rows}

    assert tags() == {"room": "厨房", "floor": "3"}
    assert plug.ask("device/tag/get", ["room"]) == (0, [{"key": "room", "value": "厨房"}])
    assert plug.ask("device/tag/delete", ["floor", "nothing"])[0] == 0
    assert tags() == {"room": "厨房"}
    for wrong in ({}, "x", [1], [{"key": 1, "value": "x"}], [{"key": "x"}], [{"key": "", "value": "x"}]):
        assert plug.ask("device/tag/report", wrong)[0] in (PARAMETER, FORMAT), wrong
    for wrong in ({}, "x", [1]):
        assert plug.ask("device/tag/delete", wrong)[0] in (PARAMETER, FORMAT), wrong
    assert tags() == {"room": "厨房"}


def test_tags_of_two_devices(world, plug, device):
    lamp = device(world.home, world.home.devices["lamp"]).connect().listen()
    assert plug.ask("device/tag/report", [{"key": "room", "value": "kitchen"}])[0] == 0
    assert lamp.ask("device/tag/get", []) == (0, [])


def test_the_time(plug):
    before_ms = int(time.time() * 1000)
    code, received = plug.ask("ext/time/request", {"bizType": "NTP", "dst": 1626197189630})
    assert code == 0 and received["dst"] == 1626197189630
    times = [value for name, value in received.items() if name not in ("dst", "bizType")]
    assert len(times) == 2 and all(abs(int(at) - before_ms) < 600_000 for at in times)
    # What there is not is said.
    assert plug.ask("ext/time/request", {"bizType": "DST", "timezoneId": "Europe/Berlin"})[0] != 0


def test_firmware(world, plug, connect):
    def versions():
        query = {"type": 6, "start_time": 0, "end_time": int(time.time() * 1000) + 60_000, "size": 10}
        rows = good(connect(world.home).get(f"/v1.0/devices/{plug.id}/logs", query))["logs"]
        return sorted(row["value"] for row in rows)

    report = {"bizType": "INIT", "pid": world.home.products["plug"], "firmwareKey": "k",
              "otaChannel": [{"channel": 0, "version": "1.0.0"}, {"channel": 9, "version": "2.1.0"}]}
    plug.say("ota/firmware/report", report)
    # Once more is no change.
    plug.say("ota/firmware/report", report)
    update = {"bizType": "UPDATE", "pid": report["pid"], "otaChannel": [{"channel": 0, "version": "1.0.1"}]}
    plug.say("ota/firmware/report", update)
    for progress in ({"channel": 0, "progress": 50}, {"channel": 0, "errorCode": 40, "errorMsg": "x"}):
        plug.say("ota/progress/report", progress)
    for wrong in ([], {}, {"otaChannel": {}}, {"otaChannel": [1]}, None):
        plug.say("ota/firmware/report", wrong)
    assert plug.is_quiet()
    assert versions() == ["1.0.0", "1.0.1", "2.1.0"]
    # There is nothing newer here.
    code, received = plug.ask("ota/get", {"channel": 0})
    assert (code, received or {}) == (0, {})


@pytest.mark.parametrize(("below", "data"), [
    ("ext/config/get", {}),
    ("ext/file/upload/request", {"fileName": "a", "fileSize": 1}),
    ("ext/file/download/request", {"fileName": "a"}),
])
def test_what_is_not_there_is_answered(plug, below, data):
    plug.ask(below, data)
