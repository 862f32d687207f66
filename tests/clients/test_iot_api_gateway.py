"""alibabacloud_iot_api_gateway, unmodified: address and protocol are in its configuration. It sends no time but a Date,
signs a header whose name it misspells, and has nothing to name a CA with: OpenSSL's default file does."""

import json
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from alibabacloud_iot_api_gateway.client import Client
from alibabacloud_iot_api_gateway.models import CommonParams, Config, IoTApiRequest
from alibabacloud_tea_util.models import RuntimeOptions

from living import READING, WRITING, Living, check_headers, good, refused

CLIENT = "alibabacloud_iot_api_gateway"


@pytest.fixture
def client(base):
    def client(project, secret=None):
        address = urlsplit(base)
        config = Config(app_key=project.app_key, app_secret=secret or project.app_secret, domain=address.netloc,
                        protocol=address.scheme)
        return Client(config)

    return client


def send(client, path, params=None, token=None, api_ver="1.0.1", **head):
    """What came back, and the id that was sent."""
    request = CommonParams(api_ver=api_ver, cloud_token=token, **head)
    body = IoTApiRequest(version="1.0", params=params or {}, request=request)
    # The protocol of the configuration wins over the one here.
    response = client.do_request(path, "https", "POST", None, body, RuntimeOptions())
    check_headers(response.headers)
    return SimpleNamespace(status=response.status_code, headers=response.headers, json=json.loads(response.body),
                           id=body.id)


@pytest.fixture
def connect(server, client):
    def connect(project, secret=None):
        made = client(project, secret)

        def call(path, params, token, api_ver):
            answer = send(made, path, params, token, api_ver)
            if answer.status == 200:
                assert answer.json["id"] == answer.id
            return answer

        return Living(server, project, call, lambda answer: answer.json)

    return connect


@pytest.mark.parametrize("walk", READING, ids=lambda walk: walk.__name__)
def test_reading(walk, lasting, connect):
    walk(lasting, connect)


@pytest.mark.parametrize("walk", WRITING, ids=lambda walk: walk.__name__)
def test_writing(walk, world, connect):
    walk(world, connect)


def test_a_wrong_secret(lasting, client):
    answer = send(client(lasting.home, "x"), "/cloud/token")
    assert answer.status == 400
    assert answer.headers["x-ca-error-message"].startswith("Invalid Signature, Server StringToSign:")
    refused(answer.json, 401)


def test_a_path_that_is_not_there(lasting, client):
    answer = send(client(lasting.home), "/cloud/nothing")
    assert (answer.status, answer.headers["x-ca-error-message"]) == (400, "API Not Found")
    refused(answer.json, 404)


def test_the_language_of_a_refusal(lasting, client):
    made = client(lasting.other)
    params = {"openId": "客", "openIdAppKey": lasting.other.app_key}
    for language, localized in (("zh-CN", "openId无效"), ("en-US", None), (None, None)):
        answer = send(made, "/cloud/account/getByOpenId", params, language=language, locale="x")
        assert answer.status == 200
        refused(answer.json, 2407, localized=localized)


def test_a_token_of_the_app_side_means_nothing_here(lasting, client):
    answer = send(client(lasting.home), "/cloud/account/queryIdentityByPage", iot_token="0" * 32)
    refused(answer.json, 401)
    assert len(good(send(client(lasting.other), "/cloud/account/queryIdentityByPage", iot_token="0" * 32).json)) == 3
