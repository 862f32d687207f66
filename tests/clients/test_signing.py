"""What the vendor's documents allow or forbid and no SDK sends: requests signed by hand, byte for byte."""

import time

import pytest

from answers import done, good, refused
from signing import keyed, sign


def test_the_helper_signs_as_the_vendor_published():
    headers = [("area_id", "29a33e8796834b1efa6"), ("call_id", "8afdb70ab2ed11eb85290242ac130003")]
    constants = {"client_id": "1KAD46OrT9HafiKdsXeg", "t": "1588925778000", "method": "GET",
                 "nonce": "5138cc3a9033d69856923fd07b491173", "signed_headers": headers}
    secret = "4OHBOnWOqaEC1mWXOpVL3yV50s0qGSRC"
    assert sign(secret, target="/v1.0/token?grant_type=1", **constants) == (
        "9E48A3E93B302EEECC803C7241985D0A34EB944F40FB573C7B5C2A82158AF13E")
    assert sign(secret, target="/v2.0/apps/schema/users?page_no=1&page_size=50",
                token="3f4eda2bdec17232f67c0b188af3eec1", **constants) == (
        "AE4481C692AA80B25F3A7E12C3A5FD9BBF6251539DD78E565A1A72A508A88784")


@pytest.fixture
def home(history, raw):
    return raw(history.project)


@pytest.fixture
def device(history):
    return f"/v1.0/devices/{history.device}"


def now_ms():
    return time.time_ns() // 1_000_000


def test_signed_headers_and_a_nonce(home, device):
    area = [("area_id", "29a33e8796834b1efa6"), ("Call-Id", "x y")]
    token = home.token()
    good(home.send("GET", device, token=token, signed_headers=area, nonce="n"))
    good(home.send("GET", "/v1.0/token?grant_type=1", token=None, signed_headers=area, nonce="n"))
    # What was signed may not change on the way.
    refused(home.send("GET", device, token=token, signed_headers=area, nonce="n", area_id="other"), 1004)
    t = str(now_ms())
    signature = sign(home.project.secret, client_id=home.project.client_id, t=t, method="GET", target=device,
                     token=token, nonce="n")
    good(home.send("GET", device, token=token, nonce="n", at=t, sign=signature))
    refused(home.send("GET", device, token=token, nonce="m", at=t, sign=signature), 1004)


@pytest.mark.parametrize(
    "query",
    [
        "device_ids=a,b&page_no=1",
        "page_no=1&device_ids=a%2Cb",
        "page_no=1&device_ids%5B0%5D=a&device_ids[1]=b",
        "page_no=1&last_id=&schema=testApp",
        "schema=%74estApp",
    ],
)
def test_queries_in_any_order_and_encoding(home, query):
    good(home.send("GET", f"/v1.0/devices?{query}", token=home.token()))


def test_a_query_signed_as_it_was_sent(home):
    target = "/v1.0/devices?page_size=20&device_ids=a%2Cb"
    good(home.send("GET", target, token=home.token(), signed_target=target))
    good(home.send("GET", target, token=home.token(), signed_target="/v1.0/devices?page_size=20&device_ids=a,b"))
    refused(home.send("GET", target, token=home.token(), signed_target="/v1.0/devices?device_ids=a"), 1004)


def test_what_a_signature_covers(home, device):
    token = home.token()
    refused(home.send("GET", device, token=token, signed_target="/v1.0/devices"), 1004)
    refused(home.send("GET", device, token=token, client_id="nobody"), 1005)
    refused(home.send("GET", device, token=token, sign=keyed("x", "y")), 1004)
    refused(home.send("GET", device, token=token, sign="short"), 1004)
    refused(home.send("GET", device, token=token, t=str(now_ms() - 5000)), 1004)
    refused(home.send("GET", device, token="0" * 32), 1010)
    # A signature for one token does not open another.
    refused(home.send("GET", device, token="0" * 32, access_token=token), 1004)


@pytest.mark.parametrize("missing", ["client_id", "sign", "t"])
def test_missing_headers(home, device, missing):
    refused(home.send("GET", device, token=home.token(), **{missing: None}), 1105)
    refused(home.send("GET", "/v1.0/token?grant_type=1", token=None, **{missing: None}), 1105)


def test_a_missing_token(home, device):
    refused(home.send("GET", device, token=None), 1002)


def test_an_empty_token(home, device):
    """The vendor's connector sends one when its refresh was refused, and logs in again only on this code."""
    refused(home.send("GET", device, token="", access_token=""), 1010)


def test_the_clock(home, device):
    token = home.token()
    for off_s in (-280, 280):
        good(home.send("GET", device, token=token, at=str(now_ms() + off_s * 1000)))
    for t in (now_ms() - 310_000, now_ms() + 310_000, now_ms() // 1000, "soon", "99999999999999999999"):
        refused(home.send("GET", device, token=token, at=str(t)), 1013)
        refused(home.send("GET", "/v1.0/token?grant_type=1", token=None, at=str(t)), 1013)


def test_a_write_is_taken_once(world, raw):
    home, path = raw(world.home), f"/v1.0/devices/{world.home.devices['plug']}"
    token, t, body = home.token(), str(now_ms()), b'{"name":"once"}'
    same = {"token": token, "at": t, "nonce": "6b1b6e2e"}
    done(home.send("PUT", path, body, **same))
    refused(home.send("PUT", path, body, **same), 1004)
    done(home.send("PUT", path, body, **same | {"nonce": "other"}))
    # Reading twice does no harm, and without a nonce there is nothing to know a request by.
    for _ in range(2):
        good(home.send("GET", path, **same))
        done(home.send("PUT", path, body, token=token, at=t))


def test_bodies(world, raw):
    home, path = raw(world.home), f"/v1.0/devices/{world.home.devices['plug']}"
    token = home.token()
    # One client sends a body with everything; another a bare string for a name; none needs a content type.
    good(home.send("GET", path, b"{}", token=token))
    done(home.send("PUT", path, '"客厅灯"'.encode(), token=token))
    assert good(home.send("GET", path, token=token))["name"] == "客厅灯"
    done(home.send("PUT", path, ' {"name" : "Küche", "more": [1, {"x": null}]} '.encode(), token=token))
    assert good(home.send("GET", path, token=token))["name"] == "Küche"
    for body in (b"{", b"\xff", b"{'name': 'x'}", b"[" * 100_000, b'{"name": "x"} y'):
        refused(home.send("PUT", path, body, token=token), 1109)
    refused(home.send("PUT", path, b'{"name": "' + b"x" * 2_000_000 + b'"}', token=token), 1101)
    assert good(home.send("GET", path, token=token))["name"] == "Küche"
    good(home.send("DELETE", path, b"{}", token=token))


def test_a_body_that_was_changed(world, raw):
    home, path = raw(world.home), f"/v1.0/devices/{world.home.devices['plug']}"
    token, t = home.token(), str(now_ms())
    signature = sign(world.home.secret, client_id=world.home.client_id, t=t, method="PUT", target=path, token=token,
                     body=b'{"name":"one"}')
    refused(home.send("PUT", path, b'{"name":"two"}', token=token, at=t, sign=signature), 1004)
    refused(home.send("DELETE", path, b'{"name":"one"}', token=token, at=t, sign=signature), 1004)
    done(home.send("PUT", path, b'{"name":"one"}', token=token, at=t, sign=signature))


def test_paths_with_a_slash_at_the_end(home):
    good(home.send("GET", "/v1.0/token/?grant_type=1", token=None))
    good(home.send("GET", "/v1.0/devices/?page_size=1", token=home.token()))


def test_a_token_call_that_carries_a_token(home):
    """One client signs it with the token that it still has, another without."""
    token = home.token()
    good(home.send("GET", "/v1.0/token?grant_type=1", token=token))
    good(home.send("GET", "/v1.0/token?grant_type=1", token=None, access_token=token))


def test_a_refresh_by_the_old_rule(world, raw):
    """The vendor's Node connector does so whatever it signs otherwise by."""
    home = raw(world.home)
    pair = good(home.send("GET", "/v1.0/token?grant_type=1", token=None))
    t = str(now_ms())
    stale = {"access_token": "0" * 32, "at": t, "sign": keyed(world.home.secret, world.home.client_id + t)}
    new = good(home.send("GET", f"/v1.0/token/{pair['refresh_token']}", token=None, **stale))
    assert new["access_token"] != pair["access_token"]
    refused(home.send("GET", f"/v1.0/token/{pair['refresh_token']}", token=None), 1010)
    # A refresh token is its project's alone.
    refused(raw(world.other).send("GET", f"/v1.0/token/{new['refresh_token']}", token=None), 1010)


def test_nobody_gets_in(history, home):
    """Without a signature no path reveals anything, not even whether a device exists."""
    for target in ("/v1.0/devices", f"/v1.0/devices/{history.device}", "/v1.0/token?grant_type=1"):
        refused(home.send("GET", target, token=None, client_id=None, sign=None, t=None), 1105)


def test_ids_that_were_percent_encoded(history, home):
    token = home.token()
    encoded = "".join(f"%{ord(letter):02X}" for letter in history.device)
    good(home.send("GET", f"/v1.0/devices/{encoded}", token=token))
    refused(home.send("GET", "/v1.0/devices/..%2F..%2Ftoken", token=token), 1106)
