"""tinytuya, unmodified. It uses https only, with a host from a table: `setregion` is the documented place to change it,
and the server's own CA is trusted through REQUESTS_CA_BUNDLE."""

import io
import json
import time
from urllib.parse import urlsplit

import pytest
import tinytuya
import tinytuya.wizard

from answers import done, good, refused
from history import DAY_MS, HOUR_MS, TYPES, assert_log
from world import EMAIL, MOBILE, PLUG, SCHEMA

CLIENT = "tinytuya"


@pytest.fixture
def cloud(server):
    """tinytuya with a project's credentials; `device` is where it starts to look for others."""
    host = urlsplit(server.https).netloc

    class Cloud(tinytuya.Cloud):
        def setregion(self, apiRegion=None):
            self.apiRegion, self.urlhost = apiRegion, host

    def cloud(project, device=None, secret=None, client_id=None, **options):
        cloud = Cloud("us", client_id or project.client_id, secret or project.secret, device, **options)
        if cloud.token:
            server.secrets.add(cloud.token)
        return cloud

    return cloud


# Each signature, with a project that takes it. The old one covers neither path nor body.
@pytest.fixture(params=["new", "old"])
def side(request, world, cloud):
    if request.param == "new":
        return world.home, lambda device=None: cloud(world.home, device)
    return world.other, lambda device=None: cloud(world.other, device, new_sign_algorithm=False)


def device_of(project):
    return project.devices.get("plug") or project.devices["away"]


def test_token(side):
    project, connect = side
    first, second = connect(), connect()
    assert first.error is None and len(first.token) == 32
    # Two processes with one credential hold one token.
    assert first.token == second.token
    assert first.server_time_offset == 0


def test_a_token_from_an_earlier_run(world, cloud):
    token = cloud(world.home).token
    again = cloud(world.home, initial_token=token)
    assert again.getconnectstatus(world.home.devices["plug"]) is False and again.token == token


def test_wrong_credentials(world, cloud):
    for options in ({}, {"new_sign_algorithm": False}):
        wrong = cloud(world.home, secret=world.other.secret, **options)
        assert wrong.token is None and "sign invalid" in str(wrong.error)
        assert wrong.getconnectstatus(world.home.devices["plug"]) == wrong.error
        wrong = cloud(world.home, client_id="nobody", **options)
        assert wrong.token is None and "clientId invalid" in str(wrong.error)


def test_the_old_signature_where_it_is_not_allowed(world, cloud):
    plug = world.home.devices["plug"]
    old = cloud(world.home, plug, new_sign_algorithm=False)
    # The token endpoints take it always; one vendor's client refreshes with it.
    assert len(old.token) == 32
    refused(old.cloudrequest(f"/v1.0/devices/{plug}"), 1004)
    refused(old.cloudrequest(f"/v1.0/devices/{plug}", action="PUT", post={"name": "x"}), 1004)
    assert "Code 1004" in str(old.getdevices())
    assert cloud(world.home).cloudrequest(f"/v1.0/devices/{plug}")["result"]["name"] == "Kettle"
    # A project that takes the old one takes the new one too.
    good(cloud(world.other).cloudrequest(f"/v1.0/devices/{world.other.devices['away']}"))


def test_connect_status(side):
    project, connect = side
    cloud = connect()
    assert cloud.getconnectstatus(device_of(project)) is False
    assert "permission deny" in str(cloud.getconnectstatus("nowhere"))


def test_devices_of_a_users_device(world, cloud):
    home = world.home
    found = {device["id"]: device for device in cloud(home, home.devices["plug"]).getdevices()}
    assert set(found) == {home.devices[key] for key in ("plug", "scal", "gate", "sub1", "sub2", "bare")}
    written = home.facts[home.devices["plug"]]
    plug = found[home.devices["plug"]]
    assert (plug["name"], plug["key"], plug["mac"]) == ("Kettle", written["local_key"], "5c:cf:7f:53:00:01")
    assert (plug["sn"], plug["uuid"]) == (written["sn"], written["uuid"])
    assert plug["icon"].endswith("/smart/product_icon/cz.png")
    sub = found[home.devices["sub1"]]
    assert (sub["name"], sub["gateway_id"], sub["node_id"]) == ("水浸警报", home.devices["gate"], "00124b0001")


def test_devices_of_several_users(world, cloud):
    home = world.home
    several = cloud(home, f"{home.devices['plug']}, {home.devices['lamp']}")
    raw = several.getdevices(verbose=True)
    assert raw["success"] is True
    assert {device["id"] for device in raw["result"]} == set(home.devices.values())
    # With what it knows from an earlier run it asks again and finds nothing changed.
    known = several.getdevices()
    assert {device["id"] for device in several.getdevices(oldlist=known)} == set(home.devices.values())


def test_devices_by_the_old_signature(world, cloud):
    other = world.other
    found = cloud(other, other.devices["away"], new_sign_algorithm=False).getdevices()
    assert {device["id"] for device in found} == {other.devices["away"], other.devices["both"]}


def test_devices_of_a_device_of_nobody(world, cloud):
    assert "Code 1106" in str(cloud(world.home, world.other.devices["away"]).getdevices())


def test_many_devices_ask_for_their_factory_infos_in_fifties(world, cloud):
    more = [{"product_id": world.home.products["plug"], "owner": EMAIL, "mac": f"5c:cf:7f:53:01:{n:02x}"}
            for n in range(60)]
    world.apply({"projects": [{"name": world.home.written["name"], "devices": more}]})
    found = cloud(world.home, world.home.devices["lamp"]).getdevices()
    assert len(found) == 61 and sum(device["mac"].startswith("5c:cf:7f:53:01") for device in found) == 60


def test_every_device_without_one_to_start_from(world, cloud):
    """As its wizard asks for them: all of the project's, and each user's for their keys."""
    connected, home = cloud(world.home), world.home
    raw = connected.getdevices(verbose=True)
    assert raw["success"] is True and raw["total"] == len(raw["result"])
    assert {device["id"] for device in raw["result"]} >= set(home.devices.values())
    found = {device["id"]: device for device in connected.getdevices(include_map=True)}
    plug, sub = found[home.devices["plug"]], found[home.devices["sub1"]]
    assert (plug["name"], plug["key"]) == ("Kettle", home.facts[plug["id"]]["local_key"])
    assert (sub["gateway_id"], sub["node_id"]) == (home.devices["gate"], "00124b0001")
    mapping = plug["mapping"]
    assert {number: row["code"] for number, row in mapping.items()} == {
        str(row["dp_id"]): row["code"] for row in PLUG}
    assert mapping["9"]["type"] == "Integer" and mapping["9"]["values"]["max"] == 86400


def test_many_devices_without_one_to_start_from(world, cloud):
    """In pages, of which none is lost or doubled."""
    more = [{"product_id": world.home.products["plug"], "owner": EMAIL} for _ in range(120)]
    world.apply({"projects": [{"name": world.home.written["name"], "devices": more}]})
    found = [device["id"] for device in cloud(world.home).getdevices()]
    assert len(found) == len(set(found)) and set(world.home.devices.values()) < set(found) and len(found) >= 127


def test_what_a_device_says_and_can(history, cloud):
    connected, device = cloud(history.project), history.device
    shown = good(connected.getstatus(device))
    status = {row["code"]: row["value"] for row in shown}
    assert shown == history.status
    assert type(status["switch_1"]) is bool and status["cur_power"] == 399
    functions = good(connected.getfunctions(device))
    assert functions["category"] == "cz"
    commanded = {"switch_1", "switch_2", "countdown_1", "work_mode", "note", "colour_data", "ir_code"}
    assert {row["code"] for row in functions["functions"]} == commanded
    (countdown,) = [row for row in functions["functions"] if row["code"] == "countdown_1"]
    assert set(countdown) == {"code", "desc", "name", "type", "values"} and countdown["type"] == "Integer"
    assert json.loads(countdown["values"]) == {"min": 0, "max": 86400, "unit": "s"}
    for answer, more in ((connected.getproperties(device), set()), (connected.getdps(device), {"dp_id", "name"})):
        specification = good(answer)
        assert {row["code"] for row in specification["functions"]} == commanded
        assert {row["code"] for row in specification["status"]} == {row["code"] for row in PLUG} - {"ir_code"}
        assert all(set(row) == {"code", "type", "values"} | more for row in specification["status"])
    assert set(connected.getmapping(history.project.products["plug"], device)) == {str(row["dp_id"]) for row in PLUG}


def test_what_a_device_of_nobody_says_and_can(world, cloud):
    connected = cloud(world.home)
    for ask in (connected.getstatus, connected.getfunctions, connected.getproperties, connected.getdps):
        for device in ("nowhere", world.other.devices["away"]):
            assert "permission deny" in str(ask(device))
    assert "function not support" in str(connected.getfunctions(world.home.devices["bare"]))


# What tinytuya can ask for beyond the endpoints that are there is refused cleanly, and it says so.
def test_endpoints_that_are_not_there(world, cloud):
    refused(cloud(world.home).cloudrequest("/v1.0/infrareds/1/remotes"), 1108)


def test_a_command(world, cloud, thing):
    connected, plug = cloud(world.home), world.home.devices["plug"]
    kettle = thing(world.home, plug).connect()
    commands = {"commands": [{"code": "switch_1", "value": True}, {"code": "countdown_1", "value": 5}]}
    done(connected.sendcommand(plug, commands))
    assert kettle.next("on_thing_prop_changed") == ({"switch_1": 1, "countdown_1": 5},)
    # Its other address.
    done(connected.sendcommand(plug, commands, uri="devices/"))
    assert kettle.next("on_thing_prop_changed") == ({"switch_1": 1, "countdown_1": 5},)
    assert connected.getconnectstatus(plug) is True
    for command in ({"code": "nothing", "value": True}, {"code": "countdown_1", "value": -1}):
        assert "command or value not support" in str(connected.sendcommand(plug, {"commands": [command]}))
        refused(connected.cloudrequest(f"/v1.0/iot-03/devices/{plug}/commands", post={"commands": [command]}), 2008)


def test_a_command_to_nobody(side):
    project, connect = side
    cloud, device = connect(), device_of(project)
    commands = {"commands": [{"code": "switch_1", "value": True}]}
    assert "device is offline" in str(cloud.sendcommand(device, commands))
    for path in (f"/v1.0/iot-03/devices/{device}/commands", f"/v1.0/devices/{device}/commands"):
        refused(cloud.cloudrequest(path, post=commands), 2001)
        refused(cloud.cloudrequest(path, post={"commands": [{"code": "nothing", "value": True}]}), 2008)
        refused(cloud.cloudrequest(path, post={"commands": []}), 1109)
    refused(cloud.cloudrequest("/v1.0/devices/nowhere/commands", post=commands), 1106)


def test_a_dead_token_is_replaced_unseen(side, raw):
    project, connect = side
    cloud, path = connect(), f"/v1.0/devices/{device_of(project)}"
    for dead in ("0" * 32, "x"):
        cloud.token = dead
        good(cloud.cloudrequest(path))
        assert cloud.token != dead
        cloud.token = dead
        assert cloud.getconnectstatus(device_of(project)) is False
        cloud.token = dead
        # It repeats what it wrote, too.
        done(cloud.cloudrequest(path, action="PUT", post={"name": f"after {dead}"}))
        assert good(cloud.cloudrequest(path))["name"] == f"after {dead}"
    # Somebody else renewed the project's token.
    before = cloud.token
    pair = good(raw(project).send("GET", "/v1.0/token?grant_type=1", token=None))
    renewed = good(raw(project).send("GET", f"/v1.0/token/{pair['refresh_token']}", token=None))
    good(cloud.cloudrequest(path))
    assert cloud.token == renewed["access_token"] != before


def test_a_dead_token_and_a_wrong_secret(world, cloud):
    """It gives up after one try."""
    connected = cloud(world.home)
    connected.token, connected.apiSecret = "0" * 32, world.other.secret
    refused(connected.cloudrequest("/v1.0/devices"), 1004)


# The wizard, which makes its own Cloud: `setregion` is changed where that finds it.


@pytest.fixture
def wizard(server, tmp_path, monkeypatch):
    """Runs it in a folder of its own, with answers to its questions, and gives what it printed."""
    host, made = urlsplit(server.https).netloc, []

    def setregion(self, apiRegion=None):
        self.apiRegion, self.urlhost = apiRegion or self.apiRegion, host
        made.append(self)

    monkeypatch.setattr(tinytuya.Cloud, "setregion", setregion)
    monkeypatch.chdir(tmp_path)

    def wizard(*answers, **options):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{answer}\n" for answer in answers)))
        monkeypatch.setattr("sys.stdout", printed := io.StringIO())
        tinytuya.wizard.wizard(color=False, **options)
        server.secrets |= {cloud.token for cloud in made if cloud.token}
        return printed.getvalue()

    return wizard


def written(name):
    """What stands in a file that it left."""
    with open(name, encoding="utf-8") as file:
        return json.load(file)


def credentials(project, device="", secret=None):
    return {"apiKey": project.client_id, "apiSecret": secret or project.secret, "apiRegion": "us",
            "apiDeviceID": device}


def assert_plug(plug, project):
    """Everything that it keeps of the kettle."""
    facts = project.facts[plug["id"]]
    mapping = plug.pop("mapping")
    assert {number: row["code"] for number, row in mapping.items()} == {str(row["dp_id"]): row["code"] for row in PLUG}
    assert mapping["9"] == {"code": "countdown_1", "type": "Integer", "values": {"min": 0, "max": 86400, "unit": "s"}}
    assert {name: plug[name] for name in ("name", "key", "mac", "uuid", "sn", "category", "product_id", "product_name",
                                          "model", "sub")} == {
        "name": "Kettle", "key": facts["local_key"], "mac": "5c:cf:7f:53:00:01", "uuid": facts["uuid"],
        "sn": facts["sn"], "category": "cz", "product_id": project.products["plug"],
        "product_name": "Wi-Fi 智能插座", "model": "P1", "sub": False}


def test_the_wizard_asks(world, wizard):
    """From nothing, with a device to start from, and no network to poll."""
    home, plug = world.home, world.home.devices["plug"]
    said = wizard(home.client_id, home.secret, plug, "us", "y", "n")
    assert "6 registered devices saved" in said and said.endswith("Done.\n\n")
    assert written("tinytuya.json") == credentials(home, plug)
    devices = {device["id"]: device for device in written("devices.json")}
    assert set(devices) == {home.devices[key] for key in ("plug", "scal", "gate", "sub1", "sub2", "bare")}
    assert_plug(devices[plug], home)
    sub = devices[home.devices["sub1"]]
    assert (sub["parent"], sub["node_id"], sub["sub"]) == (home.devices["gate"], "00124b0001", True)
    assert all("parent" not in device for device in devices.values() if not device["sub"])
    raw = written("tuya-raw.json")
    assert (raw["success"], raw["file"]["account"], raw["file"]["name"]) == (True, home.client_id, "tuya-raw.json")
    assert {device["id"]: device["local_key"] for device in raw["result"]} == {
        device: home.facts[device]["local_key"] for device in devices}


def test_the_wizard_finds_everything_again(world, wizard):
    """Without a device, with the data that was stored before, and without a request."""
    home, plug = world.home, world.home.devices["plug"]
    wizard(assume_yes=True, skip_poll=True, credentials=credentials(home, plug))
    with open("tinytuya.json", "w", encoding="utf-8") as file:
        json.dump(credentials(home), file)
    # Of what stood there, a device with another key is written anew; it looks at no names.
    known = written("devices.json")
    known[0] |= {"key": "old", "name": "old"}
    with open("devices.json", "w", encoding="utf-8") as file:
        json.dump(known, file)
    assert "Existing settings:" in wizard(assume_yes=True, skip_poll=True)
    devices = {device["id"]: device for device in written("devices.json")}
    assert set(devices) >= set(home.devices.values())
    facts = {device: home.facts[device] for device in home.devices.values()}
    assert {device: devices[device]["key"] for device in facts} == {
        device: fact["local_key"] for device, fact in facts.items()}
    assert {devices[device]["name"] for device in facts} == {
        "Kettle", "体脂秤", "Gateway", "水浸警报", "Cellar", "Bare", "Лампа"}
    assert_plug(devices[plug], home)
    # Without the cloud it shows what it has.
    before = written("devices.json")
    assert f"{len(before)} registered devices saved" in wizard(assume_yes=True, skip_poll=True, nocloud=True)
    assert written("devices.json") == before


def test_the_wizard_is_refused(world, wizard, tmp_path):
    for given, why in [
        (credentials(world.home, world.home.devices["plug"], secret=world.other.secret), "sign invalid"),
        (credentials(world.home, world.other.devices["away"]), "permission deny"),
    ]:
        said = wizard(assume_yes=True, skip_poll=True, credentials=given)
        assert "Error from Tuya server: " in said and why in said
    assert list(tmp_path.iterdir()) == []


# Logs


def test_the_whole_log(history, cloud):
    answer = cloud(history.project).getdevicelog(
        history.device, start=history.now_ms - 20 * DAY_MS, end=history.now_ms)
    result = good({name: answer[name] for name in answer if name != "fetches"})
    assert answer["fetches"] == -(-len(history.rows) // 100)
    assert result["has_next"] is False and result["next_row_key"] is None
    assert_log(result["logs"], history.rows)


def test_the_log_of_the_last_day(history, cloud):
    """Times are taken as days before now when they are negative; by default, one day."""
    fresh = [row for row in history.rows if row["time"] > history.now_ms - 22 * HOUR_MS]
    for options in ({}, {"start": -1}):
        assert_log(cloud(history.project).getdevicelog(history.device, **options)["result"]["logs"], fresh)
    week = [row for row in history.rows if row["time"] > history.now_ms - 7 * DAY_MS]
    assert_log(cloud(history.project).getdevicelog(history.device, start=-7)["result"]["logs"], week)


def test_a_log_in_pieces(history, cloud):
    """A run that stopped after some pages goes on from its `next_row_key`."""
    connected, rows, key = cloud(history.project), [], None
    while True:
        answer = connected.getdevicelog(history.device, start=history.now_ms - 20 * DAY_MS, end=history.now_ms,
                                        max_fetches=3, start_row_key=key)
        rows += answer["result"]["logs"]
        assert answer["fetches"] <= 3 and len(answer["result"]["logs"]) <= 300
        key = answer["result"]["next_row_key"]
        if key is None:
            break
    assert_log(rows, history.rows)


def test_a_log_of_some_types(history, cloud):
    def shown(evtype, **params):
        return cloud(history.project).getdevicelog(
            history.device, start=-20, evtype=evtype, params=params)["result"]["logs"]

    for evtype, kinds in [(7, {7}), ("1,2", {1, 2}), ([1, 2, 3], {1, 2, 3}), (b"10", {10}), (4, set())]:
        assert_log(shown(evtype), [row for row in history.rows if row["type"] in kinds])
    switched = [row for row in history.rows if row["type"] == 7 and row["code"] in ("switch_1", "note")]
    assert_log(shown("7", codes="switch_1,note"), switched)


def test_a_small_log(history, cloud):
    answer = cloud(history.project).getdevicelog(history.device, start=-20, size=30)
    assert len(answer["result"]["logs"]) == 30 and answer["fetches"] == 1
    assert answer["result"]["has_next"] is True


def test_the_log_by_the_old_signature(world, cloud):
    away, now_ms = world.other.devices["away"], int(time.time() * 1000)
    rows = [{"device_id": away, "time": now_ms - 5000 + n // 3, "type": 7, "from": 1, "code": "switch_1", "value": n}
            for n in range(1050)]
    world.import_events(rows)
    answer = cloud(world.other, new_sign_algorithm=False).getdevicelog(away)
    assert answer["fetches"] == 11
    assert_log(answer["result"]["logs"], rows)


def test_logs_that_cannot_be(history, cloud):
    connected = cloud(history.project)
    refused(connected.getdevicelog("nowhere"), 1106)
    refused(connected.getdevicelog(history.project.devices["bare"]), 2009)
    refused(connected.getdevicelog(history.device, evtype="12"), 1101)
    refused(connected.getdevicelog(history.device, start_row_key="x"), 1109)


# Whatever else, through `cloudrequest`


def test_rename(side):
    project, connect = side
    cloud, path = connect(), f"/v1.0/devices/{device_of(project)}"
    for name in ("Küche 客厅 🔥", 'quote" & +'):
        done(cloud.cloudrequest(path, action="PUT", post={"name": name}))
        assert good(cloud.cloudrequest(path))["name"] == name
        done(cloud.cloudrequest(f"{path}/functions/switch_1", action="PUT", post={"name": name}))
        assert good(cloud.cloudrequest(f"{path}/multiple-names")) == [{"identifier": "switch_1", "name": name}]
    done(cloud.cloudrequest(f"{path}/multiple-name", action="PUT", post={"identifier": "switch_1", "name": "last"}))
    assert good(cloud.cloudrequest(f"{path}/multiple-names")) == [{"identifier": "switch_1", "name": "last"}]
    refused(cloud.cloudrequest(path, action="PUT", post={"name": ""}), 1100)


def test_users(side):
    project, connect = side
    cloud = connect()
    body = {"country_code": "86", "username": "13900000002", "password": "c7fb2740c5f000000004ed765a479fa0",
            "username_type": 1, "nick_name": "小红"}
    uid = good(cloud.cloudrequest(f"/v1.0/apps/{SCHEMA}/user", post=body))["uid"]
    assert good(cloud.cloudrequest(f"/v1.0/users/{uid}/infos"))["nick_name"] == "小红"
    page = good(cloud.cloudrequest(f"/v2.0/apps/{SCHEMA}/users", query={"page_no": 1, "page_size": 2}))
    assert len(page["list"]) == 2 and (page["has_more"], page["total"]) == (True, 4)
    assert good(cloud.cloudrequest(f"/v1.0/users/{uid}/devices")) == []
    refused(cloud.cloudrequest("/v1.0/apps/nothing/user", post=body), 1106)


def test_device_users(side):
    project, connect = side
    cloud, path = connect(), f"/v1.0/devices/{device_of(project)}"
    person = good(cloud.cloudrequest(f"{path}/user", post={"nick_name": "奶奶", "sex": 2, "height": 158}))
    done(cloud.cloudrequest(f"{path}/users/{person}", action="PUT", post={"nick_name": "Oma", "sex": 2}))
    assert [row["nick_name"] for row in good(cloud.cloudrequest(f"{path}/users"))] == ["Oma"]
    assert good(cloud.cloudrequest(f"{path}/users/{person}"))["nick_name"] == "Oma"
    done(cloud.cloudrequest(f"{path}/users/{person}", action="DELETE"))
    refused(cloud.cloudrequest(f"{path}/users/{person}"), 2006)


def test_lists(world, cloud):
    home, connected = world.home, cloud(world.home)
    both = f"{home.devices['plug']},{home.devices['gate']}"
    # As a mapping the query is signed decoded and sent encoded; as text it goes out as it is.
    for query in ({"page_size": 20, "device_ids": both}, f"device_ids={both}&page_size=20", f"?device_ids={both}"):
        assert good(connected.cloudrequest("/v1.0/devices", query=query))["total"] == 2
    assert good(connected.cloudrequest("/v1.0/devices", query=[("device_ids", both)]))["total"] == 2
    infos = good(connected.cloudrequest("/v1.0/devices/factory-infos", query={"device_ids": both}))
    assert {info["id"] for info in infos} == set(both.split(","))
    subs = good(connected.cloudrequest(f"/v1.0/devices/{home.devices['gate']}/sub-devices"))
    assert {sub["id"] for sub in subs} == {home.devices["sub1"], home.devices["sub2"]}
    shared = good(connected.cloudrequest(f"/v1.0/users/{home.uids[MOBILE]}/devices", query={"from": "sharing"}))
    assert [device["id"] for device in shared] == [home.devices["lamp"]]


@pytest.mark.parametrize(("action", "way"), [
    ("DELETE", "/v1.0/devices/{}"), ("PUT", "/v1.0/devices/{}/reset-factory"),
    ("POST", "/v1.0/devices/{}/reset-factory"), ("DELETE", "/v1.0/iot-03/devices/{}"),
    ("DELETE", "/v1.0/iot-03/devices/{}/actions/reset"), ("POST", "/v1.0/iot-03/devices/{}/actions/reset"),
    ("POST", "/v2.0/cloud/thing/{}/reset"),
])
def test_leaving(side, action, way):
    project, connect = side
    cloud, path, way = connect(), f"/v1.0/devices/{device_of(project)}", way.format(device_of(project))
    done(cloud.cloudrequest(way, action=action))
    refused(cloud.cloudrequest(way, action=action), 1106)
    refused(cloud.cloudrequest(path), 1106)
    refused(cloud.cloudrequest(f"{path}/logs", query={"type": TYPES, "end_time": 1}), 1106)
