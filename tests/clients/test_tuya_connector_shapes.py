"""tuya-connector-python, unmodified, with paths passed by hand: what integrations call, as a project calls it. Every
answer has the members and types that the vendor gives it, and the values of the document that the test applied."""

import json
import re
import time
from urllib.parse import parse_qsl

import pytest

from answers import ANY, assert_shape, done, good, refused
from pairing import newcomer
from test_tuya_connector import DEVICE as SEED_DEVICE
from world import EMAIL, LONER, MOBILE, PLUG, SCHEMA, new_world, points, status_of

CLIENT = "tuya-connector-python"

POINTS = [{"code": str, "value": ANY}]
FUNCTION = {"code": str, "desc": str, "name": str, "type": str, "values": str}
FUNCTIONS = {"category": str, "functions": [FUNCTION]}
SPEC = {"code": str, "type": str, "values": str}
SPECIFICATION = {"category": str, "functions": [SPEC], "status": [SPEC]}
POINT_SPEC = SPEC | {"dp_id": int, "name": str}
DEVICE = SEED_DEVICE | {"model?": str, "lat?": str, "lon?": str, "gateway_id?": str, "node_id?": str}
BARE_DEVICE = {name: kind for name, kind in DEVICE.items() if name != "status"}
DEVICE_PAGE = {"list": [DEVICE], "has_more": bool, "last_row_key": str, "total": int}
THING = {"active_time": int, "bind_space_id": str, "category": str, "create_time": int, "custom_name": str, "icon": str,
         "id": str, "ip": str, "is_online": bool, "lat": str, "local_key": str, "lon": str, "model": str, "name": str,
         "product_id": str, "product_name": str, "sub": bool, "time_zone": str, "update_time": int, "uuid": str}
LISTED_THING = {re.sub("_(.)", lambda found: found[1].upper(), name): kind for name, kind in THING.items()}
PROPERTIES = {"properties": [{"code": str, "custom_name": str, "dp_id": int, "time": int, "type": str, "value": ANY}]}
HOME = {"home_id": int, "name": str, "geo_name": str, "lat": float, "lon": float}
MEMBER = {"uid": str, "name": str, "avatar": str, "country_code": str, "member_account": str, "admin": bool,
          "owner": bool}
ASSET = {"asset_id": str, "asset_name": str, "asset_full_name": str, "parent_asset_id": str}
ASSET_DEVICE = {"asset_id": str, "asset_name": str, "device_id": str}
ASSET_PAGE = {"has_next": bool, "last_row_key": str, "page_size": int}
TOKEN = {"expire_time": int, "region": str, "secret": str, "token": str}
LISTENING = {"url": str, "client_id": str, "username": str, "password": str, "source_topic": {"device": str},
             "sink_topic": {"device": str}, "expire_time": int}

VALUES = {"switch_1": True, "cur_power": 399, "note": "客", "colour_data": '{"h":1}'}
STATUS = points(status_of(PLUG, VALUES))
DP_IDS = {row["code"]: row["dp_id"] for row in PLUG}
COMMANDED = {row["code"] for row in PLUG if row.get("access") != "ro"}
SHOWN = {row["code"] for row in PLUG if row.get("access") != "wo"}
AT_HOME = ("plug", "scal", "gate", "sub1", "sub2", "bare")


def codes(rows):
    return {row["code"] for row in rows}


def ids(rows, member="id"):
    return [row[member] for row in rows]


@pytest.fixture(scope="module")
def received(server):
    """A world that these tests only read, whose kettle reported something."""
    world, now_ms = new_world(server), int(time.time() * 1000)
    common = {"device_id": world.home.devices["plug"], "time": now_ms - 1000, "type": 7, "from": 1}
    world.import_events([common | {"code": code, "value": value} for code, value in VALUES.items()])
    return world


def named(project):
    """What the paths below name."""
    return project.devices | {"uid": project.uids[MOBILE], "home": project.homes[MOBILE],
                              "product": project.products["plug"], "schema": SCHEMA}


def read(api, path, at):
    path, _, query = path.format(**at).partition("?")
    return api.get(path, dict(parse_qsl(query)))


# Path, shape, and what ties the result to the world: `r` is the result, `at` what `named` names.
READS = [
    ("/v1.0/devices/{plug}/status", POINTS, lambda r, at: r == STATUS),
    ("/v1.0/iot-03/devices/{plug}/status", POINTS, lambda r, at: r == STATUS),
    ("/v1.0/iot-03/devices/{bare}/status", [], lambda r, at: True),
    ("/v1.0/devices/status?device_ids={plug},{away}", dict,
     lambda r, at: r == {at["plug"]: STATUS}),
    ("/v1.0/iot-03/devices/status?device_ids={plug},{away}", [{"id": str, "status": POINTS}],
     lambda r, at: r == [{"id": at["plug"], "status": STATUS}]),
    ("/v1.0/devices/{plug}/functions", FUNCTIONS, lambda r, at: codes(r["functions"]) == COMMANDED),
    ("/v1.0/iot-03/devices/{plug}/functions", FUNCTIONS, lambda r, at: codes(r["functions"]) == COMMANDED),
    ("/v1.0/functions/cz", FUNCTIONS, lambda r, at: r["category"] == "cz" and codes(r["functions"]) == COMMANDED),
    ("/v1.0/iot-03/categories/cz/functions", FUNCTIONS, lambda r, at: codes(r["functions"]) == COMMANDED),
    ("/v1.0/devices/functions?device_ids={plug},{away}",
     [{"product_id": str, "category": str, "devices": [str], "functions": [FUNCTION]}],
     lambda r, at: [(row["product_id"], row["devices"]) for row in r] == [(at["product"], [at["plug"]])]),
    ("/v1.0/devices/{plug}/specifications", SPECIFICATION,
     lambda r, at: (codes(r["functions"]), codes(r["status"])) == (COMMANDED, SHOWN)),
    ("/v1.0/iot-03/devices/{plug}/specification", SPECIFICATION,
     lambda r, at: all(isinstance(json.loads(row["values"]), dict) for row in r["functions"] + r["status"])),
    ("/v1.1/devices/{plug}/specifications", SPECIFICATION | {"functions": [POINT_SPEC], "status": [POINT_SPEC]},
     lambda r, at: {row["code"]: row["dp_id"] for row in r["functions"] + r["status"]} == DP_IDS),
    ("/v1.0/iot-03/devices/{plug}", DEVICE, lambda r, at: (r["name"], r["uid"]) == ("Kettle", at["uid"])),
    # Without a status: one client keeps values of its own in what it is given here.
    ("/v1.0/iot-03/devices?device_ids={plug},{sub1},{away}", {"list": [BARE_DEVICE], "total": int},
     lambda r, at: r["total"] == 2 and set(ids(r["list"])) == {at["plug"], at["sub1"]}),
    ("/v1.0/iot-01/associated-users/devices?size=50",
     {"devices": [DEVICE], "has_more": bool, "last_row_key": str, "total": int},
     lambda r, at: r["total"] == 8 and not r["has_more"] and {at["plug"], at["lamp"]} < set(ids(r["devices"]))),
    ("/v1.3/iot-03/devices?source_type=tuyaUser&source_id={uid}&page_size=75", DEVICE_PAGE,
     lambda r, at: set(ids(r["list"])) == {at[key] for key in (*AT_HOME, "lamp")}),
    ("/v1.3/iot-03/devices?source_type=asset&source_id={home}", DEVICE_PAGE,
     lambda r, at: {row["id"]: row["gateway_id"] for row in r["list"] if row["sub"]}
     == {at["sub1"]: at["gate"], at["sub2"]: at["gate"]}),
    ("/v1.3/iot-03/devices?source_type=product&source_id={product}&device_ids={plug},{scal}", DEVICE_PAGE,
     lambda r, at: ids(r["list"]) == [at["plug"]]),
    ("/v1.3/iot-03/devices?source_type=homeApp&source_id={schema}", DEVICE_PAGE, lambda r, at: r["total"] == 7),
    ("/v2.0/cloud/thing/{plug}", THING,
     lambda r, at: (r["custom_name"], r["product_name"]) == ("Kettle", "Wi-Fi 智能插座")
     and r["bind_space_id"] == str(at["home"])),
    ("/v2.0/cloud/thing/device?product_ids={product}&page_size=20", [LISTED_THING],
     lambda r, at: len(r) == 3 and {"Kettle", "Лампа"} < set(ids(r, "customName"))),
    ("/v2.0/cloud/thing/{plug}/model", {"model": str},
     lambda r, at: {row["code"]: row["abilityId"] for row in json.loads(r["model"])["services"][0]["properties"]
                    if {"accessMode", "typeSpec"} < set(row)} == DP_IDS),
    ("/v2.0/cloud/thing/{plug}/shadow/properties", PROPERTIES,
     lambda r, at: [{"code": row["code"], "value": row["value"]} for row in r["properties"]] == STATUS
     and all(row["dp_id"] == DP_IDS[row["code"]] for row in r["properties"])
     # A default was said at no time.
     and all(len(str(row["time"])) == 13 if row["code"] in VALUES else row["time"] == 0 for row in r["properties"])),
    ("/v2.0/cloud/thing/{plug}/shadow/properties?codes=switch_1,nothing", PROPERTIES,
     lambda r, at: [(row["code"], row["type"]) for row in r["properties"]] == [("switch_1", "bool")]),
    ("/v1.0/users/{uid}/homes", [HOME | {"role": str}],
     lambda r, at: [(row["home_id"], row["name"], row["role"]) for row in r] == [(at["home"], "Home", "OWNER")]),
    ("/v1.0/homes/{home}", HOME, lambda r, at: (r["home_id"], r["name"]) == (at["home"], "Home")),
    ("/v1.0/homes/{home}/devices", [DEVICE], lambda r, at: set(ids(r)) == {at[key] for key in AT_HOME}),
    ("/v1.0/homes/{home}/members", [MEMBER],
     lambda r, at: [(row["uid"], row["owner"], row["country_code"]) for row in r] == [(at["uid"], True, "86")]),
    ("/v1.0/homes/{home}/rooms", HOME | {"rooms": []}, lambda r, at: r["home_id"] == at["home"]),
    ("/v1.0/homes/{home}/scenes", [], lambda r, at: True),
    ("/v1.1/homes/{home}/scenes", [], lambda r, at: True),
    ("/v2.0/cloud/scene/rule?space_id={home}", {"has_more": bool, "list": [], "total": int},
     lambda r, at: not r["has_more"] and r["total"] == 0),
    ("/v1.0/devices/{plug}/shares", [{"uid": str, "username": str, "nick_name": str}],
     lambda r, at: ids(r, "nick_name") == ["Guest"]),
    ("/v1.0/iot-02/assets/{home}", ASSET, lambda r, at: (r["asset_id"], r["asset_name"]) == (str(at["home"]), "Home")),
    ("/v1.0/iot-02/assets/-1/sub-assets?page_size=100", ASSET_PAGE | {"list": [ASSET]},
     lambda r, at: set(ids(r["list"], "asset_name")) == {"Home", "Flat"}),
    ("/v1.0/iot-02/assets/{home}/devices?page_size=100", ASSET_PAGE | {"list": [ASSET_DEVICE], "total_size": int},
     lambda r, at: r["total_size"] == 6 and set(ids(r["list"], "device_id")) == {at[key] for key in AT_HOME}),
    ("/v1.0/iot-03/users/assets?parent_asset_id=null&page_no=0&page_size=100",
     {"assets": [ASSET], "has_next": bool, "page_no": int, "page_size": int, "total": int},
     lambda r, at: set(ids(r["assets"], "asset_name")) == {"Home", "Flat"}),
]


@pytest.mark.parametrize(("path", "shape", "fits"), READS, ids=[path for path, _, _ in READS])
def test_what_is_read(received, connect, base, path, shape, fits):
    at = named(received.home) | {"away": received.other.devices["away"]}
    result = good(read(connect(received.home, base), path, at))
    assert_shape(result, shape)
    assert fits(result, at), result


@pytest.mark.parametrize("path", [path for path, _, _ in READS if re.search(r"/\{|_id=\{(?!schema)", path)])
def test_what_is_anothers(received, connect, path):
    refused(read(connect(received.other), path, named(received.home)), 1106)


@pytest.mark.parametrize("path", ["/v1.0/devices/{bare}/status", "/v1.0/devices/{bare}/functions",
                                  "/v1.0/iot-03/devices/{bare}/functions", "/v1.0/devices/{bare}/specifications",
                                  "/v1.1/devices/{bare}/specifications", "/v1.0/functions/nothing"])
def test_a_device_without_functions(received, connect, base, path):
    refused(read(connect(received.home, base), path, named(received.home)), 2003)


@pytest.mark.parametrize(
    ("path", "rows", "size", "key"),
    [
        ("/v1.0/iot-01/associated-users/devices", "devices", "size", "has_more"),
        ("/v1.3/iot-03/devices", "list", "page_size", "has_more"),
        ("/v1.0/iot-02/assets/{home}/devices", "list", "page_size", "has_next"),
        ("/v1.0/iot-02/assets/-1/sub-assets", "list", "page_size", "has_next"),
    ],
)
def test_pages(received, connect, base, path, rows, size, key):
    """One row a page are the rows of one page, in its order."""
    api, path = connect(received.home, base), path.format(**named(received.home))
    whole, query, walked, goes_on = good(api.get(path, {size: 200})), {size: 1}, [], True
    while goes_on:
        page = good(api.get(path, query))
        walked, goes_on, query = walked + page[rows], page[key], {size: 1, "last_row_key": page["last_row_key"]}
        assert len(page[rows]) == 1 and len(walked) <= len(whole[rows])
    assert walked == whole[rows] and len(walked) > 1


def test_what_is_not_there(received, connect, base):
    api, at = connect(received.home, base), named(received.home)
    refused(api.post("/v1.0/homes/{home}/scenes/scene/trigger".format(**at)), 2503)
    refused(api.post("/v1.0/devices/{plug}/stream/actions/allocate".format(**at), {"type": "rtsp"}), 2009)


@pytest.mark.parametrize("path", ["/v1.0/open-iot-hub/access/config", "/v1.0/open-hub/access/config",
                                  "/v1.0/iot-03/open-hub/access-config"])
def test_where_to_listen(server, received, connect, base, path):
    body = {"uid": received.home.uids[MOBILE], "link_id": "shapes", "link_type": "mqtt", "topics": "device",
            "msg_encrypted_version": "2.0"}
    made = good(connect(received.home, base).post(path, body))
    server.secrets.add(made["password"])
    assert_shape(made, LISTENING)
    door = f"tcp://127.0.0.1:{server.mqtt_port}"
    assert made["url"] == (door if base == server.http else f"ssl://127.0.0.1:{server.mqtt_tls_port}")
    assert re.fullmatch("cloud_[0-9a-f]{32}", made["client_id"]) and re.fullmatch("[0-9a-f]{32}", made["password"])
    assert re.fullmatch("cloud/token/in/[0-9a-f]{32}", made["source_topic"]["device"])
    assert (made["sink_topic"], made["expire_time"]) == ({"device": "cloud/token/out/{device_id}"}, 7200)


def test_a_home(world, connect, base):
    api, home = connect(world.home, base), world.home
    place = {"name": "Boot", "geo_name": "Elbe", "lat": 53.5, "lon": 9.25}
    made = good(api.post("/v1.0/home/create-home", {"uid": home.uids[EMAIL], "home": place, "rooms": ["Koje"]}))
    assert type(made) is int
    path = f"/v1.0/homes/{made}"
    assert good(api.get(path)) == place | {"home_id": made}
    done(api.put(path, {"name": "客船", "lon": -9.5}))
    assert good(api.get(path)) == place | {"home_id": made, "name": "客船", "lon": -9.5}
    member = {"country_code": "49", "member_account": LONER, "admin": True, "name": "Käpt'n"}
    done(api.post(f"{path}/members", {"app_schema": SCHEMA, "member": member}))
    done(api.put(f"{path}/members/{home.uids[LONER]}", {"admin": False}))
    members = good(api.get(f"{path}/members"))
    assert_shape(members, [MEMBER])
    assert [(row["uid"], row["name"], row["owner"], row["admin"]) for row in members] == [
        (home.uids[EMAIL], "Guest", True, True), (home.uids[LONER], "Käpt'n", False, False)]
    lived_in = good(api.get(f"/v1.0/users/{home.uids[LONER]}/homes"))
    assert_shape(lived_in, [HOME | {"role": str}])
    assert [(row["home_id"], row["role"]) for row in lived_in] == [(made, "MEMBER")]
    done(api.delete(f"{path}/members/{home.uids[LONER]}"))
    assert good(api.get(f"/v1.0/users/{home.uids[LONER]}/homes")) == good(api.get(f"{path}/devices")) == []
    done(api.delete(path))
    refused(api.get(path), 1106)


def test_a_device_is_shared_and_given_desired_values(world, connect, base):
    api, home = connect(world.home, base), world.home
    path = f"/v1.0/devices/{home.devices['scal']}/shares"
    done(api.post(path, {"uid": home.uids[EMAIL]}))
    assert ids(good(api.get(path)), "uid") == [home.uids[EMAIL]]
    done(api.delete(f"{path}/{home.uids[EMAIL]}"))
    assert good(api.get(path)) == []
    path = f"/v2.0/cloud/thing/{home.devices['plug']}/shadow/properties"
    for properties in ({"switch_1": True}, json.dumps({"countdown_1": 7})):
        assert good(api.post(f"{path}/desired", {"properties": properties, "duration": 60, "type": 1})) == {}
    refused(api.post(f"{path}/desired", {"properties": {"nothing": 1}, "duration": 60}), 2008)
    # A desired value is not a reported value.
    shown = good(api.get(path))
    assert_shape(shown, PROPERTIES)
    assert [(row["code"], row["value"], row["time"]) for row in shown["properties"]] == [
        (code, value, 0) for code, value in status_of(PLUG).items()]


@pytest.mark.parametrize("path", ["/v1.0/devices/token", "/v1.0/device/paring/token",
                                  "/v1.0/iot-03/device-registration/token"])
def test_a_device_is_paired(server, world, connect, base, thing, path):
    api, home, device = connect(world.home, base), world.home, newcomer(world)
    zone = "Asia/Shanghai"
    made = good(api.post(path, {"uid": home.uids[EMAIL], "pairing_type": "AP", "paring_type": "AP", "timeZoneId": zone,
                                "time_zone_id": zone}))
    server.secrets.add(made["token"])
    assert_shape(made, TOKEN)
    assert made["expire_time"] == 300
    # The oldest spells otherwise.
    names = ("successDevices", "errorDevices") if path.startswith("/v1.0/devices") else ("success_devices",
                                                                                         "error_devices")
    result = f"{path}s/{made['token']}"
    assert good(api.get(result)) == dict.fromkeys(names, [])
    for one in (home.devices["plug"], device):
        tried = thing(home, one).connect()
        tried.ask(f"{tried.sys}thing/awss/enrollee/match", {"token": made["token"]})
    received = good(api.get(result))
    assert_shape(received, dict.fromkeys(names, [dict]))
    assert [(row["id"], row["name"]) for row in received[names[0]]] == [(device, "Neu")]
    assert [(row["id"], row["name"]) for row in received[names[1]]] == [(home.devices["plug"], "Kettle")]
    assert good(api.get(f"/v1.0/devices/{device}"))["uid"] == home.uids[EMAIL]


def test_devices_that_leave(world, connect, base):
    api, at = connect(world.home, base), world.home.devices
    some = {"device_ids": f"{at['sub1']},{at['sub2']}"}
    # Of several either all go or none.
    for stranger in ("nowhere", world.other.devices["away"]):
        refused(api.delete("/v1.0/iot-03/devices", {"device_ids": f"{at['sub1']},{stranger}"}), 1106)
    for key, call in [
        ("sub1", lambda: api.delete("/v1.0/iot-03/devices", some)),
        ("scal", lambda: api.delete(f"/v1.0/iot-03/devices/{at['scal']}")),
        ("bare", lambda: api.delete(f"/v1.0/iot-03/devices/{at['bare']}/actions/reset")),
        ("lamp", lambda: api.post(f"/v1.0/iot-03/devices/{at['lamp']}/actions/reset")),
        ("plug", lambda: api.post(f"/v2.0/cloud/thing/{at['plug']}/reset")),
    ]:
        assert good(api.get(f"/v1.0/iot-03/devices/{at[key]}"))["id"] == at[key]
        done(call())
        refused(call(), 1106)
        refused(api.get(f"/v1.0/iot-03/devices/{at[key]}"), 1106)
    left = good(api.get("/v1.0/devices"))["devices"]
    assert set(ids(left)) == {at["gate"], world.other.devices["both"]}
