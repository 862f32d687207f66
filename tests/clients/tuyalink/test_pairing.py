"""A TuyaLink device becomes a user's by a token."""

from pairing import Tokens, newcomer, walk


def test_a_device_redeems_a_token(server, world, device, version, tls, connect, seen):
    home, new, other = world.home, newcomer(world), world.home.devices["plug"]
    devices = {one: device(home, one, version=version, tls=tls).connect().listen() for one in (new, other)}

    def redeem(one, token):
        code, _ = devices[one].ask("device/bind", {"token": token}, ack=1)
        return code == 0

    walk(Tokens(server, connect(home), home), new, other, redeem)
    assert devices[new].report({"weight": 70_000}) == 0
    assert seen(home, new) == (True, {"weight": 70_000})
