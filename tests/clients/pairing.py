"""Tokens by which a device becomes a user's, asked for with tuya-connector-python."""

import re

from answers import good, refused, types_of
from world import EMAIL, MOBILE


def newcomer(world):
    """Makes a scale that nobody owns yet, and gives its id."""
    project, device = world.home, f"vdevo1560830newc{world.home.client_id[-6:]}"
    row = {"product_id": project.products["scale"], "device_id": device, "device_name": "newcomer", "name": "Neu"}
    written = world.apply({"projects": [{"name": project.written["name"], "devices": [row]}]})["projects"][0]
    (project.facts[device],) = (one for one in written["devices"] if one["device_id"] == device)
    return device


class Tokens:
    """Those of a project's users."""

    def __init__(self, server, api, project):
        self.server, self.api, self.project = server, api, project

    def new(self, person=MOBILE):
        """A new one, and what it comes with."""
        made = good(self.api.post("/v1.0/devices/token", {"uid": self.project.uids[person]}))
        assert types_of(made) == {"token": str, "secret": str, "region": str, "expire_time": int}
        assert re.fullmatch("[0-9a-z]{12}", made["token"]) and made["expire_time"] == 300
        self.server.secrets.add(made["token"])
        return made

    def result(self, token):
        """Which devices became the user's by it, and which may not be."""
        received = good(self.api.get(f"/v1.0/devices/tokens/{token}"))
        assert set(received) == {"successDevices", "errorDevices"}
        return [[device["id"] for device in received[name]] for name in ("successDevices", "errorDevices")]

    def assert_owner(self, device, person):
        """Only this person has the device."""
        for name in (MOBILE, EMAIL):
            rows = good(self.api.get(f"/v1.0/users/{self.project.uids[name]}/devices"))
            assert (device in [row["id"] for row in rows]) == (name == person)


def walk(tokens, device, other, redeem):
    """From a token to the user's list. `redeem` sends a device's token and returns whether it was accepted; `other` is
    somebody's already."""
    assert not redeem(device, "0" * 12)
    made, late = tokens.new(EMAIL), tokens.new(MOBILE)
    assert tokens.result(made["token"]) == [[], []]
    tokens.assert_owner(device, None)
    # What is somebody's does not become another's, and the token is as good as before.
    assert not redeem(other, made["token"])
    assert tokens.result(made["token"]) == [[], [other]]
    assert redeem(device, made["token"])
    assert tokens.result(made["token"]) == [[device], [other]]
    tokens.assert_owner(device, EMAIL)
    # Once, and for one device.
    assert not redeem(device, made["token"]) and not redeem(device, late["token"])
    tokens.assert_owner(device, EMAIL)
    refused(tokens.api.get("/v1.0/devices/tokens/nothing"), 1106)
