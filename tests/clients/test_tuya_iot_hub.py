"""tuya-iot-py-sdk's TuyaOpenMQ, unmodified: started as an app does, with a device manager that notifies its listeners.
Messages to SMART_HOME are AES-ECB, those to CUSTOM AES-GCM. The devices are of aliyun-iot-linkkit."""

import logging
import logging.handlers
from queue import Queue
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from tuya_iot import TUYA_LOGGER, TuyaDevice, TuyaDeviceListener, TuyaDeviceManager, TuyaOpenMQ
from tuya_iot.openmq import TO_C_CUSTOM_MQTT_CONFIG_API, TO_C_SMART_HOME_MQTT_CONFIG_API

from answers import done, good, refused
from pairing import newcomer
from test_tuya_iot import api_of, auth, device_path, ids, say, sign_in, words
from things import SECONDS
from world import EMAIL, GATEWAY, MOBILE, PLUG, SCALE, new_world, points, status_of, with_passwords

CLIENT = "tuya-iot-py-sdk"


class Subscriber(TuyaDeviceListener):
    """A device manager that listens: its notifications about devices, and the messages that it received, each in order."""

    def __init__(self, api):
        self.api, self.mq, self.received, self.messages = api, TuyaOpenMQ(api), Queue(), Queue()
        self.manager = TuyaDeviceManager(api, self.mq)
        self.manager.add_device_listener(self)
        self.mq.add_message_listener(self.messages.put)

    def _notify(self, what, device):
        # As it is now: the device goes on changing.
        self.received.put(SimpleNamespace(what=what, id=device.id, name=device.name, online=device.online,
                                      status=dict(device.status)))

    def update_device(self, device):
        self._notify("update", device)

    def add_device(self, device):
        self._notify("add", device)

    def remove_device(self, device_id):
        self.received.put(SimpleNamespace(what="remove", id=device_id))

    def next(self, what, device_id):
        """Its next notification, which must be this one."""
        received = self.received.get(timeout=SECONDS)
        assert (received.what, received.id) == (what, device_id)
        return received

    def message(self):
        """The next message that it received: its device, and its values or the code of the event."""
        message = self.messages.get(timeout=SECONDS)
        data = message["data"]
        if message["protocol"] == 4:
            return data["devId"], {point["code"]: point["value"] for point in data["status"]}
        assert message["protocol"] == 20
        return data["devId"], data["bizCode"]


@pytest.fixture
def sdk_log():
    """What the library says of each step, at its lowest level."""
    said = Queue()
    handler, level = logging.handlers.QueueHandler(said), TUYA_LOGGER.level
    TUYA_LOGGER.addHandler(handler)
    TUYA_LOGGER.setLevel(logging.DEBUG)
    yield said
    TUYA_LOGGER.setLevel(level)
    TUYA_LOGGER.removeHandler(handler)


def subscribed(said):
    """Waits until a listener's topic was granted."""
    while not said.get(timeout=SECONDS).getMessage().startswith("_on_subscribe: "):
        pass


@pytest.fixture
def start(server, sdk_log, monkeypatch):
    """Starts to listen, with what is known of some devices."""
    started = []

    def start(api, *devices):
        subscriber = Subscriber(api)
        # Its caches begin with one dictionary of values that all devices of the process have.
        monkeypatch.setattr(TuyaDevice, "status", {})
        if devices:
            subscriber.manager.update_device_caches(devices)
        for device in subscriber.manager.device_map.values():
            device.status = dict(device.status)
        # So that those that come later do not begin with these.
        monkeypatch.setattr(TuyaDevice, "status", {})
        # It sleeps until it must ask again: nobody waits for its thread.
        subscriber.mq.daemon = True
        subscriber.mq.start()
        started.append(subscriber)
        subscribed(sdk_log)
        server.secrets.add(subscriber.mq.mq_config.password)
        return subscriber

    yield start
    for subscriber in started:
        subscriber.mq.stop()


@pytest.fixture
def listen(start, sign_in):
    def listen(project, auth, *keys, person=MOBILE, base=None):
        return start(sign_in(project, auth, person, base), *(project.devices[key] for key in keys))

    return listen


def report(device, **values):
    device.publish(f"{device.sys}thing/event/property/post",
                   {"id": "7", "version": "1.0", "params": values, "method": "thing.event.property.post"})


def test_a_device_comes_reports_and_goes(household, auth, base, listen, thing):
    home, plug = household.home, household.home.devices["plug"]
    subscriber = listen(home, auth, "plug", base=base)
    # Who came over TLS is sent on over TLS, and trusts what it trusted.
    assert urlsplit(subscriber.mq.mq_config.url).scheme == {"http": "tcp", "https": "ssl"}[urlsplit(base).scheme]
    device = subscriber.manager.device_map[plug]
    assert device.online is False
    kettle = thing(home, plug).connect()
    assert subscriber.next("update", plug).online is True
    report(kettle, switch_1=1, cur_power=1200, work_mode=1, note="水 🔥")
    received = {"switch_1": True, "cur_power": 1200, "work_mode": "colour", "note": "水 🔥"}
    assert subscriber.next("update", plug).status == status_of(PLUG, received)
    report(kettle, switch_1=0)
    assert subscriber.next("update", plug).status == status_of(PLUG, received | {"switch_1": False})
    kettle.kit.disconnect()
    assert subscriber.next("update", plug).online is False
    assert subscriber.manager.device_map == {plug: device}
    assert device.status == status_of(PLUG, received | {"switch_1": False})
    assert [subscriber.message() for _ in range(4)] == [
        (plug, "online"), (plug, received), (plug, {"switch_1": False}), (plug, "offline")]


def test_many_reports_at_once(household, auth, listen, thing):
    home, plug = household.home, household.home.devices["plug"]
    subscriber, kettle = listen(home, auth, "plug"), thing(home, plug).connect()
    assert subscriber.next("update", plug).online is True
    assert subscriber.message() == (plug, "online")
    for n in range(20):
        report(kettle, countdown_1=n)
    # Some come together; and the library may send one before another, as two of its threads do so at once.
    arrived = []
    while len(arrived) < 20:
        arrived += [point["value"] for point in subscriber.messages.get(timeout=SECONDS)["data"]["status"]]
    assert sorted(arrived) == list(range(20))
    # It ends with the same as the cloud.
    while subscriber.next("update", plug).status["countdown_1"] != arrived[-1]:
        pass
    assert good(subscriber.manager.get_device_status(plug)) == points(status_of(PLUG, {"countdown_1": arrived[-1]}))


def test_a_commanded_value_is_received_after_the_device_reported_it(household, auth, listen, thing):
    home, plug = household.home, household.home.devices["plug"]
    subscriber, kettle = listen(home, auth, "plug", person=EMAIL), thing(home, plug).connect()
    assert subscriber.next("update", plug).online is True
    done(subscriber.manager.send_commands(plug, [{"code": "switch_1", "value": True}]))
    assert kettle.next("on_thing_prop_changed") == ({"switch_1": 1},)
    report(kettle, switch_1=1)
    assert subscriber.next("update", plug).status == status_of(PLUG, {"switch_1": True})


def test_a_device_is_renamed(household, auth, listen):
    home, plug = household.home, household.home.devices["plug"]
    owner, guest = listen(home, auth, "plug"), listen(home, auth, "plug", person=EMAIL)
    done(owner.api.put(f"{device_path(home)}/functions/switch_1", {"name": "Linke Dose"}))
    done(owner.api.put(device_path(home), {"name": "Ölkessel 🔥"}))
    for subscriber in (owner, guest):
        assert subscriber.next("update", plug).name == "Ölkessel 🔥" == subscriber.manager.device_map[plug].name
        # It does not notify its listeners of a function's name.
        named = subscriber.messages.get(timeout=SECONDS)["data"]
        assert (named["devId"], named["bizCode"]) == (plug, "dpNameUpdate")
        assert (str(named["bizData"]["dpId"]), named["bizData"]["name"]) == ("1", "Linke Dose")
        assert subscriber.message() == (plug, "nameUpdate")


def test_a_device_is_shared_and_withdrawn(household, auth, listen, thing):
    home, scale = household.home, household.home.devices["scal"]
    say(household, scale, weight=70_000)
    owner, guest = listen(home, auth, "scal"), listen(home, auth, "lamp", person=EMAIL)
    shares = f"{device_path(home, 'scal')}/shares"
    done(owner.api.post(shares, {"uid": home.uids[EMAIL]}))
    added = guest.next("add", scale)
    assert (added.name, added.online) == ("体脂秤", False) and added.status == status_of(SCALE, {"weight": 70_000})
    assert set(guest.manager.device_map) == ids(home, "lamp", "scal")
    assert set(guest.manager.device_map[scale].status_range) == {"weight", "battery_low"}
    # The owner receives a message too, and reads its devices again.
    assert owner.next("add", scale).name == "体脂秤"
    device = thing(home, scale).connect()
    report(device, weight=71_000)
    for subscriber in (owner, guest):
        assert subscriber.next("update", scale).online is True
        assert subscriber.next("update", scale).status["weight"] == 71_000
    done(owner.api.delete(f"{shares}/{home.uids[EMAIL]}"))
    guest.next("remove", scale)
    assert set(guest.manager.device_map) == ids(home, "lamp")
    # No message about it arrives any more before the next one about another device.
    report(device, weight=72_000)
    assert owner.next("update", scale).status["weight"] == 72_000
    done(guest.api.put(device_path(home, "lamp"), {"name": "Licht"}))
    assert guest.next("update", home.devices["lamp"]).name == "Licht"
    assert [guest.message() for _ in range(5)] == [
        (scale, "bindUser"), (scale, "online"), (scale, {"weight": 71_000}), (scale, "delete"),
        (home.devices["lamp"], "nameUpdate")]


def test_a_device_is_paired(server, household, auth, listen, thing):
    """With a token that its user asked for."""
    home, new = household.home, newcomer(household)
    subscriber, device = listen(home, auth), thing(home, new).connect()
    made = good(subscriber.api.post("/v1.0/devices/token", {"uid": home.uids[MOBILE]}))
    server.secrets.add(made["token"])
    assert device.ask(f"{device.sys}thing/awss/enrollee/match", {"token": made["token"]})[0] == 200
    added = subscriber.next("add", new)
    assert (added.name, added.online) == ("Neu", True) and set(subscriber.manager.device_map) == {new}
    received = good(subscriber.api.get(f"/v1.0/devices/tokens/{made['token']}"))
    assert [row["id"] for row in received["successDevices"]] == [new]
    report(device, weight=70_000)
    assert subscriber.next("update", new).status == status_of(SCALE, {"weight": 70_000})


@pytest.mark.parametrize(("method", "path"), [
    ("DELETE", "/v1.0/devices/{}"), ("DELETE", "/v1.0/iot-03/devices/{}"), ("POST", "/v2.0/cloud/thing/{}/reset")])
def test_a_device_is_removed(household, auth, listen, thing, raw, method, path):
    """By the project, as a user may not."""
    home, plug = household.home, household.home.devices["plug"]
    subscribers = listen(home, auth, "plug", "scal"), listen(home, auth, "plug", "lamp", person=EMAIL)
    kettle = thing(home, plug).connect()
    for subscriber in subscribers:
        assert subscriber.next("update", plug).online is True
    project = raw(home)
    good(project.send(method, path.format(plug), token=project.token()))
    kettle.next("on_disconnect")
    for subscriber, left in zip(subscribers, ("scal", "lamp")):
        subscriber.next("remove", plug)
        assert set(subscriber.manager.device_map) == ids(home, left)
        refused(subscriber.manager.get_device_specification(plug), 1106)


def test_who_does_not_see_a_device_receives_nothing(household, auth, listen, thing):
    home, other, gate = household.home, household.other, household.home.devices["gate"]
    owner = listen(home, auth, "gate")
    strangers = [(home, "lamp", listen(home, auth, person=EMAIL)), (other, "away", listen(other, auth))]
    gateway = thing(home, gate).connect()
    assert owner.next("update", gate).online is True
    report(gateway, master_state=1)
    assert owner.next("update", gate).status == status_of(GATEWAY, {"master_state": True})
    done(owner.api.put(device_path(home, "gate"), {"name": "Zentrale"}))
    assert owner.next("update", gate).name == "Zentrale"
    for project, own, subscriber in strangers:
        # Nor may they listen in the owner's name.
        theirs = {"uid": home.uids[MOBILE], "link_id": "x", "link_type": "mqtt", "topics": "device"}
        for path in (TO_C_CUSTOM_MQTT_CONFIG_API, TO_C_SMART_HOME_MQTT_CONFIG_API):
            refused(subscriber.api.post(path, theirs), 1106)
        done(subscriber.api.put(device_path(project, own), {"name": "Mine"}))
        assert subscriber.message() == (project.devices[own], "nameUpdate")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_it_listens_again_after_a_restart(new_server, auth, end, start, sdk_log):
    """Its credentials are refused then: it asks for others."""
    with new_server() as server:
        home = with_passwords(new_world(server)).home
        api, plug = api_of(server, home, auth), home.devices["plug"]
        good(api.connect(*words(home, auth)))
        subscriber = start(api, plug)
        before = subscriber.mq.mq_config
        # It comes back to where it was.
        server.environment |= {"INGLE_API_LISTEN": urlsplit(server.http).netloc,
                               "INGLE_MQTT_LISTEN": f"127.0.0.1:{server.mqtt_port}"}
        getattr(server, end)()
        server.start()
        subscribed(sdk_log)
        after = subscriber.mq.mq_config
        assert after.url == before.url and after.client_id != before.client_id
        server.secrets |= {api.token_info.access_token, before.password, after.password}
        done(api.put(device_path(home), {"name": "Wasserkocher"}))
        assert subscriber.next("update", plug).name == "Wasserkocher"
