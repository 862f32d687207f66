"""The world that a test gets for itself: two projects that know nothing of each other, though their apps and users
have the same names, and one device that both see."""

import itertools
from types import SimpleNamespace

SCHEMA = "testApp"
MOBILE = "18200000678"
EMAIL = "guest@example.com"
LONER = "Käthe 客"
OPEN_ID = "10000000001"

NUMBERS = itertools.count(1)

SWITCH = {"code": "switch_1", "dp_id": 1, "type": "Boolean", "name": "Switch"}
PLUG = [
    SWITCH,
    {"code": "switch_2", "type": "Boolean", "dp_id": 2},
    {"code": "countdown_1", "dp_id": 9, "type": "Integer", "values": {"min": 0, "max": 86400, "unit": "s"}},
    {"code": "cur_power", "dp_id": 19, "type": "Integer", "values": {"min": 0, "max": 99999}, "access": "ro"},
    {"code": "work_mode", "dp_id": 21, "type": "Enum", "values": {"range": ["white", "colour"]}},
    {"code": "note", "dp_id": 22, "type": "String", "values": {"maxlen": 255}},
    {"code": "colour_data", "dp_id": 24, "type": "Json"},
    {"code": "ir_code", "dp_id": 25, "type": "Raw", "access": "wo"},
    {"code": "fault", "dp_id": 26, "type": "Bitmap", "values": {"label": ["e1", "e2"], "maxlen": 2}, "access": "ro"},
]
SCALE = [
    {"code": "weight", "type": "Integer", "values": {"min": 0, "max": 180000, "unit": "g"}, "access": "ro"},
    {"code": "battery_low", "type": "Boolean", "access": "ro"},
]
GATEWAY = [{"code": "master_state", "type": "Boolean"}]
LEAK = [{"code": "watersensor_state", "type": "Enum", "values": {"range": ["normal", "alarm"]}, "access": "ro"}]
# Of the devices below, by their keys.
FUNCTIONS = {"plug": PLUG, "scal": SCALE, "gate": GATEWAY, "sub1": LEAK, "sub2": LEAK, "bare": [], "lamp": PLUG,
             "both": PLUG, "away": [SWITCH]}

# What a status shows of what a device has not reported: of a number the least, of a choice the first.
DEFAULTS = {"Boolean": False, "String": "", "Raw": "", "Json": "", "Bitmap": 0}


def status_of(functions, reported=None):
    """The status of a device of a product with these functions by code, in its order. What the product does not have
    stands last."""
    reported, status = reported or {}, {}
    places = {row["code"]: row.get("dp_id", place) for place, row in enumerate(functions, 1)}
    for row in sorted(functions, key=lambda row: places[row["code"]]):
        code, kind, values = row["code"], row["type"], row.get("values", {})
        if code in reported:
            status[code] = reported[code]
        elif row.get("access") != "wo":
            status[code] = (values.get("min", 0) if kind == "Integer" else
                            values["range"][0] if kind == "Enum" else DEFAULTS[kind])
    return status | {code: value for code, value in reported.items() if code not in status}


def points(status):
    """A status as the lists of it are written."""
    return [{"code": code, "value": value} for code, value in status.items()]


def new_world(server):
    number = next(NUMBERS)

    def name(text):
        return f"{text}{number:06d}"

    def device(product, key, **facts):
        return {"product_id": name(product), "device_id": name(f"vdevo1560830{key}"), **facts}

    gateway = {"gateway": name("vdevo1560830gate"), "owner": MOBILE}
    products = [
        {"product_id": name("plug"), "product_key": name("a1plug"), "name": "Wi-Fi 智能插座", "category": "cz",
         "model": "P1", "functions": PLUG},
        {"product_id": name("scale"), "name": "体脂秤", "category": "qt", "biz_type": 299009, "functions": SCALE},
        {"product_id": name("gate"), "name": "Gateway", "category": "wg2", "node_type": "gateway",
         "functions": GATEWAY},
        {"product_id": name("leak"), "name": "水浸", "category": "sj", "node_type": "sub", "functions": LEAK},
        {"product_id": name("bare"), "name": "No standard functions", "category": "qt", "functions": []},
    ]
    users = [
        {"schema": SCHEMA, "username": MOBILE, "username_type": 1, "country_code": "86", "nick_name": "小明",
         "open_id": OPEN_ID, "gender": "2", "email": "ming@example.com"},
        {"schema": SCHEMA, "username": EMAIL, "username_type": 2, "country_code": "1", "nick_name": "Guest",
         "open_id": "guest-1@x", "phone": "13888888888", "login_id": "4398047084811"},
        {"schema": SCHEMA, "username": LONER, "username_type": 3, "country_code": "49",
         "avatar": "https://x.test/a.png"},
    ]
    devices = [
        device("plug", "plug", name="Kettle", owner=MOBILE, sn=name("SN"), mac="5c:cf:7f:53:00:01", ip="192.168.1.20",
               lat="53.55", lon="9.99", time_zone="+08:00", shared_with=[EMAIL], device_name="2ac4d7cffa",
               iot_id=name("iotKettle")),
        device("scale", "scal", name="体脂秤", owner=MOBILE),
        device("gate", "gate", name="Gateway", owner=MOBILE, mac="5c:cf:7f:53:00:02"),
        device("leak", "sub1", name="水浸警报", node_id="00124b0001", **gateway),
        device("leak", "sub2", name="Cellar", node_id="00124b0002", **gateway),
        device("bare", "bare", name="Bare", owner=MOBILE),
        device("plug", "lamp", name="Лампа", owner=EMAIL, shared_with=[MOBILE]),
    ]
    home = {
        "name": name("home"),
        "aliyun": {"project_id": name("a123Project"), "app_key": f"60{number:06d}"},
        "apps": [{"schema": SCHEMA, "country_codes": ["86", "1", "49"]}, {"schema": "emptyApp"}],
        "products": products,
        "users": users,
        "homes": [{"name": "Home", "owner": MOBILE}, {"name": "Flat", "owner": EMAIL}],
        "devices": devices,
    }
    other = {
        "name": name("other"),
        "tuya": {"legacy_sign": True, "mask_private_fields": False},
        "aliyun": {"require_cloud_token": False, "keep_cloud_tokens": True},
        "apps": [{"schema": SCHEMA}, {"schema": "otherApp"}],
        "products": [{"product_id": name("far"), "name": "Far plug", "category": "cz", "functions": [SWITCH]}],
        "users": users,
        "homes": [{"name": "Home", "owner": MOBILE}],
        # The second is of the first project's product: its maker and its owner's project both see it.
        "devices": [device("far", "away", name="Away", owner=MOBILE), device("plug", "both", owner=MOBILE)],
    }
    document = {"projects": [home, other]}
    applied = server.apply(document)
    projects = [project(written) for written in applied["projects"]]
    return SimpleNamespace(document=document, home=projects[0], other=projects[1], apply=server.apply,
                           import_events=server.import_events)


def give_passwords(world, project, *people):
    """Lets them sign in to the project's app. A password is two slow hashes, so only who needs one has one."""
    project.passwords |= {name: f"Paßwort 密码 of {name} at {project.client_id}" for name in people}
    users = [{"schema": SCHEMA, "username": name, "password": project.passwords[name]} for name in people]
    world.apply({"projects": [{"name": project.written["name"], "users": users}]})


def make_strict(world, *keys):
    """From now on devices of these products of the first project are refused what is off the specification."""
    ids, named = [world.home.products[key] for key in keys], ("product_id", "name", "category")
    rows = [{name: row[name] for name in named} | {"strict": True}
            for row in world.home.written["products"] if row["product_id"] in ids]
    world.apply({"projects": [{"name": world.home.written["name"], "products": rows}]})


def with_passwords(world):
    """Two people of the first project, who share a device with each other, and one of the second."""
    give_passwords(world, world.home, MOBILE, EMAIL)
    give_passwords(world, world.other, MOBILE)
    return world


def project(written):
    """What a test asks of an applied project. Devices and products go by the keys above, users by name."""

    def ids(rows, member):
        return {row[member].removeprefix("vdevo1560830")[:-6]: row[member] for row in rows}

    return SimpleNamespace(
        client_id=written["tuya"]["client_id"],
        secret=written["tuya"]["secret"],
        written=written,
        products=ids(written["products"], "product_id"),
        devices=ids(written["devices"], "device_id"),
        facts={row["device_id"]: row for row in written["devices"]},
        uids={row["username"]: row["uid"] for row in written["users"]},
        homes={row["owner"]: row["home_id"] for row in written["homes"]},
        project_id=written["aliyun"]["project_id"],
        app_key=written["aliyun"]["app_key"],
        app_secret=written["aliyun"]["app_secret"],
        app_keys={row["schema"]: row["app_key"] for row in written["apps"]},
        people={row["username"]: row for row in written["users"]},
        passwords={},
        product_keys={row["product_id"]: row["product_key"] for row in written["products"]},
    )
