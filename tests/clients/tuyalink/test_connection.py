"""Which clients are accepted, and what a connection may send and receive, in both versions of MQTT."""

import json
import time

import pytest
from tuya_connector import TuyaOpenAPI

from answers import done, good, refused
from tylink import NOT_GRANTED, SECONDS, WRONG, Device, credentials
from world import PLUG, new_world, points, status_of


def test_the_documents_own_signature():
    """So that the tests sign as the vendor's library does."""
    device_id, secret = "6c828cba434ff40c074wF2", "5c1e2d3f4a5b6c7d"
    for timestamp, password in [
        (1607635284, "4cea272e1dcbb36b31bfabaaca08fbf652a16393b375cb3387912adff30f7253"),
        (1607635284000, "2bea5f5cc21df820dc00498202ce946a477f700c4307e662337d1166199df493"),
    ]:
        user = f"{device_id}|signMethod=hmacSha256,timestamp={timestamp},secureMode=1,accessType=1"
        assert credentials(device_id, secret, timestamp) == (f"tuyalink_{device_id}", user, password)


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
def test_a_device_comes_and_goes(world, device, version, tls, unit, seen, connect):
    plug = world.home.devices["plug"]
    one = device(world.home, plug, version=version, tls=tls, timestamp=int(time.time() * unit))
    assert seen(world.home, plug) == (False, {})
    one.connect()
    assert seen(world.home, plug) == (True, {})
    one.stop()
    seen.gone(world.home, plug)
    query = {"type": "1,2,3", "start_time": 0, "end_time": int(time.time() * 1000) + 60_000, "size": 10}
    logs = good(connect(world.home).get(f"/v1.0/devices/{plug}/logs", query))["logs"]
    assert sorted(row["event_id"] for row in logs) == [1, 2, 3]


@pytest.mark.parametrize("timestamp", [1, 1607635284, 2524608000000])
def test_a_clock_that_is_wrong(world, device, timestamp):
    """A device without one has to get in to ask for the time."""
    device(world.home, world.home.devices["plug"], timestamp=timestamp).connect()


def test_who_cannot_prove_it(world, device, server, version, tls, seen):
    plug, lamp = world.home.devices["plug"], world.home.devices["lamp"]
    for secret in ("0" * 32, "", world.home.facts[lamp]["secret"], world.home.secret):
        refusal = device(world.home, plug, secret=secret, version=version, tls=tls).try_to_connect()
        assert str(refusal) == WRONG and refusal.value == 134
    refusal = Device(server, "nothing", "0" * 32, version=version, tls=tls).try_to_connect()
    assert str(refusal) == WRONG
    assert seen(world.home, plug) == (False, {})


def test_a_name_that_is_anothers(world, device, version):
    """Client id, user name and signature are of one device."""
    plug, lamp = world.home.devices["plug"], world.home.devices["lamp"]
    now = int(time.time())
    mine = credentials(plug, world.home.facts[plug]["secret"], now)
    theirs = credentials(lamp, world.home.facts[lamp]["secret"], now)
    for client_id, user, password in [
        (theirs[0], mine[1], mine[2]), (mine[0], theirs[1], theirs[2]), (mine[0], theirs[1], mine[2]),
        (mine[0], mine[1].replace("|", "|x=1,").replace(str(now), str(now + 1)), mine[2]),
        (mine[0], plug, mine[2]), (plug, *mine[1:]), (mine[0], "", ""),
    ]:
        one = device(world.home, plug, version=version, says=(client_id, user, password))
        assert one.try_to_connect().is_failure, (client_id, user)


def test_a_second_connection_takes_the_place_of_the_first(world, device, version, seen):
    plug = world.home.devices["plug"]
    first = device(world.home, plug, version=version).connect()
    second = device(world.home, plug, version=version).connect().listen()
    first.gone.get(timeout=SECONDS)
    assert second.report({"switch_1": True}) == 0
    assert seen(world.home, plug) == (True, {"switch_1": True})


def test_what_the_c_library_receives(world, device, version, connect):
    """Every topic after one subscription. Before it, the cloud API answers that no subscription matches the command."""
    one, api = device(world.home, world.home.devices["plug"], version=version).connect(), connect(world.home)
    path = f"/v1.0/devices/{one.id}/commands"
    refused(api.post(path, {"commands": [{"code": "countdown_1", "value": 1}]}), 2001)
    one.listen()
    done(api.post(path, {"commands": [{"code": "countdown_1", "value": 2}]}))
    assert one.next("thing/property/set")["data"] == {"countdown_1": 2}
    assert one.report({"switch_1": True}) == 0


def test_explicit_subscriptions(world, device, version, connect):
    """What was asked for, and nothing else."""
    one, api = device(world.home, world.home.devices["plug"], version=version).connect(), connect(world.home)
    granted = one.subscribe(one.topic("thing/property/set"), one.topic("ext/time/response"))
    assert all(code in (0, 1) for code in granted)
    one.say("thing/property/report", {"switch_1": True}, ack=1)
    done(api.post(f"/v1.0/devices/{one.id}/commands", {"commands": [{"code": "switch_1", "value": False}]}))
    assert one.next("thing/property/set")["data"] == {"switch_1": False}
    assert one.is_quiet()
    # Given back.
    one.client.unsubscribe(one.topic("thing/property/set"))
    assert one.ask("ext/time/request", {"bizType": "NTP", "dst": 1})[0] == 0
    refused(api.post(f"/v1.0/devices/{one.id}/commands", {"commands": [{"code": "switch_1", "value": True}]}), 2001)
    assert one.is_quiet()


@pytest.mark.parametrize("below", ["#", "thing/#", "thing/property/+", "+/+/set", "thing/+/set"])
def test_wildcards(world, device, version, connect, below):
    one, api = device(world.home, world.home.devices["plug"], version=version).connect(), connect(world.home)
    assert one.subscribe(one.topic(below))[0] in (0, 1)
    done(api.post(f"/v1.0/devices/{one.id}/commands", {"commands": [{"code": "switch_1", "value": True}]}))
    assert one.next("thing/property/set")["data"] == {"switch_1": True}


def test_filters_beyond_its_own(world, device, version, connect):
    """Refused one by one; the others of the same packet are granted."""
    one, lamp = device(world.home, world.home.devices["plug"], version=version).connect(), world.home.devices["lamp"]
    other = device(world.home, lamp, version=version).connect().listen()
    foreign = [f"tylink/{lamp}/thing/property/set", f"tylink/{lamp}/#", "tylink/+/thing/property/set", "tylink/#", "#",
               "+/+/+/+/+", f"tylink/{lamp}/channel/downlink/auto_subscribe", "$SYS/#", "x", "/sys/+/+/#",
               f"$share/g/tylink/{lamp}/#"]
    codes = one.subscribe(*foreign, one.topic("ext/#"))
    assert all(code >= NOT_GRANTED for code in codes[:-1]), list(zip(foreign, codes))
    assert codes[-1] in (0, 1)
    body = {"commands": [{"code": "switch_1", "value": True}]}
    done(connect(world.home).post(f"/v1.0/devices/{lamp}/commands", body))
    assert other.next("thing/property/set")["data"] == {"switch_1": True}
    assert other.report({"switch_1": True}) == 0
    assert one.is_quiet()


def test_what_is_granted_is_what_was_asked_for(world, device, version):
    """Never a higher quality of service than that."""
    one = device(world.home, world.home.devices["plug"], version=version).connect()
    for qos in (0, 1, 2):
        _, mid = one.client.subscribe(one.topic("thing/#"), qos)
        received, (granted,) = one.granted.get(timeout=SECONDS)
        assert received == mid and granted.value <= min(qos, 1)


def test_a_publish_to_another(world, device, version, seen):
    """It ends the connection, and is not processed."""
    lamp = world.home.devices["lamp"]
    for topic in (f"tylink/{lamp}/thing/property/report", "tylink/x", "x", "$SYS/x", f"tylink/{lamp}/x/y"):
        one = device(world.home, world.home.devices["plug"], version=version).connect()
        one.client.publish(topic, json.dumps({"msgId": "1", "time": 1, "data": {"switch_1": True}}), 1)
        one.gone.get(timeout=SECONDS)
    assert seen(world.home, lamp) == (False, {})


def test_a_will_and_what_is_retained(world, device, seen):
    """Taken, and neither published nor kept for others: a device's words are its own."""
    plug, lamp = world.home.devices["plug"], world.home.devices["lamp"]
    words = json.dumps({"msgId": "w", "time": int(time.time()), "data": {"switch_1": True}})
    watcher = device(world.home, lamp).connect().listen()
    one = device(world.home, plug, will=(f"tylink/{lamp}/thing/property/set", words, 1, True)).connect()
    one.put(one.topic("thing/property/report"), words, retain=True)
    # Gone without a word.
    one.client.socket().shutdown(2)
    one.gone.get(timeout=SECONDS)
    seen.gone(world.home, plug)
    assert seen(world.home, plug) == (False, {"switch_1": True})
    assert watcher.is_quiet() and seen(world.home, lamp) == (True, {})
    again = device(world.home, plug).connect().listen()
    assert again.subscribe(again.topic("#"))[0] in (0, 1)
    assert again.is_quiet()


def test_a_device_that_leaves_its_cloud(world, plug, connect):
    """It is let go at once. A removed device may come again, for another owner."""
    api = connect(world.home)
    done(api.delete(f"/v1.0/devices/{plug.id}"))
    plug.gone.get(timeout=SECONDS)


def test_a_device_that_is_shut_out(world, plug, device, version):
    shut = {"product_id": world.home.products["plug"], "device_id": plug.id, "disabled": True}
    world.apply({"projects": [{"name": world.home.written["name"], "devices": [shut]}]})
    plug.gone.get(timeout=SECONDS)
    assert device(world.home, plug.id, version=version).try_to_connect().is_failure


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_devices_come_again_after_a_restart(new_server, ending):
    """What was acknowledged is there."""
    with new_server() as server:
        home = new_world(server).home
        plug, secret = home.devices["plug"], home.facts[home.devices["plug"]]["secret"]
        first = Device(server, plug, secret).connect().listen()
        try:
            assert first.report({"countdown_1": 41, "note": "水"}) == 0
            getattr(server, ending)()
        finally:
            first.stop()
        server.start()
        second = Device(server, plug, secret).connect().listen()
        try:
            assert second.report({"countdown_1": 42}) == 0
            api = TuyaOpenAPI(server.http, home.client_id, home.secret)
            good(api.connect())
            shown = good(api.get(f"/v1.0/devices/{plug}"))
            assert shown["status"] == points(status_of(PLUG, {"countdown_1": 42, "note": "水"}))
            assert shown["online"] is True
        finally:
            second.stop()
