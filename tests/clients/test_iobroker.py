"""iobroker.tuya's cloud modules, unmodified, without ioBroker. TuyaSHOpenAPI takes its host from a table of countries:
its `endpoint` is set afterwards. TuyaOpenAPI is given it. Both hide refusals, so those are read from what they log.
TuyaOpenMQ listens for either."""

import json
import re
import time
from urllib.parse import urlsplit

import pytest

from answers import done, good, refused, types_of
from javascript import started
from world import EMAIL, FUNCTIONS, MOBILE, PLUG, SCHEMA, points, status_of

CLIENT = "iobroker.tuya"

LOGIN = "/v1.0/iot-01/associated-users/actions/authorized-login"
ACCESS = "/v1.0/iot-03/open-hub/access-config"
LOGINS = (LOGIN, "/v1.0/iot-03/users/login")
COMMANDED = {"switch_1", "switch_2", "countdown_1", "work_mode", "note", "colour_data", "ir_code"}
AT_HOME = ("plug", "scal", "gate", "sub1", "sub2", "bare")
SWITCH_ON = {"commands": [{"code": "switch_1", "value": True}]}


@pytest.fixture(scope="session")
def node(server, tmp_path_factory):
    log = tmp_path_factory.mktemp("iobroker") / "stderr.log"
    with log.open("wb") as stderr, started("iobroker.js", stderr, NODE_EXTRA_CA_CERTS=str(server.ca)) as send:
        yield send


class Module:
    """One that was made."""

    def __init__(self, server, send, name, *args, **members):
        self.server, self.send = server, send
        self.number = send(module=name, args=args, members=members)["returned"]

    def become(self, **members):
        self.send(of=self.number, members=members)

    def __call__(self, method, *args):
        """What a method returned. `thrown`, `headers` and `answers` have the other results."""
        answer = self.send(of=self.number, method=method, args=args)
        self.thrown = answer.get("thrown")
        self.headers = [json.loads(line.partition(", headers = ")[2]) for line in answer["logged"]
                        if line.startswith("TuyaOpenAPI request: ")]
        received = [re.fullmatch("TuyaOpenAPI response: (.+) path = (.+)", line) for line in answer["logged"]]
        self.answers = [(found[2], json.loads(found[1])) for found in received if found]
        for path, each in self.answers:
            if path in LOGINS and each["success"]:
                self.server.secrets |= {each["result"]["access_token"], each["result"]["refresh_token"]}
        return answer.get("returned")

    @property
    def answer(self):
        """The last answer that it received."""
        return self.answers[-1][1]

    @property
    def paths(self):
        return [path for path, _ in self.answers]


@pytest.fixture
def smart_home(server, node, base):
    def smart_home(project, person=MOBILE, **changes):
        account = {"password": project.passwords[person], "schema": SCHEMA,
                   "country": int(project.people[person]["country_code"])} | changes
        return Module(server, node, "TuyaSHOpenAPI", project.client_id, project.secret, person, account["password"],
                      account["country"], account["schema"], endpoint=base)

    return smart_home


@pytest.fixture
def custom(server, node, base):
    """Not logged in yet."""
    return lambda project: Module(server, node, "TuyaOpenAPI", base, project.client_id, project.secret)


@pytest.fixture
def logged_in(custom):
    def logged_in(project, person=MOBILE):
        api = custom(project)
        good_login(api("login", person, project.passwords[person]), project, person)
        return api

    return logged_in


@pytest.fixture(params=["1.0", "2.0"])
def listen(request, server, node):
    """Listens for one that is logged in, in either encryption. It does not check that of the second."""
    started = []

    def listen(api):
        subscriber = Module(server, node, "TuyaOpenMQ", api.number, request.param)
        started.append(subscriber)
        assert subscriber("start") is True
        (received,) = [answer["result"] for path, answer in subscriber.answers if path == ACCESS]
        server.secrets.add(received["password"])
        return subscriber

    yield listen
    for subscriber in started:
        subscriber("stop")


def good_login(result, project, person=MOBILE):
    assert types_of(result) == {"access_token": str, "expire_time": int, "expire": int, "refresh_token": str,
                                "uid": str}
    assert result["uid"] == project.uids[person] and 7190 <= result["expire"] <= 7200


def ids(project, *keys):
    return {project.devices[key] for key in keys}


def say(world, device, **values):
    """Gives a device values, as if it had reported them."""
    common = {"device_id": device, "time": int(time.time() * 1000) - 1000, "type": 7, "from": 1}
    world.import_events([common | {"code": code, "value": value} for code, value in values.items()])


def values(rows):
    return {row["code"]: row["value"] for row in rows}


def statuses_of(project, *keys, **reported):
    """What is shown of devices of which some, by their keys, reported something."""
    return {project.devices[key]: points(status_of(FUNCTIONS[key], reported.get(key))) for key in keys}


# SmartHome


def test_smart_home_logs_in_by_itself(lasting_household, smart_home):
    home = lasting_household.home
    api, plug = smart_home(home), home.devices["plug"]
    assert api("getDeviceInfo", plug)["name"] == "Kettle"
    assert api.paths == [LOGIN, f"/v1.0/devices/{plug}"]
    good_login(good(api.answers[0][1]), home)
    # Its token serves until it dies; then it logs in again.
    assert api("getDeviceInfo", plug)["name"] == "Kettle" and api.paths == [f"/v1.0/devices/{plug}"]
    api.become(tokenInfo={"access_token": "", "expire": 0})
    assert api("getDeviceInfo", plug)["name"] == "Kettle" and api.paths == [LOGIN, f"/v1.0/devices/{plug}"]


def test_smart_home_cannot_log_in(household, smart_home):
    home, other = household.home, household.other
    for changes, code in [
        ({"password": "wrong"}, 2401),
        ({"password": other.passwords[MOBILE]}, 2401),
        ({"country": 1}, 1106),
        ({"country": 33}, 2406),
        ({"schema": "otherApp"}, 1106),
    ]:
        api = smart_home(home, **changes)
        # It goes without a token, and says so only in its log.
        api("getDevices")
        assert api.thrown == "Cannot read properties of undefined (reading 'result')"
        assert api.paths == [LOGIN]
        refused(api.answer, code)


def test_smart_home_devices(household, smart_home):
    home, plug = household.home, household.home.devices["plug"]
    say(household, plug, switch_1=True, note="客")
    devices = {device["id"]: device for device in smart_home(home)("getDevices")}
    assert set(devices) == ids(home, *AT_HOME, "lamp")
    assert devices[plug]["status"] == points(status_of(PLUG, {"switch_1": True, "note": "客"}))
    assert (devices[plug]["name"], devices[plug]["local_key"]) == ("Kettle", home.facts[plug]["local_key"])
    # Each gets its functions, also where two are of one product.
    merged = {device: {function["code"] for function in shown["functions"]} for device, shown in devices.items()}
    assert merged == dict.fromkeys(devices, set()) | dict.fromkeys(ids(home, "plug", "lamp"), COMMANDED) | {
        home.devices["gate"]: {"master_state"}}


def test_smart_home_many_devices(household, smart_home):
    """It asks for functions in twenties."""
    home = household.home
    more = [{"product_id": home.products["plug"], "owner": MOBILE} for _ in range(60)]
    household.apply({"projects": [{"name": home.written["name"], "devices": more}]})
    api = smart_home(home)
    found = [device["id"] for device in api("getDevices")]
    assert len(found) == len(set(found)) == 67 and set(found) > ids(home, *AT_HOME, "lamp")
    assert api.paths[1:] == ["/v1.0/iot-01/associated-users/devices"] + 4 * ["/v1.0/devices/functions"]


def test_smart_home_one_device(household, smart_home):
    home, plug = household.home, household.home.devices["plug"]
    say(household, plug, switch_1=False, cur_power=0)
    api = smart_home(home)
    shown = api("getDeviceInfo", plug)
    assert (shown["name"], shown["uid"], shown["online"]) == ("Kettle", home.uids[MOBILE], False)
    status = points(status_of(PLUG, {"switch_1": False, "cur_power": 0}))
    assert shown["status"] == api("getDeviceStatus", plug) == status
    assert {function["code"] for function in api("getDeviceFunctions", plug)["functions"]} == COMMANDED
    assert api("getDeviceListInfo", []) == []
    # Here it looks for `list`, which the vendor calls `devices`.
    api("getDeviceListInfo", [plug, home.devices["lamp"], household.other.devices["away"]])
    assert {device["id"] for device in good(api.answer)["devices"]} == ids(home, "plug", "lamp")


def test_smart_home_shows_a_user_nothing_else(lasting_household, smart_home):
    home, other = lasting_household.home, lasting_household.other
    for project, person, seen in [
        (home, EMAIL, ids(home, "lamp", "plug")),
        (other, MOBILE, ids(other, "away", "both")),
    ]:
        api = smart_home(project, person)
        assert {device["id"] for device in api("getDevices")} == seen
        for device in {*home.devices.values(), *other.devices.values()} - seen:
            for method, args in [("getDeviceInfo", []), ("getDeviceStatus", []), ("getDeviceFunctions", []),
                                 ("sendCommand", [SWITCH_ON])]:
                assert api(method, device, *args) is None
                refused(api.answer, 1106)


def test_smart_home_command(household, smart_home, thing):
    home, plug = household.home, household.home.devices["plug"]
    api, kettle = smart_home(home), thing(home, plug).connect()
    for on in (1, 0, 1):
        assert api("sendCommand", plug, {"commands": [{"code": "switch_1", "value": bool(on)}]}) is True
        assert kettle.next("on_thing_prop_changed") == ({"switch_1": on},)
    assert api("getDeviceInfo", plug)["online"] is True
    assert api("sendCommand", plug, {"commands": [{"code": "nothing", "value": 1}]}) is None
    refused(api.answer, 2008)
    assert api("sendCommand", home.devices["lamp"], SWITCH_ON) is None
    refused(api.answer, 2001)


def test_smart_home_removes_no_device(household, smart_home):
    home, plug = household.home, household.home.devices["plug"]
    for person in (MOBILE, EMAIL):
        api = smart_home(home, person)
        assert api("removeDevice", plug) is None
        refused(api.answer, 1106)
        assert api("getDeviceInfo", plug)["name"] == "Kettle"


# Custom


def test_custom_cannot_log_in(household, custom):
    home, other = household.home, household.other
    for person, password in [(MOBILE, "wrong"), (MOBILE, other.passwords[MOBILE]), ("nobody", home.passwords[MOBILE])]:
        api = custom(home)
        api("login", person, password)
        assert api.thrown == "Cannot destructure property 'access_token' of 'res.result' as it is undefined."
        refused(api.answer, 2401)


def test_custom_devices(household, logged_in):
    """From a home to what stands in it, as its list of devices does."""
    home, plug = household.home, household.home.devices["plug"]
    say(household, plug, switch_1=True, note="客")
    api = logged_in(home)
    standing = api("getDeviceIDList", str(home.homes[MOBILE]))
    assert all(set(row) == {"asset_id", "asset_name", "device_id"} for row in standing)
    assert {(row["asset_id"], row["asset_name"]) for row in standing} == {(str(home.homes[MOBILE]), "Home")}
    found = [row["device_id"] for row in standing]
    assert len(found) == 6 and set(found) == ids(home, *AT_HOME)
    infos = {device["id"]: device for device in api("getDeviceListInfo", found)}
    assert set(infos) == set(found) and infos[plug]["name"] == "Kettle"
    assert infos[plug]["local_key"] == home.facts[plug]["local_key"]
    statuses = {device["id"]: device["status"] for device in api("getDeviceListStatus", found)}
    assert statuses == statuses_of(home, *AT_HOME, plug={"switch_1": True, "note": "客"})
    functions = {function["code"] for function in api("getDeviceFunctions", plug)["functions"]}
    assert functions == COMMANDED
    assert api("getDeviceListInfo", []) == api("getDeviceListStatus", []) == []


def test_custom_lists_devices_from_start_to_end(household, logged_in):
    """The assets, what stands in each, what is known of that, what it says and what it can. It signs a parameter that
    it does not send."""
    home, other, plug = household.home, household.other, household.home.devices["plug"]
    say(household, plug, switch_1=True, note="客")
    for project, person, name, keys in [
        (home, MOBILE, "Home", AT_HOME),
        (home, EMAIL, "Flat", ["lamp"]),
        (other, MOBILE, "Home", ["away", "both"]),
    ]:
        api, own = logged_in(project, person), str(project.homes[person])
        assert api("get_assets") == [
            {"asset_id": own, "asset_name": name, "asset_full_name": name, "parent_asset_id": "-1"}]
        devices = {device["id"]: device for device in api("getDeviceList")}
        assert api.paths[:4] == ["/v1.0/iot-03/users/assets", f"/v1.0/iot-02/assets/{own}/devices",
                                 "/v1.0/iot-03/devices", "/v1.0/iot-03/devices/status"]
        statuses = {device: shown["status"] for device, shown in devices.items()}
        assert statuses == statuses_of(project, *keys, plug={"switch_1": True, "note": "客"})
        if plug in devices:
            assert (devices[plug]["name"], devices[plug]["category"]) == ("Kettle", "cz")
            assert {function["code"] for function in devices[plug]["functions"]} == COMMANDED


def test_custom_one_device(lasting_household, logged_in):
    home = lasting_household.home
    api = logged_in(home)
    lamp = api("getDeviceInfo", home.devices["lamp"])
    # It is shared: seen, but without its key.
    assert (lamp["name"], lamp["uid"], lamp["local_key"]) == ("Лампа", home.uids[EMAIL], "")
    assert api("getDeviceStatus", home.devices["lamp"]) == points(status_of(PLUG))


def test_custom_shows_a_user_nothing_else(lasting_household, logged_in):
    home, other = lasting_household.home, lasting_household.other
    api, seen = logged_in(home, EMAIL), ids(home, "lamp", "plug")
    every = [*home.devices.values(), *other.devices.values()]
    for method in ("getDeviceListInfo", "getDeviceListStatus"):
        assert {device["id"] for device in api(method, every)} == seen
    for device in set(every) - seen:
        for method, args in [("getDeviceInfo", []), ("getDeviceStatus", []), ("getDeviceFunctions", []),
                             ("sendCommand", [SWITCH_ON])]:
            assert api(method, device, *args) is None
            refused(api.answer, 1106)
    for foreign in (home.homes[MOBILE], other.homes[MOBILE]):
        api("getDeviceIDList", str(foreign))
        refused(api.answer, 1106)


def test_custom_command(household, logged_in, thing):
    home, plug = household.home, household.home.devices["plug"]
    api, kettle = logged_in(home, EMAIL), thing(home, plug).connect()
    for on in (1, 0, 1):
        assert api("sendCommand", plug, {"commands": [{"code": "switch_1", "value": bool(on)}]}) is True
        done(api.answer)
        assert kettle.next("on_thing_prop_changed") == ({"switch_1": on},)
    assert api("sendCommand", home.devices["lamp"], SWITCH_ON) is None
    refused(api.answer, 2001)


def test_one_nonce_for_everything(household, smart_home, logged_in, thing):
    """A module keeps its nonce as long as its process lives. Time distinguishes its requests."""
    home, plug = household.home, household.home.devices["plug"]
    kettle = thing(home, plug).connect()
    for api in (smart_home(home), logged_in(home)):
        nonces = set()
        for _ in range(5):
            assert api("sendCommand", plug, SWITCH_ON) is True
            assert kettle.next("on_thing_prop_changed") == ({"switch_1": 1},)
            nonces |= {headers["nonce"] for headers in api.headers}
        assert len(nonces) == 1 and all(nonces)


# Listening


@pytest.mark.parametrize("kind", ["smart_home", "logged_in"])
def test_it_receives_messages_of_a_device(request, household, kind, base, listen, thing):
    home, plug = household.home, household.home.devices["plug"]
    api = request.getfixturevalue(kind)(home)
    assert api("getDeviceInfo", plug)["online"] is False
    subscriber = listen(api)
    (connecting,) = [answer["result"]["url"] for path, answer in subscriber.answers if path == ACCESS]
    assert urlsplit(connecting).scheme == {"http": "tcp", "https": "ssl"}[urlsplit(base).scheme]
    kettle = thing(home, plug).connect()
    arrived = subscriber("next")
    assert (arrived["devId"], arrived["bizCode"]) == (plug, "online")
    kettle.publish(f"{kettle.sys}thing/event/property/post", {
        "id": "7", "version": "1.0", "params": {"switch_1": 1, "note": "水 🔥"}, "method": "thing.event.property.post"})
    arrived = subscriber("next")
    assert (arrived["devId"], values(arrived["status"])) == (plug, {"switch_1": True, "note": "水 🔥"})
    # It looks a value up by the number of its data point, too.
    (switch,) = [point for point in arrived["status"] if point["code"] == "switch_1"]
    # The adapter makes milliseconds of it.
    assert switch["1"] is True and abs(int(switch["t"]) - arrived["t"]) < 60
    kettle.kit.disconnect()
    arrived = subscriber("next")
    assert (arrived["devId"], arrived["bizCode"]) == (plug, "offline")


def test_it_receives_messages_of_what_its_user_sees(household, logged_in, listen, raw):
    home, plug = household.home, household.home.devices["plug"]
    subscriber, project = listen(logged_in(home, EMAIL)), raw(home)
    token = project.token()
    for device, name in (("gate", "Zentrale"), ("plug", "Wasserkocher"), ("lamp", "Licht")):
        done(project.send("PUT", f"/v1.0/devices/{home.devices[device]}", json.dumps({"name": name}).encode(),
                          token=token))
    done(project.send("DELETE", f"/v1.0/devices/{plug}", token=token))
    # Nothing of the first, which is not shared to it.
    received = [subscriber("next") for _ in range(3)]
    assert [(one["devId"], one["bizCode"], one["bizData"].get("name")) for one in received] == [
        (plug, "nameUpdate", "Wasserkocher"), (home.devices["lamp"], "nameUpdate", "Licht"), (plug, "delete", None)]
