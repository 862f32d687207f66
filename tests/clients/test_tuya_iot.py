"""tuya-iot-py-sdk, unmodified, as an app's user: the endpoint is its constructor's argument. SMART_HOME signs in with
app, country and the password's MD5, CUSTOM with nothing but the name and the SHA-256."""

import json
import time
from urllib.parse import urlsplit

import pytest
from tuya_iot import AuthType, TuyaAssetManager, TuyaDevice, TuyaDeviceManager, TuyaHomeManager, TuyaOpenAPI, TuyaOpenMQ

from answers import done, good, refused, types_of
from world import EMAIL, LONER, MOBILE, PLUG, SCHEMA, points, status_of

CLIENT = "tuya-iot-py-sdk"

COMMANDED = {"switch_1", "switch_2", "countdown_1", "work_mode", "note", "colour_data", "ir_code"}
SHOWN = {row["code"] for row in PLUG} - {"ir_code"}
# What stands in the first person's home.
AT_HOME = ("plug", "scal", "gate", "sub1", "sub2", "bare")


@pytest.fixture(params=list(AuthType), ids=lambda auth: auth.name.lower())
def auth(request):
    return request.param


def api_of(server, project, auth, base=None):
    """Not connected yet."""
    return TuyaOpenAPI(base or server.http, project.client_id, project.secret, auth)


def words(project, auth, person=MOBILE, password=None, country=None, schema=SCHEMA):
    """What `connect` takes to sign somebody in."""
    password = project.passwords[person] if password is None else password
    if auth is AuthType.CUSTOM:
        return person, password
    return person, password, country or project.people[person]["country_code"], schema


@pytest.fixture
def sign_in(server):
    def sign_in(project, auth, person=MOBILE, base=None):
        api = api_of(server, project, auth, base)
        good(api.connect(*words(project, auth, person)))
        server.secrets |= {api.token_info.access_token, api.token_info.refresh_token}
        return api

    return sign_in


@pytest.fixture
def manage(sign_in):
    def manage(project, auth, person=MOBILE):
        api = sign_in(project, auth, person)
        return TuyaDeviceManager(api, TuyaOpenMQ(api))

    return manage


def asked(api):
    """What it asks for from now on, method and path."""
    calls = []
    api.session.hooks["response"].append(
        lambda response, **_: calls.append((response.request.method, urlsplit(response.url).path)))
    return calls


def device_path(project, key="plug"):
    return f"/v1.0/devices/{project.devices[key]}"


def ids(project, *keys):
    return {project.devices[key] for key in keys}


def say(world, device, **values):
    """Gives a device values, as if it had reported them."""
    now_ms = int(time.time() * 1000)
    common = {"device_id": device, "time": now_ms - 1000, "type": 7, "from": 1}
    world.import_events([common | {"code": code, "value": value} for code, value in values.items()])


# Signing in


def test_connect(server, lasting_household, auth, base):
    home = lasting_household.home
    for person in (MOBILE, EMAIL):
        api = api_of(server, home, auth, base)
        answer = api.connect(*words(home, auth, person))
        result = good(answer)
        server.secrets |= {result["access_token"], result["refresh_token"]}
        assert types_of(result) == {"access_token": str, "expire_time": int, "expire": int, "refresh_token": str,
                                    "uid": str}
        assert result["uid"] == api.token_info.uid == home.uids[person]
        # No other address: it would go on there.
        assert api.is_connect() and api.token_info.platform_url == ""
        assert 7_190_000 <= api.token_info.expire_time - answer["t"] <= 7_200_000
        assert good(api.get(device_path(home)))["name"] == "Kettle"


def test_wrong_passwords(server, household, auth):
    home, other = household.home, household.other
    api = api_of(server, home, auth)
    for person, password in [
        (MOBILE, "wrong"),
        (MOBILE, ""),
        (MOBILE, home.passwords[EMAIL]),
        (MOBILE, other.passwords[MOBILE]),
        (EMAIL, home.passwords[MOBILE]),
        (LONER, home.passwords[MOBILE]),
    ]:
        refused(api.connect(*words(home, auth, person, password)), 2401)
    refused(api.connect("nobody", home.passwords[MOBILE], "86", SCHEMA), 2401)
    assert api.token_info is None and not api.is_connect()
    refused(api.get(device_path(home)), 1010)
    good(api.connect(*words(home, auth)))
    # The same name and password open nothing in the other project.
    refused(api_of(server, other, auth).connect(*words(home, auth)), 2401)


def test_wrong_project(server, lasting_household, auth):
    home = lasting_household.home
    wrong = TuyaOpenAPI(server.http, home.client_id, lasting_household.other.secret, auth)
    refused(wrong.connect(*words(home, auth)), 1004)
    refused(TuyaOpenAPI(server.http, "nobody", home.secret, auth).connect(*words(home, auth)), 1005)


@pytest.mark.parametrize(
    ("country", "schema", "code"),
    [
        # Served by the app, but not the account's.
        ("1", SCHEMA, 1106),
        ("33", SCHEMA, 2406),
        ("86", "otherApp", 1106),
        ("86", "nothing", 1106),
        # The project's own app, which does not know the account.
        ("86", "emptyApp", 2401),
    ],
)
def test_wrong_country_or_app(server, household, country, schema, code):
    home, auth = household.home, AuthType.SMART_HOME
    api = api_of(server, home, auth)
    refused(api.connect(*words(home, auth, country=country, schema=schema)), code)
    assert api.token_info is None
    for country in ("86", "+86", 86):
        good(api.connect(*words(home, auth, country=country)))


def test_a_name_that_two_apps_know(server, household, sign_in):
    """Only an app says who is meant."""
    home = household.home
    twin = {"schema": "emptyApp", "username": MOBILE, "username_type": 1, "password": home.passwords[MOBILE]}
    household.apply({"projects": [{"name": home.written["name"], "users": [twin]}]})
    refused(api_of(server, home, AuthType.CUSTOM).connect(*words(home, AuthType.CUSTOM)), 2401)
    first, second = sign_in(home, AuthType.SMART_HOME), api_of(server, home, AuthType.SMART_HOME)
    good(second.connect(*words(home, AuthType.SMART_HOME, schema="emptyApp")))
    assert first.token_info.uid == home.uids[MOBILE] != second.token_info.uid
    good(first.get(device_path(home)))
    refused(second.get(device_path(home)), 1106)


def test_too_many_wrong_passwords(server, household, sign_in):
    home, other = household.home, household.other
    before = sign_in(home, AuthType.SMART_HOME)
    for auth in AuthType:
        for _ in range(5):
            refused(api_of(server, home, auth).connect(*words(home, auth, password="wrong")), 2401)
    for auth in AuthType:
        refused(api_of(server, home, auth).connect(*words(home, auth)), 1199)
        # That is nobody else's affair, and whoever was in stays in.
        sign_in(home, auth, EMAIL)
        sign_in(other, auth)
    good(before.get(device_path(home)))


# Tokens


def test_an_expiring_token_is_refreshed(server, lasting_household, auth, base, sign_in, raw):
    home = lasting_household.home
    api = sign_in(home, auth, base=base)
    old, old_access, calls = api.token_info, api.token_info.access_token, asked(api)
    # Its clock says that the token is about to die: the next call refreshes it first.
    old.expire_time = 0
    good(api.get(device_path(home)))
    refresh = {AuthType.SMART_HOME: ("GET", f"/v1.0/token/{old.refresh_token}"),
               AuthType.CUSTOM: ("POST", f"/v1.0/iot-03/users/token/{old.refresh_token}")}[auth]
    assert calls == [refresh, ("GET", device_path(home))]
    new = api.token_info
    server.secrets |= {new.access_token, new.refresh_token}
    assert new.access_token not in ("", old_access) and new.refresh_token not in ("", old.refresh_token)
    assert new.uid == home.uids[MOBILE] and new.expire_time > time.time() * 1000 + 7_000_000
    refused(raw(home).send("GET", f"/v1.0/token/{old.refresh_token}", token=None), 1010)
    refused(raw(home).send("GET", device_path(home), token=old_access), 1010)
    good(api.get(device_path(home)))
    assert api.token_info is new


def test_two_sign_ins_are_apart(lasting_household, auth, sign_in):
    home = lasting_household.home
    one, two = sign_in(home, auth), sign_in(home, auth)
    assert one.token_info.access_token != two.token_info.access_token
    one.token_info.expire_time = 0
    two_calls = asked(two)
    for api in (one, two):
        good(api.get(device_path(home)))
    assert two_calls == [("GET", device_path(home))]


def test_a_dead_token_is_reported_and_replaced(lasting_household, auth, base, sign_in):
    home = lasting_household.home
    api, theirs = sign_in(home, auth, base=base), sign_in(lasting_household.other, auth)
    for dead in ("0" * 32, "x", "", api.token_info.refresh_token, theirs.token_info.access_token):
        api.token_info.access_token = dead
        # It hands on the refusal, having signed in again.
        refused(api.get(device_path(home)), 1010)
        assert api.is_connect() and api.token_info.uid == home.uids[MOBILE]
        good(api.get(device_path(home)))


def test_a_refresh_token_that_is_spent(lasting_household, auth, sign_in):
    home = lasting_household.home
    api = sign_in(home, auth)
    api.token_info.refresh_token, api.token_info.expire_time = "0" * 32, 0
    # It keeps the refusal's lack of a token, sends an empty one, and gets out of that by the code for a dead one.
    refused(api.get(device_path(home)), 1010)
    good(api.get(device_path(home)))


# Devices


def test_the_devices_of_a_smart_home(household, manage):
    home = household.home
    say(household, home.devices["plug"], switch_1=True, note="客", cur_power=399)
    manager = manage(home, AuthType.SMART_HOME)
    manager.update_device_list_in_smart_home()
    # What others share is not in this list.
    assert set(manager.device_map) == ids(home, *AT_HOME)
    plug, sub = (manager.device_map[home.devices[key]] for key in ("plug", "sub1"))
    assert plug.status == status_of(PLUG, {"switch_1": True, "note": "客", "cur_power": 399})
    assert (plug.name, plug.category, plug.sub, plug.online) == ("Kettle", "cz", False, False)
    assert plug.local_key == home.facts[plug.id]["local_key"]
    assert (sub.name, sub.sub, sub.gateway_id) == ("水浸警报", True, home.devices["gate"])
    assert set(plug.function) == COMMANDED and set(plug.status_range) == SHOWN
    assert json.loads(plug.function["countdown_1"].values) == {"min": 0, "max": 86400, "unit": "s"}
    assert (sub.function, set(sub.status_range)) == ({}, {"watersensor_state"})


def test_the_caches_of_a_device_that_said_something(household, auth, manage, monkeypatch):
    home, plug = household.home, household.home.devices["plug"]
    say(household, plug, switch_1=True)
    # Here it writes into one dictionary that all devices have.
    monkeypatch.setattr(TuyaDevice, "status", {})
    manager = manage(home, auth)
    manager.update_device_caches([plug])
    assert manager.device_map[plug].status == status_of(PLUG, {"switch_1": True})


def test_device_caches(lasting_household, auth, manage, monkeypatch):
    home, manager = lasting_household.home, manage(lasting_household.home, auth)
    monkeypatch.setattr(TuyaDevice, "status", {})
    wanted = ids(home, "plug", "lamp", "bare")
    manager.update_device_caches([*wanted, lasting_household.other.devices["away"], "nowhere"])
    assert set(manager.device_map) == wanted
    plug, lamp, bare = (manager.device_map[home.devices[key]] for key in ("plug", "lamp", "bare"))
    for one in (plug, lamp):
        assert set(one.function) == COMMANDED and set(one.status_range) == SHOWN
    assert (bare.function, bare.status_range) == ({}, {})
    # One to whom a device is shared gets neither its key nor where it stands.
    assert (lamp.name, lamp.local_key, lamp.ip, lamp.owner_id) == ("Лампа", "", "", "")
    assert (plug.ip, plug.owner_id) == ("192.168.1.20", str(home.homes[MOBILE]))


def test_what_is_known_of_devices(lasting_household, auth, manage):
    home, manager = lasting_household.home, manage(lasting_household.home, auth)
    plug, written = home.devices["plug"], home.facts[home.devices["plug"]]
    shown = good(manager.get_device_info(plug))
    assert (shown["id"], shown["name"], shown["uid"]) == (plug, "Kettle", home.uids[MOBILE])
    assert (shown["product_id"], shown["product_name"]) == (home.products["plug"], "Wi-Fi 智能插座")
    assert (shown["uuid"], shown["local_key"]) == (written["uuid"], written["local_key"])
    assert (shown["time_zone"], shown["online"], shown["sub"]) == ("+08:00", False, False)
    several = manager.get_device_list_info([plug, home.devices["scal"], "nowhere"])
    assert {row["id"]: row["name"] for row in good(several)["list"]} == {plug: "Kettle", home.devices["scal"]: "体脂秤"}


def test_factory_infos(lasting_household, manage):
    home, manager = lasting_household.home, manage(lasting_household.home, AuthType.SMART_HOME)
    infos = {row["id"]: row for row in good(manager.get_factory_info(list(ids(home, "plug", "gate"))))}
    assert set(infos) == ids(home, "plug", "gate")
    assert infos[home.devices["plug"]]["mac"] == "5c:cf:7f:53:00:01"
    assert infos[home.devices["plug"]]["uuid"] == home.facts[home.devices["plug"]]["uuid"]


def test_what_a_device_says(household, auth, manage):
    home, manager = household.home, manage(household.home, auth)
    plug, lamp = home.devices["plug"], home.devices["lamp"]
    assert good(manager.get_device_status(plug)) == points(status_of(PLUG))
    say(household, plug, switch_1=False, cur_power=0, note="")
    say(household, lamp, fault=3)
    received = {plug: points(status_of(PLUG, {"switch_1": False, "cur_power": 0, "note": ""})),
            lamp: points(status_of(PLUG, {"fault": 3}))}
    assert good(manager.get_device_status(plug)) == received[plug]
    several = good(manager.get_device_list_status([plug, lamp, "nowhere"]))
    assert {row["id"]: row["status"] for row in several} == received


def test_what_a_device_can(lasting_household, auth, manage):
    home, manager = lasting_household.home, manage(lasting_household.home, auth)
    for answer in (manager.get_device_functions(home.devices["plug"]), manager.get_category_functions("cz")):
        result = good(answer)
        assert result["category"] == "cz" and {row["code"] for row in result["functions"]} == COMMANDED
        assert all(set(row) == {"code", "desc", "name", "type", "values"} for row in result["functions"])
    specification = good(manager.get_device_specification(home.devices["plug"]))
    assert specification["category"] == "cz"
    assert {row["code"] for row in specification["functions"]} == COMMANDED
    assert {row["code"]: row["type"] for row in specification["status"]} == {
        row["code"]: row["type"] for row in PLUG if row["code"] != "ir_code"}
    refused(manager.get_device_functions(home.devices["bare"]), 2003)


def test_whose_devices(lasting_household, auth, manage):
    home, other = lasting_household.home, lasting_household.other
    every = [*home.devices.values(), *other.devices.values()]
    for project, person, seen in [
        (home, MOBILE, ids(home, *AT_HOME, "lamp")),
        (home, EMAIL, ids(home, "lamp", "plug")),
        (other, MOBILE, ids(other, "away", "both")),
    ]:
        manager = manage(project, auth, person)
        assert {row["id"] for row in good(manager.get_device_list_info(every))["list"]} == seen
        assert {row["id"] for row in good(manager.get_device_list_status(every))} == seen
        # One device has nothing to specify.
        for device in set(every) - ids(home, "bare"):
            specification = manager.get_device_specification(device)
            good(specification) if device in seen else refused(specification, 1106)
    # Neither the other's list.
    refused(manage(home, auth, EMAIL).api.get(f"/v1.0/users/{home.uids[MOBILE]}/devices"), 1106)


def test_a_device_is_shared_and_withdrawn(household, auth, manage):
    home, scale = household.home, household.home.devices["scal"]
    guest = manage(home, auth, EMAIL)
    refused(guest.get_device_specification(scale), 1106)
    for people in ([EMAIL], []):
        shared = {"device_id": scale, "product_id": home.products["scale"], "shared_with": people}
        household.apply({"projects": [{"name": home.written["name"], "devices": [shared]}]})
        answer = guest.get_device_specification(scale)
        if people:
            assert {row["code"] for row in good(answer)["status"]} == {"weight", "battery_low"}
        else:
            refused(answer, 1106)


def test_only_the_owner_names_a_device(household, auth, sign_in):
    home = household.home
    owner, guest = sign_in(home, auth), sign_in(home, auth, EMAIL)
    refused(guest.put(device_path(home), {"name": "Mine"}), 1106)
    done(owner.put(device_path(home), {"name": "Ölkessel 🔥"}))
    for api in (owner, guest):
        assert good(api.get(device_path(home)))["name"] == "Ölkessel 🔥"


def test_a_command(household, auth, manage, thing):
    home, plug = household.home, household.home.devices["plug"]
    kettle = thing(home, plug).connect()
    commands = [{"code": "switch_1", "value": True}, {"code": "countdown_1", "value": 5}]
    for person in (MOBILE, EMAIL):
        manager = manage(home, auth, person)
        done(manager.send_commands(plug, commands))
        assert kettle.next("on_thing_prop_changed") == ({"switch_1": 1, "countdown_1": 5},)
        assert good(manager.get_device_info(plug))["online"] is True
        for wrong in ({"code": "nothing", "value": True}, {"code": "countdown_1", "value": -1}):
            refused(manager.send_commands(plug, [wrong]), 2008)


def test_a_command_to_nobody(lasting_household, auth, manage):
    home, manager = lasting_household.home, manage(lasting_household.home, auth)
    commands = [{"code": "switch_1", "value": True}]
    for key in ("plug", "lamp"):
        refused(manager.send_commands(home.devices[key], commands), 2001)
    refused(manager.send_commands(home.devices["plug"], [{"code": "cur_power", "value": 1}]), 2008)
    refused(manager.send_commands(home.devices["plug"], []), 1109)
    for device in (lasting_household.other.devices["away"], "nowhere"):
        refused(manager.send_commands(device, commands), 1106)
    refused(manage(home, auth, EMAIL).send_commands(home.devices["scal"], commands), 1106)


def test_a_user_removes_no_device(household, auth, manage):
    home, plug = household.home, household.home.devices["plug"]
    say(household, plug, switch_1=True)
    for person in (MOBILE, EMAIL):
        manager = manage(home, auth, person)
        refused(manager.factory_reset(plug), 1106)
        refused(manager.remove_device(plug), 1106)
        if auth is AuthType.CUSTOM:
            refused(manager.remove_device_list([plug]), 1106)
        assert good(manager.get_device_info(plug))["name"] == "Kettle"
        assert good(manager.get_device_status(plug)) == points(status_of(PLUG, {"switch_1": True}))


# Homes


@pytest.fixture
def homes(manage):
    def homes(project, auth, person=MOBILE):
        manager = manage(project, auth, person)
        return TuyaHomeManager(manager.api, manager.mq, manager)

    return homes


def test_the_devices_of_a_home(lasting_household, auth, homes):
    for project, person, seen in [
        (lasting_household.home, MOBILE, AT_HOME),
        (lasting_household.home, EMAIL, ("lamp",)),
        (lasting_household.other, MOBILE, ("away", "both")),
    ]:
        manager = homes(project, auth, person)
        manager.update_device_cache()
        assert set(manager.device_manager.device_map) == ids(project, *seen)
        manager.update_device_cache()
        assert set(manager.device_manager.device_map) == ids(project, *seen)


def test_scenes_and_what_else_is_not_kept(lasting_household, auth, homes):
    home, manager = lasting_household.home, homes(lasting_household.home, auth)
    calls = asked(manager.api)
    assert manager.query_scenes() == []
    triggered = manager.trigger_scene(home.homes[MOBILE], "scene")
    manager.update_device_cache()
    assert manager.query_infrared_devices() == []
    assert manager.device_manager.get_device_stream_allocate(home.devices["plug"], "rtsp") is None
    if auth is AuthType.SMART_HOME:
        refused(triggered, 2503)
        assert ("GET", f"/v1.0/homes/{home.homes[MOBILE]}/scenes") in calls
    else:
        assert triggered == {}


def test_homes_stand_for_assets(lasting_household, auth, sign_in):
    home = lasting_household.home
    for person, name, keys in [(MOBILE, "Home", AT_HOME), (EMAIL, "Flat", ("lamp",))]:
        api = sign_in(home, auth, person)
        assets, own = TuyaAssetManager(api), str(home.homes[person])
        asset = {"asset_id": own, "asset_name": name, "asset_full_name": name, "parent_asset_id": "-1"}
        assert assets.get_asset_list() == [asset]
        assert good(assets.get_asset_info(own)) == asset
        assert assets.get_asset_list(own) == []
        found = assets.get_device_list(own)
        assert len(found) == len(keys) and set(found) == ids(home, *keys)
        for foreign in (home.homes[EMAIL if person == MOBILE else MOBILE], lasting_household.other.homes[MOBILE], 7):
            assert assets.get_device_list(str(foreign)) == assets.get_asset_list(str(foreign)) == []
            refused(assets.get_asset_info(str(foreign)), 1106)
            refused(api.get(f"/v1.0/iot-02/assets/{foreign}/devices"), 1106)
            refused(api.get(f"/v1.0/iot-02/assets/{foreign}/sub-assets"), 1106)


def test_many_homes_and_devices(household, auth, sign_in):
    """In pages of a hundred, of which none is lost or doubled."""
    home = household.home
    more = [{"product_id": home.products["plug"], "owner": MOBILE, "home_id": home.homes[MOBILE]} for _ in range(210)]
    rooms = [{"name": f"Home {n}", "owner": MOBILE} for n in range(210)]
    household.apply({"projects": [{"name": home.written["name"], "devices": more, "homes": rooms}]})
    assets = TuyaAssetManager(sign_in(home, auth))
    found = assets.get_device_list(str(home.homes[MOBILE]))
    assert len(found) == len(set(found)) == 216 and set(found) > ids(home, *AT_HOME)
    names = [asset["asset_name"] for asset in assets.get_asset_list()]
    assert len(names) == 211 and set(names) == {"Home"} | {f"Home {n}" for n in range(210)}


def test_who_lives_in_a_home_has_its_devices(household, auth, homes, connect, thing):
    home = household.home
    manager = homes(home, auth, EMAIL)
    member = {"country_code": "1", "member_account": EMAIL, "admin": False, "name": "Guest"}
    path = f"/v1.0/homes/{home.homes[MOBILE]}/members"
    done(connect(home).post(path, {"app_schema": SCHEMA, "member": member}))
    manager.update_device_cache()
    assert set(manager.device_manager.device_map) == ids(home, *AT_HOME, "lamp")
    gateway = thing(home, home.devices["gate"]).connect()
    done(manager.device_manager.send_commands(home.devices["gate"], [{"code": "master_state", "value": True}]))
    assert gateway.next("on_thing_prop_changed") == ({"master_state": 1},)
    done(connect(home).delete(f"{path}/{home.uids[EMAIL]}"))
    manager.update_device_cache()
    assert set(manager.device_manager.device_map) == ids(home, "lamp")
    refused(manager.device_manager.get_device_specification(home.devices["gate"]), 1106)
