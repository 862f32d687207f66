"""The visual login as its vendor's samples call it, and PyJWT as whoever checks the tokens: offline, with nothing but
the published keys."""

import base64
import hashlib
import hmac
import json
import time
from types import SimpleNamespace

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from answers import done, types_of
from evidence import OWN_AGENT
from world import EMAIL, LONER, MOBILE, SCHEMA

CLIENT = "PyJWT"
LOGIN = "/v1.0/openapi/visual/d/user/login"
# The vendor's samples are no client that could be run.
OWN = {"User-Agent": OWN_AGENT}


@pytest.fixture
def server(new_server):
    """A server for each test, since it counts failed logins by address."""
    with new_server() as server:
        yield server


@pytest.fixture
def camera(world, server, base):
    return Camera(server, base, world)


class Camera:
    """A project of which two people have passwords."""

    def __init__(self, server, base, world):
        self.server, self.base, self.world, self.home = server, base, world, world.home
        self.passwords = {MOBILE: f"Paßwort 密码 {self.home.client_id}", EMAIL: f"guest-{self.home.client_id}"}
        self.set_passwords(self.passwords)

    def set_passwords(self, passwords, project=None, **more):
        users = [{"schema": SCHEMA, "username": name, "password": word} for name, word in passwords.items()]
        self.world.apply({"projects": [{"name": (project or self.home).written["name"], "users": users} | more]})

    def device(self, key, project=None):
        project = project or self.home
        fact = project.facts[project.devices[key]]
        product_keys = self.home.product_keys | self.world.other.product_keys
        return {"productKey": product_keys[fact["product_id"]], "deviceName": fact["device_name"]}

    def send(self, body):
        answer = requests.post(self.base + LOGIN, json=body, headers=OWN, timeout=30)
        assert answer.headers["Content-Type"].startswith("application/json")
        return answer

    def ask(self, *devices, user=MOBILE, password=None):
        return self.send({"userName": user, "password": password or self.passwords[user], "deviceList": devices})

    def log_in(self, *devices, **who):
        """The tokens, in the order of the devices."""
        answer = self.ask(*devices, **who)
        assert answer.status_code == 200
        tokens = good(answer.json())["deviceVisualTokenList"]
        assert [{name: token[name] for name in ("productKey", "deviceName")} for token in tokens] == list(devices)
        for token in tokens:
            assert types_of(token) == {"productKey": str, "deviceName": str, "visualToken": str, "expire": int}
            assert token["expire"] == 3600
            self.server.secrets.add(token["visualToken"])
        return [token["visualToken"] for token in tokens]

    def get(self, device, token, path="", **params):
        url = f"{self.base}/v1.0/visual/devices/{device['productKey']}/{device['deviceName']}{path}"
        headers = OWN | ({} if token is None else {"Authorization": f"Bearer {token}"})
        return requests.get(url, headers=headers, params=params, timeout=30)

    def opened(self, device, token, path="", **params):
        answer = self.get(device, token, path, **params)
        assert answer.status_code == 200, answer.text
        return good(answer.json())

    def closed(self, device, token):
        for path in ("", "/logs"):
            answer = self.get(device, token, path)
            assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
            refused(answer.json())

    def keys(self):
        answer = requests.get(self.base + "/.well-known/jwks.json", headers=OWN, timeout=30)
        assert answer.headers["Content-Type"].startswith("application/json")
        return answer.json()


def good(answer):
    """The data of a success."""
    assert set(answer) == {"success", "msg", "t", "data"}, answer
    assert answer["success"] is True and answer["msg"] is None, answer
    assert abs(answer["t"] - time.time() * 1000) < 60_000
    return answer["data"]


def refused(answer):
    """The text of a failure."""
    assert set(answer) == {"success", "msg", "t", "data"}, answer
    assert answer["success"] is False and answer["data"] is None and answer["msg"], answer
    assert type(answer["t"]) is int and len(str(answer["t"])) == 13
    return answer["msg"]


def checked(token, keys):
    """What PyJWT makes of a token with the published keys and the algorithm of those."""
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(token, key, algorithms=["ES256"], audience="visual", issuer="ingle",
                      options={"require": ["exp", "iat", "nbf", "sub", "jti"]})


def part(members):
    text = members if type(members) is bytes else json.dumps(members).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def test_a_token_for_each_device(camera):
    devices = [camera.device(key) for key in ("plug", "scal", "lamp")]
    tokens = camera.log_in(*devices)
    keys = camera.keys()
    claims = [checked(token, keys) for token in tokens]
    assert [each["sub"] for each in claims] == [f"{each['productKey']}#{each['deviceName']}" for each in devices]
    assert len({each["jti"] for each in claims}) == 3
    for each, token in zip(claims, tokens, strict=True):
        assert each["exp"] - each["iat"] == 3600 and each["nbf"] <= time.time() + 60
        header = jwt.get_unverified_header(token)
        assert (header["alg"], header["typ"]) == ("ES256", "JWT")
        # Nothing in it is anybody's secret.
        assert camera.passwords[MOBILE] not in json.dumps(each) and MOBILE not in json.dumps(each)
    # Each opens its own device and no other.
    for device in devices:
        for owner, token in zip(devices, tokens, strict=True):
            if owner is device:
                assert camera.opened(device, token)["deviceName"] == device["deviceName"]
            else:
                camera.closed(device, token)
    camera.closed(camera.device("bare"), tokens[0])
    camera.closed({"productKey": "nothing", "deviceName": "nothing"}, tokens[0])


def test_the_published_keys(camera):
    token = camera.log_in(camera.device("plug"))[0]
    keys = camera.keys()
    assert set(keys) == {"keys"} and jwt.get_unverified_header(token)["kid"] in [key["kid"] for key in keys["keys"]]
    for key in keys["keys"]:
        # The public half alone, and how it is used.
        assert types_of(key) == dict.fromkeys(("kty", "crv", "alg", "use", "kid", "x", "y"), str)
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
    # PyJWT's own client gets the same.
    key = jwt.PyJWKClient(camera.base + "/.well-known/jwks.json").get_signing_key_from_jwt(token)
    assert jwt.decode(token, key, algorithms=["ES256"], audience="visual", issuer="ingle")["aud"] == "visual"


def test_what_a_checker_refuses(camera):
    token, keys = camera.log_in(camera.device("plug"))[0], camera.keys()
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
    for options, error in [
        ({"audience": "living"}, jwt.InvalidAudienceError),
        ({"issuer": "somebody"}, jwt.InvalidIssuerError),
        ({"algorithms": ["RS256", "HS256"]}, jwt.InvalidAlgorithmError),
    ]:
        with pytest.raises(error):
            jwt.decode(token, key, **({"algorithms": ["ES256"], "audience": "visual", "issuer": "ingle"} | options))
    head, claims, signature = token.split(".")
    forged = part(json.loads(base64.urlsafe_b64decode(claims + "==")) | {"sub": "a#b"})
    with pytest.raises(jwt.InvalidSignatureError):
        checked(".".join([head, forged, signature]), keys)


def test_forged_tokens(camera):
    plug, scale = camera.device("plug"), camera.device("scal")
    token = camera.log_in(plug)[0]
    keys = camera.keys()
    head, claims, signature = token.split(".")
    kid = jwt.get_unverified_header(token)["kid"]
    public = jwt.PyJWKSet.from_dict(keys)[kid].key
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for secret in (pem, point, b""):
        forged = f"{part({'alg': 'HS256', 'kid': kid, 'typ': 'JWT'})}.{claims}"
        mac = hmac.new(secret, forged.encode(), hashlib.sha256).digest()
        camera.closed(plug, f"{forged}.{part(mac)}")
    for algorithm in ("none", "None", "ES384", "RS256"):
        header = part({"alg": algorithm, "kid": kid, "typ": "JWT"})
        camera.closed(plug, f"{header}.{claims}.")
        camera.closed(plug, f"{header}.{claims}.{signature}")
    # Signed well, by a key that is not published.
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    stranger = ec.generate_private_key(ec.SECP256R1())
    for name in (kid, "other", None):
        headers = {} if name is None else {"kid": name}
        camera.closed(plug, jwt.encode(said, stranger, algorithm="ES256", headers=headers))
    changed = part(said | {"sub": f"{scale['productKey']}#{scale['deviceName']}"})
    camera.closed(scale, f"{head}.{changed}.{signature}")
    for broken in (head, f"{head}.{claims}", token[:-4], token + "AAAA", "x", "a.b.c", "", None, "é", "x" * 5000):
        camera.closed(plug, broken if broken is None else broken.encode().decode("latin-1"))
    camera.opened(plug, token)


def test_tokens_of_other_kinds(camera, world, connect):
    """Neither side's tokens open the other's doors."""
    plug = camera.device("plug")
    api = connect(world.home)
    camera.closed(plug, api.token_info.access_token)
    api.token_info.access_token = camera.log_in(plug)[0]
    assert api.get("/v1.0/devices")["success"] is False


def test_a_device_and_its_log(camera, world):
    plug, now_ms = camera.device("plug"), int(time.time() * 1000)
    token = camera.log_in(plug)[0]
    shown = camera.opened(plug, token)
    assert types_of(shown) == {"productKey": str, "deviceName": str, "name": str, "productName": str, "category": str,
                               "online": bool, "status": list, "activeTime": int}
    assert (shown["name"], shown["productName"], shown["category"]) == ("Kettle", "Wi-Fi 智能插座", "cz")
    assert (shown["online"], shown["status"], shown["activeTime"]) == (False, [], 0)
    assert camera.opened(plug, token, "/logs") == {"logs": [], "next": None}
    device = world.home.devices["plug"]
    rows = [{"device_id": device, "time": now_ms - 1000 * n, "type": 7, "from": 1, "code": "note",
             "value": f"第{n}行 Ölofen"} for n in range(1, 51)]
    world.import_events(rows)
    (note,) = camera.opened(plug, token)["status"]
    assert note == {"code": "note", "value": "第1行 Ölofen", "time": now_ms - 1000}
    logs, cursor = [], ""
    while cursor is not None:
        page = camera.opened(plug, token, "/logs", size=20, cursor=cursor)
        logs, cursor = logs + page["logs"], page["next"]
        assert len(page["logs"]) <= 20
    assert logs == [{name: row[name] for name in ("time", "type", "from", "code", "value")} for row in rows]
    span = {"start_time": now_ms - 7000, "end_time": now_ms - 5000}
    assert [row["time"] for row in camera.opened(plug, token, "/logs", **span)["logs"]] == [
        now_ms - 5000, now_ms - 6000, now_ms - 7000]
    for wrong in ({"size": 0}, {"size": 101}, {"size": "x"}, {"start_time": "x"}, {"cursor": "x"}):
        refused(camera.get(plug, token, "/logs", **wrong).json())


def test_a_device_that_is_shared(camera):
    plug = camera.device("plug")
    owner, guest = camera.log_in(plug)[0], camera.log_in(plug, user=EMAIL)[0]
    assert camera.opened(plug, guest) == camera.opened(plug, owner)


def test_a_list_with_one_device_too_many(camera, world):
    """All or none, and whose the other is nobody learns."""
    plug, guest = camera.device("plug"), f"guest-of-{world.home.client_id}"
    shared = {"product_id": world.home.products["plug"], "device_id": world.home.devices["plug"],
              "shared_with": [guest]}
    camera.passwords[guest] = f"{guest}!"
    camera.set_passwords({guest: camera.passwords[guest]}, devices=[shared])
    texts = {refused(camera.ask(*devices, user=guest).json()) for devices in (
        [plug, camera.device("scal")],
        [camera.device("scal"), plug],
        [plug, camera.device("away", world.other)],
        [plug, {"productKey": plug["productKey"], "deviceName": "nothing"}],
        [{"productKey": "nothing", "deviceName": "nothing"}, plug],
    )}
    assert len(texts) == 1
    # A device that is named twice is one.
    answer = camera.ask(plug, plug, user=guest)
    assert len(good(answer.json())["deviceVisualTokenList"]) == 1


def test_two_accounts_of_one_name(camera, world):
    """Each project has its own, and a password opens its own account whichever device is named first."""
    plug, away = camera.device("plug"), camera.device("away", world.other)
    nothing = {"productKey": "nothing", "deviceName": "nothing"}
    theirs = f"theirs-{world.other.client_id}"
    camera.set_passwords({MOBILE: theirs}, world.other)
    camera.opened(plug, camera.log_in(plug)[0])
    camera.opened(away, camera.log_in(away, password=theirs)[0])
    lists = ([away, nothing], [nothing, away], [away, plug], [plug, away])
    assert len({refused(camera.ask(*devices, password=theirs).json()) for devices in lists}) == 1


def test_a_wrong_password(camera):
    """Nobody learns whether there is such an account."""
    plug = camera.device("plug")
    answers = [camera.ask(plug, password="wrong"), camera.ask(plug, password=camera.passwords[EMAIL]),
               camera.ask(plug, user="nobody", password="wrong"), camera.ask(plug, user=LONER, password="wrong")]
    assert {answer.status_code for answer in answers} == {200}
    assert len({refused(answer.json()) for answer in answers}) == 1
    camera.log_in(plug)


def test_requests_that_cannot_be(camera):
    plug = camera.device("plug")
    whole = {"userName": MOBILE, "password": camera.passwords[MOBILE], "deviceList": [plug]}
    for change in ({"userName": None}, {"password": ""}, {"deviceList": []}, {"deviceList": None}, {"password": 7},
                   {"deviceList": plug}, {"deviceList": [{"productKey": "x"}]}, {"deviceList": [plug] * 101}):
        answer = camera.send(whole | change)
        assert answer.status_code == 200
        refused(answer.json())
    for broken in (b"", b"{", b"\xff", b"{'userName': 1}"):
        answer = requests.post(camera.base + LOGIN, data=broken, headers=OWN, timeout=30)
        assert answer.status_code == 400
        refused(answer.json())


def test_the_members_as_the_vendors_table_has_them(camera):
    """Its table begins them with a capital letter, its example does not. What comes with them is ignored."""
    plug = camera.device("plug")
    device = {"ProductKey": plug["productKey"], "DeviceName": plug["deviceName"], "more": 1}
    body = {"UserName": MOBILE, "Password": camera.passwords[MOBILE], "DeviceList": [device], "More": []}
    headers = OWN | {"Authorization": "APPCODE x", "X-Ca-Key": "1"}
    answer = requests.post(camera.base + LOGIN, json=body, headers=headers, timeout=30).json()
    (token,) = good(answer)["deviceVisualTokenList"]
    camera.server.secrets.add(token["visualToken"])
    camera.opened(plug, token["visualToken"])


def test_what_ends_a_token(camera, world, connect):
    plug, lamp, scale = (camera.device(key) for key in ("plug", "lamp", "scal"))
    mine = SimpleNamespace(**dict(zip(("plug", "lamp", "scale"), camera.log_in(plug, lamp, scale), strict=True)))
    guests = camera.log_in(plug, user=EMAIL)[0]
    # A device that leaves takes everybody's with it.
    api = connect(world.home)
    done(api.delete(f"/v1.0/devices/{world.home.devices['lamp']}"))
    camera.closed(lamp, mine.lamp)
    # A share that ends takes the guest's.
    known = {"product_id": world.home.products["plug"], "device_id": world.home.devices["plug"]}
    world.apply({"projects": [{"name": world.home.written["name"], "devices": [known | {"shared_with": []}]}]})
    camera.closed(plug, guests)
    camera.opened(plug, mine.plug)
    # Given back, it is another grant.
    world.apply({"projects": [{"name": world.home.written["name"], "devices": [known | {"shared_with": [EMAIL]}]}]})
    camera.closed(plug, guests)
    # The same password once more ends nothing; another takes all of its account's.
    camera.set_passwords(camera.passwords)
    camera.opened(plug, mine.plug)
    camera.passwords[MOBILE] += "!"
    camera.set_passwords(camera.passwords)
    camera.closed(plug, mine.plug)
    camera.closed(scale, mine.scale)
    camera.opened(scale, camera.log_in(scale)[0])


def test_another_key(camera):
    plug = camera.device("plug")
    old = camera.log_in(plug)[0]
    old_kid = jwt.get_unverified_header(old)["kid"]
    new_kid = camera.server.rotate_visual_key()
    new = camera.log_in(plug)[0]
    assert jwt.get_unverified_header(new)["kid"] == new_kid != old_kid
    # What was signed before is good until it dies, for the server and for whoever checks by the published keys.
    keys = camera.keys()
    assert [key["kid"] for key in keys["keys"]].count(old_kid) == 1
    for token in (old, new):
        assert checked(token, keys)["sub"] == f"{plug['productKey']}#{plug['deviceName']}"
        camera.opened(plug, token)
