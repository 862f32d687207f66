"""A device of aliyun-iot-linkkit becomes a user's by a token, which it sends as any message: the library has no
function for it. It goes on as it is, and its user sees what it reports."""

import pytest

from answers import good
from pairing import Tokens, newcomer, walk


@pytest.mark.parametrize("thing", ["plain", "tls"], indirect=True)
def test_a_device_redeems_a_token(server, world, thing, connect, seen):
    home, device, other = world.home, newcomer(world), world.home.devices["plug"]
    things = {one: thing(home, one).connect() for one in (device, other)}

    def redeem(one, token):
        code, _ = things[one].ask(f"{things[one].sys}thing/awss/enrollee/match", {"token": token})
        return code == 200

    walk(Tokens(server, connect(home), home), device, other, redeem)
    things[device].publish(f"{things[device].sys}thing/event/property/post", {
        "id": "8", "version": "1.0", "params": {"weight": 70_000}, "method": "thing.event.property.post"})
    seen.until(home, device, lambda shown: shown == (True, {"weight": 70_000}))


def test_a_token_with_its_region_and_secret(server, world, thing, connect):
    """As one text, as devices of the vendor's own get it from an app."""
    home, device = world.home, newcomer(world)
    api, scale = connect(home), thing(home, device).connect()
    made = Tokens(server, api, home).new()
    topic = f"{scale.sys}thing/awss/enrollee/match"
    assert scale.ask(topic, {"token": f"{made['region']}{made['token']}0000"})[0] != 200
    assert scale.ask(topic, {"token": made["region"] + made["token"] + made["secret"]})[0] == 200
    assert good(api.get(f"/v1.0/devices/{device}"))["uid"] != ""
