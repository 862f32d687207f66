"""feiyan-py3, unmodified: `host` of its client is where it sends to."""

import json
from types import SimpleNamespace

import pytest
from feiyan.fy_client import FyClient
from feiyan.http.api import Cloud
from feiyan.http.fy_request import FyRequest

from living import READING, WRITING, Living, check_headers, good, refused
from world import MOBILE

CLIENT = "feiyan-py3"


@pytest.fixture
def connect(server, base):
    def connect(project, secret=None):
        client = FyClient(project.app_key, secret or project.app_secret)
        client.host = base

        def call(path, params, token, api_ver):
            request = FyRequest()
            request.set_url(path)
            request.set_params(params)
            request.set_cloud_token(token)
            request.set_api_ver(api_ver)
            response = client.execute(request)
            # It leaves status and headers to its caller.
            check_headers(response.headers)
            return SimpleNamespace(sent=json.loads(request.get_body()), response=response)

        return Living(server, project, call, lambda answer: answer.response.json())

    return connect


@pytest.mark.parametrize("walk", READING, ids=lambda walk: walk.__name__)
def test_reading(walk, lasting, connect):
    walk(lasting, connect)


@pytest.mark.parametrize("walk", WRITING, ids=lambda walk: walk.__name__)
def test_writing(walk, world, connect):
    walk(world, connect)


def test_its_numbers_come_back_as_text(lasting, connect):
    call = connect(lasting.other).call("/cloud/account/queryIdentityByPage", {"offset": 0, "count": 1}, None, "1.0.0")
    assert type(call.sent["id"]) is int and call.sent["request"]["cloudToken"] is None
    assert call.response.json()["id"] == str(call.sent["id"])


def test_a_wrong_secret(lasting, connect):
    response = connect(lasting.home, "x").call("/cloud/token", {}, None, "1.0.0").response
    assert response.status_code == 400
    assert response.headers["X-Ca-Error-Message"].startswith("Invalid Signature, Server StringToSign:")
    # It never shows the secret, nor what the signature should have been.
    assert lasting.home.app_secret not in str(response.headers) + response.text
    refused(response.json(), 401)


def test_an_unknown_key(lasting, connect):
    stranger = SimpleNamespace(app_key="1", app_secret=lasting.home.app_secret)
    response = connect(stranger).call("/cloud/token", {}, None, "1.0.0").response
    assert (response.status_code, response.headers["X-Ca-Error-Message"]) == (400, "Invalid AppKey")
    refused(response.json(), 401)


# A part of the vendor's calls is not there, those of its apps among them.
@pytest.mark.parametrize("path", ["/cloud/nothing", "/cloud/account/queryidentitybypage", "/living/x", "/thing/x",
                                  "/app/aepauth/handle", "/uc/listBindingByAccount", "/awss/token/user/bind"])
def test_a_path_that_is_not_there(lasting, connect, path):
    response = connect(lasting.home).call(path, {}, None, "1.0.0").response
    assert (response.status_code, response.headers["X-Ca-Error-Message"]) == (400, "API Not Found")
    refused(response.json(), 404)


# The facade makes a client of its own for each call: its constructor sets the host.
@pytest.fixture
def cloud(world, base, server, monkeypatch):
    made = FyClient.__init__

    def init(self, *arguments):
        made(self, *arguments)
        self.host = base

    monkeypatch.setattr(FyClient, "__init__", init)
    cloud = Cloud(world.home.app_key, world.home.app_secret)
    token = good(cloud.token({"grantType": "project", "res": world.home.project_id}).json())["cloudToken"]
    server.secrets.add(token)
    return SimpleNamespace(call=lambda name, params: getattr(cloud, name)(params, token).json(), cloud=cloud,
                           token=token)


def test_every_method_of_the_facade(world, server, cloud):
    home, call = world.home, cloud.call
    plug = home.facts[home.devices["plug"]]
    device, key = {"iotId": plug["iot_id"]}, home.product_keys[home.products["plug"]]
    person = {"openId": home.people[MOBILE]["open_id"], "openIdAppKey": home.app_keys["testApp"]}
    span = {"start": 0, "end": 4102444800000, "pageSize": 10, "ordered": True}
    page = {"productInfoQuery": {"pageNo": 1, "pageSize": 3}}
    assert [row["name"] for row in good(call("thing_product_list_get", page))][:1] == ["Wi-Fi 智能插座"]
    assert good(call("thing_product_get", {"productKey": key}))["name"] == "Wi-Fi 智能插座"
    assert good(call("thing_properties_get", device)) == []
    assert good(call("thing_tsl_get", device))["profile"] == {"productKey": key, "deviceName": plug["device_name"]}
    assert good(call("thing_status_get", device)) == {"time": 0, "status": 0}
    info = good(call("thing_info_get", device))
    assert (info["iotId"], info["name"], info["nickname"]) == (plug["iot_id"], plug["device_name"], "Kettle")
    # The platform shows it; whoever reads it can play the device.
    assert "deviceSecret" not in info and plug["secret"] not in json.dumps(info)
    things = good(call("things_info_get", {"productKey": key, "currentPage": 1, "pageSize": 10}))
    assert {thing["iotId"] for thing in things} >= {plug["iot_id"]}
    for timeline in ("thing_property_timeline_get", "thing_event_timeline_get"):
        rows = good(call(timeline, device | span | {"identifier": "switch_1", "eventType": "info"}))
        assert rows["items"] == [] and type(rows["timestamp"]) is int
    # Nobody is there to take it.
    refused(call("thing_properties_set", device | {"items": {"switch_1": 1}}), 6205)
    refused(call("thing_service_invoke", device | {"identifier": "set", "args": {"switch_1": 1}}), 6205)
    assert len(good(call("account_query_identity_by_page", {"offset": 0, "count": 2}))) == 2
    assert good(call("account_get_by_openid", person))["nickName"] == "小明"
    assert len(good(call("device_query_by_user", person))["data"]) == 7
    assert good(call("user_device_unbind", person | device)) == ""
    refused(call("user_device_unbind", person | device), 2065)
    # It repeats the token in the request.
    fresh = good(cloud.cloud.refresh_token(cloud.token).json())["cloudToken"]
    server.secrets.add(fresh)
    assert fresh != cloud.token
    assert len(good(cloud.cloud.device_query_by_user(person, fresh).json())["data"]) == 6
