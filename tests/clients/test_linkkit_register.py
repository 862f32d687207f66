"""Devices that have only their product's secret, with aliyun-iot-linkkit: they ask for their own over MQTT."""

import pytest

from answers import good
from living import good as fine

BOTH = pytest.mark.parametrize("thing", ["plain", "tls"], indirect=True)
# What the library reports of a refusal.
REFUSED, REFUSED_NEW = -0x301, -0x302


@pytest.fixture
def product(world, server):
    """Gives the plugs' product a secret, says who may register, and makes a device that never connected."""

    def product(allowed):
        row = {"product_id": world.home.products["plug"], "name": "Wi-Fi 智能插座", "category": "cz"}
        secret = f"product-secret-of-{world.home.client_id}"
        known = {"product_id": row["product_id"], "device_name": "known1", "owner": "18200000678"}
        server.secrets.add(secret)
        written = world.apply({"projects": [{
            "name": world.home.written["name"], "devices": [known],
            "products": [row | {"product_secret": secret} | ({"dynamic_registration": allowed} if allowed else {})],
        }]})["projects"][0]
        (shown,) = (one for one in written["products"] if one["product_id"] == row["product_id"])
        assert shown["product_secret"] == secret
        assert shown.get("dynamic_registration", "off") == (allowed or "off")
        (device,) = (one for one in written["devices"] if one["device_name"] == "known1")
        return secret, device

    return product


@pytest.fixture
def stranger(world, thing):
    """Makes a device that has its product's secret alone, as the library is given it."""

    def stranger(auth_type, product_secret, device_name="known1", **options):
        options = {"device_name": device_name, "device_secret": "", "product_secret": product_secret,
                   "auth_type": auth_type} | options
        return thing(world.home, world.home.devices["plug"], **options)

    return stranger


def registered(stranger):
    """What it receives once, after it connected."""
    stranger.connect()
    code, secret = stranger.next("on_device_dynamic_register")
    assert code == 0
    return secret


def refused(stranger, callback="on_device_dynamic_register", code=REFUSED):
    stranger.kit.connect_async()
    received = stranger.next(callback)
    assert received[0] == code and set(received[1:]) == {None}
    assert stranger.received["on_connect"].empty()


@BOTH
def test_a_device_that_is_known(world, product, stranger, thing, seen):
    product_secret, device = product("known")
    secret = registered(stranger("register", product_secret))
    assert secret == device["secret"]
    # Until it connected it may ask again: the answer may have been lost.
    assert registered(stranger("register", product_secret)) == secret
    name = {"device_name": "known1", "device_secret": secret}
    thing(world.home, world.home.devices["plug"], **name).connect()
    assert seen(world.home, device["device_id"])[0] is True
    # After that it is its own, for ever.
    refused(stranger("register", product_secret))


def test_an_instance_id(product, stranger):
    """It stands in the client id and nowhere else."""
    product_secret, device = product("known")
    assert registered(stranger("register", product_secret, instance_id="iot-06z00a")) == device["secret"]


@BOTH
def test_a_device_that_is_new(world, product, stranger, thing, seen, connect, server, tmp_path):
    product_secret, _ = product("any")
    new = stranger("regnwl", product_secret, "new1")
    new.connect()
    code, client_id, username, password = new.next("on_device_dynamic_register_nwl_reply")
    server.secrets.add(password)
    assert code == 0 and client_id.endswith("|authType=connwl,securemode=-2,_ss=1,ext=3,lan=Python,_v=1.2.13|")
    assert username == f"new1&{world.home.product_keys[world.home.products['plug']]}"
    # What it was given opens a connection, on which everything comes unasked.
    given = {"device_name": "new1", "device_secret": "", "client_id": client_id, "username": username,
             "password": password}
    device = thing(world.home, world.home.devices["plug"], **given)
    device.enable({"events": [], "services": []}, tmp_path / "tsl.json")
    sent = device.kit.thing_post_property({"cur_power": 7})
    assert device.answer(sent, "on_thing_prop_post") == (200, {}, "success")
    rows = good(connect(world.home).get("/v1.0/devices", {"page_size": 20}))["devices"]
    assert good(connect(world.home).get("/v1.0/devices/factory-infos", {
        "device_ids": ",".join(row["id"] for row in rows)}))
    found = [row["id"] for row in rows if row["id"] not in world.home.devices.values()]
    values = [seen(world.home, device_id) for device_id in found]
    assert (True, {"cur_power": 7}) in values
    # After that it is its own, for ever.
    refused(stranger("regnwl", product_secret, "new1"), "on_device_dynamic_register_nwl_reply", REFUSED_NEW)
    # And with another's token there is nothing.
    wrong = thing(world.home, world.home.devices["plug"], **given | {"password": password[:-1] + "!"})
    wrong.kit.connect_async()
    other = thing(world.home, world.home.devices["plug"], **given | {
        "device_name": "known1", "username": username.replace("new1", "known1")})
    other.kit.connect_async()
    sent = device.kit.thing_post_property({"cur_power": 8})
    assert device.answer(sent, "on_thing_prop_post")[0] == 200
    assert wrong.received["on_connect"].empty() and other.received["on_connect"].empty()


def test_a_known_device_where_new_ones_may_come(product, stranger):
    product_secret, device = product("any")
    assert registered(stranger("register", product_secret)) == device["secret"]


@pytest.mark.parametrize("allowed", [None, "off", "known"])
def test_what_the_product_does_not_allow(product, stranger, log_in, world, allowed):
    product_secret, _ = product(allowed)
    refused(stranger("regnwl", product_secret, "new1"), "on_device_dynamic_register_nwl_reply", REFUSED_NEW)
    if allowed != "known":
        refused(stranger("register", product_secret))
    # Nothing was made on the way.
    living = log_in(world.home)
    key = world.home.product_keys[world.home.products["plug"]]
    things = fine(living.ask("/cloud/things/info/get", {"productKey": key, "currentPage": 1, "pageSize": 50}))
    assert "new1" not in {row["name"] for row in things}


@BOTH
def test_who_cannot_prove_the_product(world, product, stranger):
    product_secret, _ = product("any")
    refused(stranger("register", "0" * 32))
    refused(stranger("regnwl", "0" * 32, "new1"), "on_device_dynamic_register_nwl_reply", REFUSED_NEW)
    refused(stranger("register", product_secret, "unknown"))
    refused(stranger("register", product_secret, product_key="nothing"))
    # A product's secret is its own.
    key = world.other.product_keys[world.other.products["far"]]
    refused(stranger("register", product_secret, product_key=key))
    # Nor is it the secret of a device.
    refused(stranger("register", world.home.facts[world.home.devices["plug"]]["secret"]))
