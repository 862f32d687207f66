"""The Alibaba Living cloud API as every client of it sees it: what each answer must look like, and the walks that each
client takes. A walk gets two projects and `connect`, which gives it a `Living` over the client that is tested."""

import re
import time

from aliyun_api_gateway import ApiGatewayClient

from answers import types_of
from world import EMAIL, LONER, MOBILE, OPEN_ID, SCHEMA

TEXTS = {
    400: "request error.",
    401: "request auth error.",
    403: "request forbidden.",
    404: "service not found.",
    460: "request parameter error.",
    2062: "identityId does not exist.",
    2063: "iotId does not exist",
    2065: "identityId and iotId not bound",
    2407: "openId invalid",
    6205: "device offline",
    20056: "gateway timeout",
    28514: "tenant not match",
}


def good(answer):
    """The data of a success."""
    assert set(answer) - {"message", "localizedMsg"} == {"code", "data", "id"}, answer
    assert answer["code"] == 200 and type(answer["id"]) is str and answer["id"], answer
    return answer["data"]


def refused(answer, code, text=None, localized=None):
    """A failure, with the vendor's number and text."""
    assert set(answer) - {"data"} == {"code", "message", "localizedMsg", "id"}, answer
    assert answer.get("data") is None and type(answer["id"]) is str and answer["id"], answer
    text = text or TEXTS[code]
    assert (answer["code"], answer["message"], answer["localizedMsg"]) == (code, text, localized or text)


def check_headers(headers):
    """What the vendor's gateway sends with every answer. `headers` are in lower case."""
    assert headers["content-type"].startswith("application/json"), headers
    assert re.fullmatch("[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", headers["x-ca-request-id"]), headers


class Living:
    """One project over one client. `call(path, params, token, api_ver)` sends, and gives the answer as the client does;
    `envelope(answer)` is its JSON."""

    def __init__(self, server, project, call, envelope):
        self.server, self.project, self.call, self.envelope = server, project, call, envelope
        self.token = None

    def ask(self, path, params=None, *, api_ver="1.0.0"):
        return self.envelope(self.call(path, params or {}, self.token, api_ver))

    def log_in(self):
        return self.take(self.ask("/cloud/token", {"grantType": "project", "res": self.project.project_id}))

    def refresh(self):
        return self.take(self.ask("/cloud/token/refresh", {"cloudToken": self.token}))

    def take(self, answer):
        data = good(answer)
        self.token = data["cloudToken"]
        self.server.secrets.add(self.token)
        return data

    def person(self, username, **more):
        """How a call names a user."""
        open_id = self.project.people[username]["open_id"]
        return {"openId": open_id, "openIdAppKey": self.project.app_keys[SCHEMA]} | more

    def iot_id(self, device):
        return self.project.facts[self.project.devices[device]]["iot_id"]

    def is_in(self):
        """Whether its token opens anything."""
        answer = self.ask("/cloud/account/queryIdentityByPage", {"offset": 0, "count": 1})
        if answer["code"] == 401:
            refused(answer, 401)
            return False
        assert len(good(answer)) == 1
        return True


def tokens(world, connect):
    living = connect(world.home)
    assert not living.is_in()
    data = living.log_in()
    assert types_of(data) == {"cloudToken": str, "expireIn": int, "expiresIn": int, "isolationId": str}
    assert re.fullmatch("[0-9a-f]{32}", data["cloudToken"])
    assert data["expireIn"] == data["expiresIn"] == 7_200_000
    assert living.is_in()
    # A refreshed token lives on for a while beside the new one, and both are the same project's.
    old = living.token
    new = living.refresh()
    assert new["cloudToken"] != old and new["isolationId"] == data["isolationId"] and living.is_in()
    living.token = old
    assert living.is_in()
    # Another one kills those before at once.
    living.log_in()
    assert living.is_in()
    for dead in (old, new["cloudToken"], "0" * 32, "x"):
        living.token = dead
        assert not living.is_in()
        refused(living.ask("/cloud/token/refresh", {"cloudToken": dead}), 401)


def tokens_that_cannot_be(world, connect):
    living, other = connect(world.home), connect(world.other)
    project = world.home.project_id
    refused(living.ask("/cloud/token", {"grantType": "project", "res": world.other.project_id}), 403)
    refused(living.ask("/cloud/token", {"grantType": "project", "res": "nothing"}), 403)
    for params in ({}, {"grantType": "project"}, {"res": project}, {"grantType": "user", "res": project}):
        refused(living.ask("/cloud/token", params), 460)
    refused(living.ask("/cloud/token/refresh"), 460)
    # A token opens its own project alone.
    other.log_in()
    living.token = other.token
    refused(living.ask("/cloud/account/queryIdentityByPage"), 403)


def tokens_of_a_lenient_project(world, connect):
    """One that wants no token, and keeps those it gave out."""
    living = connect(world.other)
    assert living.is_in()
    living.log_in()
    first = living.token
    living.log_in()
    assert living.token != first and living.is_in()
    living.token = first
    assert living.is_in()
    # One that is sent all the same must be good.
    living.token = "0" * 32
    assert not living.is_in()


def accounts(world, connect):
    living = connect(world.home)
    living.log_in()
    path = "/cloud/account/queryIdentityByPage"
    rows = good(living.ask(path))
    assert [row["loginName"] for row in rows] == [MOBILE, EMAIL, LONER]
    always = {"identityId": str, "loginId": str, "loginSource": str, "gmtCreate": int, "gmtModified": int,
              "loginName": str, "onlineStatus": int, "tenantId": str, "status": str}
    # What has no value is not there.
    assert types_of(rows[0]) == always | {"phone": str, "email": str, "nickName": str, "gender": str}
    assert types_of(rows[1]) == always | {"phone": str, "email": str, "nickName": str}
    assert types_of(rows[2]) == always | {"avatarUrl": str}
    first = rows[0]
    assert (first["nickName"], first["phone"], first["email"]) == ("小明", MOBILE, "ming@example.com")
    assert (first["loginSource"], first["gender"], first["onlineStatus"]) == ("openAccount", "2", 0)
    assert abs(first["gmtCreate"] - time.time() * 1000) < 600_000 and first["gmtCreate"] <= first["gmtModified"]
    assert (rows[1]["phone"], rows[1]["email"], rows[1]["loginId"]) == ("13888888888", EMAIL, "4398047084811")
    assert re.fullmatch("[0-9A-F]{32}", first["tenantId"]) and len({row["tenantId"] for row in rows}) == 1
    # A client pages until a page is short.
    pages = [good(living.ask(path, {"offset": offset, "count": 2})) for offset in (0, 2, 4)]
    assert pages == [rows[:2], rows[2:], []]
    assert good(living.ask("/cloud/account/queryidentitydescbypage")) == rows[::-1]
    for params in ({"count": 0}, {"count": -1}, {"offset": -1}, {"count": "x"}, {"count": 1.5}):
        refused(living.ask(path, params), 460, "invalid count or offset!")


def one_account(world, connect):
    living = connect(world.home)
    living.log_in()
    path = "/cloud/account/getByOpenId"
    for row in good(living.ask("/cloud/account/queryIdentityByPage")):
        account = good(living.ask(path, living.person(row["loginName"])))
        # An object, though the vendor's first example has a list around it.
        assert type(account) is dict and row.items() <= account.items()
        assert good(living.ask("/cloud/account/getByIdentityId", {"identityId": row["identityId"]})) == account
    refused(living.ask(path, living.person(MOBILE, openId="nobody")), 2407)
    refused(living.ask(path, living.person(MOBILE, openId="客人")), 2407)
    refused(living.ask(path, living.person(MOBILE, openIdAppKey=world.other.app_keys[SCHEMA])), 28514)
    for params in ({}, {"openId": OPEN_ID}, {"openIdAppKey": world.home.app_keys[SCHEMA]}):
        refused(living.ask(path, params), 460)
    # An app knows its own people.
    refused(living.ask(path, living.person(MOBILE, openIdAppKey=world.home.app_keys["emptyApp"])), 2407)


def devices_of_a_user(world, connect):
    living = connect(world.home)
    living.log_in()
    path, home = "/cloud/device/queryByUser", world.home
    nested = good(living.ask(path, living.person(MOBILE)))
    # The vendor's envelope has a second one in it.
    assert set(nested) == {"code", "data", "message"} and (nested["code"], nested["message"]) == (200, "success")
    rows = {row["iotId"]: row for row in nested["data"]}
    keys = ("plug", "scal", "gate", "sub1", "sub2", "bare", "lamp")
    assert set(rows) == {living.iot_id(key) for key in keys} and len(nested["data"]) == len(keys)
    plug = rows[living.iot_id("plug")]
    assert types_of(plug) == {
        "iotId": str, "identityId": str, "productKey": str, "deviceName": str, "productName": str, "categoryImage": str,
        "productModel": str, "nickName": str, "netType": str, "thingType": str, "nodeType": str, "status": int,
        "owned": int, "gmtCreate": int, "gmtModified": int, "groupId": str, "identityAlias": str}
    assert (plug["deviceName"], plug["nickName"], plug["productName"]) == ("2ac4d7cffa", "Kettle", "Wi-Fi 智能插座")
    assert plug["productKey"] == home.product_keys[home.products["plug"]]
    assert plug["identityId"] == home.people[MOBILE]["identity_id"]
    assert (plug["netType"], plug["thingType"], plug["status"], plug["owned"]) == ("NET_WIFI", "DEVICE", 0, 1)
    lamp = rows[living.iot_id("lamp")]
    assert (lamp["owned"], lamp["nickName"]) == (0, "Лампа")
    # It is called what its product is, and that product has no model.
    scale = rows[living.iot_id("scal")]
    assert scale["productName"] == "体脂秤" and not {"nickName", "productModel"} & set(scale)
    assert rows[living.iot_id("gate")]["nodeType"] == "GATEWAY"
    assert good(living.ask(path, living.person(LONER)))["data"] == []
    # Later versions of the same page by page, and by the other name of the user.
    page = good(living.ask(path, living.person(MOBILE, limit=3, offset=5), api_ver="1.0.5"))
    assert page["data"] == nested["data"][5:]
    identity = {"identityId": home.people[MOBILE]["identity_id"]}
    assert good(living.ask(path, identity, api_ver="1.0.7")) == nested
    assert len(good(living.ask(path, identity | {"nodeType": "GATEWAY"}, api_ver="1.0.7"))["data"]) == 1
    refused(living.ask(path, living.person(MOBILE, limit=101), api_ver="1.0.5"), 460)
    refused(living.ask(path, {"identityId": "nobody"}, api_ver="1.0.7"), 2062)
    refused(living.ask(path, living.person(MOBILE, openId="nobody")), 2407)
    refused(living.ask(path, living.person(MOBILE, openIdAppKey=world.other.app_key)), 28514)
    refused(living.ask(path, {"openId": OPEN_ID}), 460)


def unbinding(world, connect):
    living = connect(world.home)
    living.log_in()
    path, plug = "/cloud/user/device/unbind", living.iot_id("plug")

    def holders():
        people = [name for name in (MOBILE, EMAIL, LONER) for row in
                  good(living.ask("/cloud/device/queryByUser", living.person(name)))["data"] if row["iotId"] == plug]
        return people

    assert holders() == [MOBILE, EMAIL]
    refused(living.ask(path, living.person(LONER, iotId=plug)), 2065)
    refused(living.ask(path, living.person(MOBILE, iotId="nothing")), 2063)
    refused(living.ask(path, living.person(MOBILE, openId="nobody", iotId=plug)), 2407)
    refused(living.ask(path, living.person(MOBILE, openIdAppKey=world.other.app_keys[SCHEMA], iotId=plug)), 28514)
    # The request of the vendor's first example belongs to another endpoint.
    for params in ({"offset": 0, "count": 1}, {"iotId": plug}, living.person(MOBILE)):
        refused(living.ask(path, params), 460)
    assert holders() == [MOBILE, EMAIL]
    # A share goes alone.
    assert good(living.ask(path, living.person(EMAIL, iotId=plug))) == ""
    assert holders() == [MOBILE]
    refused(living.ask(path, living.person(EMAIL, iotId=plug)), 2065)
    # The owner's leaving ends the shares with it.
    shared = {"name": world.home.written["name"],
              "devices": [{"product_id": world.home.products["plug"], "device_id": world.home.devices["plug"],
                           "shared_with": [EMAIL]}]}
    world.apply({"projects": [shared]})
    assert holders() == [MOBILE, EMAIL]
    assert good(living.ask(path, living.person(MOBILE, iotId=plug))) == ""
    assert holders() == []
    for name in (MOBILE, EMAIL):
        refused(living.ask(path, living.person(name, iotId=plug)), 2065)
    # By what the factory calls it.
    lamp = world.home.facts[world.home.devices["lamp"]]
    named = {"productKey": world.home.product_keys[lamp["product_id"]], "deviceName": lamp["device_name"]}
    assert good(living.ask(path, living.person(EMAIL, **named), api_ver="1.0.5")) == ""
    refused(living.ask(path, living.person(EMAIL, **named), api_ver="1.0.5"), 2065)


def open_ids(world, connect):
    living = connect(world.home)
    path, people = "/account/openid/getbyidentityid", world.home.people
    # The signature is enough; a user who is no third party's is known by the identityId itself.
    for name, open_id in ((MOBILE, OPEN_ID), (EMAIL, "guest-1@x"), (LONER, people[LONER]["identity_id"])):
        identity = {"identityId": people[name]["identity_id"]}
        assert good(living.ask(path, {"request": identity}, api_ver="1.0.6")) == open_id
        assert good(living.ask(path, identity, api_ver="1.0.6")) == open_id
    refused(living.ask(path, {"request": {"identityId": "nobody"}}, api_ver="1.0.6"), 2062)
    elsewhere = world.other.people[MOBILE]["identity_id"]
    refused(living.ask(path, {"request": {"identityId": elsewhere}}, api_ver="1.0.6"), 2062)
    both = [people[MOBILE]["identity_id"], people[EMAIL]["identity_id"]]
    for params in ({}, {"request": {}}, {"request": {"identityId": ""}}, {"request": {"identityId": both}}):
        refused(living.ask(path, params, api_ver="1.0.6"), 460)


def properties(world, connect):
    living, plug = connect(world.home), world.home.devices["plug"]
    living.log_in()
    iot_id, now_ms = living.iot_id("plug"), int(time.time() * 1000)
    path = "/cloud/thing/properties/get"
    assert good(living.ask(path, {"iotId": iot_id}, api_ver="1.0.2")) == []
    values = {"switch_1": True, "cur_power": 7, "note": "第1行 \"Ölofen\" +/=", "work_mode": "colour"}
    world.import_events([{"device_id": plug, "time": now_ms - 1000 - n, "type": 7, "from": 1, "code": code,
                          "value": value} for n, (code, value) in enumerate(values.items())])
    rows = good(living.ask(path, {"iotId": iot_id}, api_ver="1.0.2"))
    for row in rows:
        assert set(row) == {"attribute", "batchId", "gmtModified", "iotId", "value"}
        assert (type(row["batchId"]), row["iotId"]) == (str, iot_id)
    # As the vendor's thing model has them: a switch is 0 or 1, a choice its place in the range.
    assert {row["attribute"]: row["value"] for row in rows} == values | {"switch_1": 1, "work_mode": 1}
    assert {row["attribute"]: row["gmtModified"] for row in rows}["switch_1"] == now_ms - 1000
    fact = world.home.facts[plug]
    named = {"productKey": world.home.product_keys[fact["product_id"]], "deviceName": fact["device_name"]}
    assert good(living.ask(path, named, api_ver="1.0.2")) == rows
    refused(living.ask(path, {"iotId": "nothing"}), 2063)
    away = world.other.facts[world.other.devices["away"]]
    refused(living.ask(path, {"iotId": away["iot_id"]}), 2063)
    refused(living.ask(path), 460)


def texts(world, connect):
    """What people write comes back as it was."""
    living = connect(world.home)
    living.log_in()
    for name in ("奶奶的家", "Küche – Ölofen", "🔥 two  spaces", "quote\" back\\slash </script> %41 + &"):
        assert good(living.ask("/user/account/info/update", living.person(EMAIL, nickName=name))) == ""
        assert good(living.ask("/cloud/account/getByOpenId", living.person(EMAIL)))["nickName"] == name


# Those that leave a world as it is, and those that do not.
READING = [tokens, tokens_that_cannot_be, tokens_of_a_lenient_project, accounts, one_account, devices_of_a_user,
           open_ids]
WRITING = [unbinding, properties, texts]


def logged_in(server, project):
    """A project's cloud calls over one of the clients."""
    client = ApiGatewayClient(server.http, project.app_key, project.app_secret)

    def call(path, params, token, api_ver):
        body = {"id": "1", "version": "1.0", "request": {"apiVer": api_ver, "cloudToken": token}, "params": params}
        return client.request("POST", path, json_body=body)

    living = Living(server, project, call, lambda answer: answer.json())
    living.log_in()
    return living
