"""A TuyaLink gateway, and the devices behind it."""

import hashlib
import hmac
import time

import pytest

from answers import done, good, refused
from tylink import NOT_GRANTED

# The document's code for a device that is not there.
NO_DEVICE = 1004


@pytest.fixture
def hub(world, device):
    return device(world.home, world.home.devices["gate"]).connect().listen()


def ids(rows):
    return sorted(row["deviceId"] for row in rows)


def behind(hub):
    code, rows = hub.ask("device/topo/get", None)
    assert code == 0
    return ids(rows)


def proof(project, device):
    """What a gateway shows of a device to have it."""
    facts, timestamp = project.facts[device], str(int(time.time() * 1000))
    content = f"deviceId{device}productId{facts['product_id']}timestamp{timestamp}"
    sign = hmac.new(facts["secret"].encode(), content.encode(), hashlib.sha1).hexdigest()
    return {"productId": facts["product_id"], "deviceId": device, "sign": sign, "signMethod": "hmacSha1",
            "timestamp": timestamp}


def test_the_devices_behind_it(world, device, version, tls):
    home = world.home
    hub = device(home, home.devices["gate"], version=version, tls=tls).connect().listen()
    one, two = sorted(home.devices[key] for key in ("sub1", "sub2"))
    assert behind(hub) == [one, two]
    assert hub.ask("device/topo/delete", [one])[0] == 0
    assert behind(hub) == [two]
    assert hub.ask("device/topo/add", [proof(home, one)])[0] == 0
    assert behind(hub) == [one, two]
    wrong = proof(home, one)
    assert hub.ask("device/topo/delete", [one])[0] == 0
    for refusal in (wrong | {"sign": "0" * 40}, wrong | {"timestamp": "1"}, wrong | {"deviceId": "nobody"},
                    proof(home, home.devices["plug"]), proof(home, home.devices["gate"]),
                    proof(world.other, world.other.devices["away"])):
        assert hub.ask("device/topo/add", [refusal])[0] != 0, refusal
    assert behind(hub) == [two]
    assert hub.ask("device/topo/delete", ["nobody"])[0] != 0
    assert hub.ask("device/topo/delete", [home.devices["plug"]])[0] != 0


def test_binding(world, hub, connect):
    """The gateway gives the name of a device, and receives the id that the device has here."""
    product = world.home.products["leak"]
    code, rows = hub.ask("device/sub/bind", [
        {"productId": product, "nodeId": "01", "clientId": "mine-1"}, {"productId": product, "clientId": "mine-2"}])
    assert code == 0
    assert [(row["productId"], row["clientId"]) for row in rows] == [(product, "mine-1"), (product, "mine-2")]
    one, two = (row["deviceId"] for row in rows)
    assert set(behind(hub)) >= {one, two}
    # Once more, and it has the same name.
    code, rows = hub.ask("device/sub/bind", [{"productId": product, "nodeId": "01", "clientId": "mine-1"}])
    assert code == 0 and ids(rows) == [one]
    subs = good(connect(world.home).get(f"/v1.0/devices/{hub.id}/sub-devices"))
    assert {one, two} <= {row["id"] for row in subs}
    hub.say("device/sub/login", [one])
    assert hub.report({"watersensor_state": "alarm"}, device_id=one) == 0
    for wrong in ([{"productId": "nothing", "clientId": "x"}], [{"productId": product}], {}, "x",
                  [{"productId": world.home.products["plug"], "clientId": "x"}],
                  [{"productId": world.other.products["far"], "clientId": "x"}],
                  [{"productId": product, "clientId": f"m{n}"} for n in range(101)]):
        assert hub.ask("device/sub/bind", wrong)[0] != 0, wrong
    assert len(behind(hub)) == 4


def test_logging_in_and_out(world, hub, seen, connect):
    home = world.home
    one, two = home.devices["sub1"], home.devices["sub2"]
    assert seen(home, one) == (False, {})
    hub.say("device/sub/login", [one])
    assert seen(home, one)[0] is True and seen(home, two)[0] is False
    assert hub.report({"watersensor_state": "alarm"}, device_id=one) == 0
    assert seen(home, one) == (True, {"watersensor_state": "alarm"})
    hub.say("device/sub/logout", [one])
    assert seen(home, one) == (False, {"watersensor_state": "alarm"})
    # What it cannot have stays away.
    hub.say("device/sub/login", [home.devices["plug"]])
    hub.say("device/sub/login", ["nobody"])
    hub.say("device/sub/login", {})
    assert hub.report({"master_state": True}) == 0
    assert seen(home, home.devices["plug"])[0] is False


def test_commands_to_a_device_behind_it(world, hub, connect):
    home, api = world.home, connect(world.home)
    product = {"product_id": home.products["leak"], "name": "水浸", "category": "sj", "node_type": "sub",
               "functions": [{"code": "siren", "type": "Boolean"}]}
    world.apply({"projects": [{"name": home.written["name"], "products": [product]}]})
    one, two = home.devices["sub1"], home.devices["sub2"]
    siren = {"commands": [{"code": "siren", "value": True}]}
    refused(api.post(f"/v1.0/devices/{one}/commands", siren), 2001)
    hub.say("device/sub/login", [one])
    done(api.post(f"/v1.0/devices/{one}/commands", siren))
    assert hub.next("thing/property/set", one)["data"] == {"siren": True}
    refused(api.post(f"/v1.0/devices/{two}/commands", siren), 2001)
    hub.say("device/sub/logout", [one])
    hub.say("thing/property/report", {"master_state": True}, ack=1)
    hub.next("thing/property/report_response")
    refused(api.post(f"/v1.0/devices/{one}/commands", siren), 2001)


def test_topics_of_a_device_behind_it(world, device, seen):
    """It may subscribe to them while it represents the device."""
    home = world.home
    hub, one = device(home, home.devices["gate"]).connect(), home.devices["sub1"]
    hub.subscribe(hub.topic("#"))
    assert hub.subscribe(hub.topic("thing/#", one))[0] >= NOT_GRANTED
    hub.say("device/sub/login", [one])
    assert hub.report({"master_state": True}) == 0
    assert hub.subscribe(hub.topic("thing/#", one))[0] in (0, 1)
    assert hub.report({"watersensor_state": "normal"}, device_id=one) == 0
    hub.say("device/sub/logout", [one])
    # It no longer represents the device and does not receive its topics. It may not know that yet, so it receives
    # an error, and the connection stays open.
    hub.listen()
    assert hub.report({"watersensor_state": "alarm"}, device_id=one) == NO_DEVICE
    for stranger in (home.devices["plug"], world.other.devices["away"], "nobody"):
        hub.say("thing/property/report", {"switch_1": True}, device_id=stranger)
    assert hub.report({"master_state": False}) == 0
    assert seen(home, one) == (False, {"watersensor_state": "normal"})
    assert seen(home, home.devices["plug"]) == (False, {})


def test_they_go_with_the_gateway(world, hub, seen):
    one = world.home.devices["sub1"]
    hub.say("device/sub/login", [one])
    assert seen(world.home, one)[0] is True
    hub.stop()
    seen.gone(world.home, hub.id)
    assert seen(world.home, one)[0] is False


def test_a_device_that_has_none(world, plug):
    one = world.home.devices["sub1"]
    assert behind(plug) == []
    assert plug.ask("device/topo/add", [proof(world.home, one)])[0] != 0
    product = world.home.products["leak"]
    assert plug.ask("device/sub/bind", [{"productId": product, "clientId": "mine"}])[0] != 0
    plug.say("device/sub/login", [one])
    assert plug.report({"switch_1": True}) == 0
