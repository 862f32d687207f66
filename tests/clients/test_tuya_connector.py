"""tuya-connector-python, unmodified: the endpoint is its constructor's argument."""

import json
import re
import time

import pytest
from tuya_connector import TuyaOpenAPI

from answers import done, good, refused, types_of
from history import DAY_MS, TYPES, assert_log, expected
from world import EMAIL, FUNCTIONS, LONER, MOBILE, PLUG, SCHEMA, points, status_of

CLIENT = "tuya-connector-python"
NAMES = ["客厅灯", "Küche – Ölofen", "Лампа", "🔥 two  spaces", "quote\" back\\slash </script> %41 + &"]


def now_s():
    return int(time.time())


@pytest.fixture
def api(world, connect):
    return connect(world.home)


# Tokens


def test_connect(world, base):
    api = TuyaOpenAPI(base, world.home.client_id, world.home.secret)
    answer = api.connect()
    result = good(answer)
    assert types_of(result) == {"access_token": str, "expire_time": int, "refresh_token": str, "uid": str}
    assert re.fullmatch("[0-9a-f]{32}", result["access_token"])
    assert re.fullmatch("[0-9a-f]{32}", result["refresh_token"])
    assert result["uid"].startswith("bay")
    assert 7190 <= result["expire_time"] <= 7200
    assert abs(answer["t"] - time.time() * 1000) < 60_000
    assert api.is_connect()
    assert good(api.get(f"/v1.0/devices/{world.home.devices['plug']}"))["name"] == "Kettle"


def test_an_expiring_token_is_refreshed(server, world, base, connect, raw):
    api = connect(world.home, base)
    old = api.token_info
    old_access = old.access_token
    # Its clock says that the token is about to die: the next call refreshes it first.
    old.expire_time = 0
    good(api.get("/v1.0/devices"))
    new = api.token_info
    assert new is not old and new.access_token not in ("", old_access) and new.refresh_token != old.refresh_token
    assert new.expire_time > time.time() * 1000 + 7_000_000
    server.secrets |= {new.access_token, new.refresh_token}
    refused(raw(world.home).send("GET", f"/v1.0/token/{old.refresh_token}", token=None), 1010)
    refused(raw(world.home).send("GET", "/v1.0/devices", token=old_access), 1010)
    good(api.get("/v1.0/devices"))
    assert api.token_info is new


def test_an_instance_whose_refresh_token_is_spent(world, connect):
    api, twin = connect(world.home), connect(world.home)
    for each in (api, twin):
        each.token_info.expire_time = 0
    good(api.get("/v1.0/devices"))
    # The twin's refresh is refused. It keeps that answer's lack of a token, and sends an empty one with its call: it
    # gets out of that only by the code for a dead token.
    refused(twin.get("/v1.0/devices"), 1010)
    good(twin.get("/v1.0/devices"))
    good(api.get("/v1.0/devices"))


def test_a_dead_token_is_reported_and_replaced(world, base, connect):
    api = connect(world.home, base)
    for token in ("0" * 32, "x", api.token_info.refresh_token):
        api.token_info.access_token = token
        refused(api.get("/v1.0/devices"), 1010)
        good(api.get("/v1.0/devices"))


def test_a_token_of_another_project_is_dead(world, connect):
    api = connect(world.home)
    api.token_info.access_token = connect(world.other).token_info.access_token
    refused(api.get("/v1.0/devices"), 1010)


def test_two_instances_share_one_credential(world, server, connect):
    one, two = connect(world.home), connect(world.home, server.https)
    assert one.token_info.access_token == two.token_info.access_token
    for _ in range(3):
        good(one.get("/v1.0/devices"))
        good(two.get("/v1.0/devices"))
        good(connect(world.home).get("/v1.0/devices"))


def test_two_instances_after_one_refreshed(world, connect):
    one, two = connect(world.home), connect(world.home)
    one.token_info.expire_time = 0
    good(one.get("/v1.0/devices"))
    refused(two.get("/v1.0/devices"), 1010)
    # Logging in again hands out the living token: the first one goes on undisturbed.
    good(two.get("/v1.0/devices"))
    good(one.get("/v1.0/devices"))
    assert one.token_info.access_token == two.token_info.access_token


def test_wrong_credentials(world, base):
    refused(TuyaOpenAPI(base, world.home.client_id, "x" + world.home.secret[1:]).connect(), 1004)
    refused(TuyaOpenAPI(base, world.home.client_id, world.other.secret).connect(), 1004)
    refused(TuyaOpenAPI(base, world.home.client_id + "x", world.home.secret).connect(), 1005)


def test_a_secret_that_turns_wrong(world, connect):
    api = connect(world.home)
    api.access_secret = world.other.secret
    refused(api.get("/v1.0/devices"), 1004)


def test_other_grants(api):
    refused(api.get("/v1.0/token", {"grant_type": 2, "code": "x"}), 1003)
    refused(api.get("/v1.0/token"), 1003)


def test_texts_in_chinese(world, connect):
    api = connect(world.home, lang="zh")
    answer = api.get("/v1.0/devices/nowhere")
    assert (answer["code"], answer["msg"]) == (1106, "权限非法")


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
@pytest.mark.parametrize("path", ["/", "/v1.0", "/v1.0/nothing", "/v3.0/devices", "/v1.0/devices/x/y/z"])
def test_unknown_paths(history, connect, method, path):
    refused(getattr(connect(history.project), method)(path), 1108)


def test_unknown_methods(history, connect):
    api = connect(history.project)
    refused(api.post("/v1.0/devices/factory-infos"), 1108)
    refused(api.delete(f"/v1.0/devices/{history.device}/logs"), 1108)


# Users


def user(**changes):
    body = {"country_code": "86", "username": "13900000001", "password": "c7fb2740c5f000000004ed765a479fa0",
            "username_type": 1, "nick_name": "小红", "time_zone_id": "Asia/Shanghai"}
    return {name: value for name, value in (body | changes).items() if value is not None}


def test_synchronise_a_user(api):
    path = f"/v1.0/apps/{SCHEMA}/user"
    result = good(api.post(path, user()))
    assert types_of(result) == {"uid": str} and re.fullmatch("az[0-9]{13}[0-9a-zA-Z]{6}", result["uid"])
    # The same name is the same user; only password, nick name and time zone change.
    change = user(nick_name="Ömer", time_zone_id="Europe/Berlin", country_code="49", username_type="1")
    assert good(api.post(path, change)) == result
    infos = good(api.get(f"/v1.0/users/{result['uid']}/infos"))
    assert (infos["nick_name"], infos["country_code"]) == ("Ömer", "86")
    assert infos["username"] == infos["mobile"] == "86-139******01"
    # The same name in another app is another user.
    assert good(api.post("/v1.0/apps/emptyApp/user", user()))["uid"] != result["uid"]


def test_synchronise_users_of_every_type(api):
    path = f"/v1.0/apps/{SCHEMA}/user"
    uids = {
        good(api.post(path, user(username="new@example.com", username_type=2)))["uid"],
        good(api.post(path, user(username="任何 name", username_type=None)))["uid"],
        good(api.post(path, user(username="other", username_type=3, nick_name=None, time_zone_id=None)))["uid"],
    }
    assert len(uids) == 3


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"country_code": "33"}, 2403),
        ({"username": "not a number"}, 2021),
        ({"username": "no-at.example.com", "username_type": 2}, 2022),
        ({"username": None}, 1100),
        ({"username": ""}, 1100),
        ({"password": None}, 1100),
        ({"country_code": None}, 1100),
        ({"username_type": "x"}, 1109),
        ({"username_type": 4}, 1101),
        ({"username": {}}, 1109),
    ],
)
def test_users_that_cannot_be(history, connect, changes, code):
    refused(connect(history.project).post(f"/v1.0/apps/{SCHEMA}/user", user(**changes)), code)


@pytest.mark.parametrize("schema", ["otherApp", "nothing", "客", "testApp "])
def test_apps_of_nobody(history, connect, schema):
    api = connect(history.project)
    refused(api.post(f"/v1.0/apps/{schema}/user", user()), 1106)
    refused(api.get(f"/v2.0/apps/{schema}/users", {"page_no": 1, "page_size": 10}), 1106)
    refused(api.get(f"/v1.0/apps/{schema}/users", {"page_no": 1, "page_size": 10}), 1106)


def test_the_user_list(world, connect):
    api = connect(world.home)
    query = {"page_no": 1, "page_size": 10, "start_time": now_s() - 3600, "end_time": now_s() + 60}
    result = good(api.get(f"/v2.0/apps/{SCHEMA}/users", query))
    assert types_of(result) == {"list": list, "has_more": bool, "total": int}
    assert (result["has_more"], result["total"]) == (False, 3)
    rows = {row["uid"]: row for row in result["list"]}
    common = {"uid": str, "username": str, "country_code": str, "create_time": int, "update_time": int}
    for name, extra, country in [(MOBILE, {"mobile": str}, "86"), (EMAIL, {"email": str}, "1"), (LONER, {}, "49")]:
        row = rows.pop(world.home.uids[name])
        assert types_of(row) == common | extra
        assert row["country_code"] == country
        assert {row[private] for private in {"username"} | set(extra)} == {"****"}
    assert not rows
    # The older form has no window; a project may show its users' names.
    assert good(api.get(f"/v1.0/apps/{SCHEMA}/users", {"page_no": 0, "page_size": 100}))["total"] == 3
    shown = good(connect(world.other).get(f"/v1.0/apps/{SCHEMA}/users", {"page_no": 1, "page_size": 100}))
    assert {row["username"] for row in shown["list"]} == {MOBILE, EMAIL, LONER}


def test_the_window_of_the_user_list(history, connect):
    api = connect(history.project)

    def listed(**query):
        return good(api.get(f"/v2.0/apps/{SCHEMA}/users", {"page_no": 1, "page_size": 100} | query))

    assert len(listed()["list"]) == 3
    assert len(listed(start_time=now_s() - 86400)["list"]) == 3
    # Outside of the window nobody is listed, but everybody is counted.
    for window in [{"end_time": now_s() - 86400}, {"start_time": now_s() - 90_000, "end_time": now_s() - 86400}]:
        page = listed(**window)
        assert (page["list"], page["has_more"], page["total"]) == ([], False, 3)


def test_paging_the_user_list(world, connect):
    many = [{"schema": "emptyApp", "username": f"user {n}"} for n in range(23)]
    world.apply({"projects": [{"name": world.home.written["name"], "users": many}]})
    api = connect(world.home)
    for path in ("/v2.0/apps/emptyApp/users", "/v1.0/apps/emptyApp/users"):
        pages = [good(api.get(path, {"page_no": no, "page_size": 10})) for no in range(1, 5)]
        assert [len(page["list"]) for page in pages] == [10, 10, 3, 0]
        assert [page["has_more"] for page in pages] == [True, True, False, False]
        assert {page["total"] for page in pages} == {23}
        assert len({row["uid"] for page in pages for row in page["list"]}) == 23


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"page_size": 10}, 1100),
        ({"page_no": 1}, 1100),
        ({"page_no": "", "page_size": 10}, 1100),
        ({"page_no": "x", "page_size": 10}, 1109),
        ({"page_no": 1, "page_size": 101}, 1101),
        ({"page_no": 1, "page_size": -1}, 1101),
        ({"page_no": 1, "page_size": 10, "start_time": 1, "end_time": 1 + 31 * 86400}, 1101),
        ({"page_no": 1, "page_size": 10, "start_time": 200, "end_time": 100}, 1101),
        ({"page_no": 1, "page_size": 10, "start_time": "yesterday"}, 1109),
    ],
)
def test_user_lists_that_cannot_be(history, connect, query, code):
    refused(connect(history.project).get(f"/v2.0/apps/{SCHEMA}/users", query), code)


def test_the_infos_of_a_user(world, connect):
    api = connect(world.home)
    common = {"uid": str, "username": str, "country_code": str, "nick_name": str, "avatar": str, "mobile": str,
              "create_time": int, "update_time": int}
    infos = good(api.get(f"/v1.0/users/{world.home.uids[MOBILE]}/infos"))
    assert types_of(infos) == common
    assert infos["uid"] == world.home.uids[MOBILE]
    assert infos["username"] == infos["mobile"] == "86-182******78"
    assert (infos["country_code"], infos["nick_name"], infos["avatar"]) == ("86", "小明", "")
    assert abs(infos["create_time"] - now_s()) < 300
    infos = good(api.get(f"/v1.0/users/{world.home.uids[EMAIL]}/infos"))
    assert types_of(infos) == common | {"email": str}
    assert infos["email"] == infos["username"] != EMAIL and "*" in infos["email"]
    infos = good(api.get(f"/v1.0/users/{world.home.uids[LONER]}/infos"))
    assert infos["avatar"] == "https://x.test/a.png" and infos["username"] != LONER
    shown = good(connect(world.other).get(f"/v1.0/users/{world.other.uids[EMAIL]}/infos"))
    assert shown["username"] == EMAIL


def test_users_of_nobody(world, connect):
    api = connect(world.home)
    for uid in [world.other.uids[MOBILE], "az0000000000000abcdef", "客"]:
        refused(api.get(f"/v1.0/users/{uid}/infos"), 1106)
        refused(api.get(f"/v1.0/users/{uid}/devices"), 1106)


# Devices


DEVICE = {"id": str, "name": str, "uid": str, "owner_id": str, "local_key": str, "category": str, "product_id": str,
          "product_name": str, "uuid": str, "icon": str, "ip": str, "time_zone": str, "biz_type": int, "sub": bool,
          "online": bool, "status": list, "active_time": int, "create_time": int, "update_time": int}


def test_a_device(world, connect):
    api, home = connect(world.home), world.home
    plug = good(api.get(f"/v1.0/devices/{home.devices['plug']}"))
    assert types_of(plug) == DEVICE | {"model": str, "lat": str, "lon": str}
    written = home.facts[home.devices["plug"]]
    known = {"id": home.devices["plug"], "name": "Kettle", "uid": home.uids[MOBILE], "category": "cz", "model": "P1",
             "owner_id": str(home.homes[MOBILE]), "product_id": home.products["plug"], "product_name": "Wi-Fi 智能插座",
             "local_key": written["local_key"], "uuid": written["uuid"], "ip": "192.168.1.20", "lat": "53.55",
             "lon": "9.99", "time_zone": "+08:00", "sub": False, "online": False, "status": points(status_of(PLUG))}
    assert {name: plug[name] for name in known} == known
    assert len(plug["local_key"]) == 16 and abs(plug["create_time"] - now_s()) < 300
    scale = good(api.get(f"/v1.0/devices/{home.devices['scal']}"))
    assert types_of(scale) == DEVICE and (scale["name"], scale["biz_type"]) == ("体脂秤", 299009)
    sub = good(api.get(f"/v1.0/devices/{home.devices['sub1']}"))
    assert types_of(sub) == DEVICE | {"gateway_id": str, "node_id": str}
    assert (sub["sub"], sub["gateway_id"], sub["node_id"]) == (True, home.devices["gate"], "00124b0001")


def test_the_status_of_a_device(world, connect):
    plug, now_ms = world.home.devices["plug"], int(time.time() * 1000)
    values = {"switch_1": True, "cur_power": -12, "work_mode": "colour", "note": "注", "fault": 3,
              "colour_data": '{"h":1,"s":2}', "ir_code": "AQID", "countdown_1": 0}

    def report(code, value, ago_ms, kind=7):
        return {"device_id": plug, "time": now_ms - ago_ms, "type": kind, "from": 1, "code": code, "value": value}

    world.import_events([
        *(report(code, value, 2000) for code, value in values.items()),
        # Neither an older value nor a desired value changes the latest value.
        report("switch_1", False, 5000),
        report("switch_1", False, 1000, kind=5),
    ])
    status = good(connect(world.home).get(f"/v1.0/devices/{plug}"))["status"]
    # Each in the place of its data point, with the default where nothing was said.
    assert status == points(status_of(PLUG, values))
    assert type(next(point["value"] for point in status if point["code"] == "switch_1")) is bool


def test_the_status_of_a_device_that_said_nothing(world, connect):
    """Every code that it may report, as if it had said the default, with the type of the function."""
    api, home = connect(world.home), world.home
    for key, written in [
        ("plug", [("switch_1", False), ("switch_2", False), ("countdown_1", 0), ("cur_power", 0),
                  ("work_mode", "white"), ("note", ""), ("colour_data", ""), ("fault", 0)]),
        ("scal", [("weight", 0), ("battery_low", False)]),
        ("sub1", [("watersensor_state", "normal")]),
        ("bare", []),
    ]:
        status = good(api.get(f"/v1.0/devices/{home.devices[key]}"))["status"]
        assert status == points(dict(written)) == points(status_of(FUNCTIONS[key]))
        assert [type(point["value"]) for point in status] == [type(value) for _, value in written]


def test_the_least_of_a_number_is_its_default(world, connect):
    """Where the numbers of its data points are, and not where it is written."""
    functions = [{"code": "late", "dp_id": 101, "type": "Integer"},
                 {"code": "cold", "dp_id": 3, "type": "Integer", "values": {"min": -20, "max": 50}}]
    product = {"product_id": world.home.products["scale"], "name": "Scale", "category": "qt", "functions": functions}
    world.apply({"projects": [{"name": world.home.written["name"], "products": [product]}]})
    path = f"/v1.0/devices/{world.home.devices['scal']}/status"
    assert good(connect(world.home).get(path)) == points({"cold": -20, "late": 0}) == points(status_of(functions))


def test_a_document_is_a_text(world, connect):
    """Whatever form it came in; also what no function describes, which stands last."""
    plug, now_ms = world.home.devices["plug"], int(time.time() * 1000)
    colour = {"h": 1, "s": [2, "客"]}
    common = {"device_id": plug, "time": now_ms - 1000, "type": 7, "from": 1}
    world.import_events([common | {"code": code, "value": value} for code, value in
                         [("other", [1, {"a": None}]), ("colour_data", colour)]])
    api = connect(world.home)
    status = good(api.get(f"/v1.0/devices/{plug}/status"))
    shown = {point["code"]: point["value"] for point in status}
    assert (json.loads(shown["colour_data"]), json.loads(shown["other"])) == (colour, [1, {"a": None}])
    assert status == points(status_of(PLUG, {name: shown[name] for name in ("colour_data", "other")}))
    assert status[-1]["code"] == "other"
    properties = good(api.get(f"/v2.0/cloud/thing/{plug}/shadow/properties"))["properties"]
    assert [row["value"] for row in properties if row["code"] == "colour_data"] == [shown["colour_data"]]
    query = {"type": 7, "start_time": 0, "end_time": now_ms + 60_000}
    logs = good(api.get(f"/v1.0/devices/{plug}/logs", query))["logs"]
    assert {row["code"]: row["value"] for row in logs} == {name: shown[name] for name in ("colour_data", "other")}


def test_a_device_that_is_online(world, connect, seen):
    """A virtual device connects when the server next looks for some."""
    name, device = world.home.written["name"], world.home.devices["scal"]
    played = {"product_id": world.home.products["scale"], "device_id": device, "virtual": True}
    world.apply({"projects": [{"name": name, "devices": [played]}]})
    seen.until(world.home, device, lambda shown: shown[0] and set(shown[1]) == {"weight", "battery_low"})
    api = connect(world.home)
    shown = good(api.get(f"/v1.0/devices/{device}"))
    assert abs(shown["active_time"] - now_s()) < 60
    listed = {row["id"]: row["online"] for row in good(api.get("/v1.0/devices"))["devices"]}
    assert listed.pop(device) is True and not any(listed.values())


def test_the_devices_of_a_user(world, connect):
    api, home = connect(world.home), world.home

    def ids(name, **query):
        result = good(api.get(f"/v1.0/users/{home.uids[name]}/devices", query))
        assert all(DEVICE.items() <= types_of(device).items() for device in result)
        return [device["id"] for device in result]

    own = {home.devices[key] for key in ("plug", "scal", "gate", "sub1", "sub2", "bare")}
    assert set(ids(MOBILE)) == set(ids(MOBILE, **{"from": "home"})) == own
    assert ids(MOBILE, **{"from": "sharing"}) == ids(EMAIL, **{"from": "home"}) == [home.devices["lamp"]]
    assert ids(EMAIL, **{"from": "sharing"}) == [home.devices["plug"]]
    assert ids(LONER) == ids(LONER, **{"from": "sharing"}) == []
    # Pages hold what the whole list holds, in its order.
    pages = [ids(MOBILE, page_no=no, page_size=4) for no in (1, 2, 3)]
    assert [len(page) for page in pages] == [4, 2, 0] and sum(pages, []) == ids(MOBILE)
    refused(api.get(f"/v1.0/users/{home.uids[MOBILE]}/devices", {"from": "mars"}), 1101)
    refused(api.get(f"/v1.0/users/{home.uids[MOBILE]}/devices", {"page_no": 1, "page_size": "x"}), 1109)


def test_the_device_list(world, connect):
    api, home, other = connect(world.home), world.home, world.other

    def listed(**query):
        result = good(api.get("/v1.0/devices", query))
        assert types_of(result) == {"devices": list, "last_id": str, "total": int}
        assert all(DEVICE.items() <= types_of(device).items() for device in result["devices"])
        assert result["total"] >= len(result["devices"])
        return {device["id"] for device in result["devices"]}

    seen = set(home.devices.values()) | {other.devices["both"]}
    assert listed() == listed(page_no=1, page_size=20) == listed(page_no=0, page_size=100) == seen
    assert listed(schema=SCHEMA) == set(home.devices.values())
    assert listed(schema="emptyApp") == set()
    plugs = {home.devices["plug"], home.devices["lamp"], other.devices["both"]}
    assert listed(product_id=home.products["plug"]) == plugs
    # The SDK sends a comma as %2C and signs it as a comma. What is not there or not ours is left out.
    wanted = [home.devices["plug"], "nowhere", other.devices["away"], home.devices["sub1"]]
    assert listed(device_ids=",".join(wanted)) == {home.devices["plug"], home.devices["sub1"]}
    assert listed(device_ids="nowhere") == set()
    assert listed(start_time=now_s() - 600, end_time=now_s() + 600) == seen
    assert listed(end_time=str(now_s() - 600)) == listed(start_time=now_s() + 600) == set()


def test_paging_the_device_list(world, connect):
    more = [{"product_id": world.home.products["plug"], "owner": EMAIL, "name": f"No {n}"} for n in range(40)]
    world.apply({"projects": [{"name": world.home.written["name"], "devices": more}]})
    api = connect(world.home)
    by_number = [good(api.get("/v1.0/devices", {"page_no": no, "page_size": 20})) for no in (1, 2, 3, 4)]
    assert [len(page["devices"]) for page in by_number] == [20, 20, 8, 0]
    assert {page["total"] for page in by_number} == {48}
    ids = [device["id"] for page in by_number for device in page["devices"]]
    assert len(set(ids)) == 48
    created = [device["create_time"] for page in by_number for device in page["devices"]]
    assert created == sorted(created)
    walked, query, total = [], {"page_size": 7, "schema": SCHEMA}, 47
    while devices := (page := good(api.get("/v1.0/devices", query)))["devices"]:
        assert page["total"] == total
        walked += [device["id"] for device in devices]
        query["last_id"] = page["last_id"]
        # Devices that change or go between two pages move no other: not even the one that the cursor names.
        done(api.put(f"/v1.0/devices/{walked[0]}", {"name": f"renamed {len(walked)}"}))
        if len(walked) == 14:
            done(api.delete(f"/v1.0/devices/{walked[13]}"))
            total -= 1
    assert walked == [device for device in ids if device != world.other.devices["both"]]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"device_ids": ",".join(f"d{n}" for n in range(21))}, 1101),
        ({"page_no": 1, "page_size": 101}, 1101),
        ({"page_no": 1, "page_size": 0}, 1101),
        ({"page_no": "x"}, 1109),
        ({"page_size": 20, "last_id": "1584939489"}, 1109),
        ({"schema": "otherApp"}, 1106),
        ({"schema": "nothing"}, 1106),
        ({"product_id": "nothing"}, 1106),
        ({"start_time": "x"}, 1109),
    ],
)
def test_device_lists_that_cannot_be(history, connect, query, code):
    refused(connect(history.project).get("/v1.0/devices", query), code)


def test_twenty_devices_at_once(history, connect):
    ids = [history.device, *(f"d{n}" for n in range(19))]
    assert good(connect(history.project).get("/v1.0/devices", {"device_ids": ",".join(ids)}))["total"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_rename_a_device(world, connect, name):
    api, plug = connect(world.home), world.home.devices["plug"]
    done(api.put(f"/v1.0/devices/{plug}", {"name": name}))
    assert good(api.get(f"/v1.0/devices/{plug}"))["name"] == name
    assert name in [device["name"] for device in good(api.get("/v1.0/devices", {"device_ids": plug}))["devices"]]


def test_names_that_cannot_be(world, connect):
    api, plug = connect(world.home), world.home.devices["plug"]
    for path in (f"/v1.0/devices/{plug}", f"/v1.0/devices/{plug}/functions/switch_1"):
        for body, code in [({"name": ""}, 1100), ({}, 1100), (None, 1100), ({"name": ["x"]}, 1109),
                           ({"name": "客" * 129}, 1101), ({"name": "a\nb"}, 1109)]:
            refused(api.put(path, body), code)
    assert good(api.get(f"/v1.0/devices/{plug}"))["name"] == "Kettle"
    done(api.put(f"/v1.0/devices/{plug}", {"name": "客" * 128}))


@pytest.mark.parametrize("name", NAMES)
def test_names_of_functions(world, connect, name):
    api, path = connect(world.home), f"/v1.0/devices/{world.home.devices['plug']}"
    done(api.put(f"{path}/functions/switch_1", {"name": name}))
    done(api.put(f"{path}/multiple-name", {"identifier": "switch_2", "name": name + "2"}))
    names = good(api.get(f"{path}/multiple-names"))
    assert all(set(row) == {"identifier", "name"} for row in names)
    assert {row["identifier"]: row["name"] for row in names} == {"switch_1": name, "switch_2": name + "2"}
    # Both ways of naming write the same name.
    done(api.put(f"{path}/multiple-name", {"identifier": "switch_1", "name": "again"}))
    assert {"identifier": "switch_1", "name": "again"} in good(api.get(f"{path}/multiple-names"))


def test_function_names_that_cannot_be(world, connect):
    api, path = connect(world.home), f"/v1.0/devices/{world.home.devices['plug']}"
    refused(api.put(f"{path}/functions/nothing", {"name": "x"}), 2003)
    refused(api.put(f"{path}/multiple-name", {"identifier": "nothing", "name": "x"}), 2003)
    refused(api.put(f"{path}/multiple-name", {"name": "x"}), 1100)
    refused(api.put(f"{path}/multiple-name", {"identifier": "", "name": ""}), 1100)
    refused(api.put(f"{path}/multiple-name", {"identifier": "switch_1"}), 1100)
    refused(api.put(f"{path}/multiple-name"), 1100)
    assert good(api.get(f"{path}/multiple-names")) == []


def test_sub_devices(world, connect):
    api, home = connect(world.home), world.home
    subs = good(api.get(f"/v1.0/devices/{home.devices['gate']}/sub-devices"))
    assert all(types_of(sub) == {"id": str, "name": str, "online": bool, "owner_id": str, "category": str,
                                 "product_id": str, "node_id": str, "active_time": int, "update_time": int}
               for sub in subs)
    assert {sub["id"]: (sub["name"], sub["node_id"]) for sub in subs} == {
        home.devices["sub1"]: ("水浸警报", "00124b0001"), home.devices["sub2"]: ("Cellar", "00124b0002")}
    assert {(sub["category"], sub["owner_id"]) for sub in subs} == {("sj", str(home.homes[MOBILE]))}
    assert good(api.get(f"/v1.0/devices/{home.devices['plug']}/sub-devices")) == []


def test_factory_infos(world, connect):
    api, home = connect(world.home), world.home
    wanted = [home.devices["plug"], home.devices["gate"], home.devices["scal"], "nowhere", world.other.devices["away"]]
    infos = good(api.get("/v1.0/devices/factory-infos", {"device_ids": ",".join(wanted)}))
    written = [home.facts[device] for device in wanted[:3]]
    members = ["uuid", "sn", "mac"]
    assert sorted(infos, key=lambda info: info["id"]) == sorted(
        ({"id": facts["device_id"]} | {name: facts[name] for name in members if name in facts} for facts in written),
        key=lambda info: info["id"])
    assert [set(info) - {"id"} for info in infos if info["id"] == home.devices["scal"]] == [{"uuid"}]
    assert good(api.get("/v1.0/devices/factory-infos", {"device_ids": "nowhere"})) == []
    refused(api.get("/v1.0/devices/factory-infos"), 1100)
    refused(api.get("/v1.0/devices/factory-infos", {"device_ids": ""}), 1100)
    # tinytuya asks for fifty at once.
    many = ",".join([f"d{n}" for n in range(49)] + [home.devices["plug"]])
    assert len(good(api.get("/v1.0/devices/factory-infos", {"device_ids": many}))) == 1


# Leaving


def forget(api, device, how):
    path = f"/v1.0/devices/{device}"
    return api.delete(path) if how == "remove" else api.put(f"{path}/reset-factory")


@pytest.mark.parametrize("how", ["remove", "reset"])
def test_a_device_that_leaves(world, connect, how):
    api, home = connect(world.home), world.home
    plug = home.devices["plug"]
    path = f"/v1.0/devices/{plug}"
    now_ms = int(time.time() * 1000)
    row = {"device_id": plug, "time": now_ms - 1000, "type": 7, "from": 1, "code": "cur_power", "value": 7}
    world.import_events([row])
    done(api.put(path, {"name": "Mine"}))
    done(api.put(f"{path}/functions/switch_1", {"name": "Lamp"}))
    person = good(api.post(f"{path}/user", {"nick_name": "客", "sex": 1}))

    done(forget(api, plug, how))
    # It is nobody's now: gone from every list, and gone a second time.
    refused(forget(api, plug, how), 1106)
    refused(forget(api, plug, "reset" if how == "remove" else "remove"), 1106)
    refused(api.get(path), 1106)
    refused(api.get(f"{path}/logs", {"type": TYPES, "end_time": now_ms}), 1106)
    refused(api.put(path, {"name": "x"}), 1106)
    for listed in (good(api.get(f"/v1.0/users/{home.uids[MOBILE]}/devices")),
                   good(api.get(f"/v1.0/users/{home.uids[EMAIL]}/devices", {"from": "sharing"})),
                   good(api.get("/v1.0/devices", {"device_ids": plug}))["devices"],
                   good(api.get("/v1.0/devices"))["devices"],
                   good(api.get("/v1.0/devices/factory-infos", {"device_ids": plug}))):
        assert plug not in [device["id"] for device in listed]

    # The last owner's again, a removed device still has its past and a reset one has none.
    bound = {"product_id": home.products["plug"], "device_id": plug, "owner": MOBILE}
    world.apply({"projects": [{"name": home.written["name"], "devices": [bound]}]})
    device = good(api.get(path))
    logs = good(api.get(f"{path}/logs", {"type": TYPES, "end_time": now_ms + 60_000}))["logs"]
    logs = [(row["event_id"], row["event_from"], row.get("value")) for row in logs]
    names = good(api.get(f"{path}/multiple-names"))
    people = good(api.get(f"{path}/users"))
    assert device["uid"] == home.uids[MOBILE]
    if how == "remove":
        assert logs == [(4, "11", None), (7, "1", "7")]
        assert device["status"] == points(status_of(PLUG, {"cur_power": 7})) and device["name"] == "Mine"
        assert names == [{"identifier": "switch_1", "name": "Lamp"}]
        assert [row["user_id"] for row in people] == [person]
    else:
        assert logs == [(4, "4", None)]
        assert (device["status"], names, people) == (points(status_of(PLUG)), [], [])
    # To another owner it is as after a reset, whatever way it went.
    world.apply({"projects": [{"name": home.written["name"], "devices": [{**bound, "owner": EMAIL}]}]})
    device = good(api.get(path))
    assert (device["uid"], device["status"]) == (home.uids[EMAIL], points(status_of(PLUG)))
    assert device["name"] != "Mine"
    logs = good(api.get(f"{path}/logs", {"type": TYPES, "end_time": now_ms + 60_000}))["logs"]
    assert 7 not in [row["event_id"] for row in logs]
    assert good(api.get(f"{path}/multiple-names")) == [] and good(api.get(f"{path}/users")) == []


def test_a_reset_device_has_lost_its_name(world, connect):
    """What its users called it is of the cloud data that a reset erases."""
    api, home = connect(world.home), world.home
    path = f"/v1.0/devices/{home.devices['plug']}"
    done(api.put(path, {"name": "Mine"}))
    done(api.put(f"{path}/reset-factory"))
    bound = {"product_id": home.products["plug"], "device_id": home.devices["plug"], "owner": EMAIL}
    world.apply({"projects": [{"name": home.written["name"], "devices": [bound]}]})
    assert good(api.get(path))["name"] != "Mine"


def test_reset_factory_by_post(world, connect):
    """One of the vendor's own clients sends POST, with an empty object for a body."""
    api, plug = connect(world.home), world.home.devices["plug"]
    done(api.post(f"/v1.0/devices/{plug}/reset-factory", {}))
    refused(api.post(f"/v1.0/devices/{plug}/reset-factory"), 1106)


# Device users


PERSON = {"nick_name": "奶奶", "sex": 2, "birthday": -315619200000, "height": 158, "weight": 61500,
          "contact": "gran@x.test"}


def test_device_users(world, connect):
    api, scale = connect(world.home), world.home.devices["scal"]
    path = f"/v1.0/devices/{scale}"
    assert good(api.get(f"{path}/users")) == []
    gran = good(api.post(f"{path}/user", PERSON))
    test = good(api.post(f"{path}/user", {"nick_name": "test", "sex": "1"}))
    assert type(gran) is str and gran != test
    known = PERSON | {"device_id": scale, "user_id": gran}
    assert good(api.get(f"{path}/users/{gran}")) == known
    bare = good(api.get(f"{path}/users/{test}"))
    assert bare == {"device_id": scale, "user_id": test, "nick_name": "test", "sex": 1, "contact": ""}
    assert good(api.get(f"{path}/users")) == [known, bare]
    # An update replaces what it may name; it cannot name the contact.
    done(api.put(f"{path}/users/{gran}", {"nick_name": "Oma", "sex": 2, "height": 157}))
    changed = good(api.get(f"{path}/users/{gran}"))
    assert (changed["nick_name"], changed["height"], changed["contact"]) == ("Oma", 157, "gran@x.test")
    done(api.delete(f"{path}/users/{test}"))
    assert good(api.get(f"{path}/users")) == [changed]
    for answer in (api.get(f"{path}/users/{test}"), api.delete(f"{path}/users/{test}"),
                   api.put(f"{path}/users/{test}", PERSON), api.get(f"{path}/users/0")):
        refused(answer, 2006)
    # People are known to one device only.
    refused(api.get(f"/v1.0/devices/{world.home.devices['plug']}/users/{gran}"), 2006)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"nick_name": ""}, 1100),
        ({"nick_name": None}, 1100),
        ({"sex": None}, 1100),
        ({"sex": 3}, 1101),
        ({"sex": "male"}, 1109),
        ({"height": "tall"}, 1109),
        ({"weight": -1}, 1101),
        ({"birthday": 1.5}, 1109),
    ],
)
def test_device_users_that_cannot_be(world, connect, changes, code):
    api, path = connect(world.home), f"/v1.0/devices/{world.home.devices['scal']}"
    person = good(api.post(f"{path}/user", PERSON))
    body = {name: value for name, value in (PERSON | changes).items() if value is not None}
    refused(api.post(f"{path}/user", body), code)
    refused(api.put(f"{path}/users/{person}", body), code)
    assert len(good(api.get(f"{path}/users"))) == 1


# Whose devices


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("get", "", None),
        ("put", "", {"name": "x"}),
        ("delete", "", None),
        ("put", "/functions/switch_1", {"name": "x"}),
        ("get", "/logs", {"type": "7", "end_time": 1700000000000}),
        ("put", "/reset-factory", None),
        ("post", "/reset-factory", None),
        ("get", "/sub-devices", None),
        ("post", "/user", {"nick_name": "x", "sex": 1}),
        ("get", "/users", None),
        ("get", "/users/1", None),
        ("put", "/users/1", {"nick_name": "x", "sex": 1}),
        ("delete", "/users/1", None),
        ("put", "/multiple-name", {"identifier": "switch_1", "name": "x"}),
        ("get", "/multiple-names", None),
    ],
)
def test_devices_of_nobody_and_of_others(world, connect, method, path, body):
    api = connect(world.home)
    away = world.other.devices["away"]
    for device in (away, "nowhere", "客厅"):
        refused(getattr(api, method)(f"/v1.0/devices/{device}{path}", body), 1106)
    shown = good(connect(world.other).get(f"/v1.0/devices/{away}"))
    assert (shown["name"], shown["uid"]) == ("Away", world.other.uids[MOBILE])


def test_a_device_that_two_projects_see(world, connect):
    both = world.other.devices["both"]
    maker, owner = connect(world.home), connect(world.other)
    assert good(owner.get(f"/v1.0/devices/{both}"))["uid"] == world.other.uids[MOBILE]
    # Who owns it, and what it is called there, is the other project's affair.
    done(owner.put(f"/v1.0/devices/{both}", {"name": "Ours"}))
    seen = good(maker.get(f"/v1.0/devices/{both}"))
    assert (seen["uid"], seen["owner_id"], seen["name"]) == ("", "", seen["product_name"])
    refused(maker.put(f"/v1.0/devices/{both}", {"name": "Mine"}), 1106)
    assert good(owner.get(f"/v1.0/devices/{both}"))["name"] == "Ours"


# Logs


def logs_path(history):
    return f"/v1.0/devices/{history.device}/logs"


def free_pages(api, path, query):
    """Page after page by `next_row_key`, as the free edition's clients do."""
    key = ""
    while True:
        page = good(api.get(path, query | {"start_row_key": key}))
        assert set(page) == {"device_id", "logs", "has_next", "current_row_key", "next_row_key"}
        yield page
        if not page["has_next"]:
            assert page["next_row_key"] is None
            return
        assert type(page["next_row_key"]) is str and page["next_row_key"] != key
        if page["logs"] and key:
            assert page["current_row_key"] == key
        key = page["next_row_key"]


def paid_pages(api, path, query):
    """Page after page by the last row seen, as the paid edition's clients do."""
    query = query | {"query_type": 2}
    while True:
        page = good(api.get(path, query))
        assert set(page) == {"device_id", "logs", "has_next", "count"}
        yield page
        if not page["has_next"]:
            return
        last = page["logs"][-1]
        query |= {"last_row_key": last["row"], "last_event_time": last["event_time"]}


def rows_of(pages, size):
    pages = list(pages)
    assert all(len(page["logs"]) <= size for page in pages)
    return [row for page in pages for row in page["logs"]]


def without_keys(rows):
    return [{name: value for name, value in row.items() if name != "row"} for row in rows]


@pytest.mark.parametrize("size", [7, 100])
def test_the_whole_log_in_either_form(history, base, connect, size):
    api, path = connect(history.project, base), logs_path(history)
    query = {"type": TYPES, "start_time": history.now_ms - 20 * DAY_MS, "end_time": history.now_ms, "size": size}
    assert len(history.rows) > 1000
    free = rows_of(free_pages(api, path, query), size)
    assert_log(free, history.rows)
    pages = list(paid_pages(api, path, query))
    assert {page["count"] for page in pages} == {len(history.rows)}
    paid = rows_of(pages, size)
    assert len({row["row"] for row in paid}) == len(paid)
    # Both forms have the same rows in the same order.
    assert without_keys(paid) == free


@pytest.mark.parametrize(
    ("types", "codes"),
    [
        ("7", ""),
        ("1,2", ""),
        ("3", ""),
        ("4", ""),
        (TYPES, "switch_1"),
        ("7", "cur_power,note"),
        ("5,7", "switch_1,colour_data"),
        ("7", "nothing"),
    ],
)
def test_a_filtered_log(history, connect, types, codes):
    def wanted(row):
        return str(row["type"]) in types.split(",") and (not codes or row.get("code") in codes.split(","))

    api, path, rows = connect(history.project), logs_path(history), [row for row in history.rows if wanted(row)]
    query = {"type": types, "start_time": history.now_ms - 20 * DAY_MS, "end_time": history.now_ms, "codes": codes}
    assert_log(rows_of(free_pages(api, path, query), 20), rows)
    pages = list(paid_pages(api, path, query))
    assert_log(without_keys(rows_of(pages, 20)), rows)
    assert {page["count"] for page in pages} == {len(rows)}
    # In the paid form no page promises a further one that would be empty.
    assert all(page["logs"] for page in pages) or not rows


def test_the_span_of_a_log(history, connect):
    api, path = connect(history.project), logs_path(history)

    def shown(start, end):
        query = {"type": TYPES, "start_time": start, "end_time": end, "size": 100}
        return rows_of(free_pages(api, path, query), 100)

    def between(start, end):
        return [row for row in history.rows if start <= row["time"] <= end]

    times = sorted({row["time"] for row in history.rows})
    first, last = times[100], times[200]
    # Both ends belong to the span, to the millisecond.
    for start, end in [(first, last), (first + 1, last), (first, last - 1), (first, first), (first + 1, first + 1)]:
        assert_log(shown(start, end), between(start, end))
    assert shown(last, first) == []
    # Ten digits are seconds.
    assert_log(shown(first // 1000, last // 1000), between(first // 1000 * 1000, last // 1000 * 1000 + 999))
    # No start means a week.
    for start in (0, ""):
        assert_log(shown(start, history.now_ms), between(history.now_ms - 7 * DAY_MS, history.now_ms))
    assert good(api.get(path, {"type": "3", "end_time": history.now_ms}))["logs"] == []


def test_the_size_of_a_page(history, connect):
    api, path = connect(history.project), logs_path(history)
    query = {"type": TYPES, "start_time": 0, "end_time": history.now_ms}
    for size, rows in [({}, 20), ({"size": ""}, 20), ({"size": 1}, 1), ({"size": 100}, 100), ({"size": 5000}, 100)]:
        assert len(good(api.get(path, query | size))["logs"]) == rows
        assert len(good(api.get(path, query | size | {"query_type": 2}))["logs"]) == rows
    page = good(api.get(path, query))
    assert page["device_id"] == history.device and page["has_next"] is True


def test_the_shape_of_rows(history, connect):
    api, path = connect(history.project), logs_path(history)
    query = {"type": TYPES, "start_time": history.now_ms - 20 * DAY_MS, "end_time": history.now_ms, "size": 100}
    kinds = set()
    for row in rows_of(paid_pages(api, path, query), 100):
        shape = {"event_time": int, "event_id": int, "event_from": str, "status": str, "row": str}
        if row["event_id"] in (5, 7):
            shape |= {"code": str, "value": str}
        assert types_of(row) == shape
        kinds.add(row["event_id"])
    assert kinds == {1, 2, 3, 5, 6, 7, 8, 9, 10}


@pytest.mark.parametrize("pages_of", [free_pages, paid_pages])
def test_a_cursor_survives_new_rows(world, connect, pages_of):
    plug, now_ms = world.home.devices["plug"], int(time.time() * 1000)

    def rows(numbers):
        return [{"device_id": plug, "time": now_ms - 50_000 + n // 2, "type": 7, "from": 1, "code": "cur_power",
                 "value": n} for n in numbers]

    world.import_events(rows(range(60)))
    api, path = connect(world.home), f"/v1.0/devices/{plug}/logs"
    pages = pages_of(api, path, {"type": "7", "start_time": 0, "end_time": now_ms, "size": 13})
    shown = list(next(pages)["logs"])
    # Newer rows arrive while somebody pages towards the past.
    world.import_events(rows(range(60, 90)))
    for page in pages:
        shown += page["logs"]
    assert sorted(int(row["value"]) for row in shown) == list(range(60))


def test_rows_of_the_same_millisecond(world, connect):
    """They are pages of rows like others, the last one first."""
    plug, now_ms = world.home.devices["plug"], int(time.time() * 1000)
    row = {"device_id": plug, "time": now_ms - 1000, "type": 7, "from": 1, "code": "countdown_1"}
    rows = [row | {"value": value} for value in range(25)]
    world.import_events(rows)
    api, path = connect(world.home), f"/v1.0/devices/{plug}/logs"
    query = {"type": "7", "start_time": 0, "end_time": now_ms, "size": 4}
    assert rows_of(free_pages(api, path, query), 4) == [expected(row) for row in reversed(rows)]
    paid = rows_of(paid_pages(api, path, query), 4)
    assert len({entry["row"] for entry in paid}) == 25


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"type": None}, 1100),
        ({"type": ""}, 1100),
        ({"end_time": None}, 1100),
        ({"end_time": ""}, 1100),
        ({"type": "11"}, 1101),
        ({"type": "0"}, 1101),
        ({"type": "online"}, 1109),
        ({"size": 0}, 1101),
        ({"size": -1}, 1101),
        ({"size": "x"}, 1109),
        ({"start_time": "x"}, 1109),
        ({"start_time": -1}, 1101),
        ({"query_type": 3}, 1101),
        ({"query_type": "x"}, 1109),
        ({"start_row_key": "x"}, 1109),
        ({"start_row_key": "NjUwODIzNDU1ZjY4YTljYmFmY2UwODcwMDU1N185MjIzMzcwNDc1OTgyMjA3ODUyXzdfMQ=="}, 1109),
        ({"query_type": 2, "last_row_key": "650823455f68a9cbafce08700557_9223370474823199376_1",
          "last_event_time": 1562031576431}, 1109),
    ],
)
def test_logs_that_cannot_be(history, connect, query, code):
    whole = {"type": "7", "start_time": 0, "end_time": history.now_ms} | query
    whole = {name: value for name, value in whole.items() if value is not None}
    refused(connect(history.project).get(logs_path(history), whole), code)


def test_damaged_cursors(history, connect):
    api, path = connect(history.project), logs_path(history)
    query = {"type": TYPES, "start_time": 0, "end_time": history.now_ms, "size": 5}
    key = good(api.get(path, query))["next_row_key"]
    for damaged in (key[:-1], key[1:], key + "A", key.swapcase()):
        refused(api.get(path, query | {"start_row_key": damaged}), 1109)
    last = good(api.get(path, query | {"query_type": 2}))["logs"][-1]
    paid = query | {"query_type": 2, "last_row_key": last["row"], "last_event_time": last["event_time"]}
    good(api.get(path, paid))
    refused(api.get(path, paid | {"last_event_time": last["event_time"] + 1}), 1109)
    for damaged in (last["row"] + "1x", last["row"][1:], last["row"].replace("_", "-")):
        refused(api.get(path, paid | {"last_row_key": damaged}), 1109)


def test_a_device_without_functions_has_no_log(history, connect):
    path = f"/v1.0/devices/{history.project.devices['bare']}/logs"
    refused(connect(history.project).get(path, {"type": "7", "start_time": 0, "end_time": history.now_ms}), 2009)
