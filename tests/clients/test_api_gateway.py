"""aliyun-api-gateway-python, unmodified: the address and the file of the CA are its constructor's arguments. It comes
with the module layout of its forerunner too."""

import itertools
import json
import time

import pytest
from aliyun_api_gateway import ApiGatewayClient, ApiGatewayRequest
from aliyun_api_gateway.exceptions import ApiGatewayHTTPError
from com.aliyun.api.gateway.sdk import client as old_clients
from com.aliyun.api.gateway.sdk.http import request as old_requests

from living import READING, WRITING, Living, check_headers, good, refused

CLIENT = "aliyun-api-gateway-python"
NUMBERS = itertools.count(1)


def envelope_of(params, token=None, api_ver="1.0.1"):
    head = {"apiVer": api_ver} | ({"cloudToken": token} if token else {})
    return {"id": f"{next(NUMBERS)}-客", "version": "1.0", "request": head, "params": params}


@pytest.fixture
def client(server, base):
    def client(project, secret=None, **options):
        trust = {"ca_file": str(server.ca)} if base == server.https else {}
        return ApiGatewayClient(base, project.app_key, secret or project.app_secret, **trust, **options)

    return client


@pytest.fixture
def connect(server, client):
    def connect(project, secret=None, **options):
        made = client(project, secret, **options)

        def call(path, params, token, api_ver):
            body = envelope_of(params, token, api_ver)
            response = made.request("POST", path, json_body=body)
            check_headers({name.lower(): value for name, value in response.headers})
            if response.ok:
                assert response.json()["id"] == body["id"]
            return response

        return Living(server, project, call, lambda response: response.json())

    return connect


@pytest.mark.parametrize("walk", READING, ids=lambda walk: walk.__name__)
def test_reading(walk, lasting, connect):
    walk(lasting, connect)


@pytest.mark.parametrize("walk", WRITING, ids=lambda walk: walk.__name__)
def test_writing(walk, world, connect):
    walk(world, connect)


def test_sha1(lasting, connect):
    living = connect(lasting.home, signature_method="HmacSHA1")
    living.log_in()
    assert living.is_in()


def test_a_wrong_secret(lasting, client):
    for method in ("HmacSHA256", "HmacSHA1"):
        response = client(lasting.home, "x", signature_method=method).request("POST", "/cloud/token", json_body={})
        assert response.status == 400
        with pytest.raises(ApiGatewayHTTPError, match="HTTP 400 Bad Request: Invalid Signature, Server StringToSign:"):
            response.raise_for_status()
        refused(response.json(), 401)


def test_what_the_server_says_that_it_signed(lasting, client):
    """It can be laid beside what the client signed: one line, what is not ASCII written with %."""
    made = client(lasting.home, "x", clock=lambda now_s=time.time(): now_s, nonce_factory=lambda: "n")
    request = ApiGatewayRequest("POST", "/cloud/token?name=客&a=1&b", json_body={})
    said = made.send(request).get_header("X-Ca-Error-Message")
    said = said.removeprefix("Invalid Signature, Server StringToSign:").strip("`")
    assert said == made.sign(request).string_to_sign.replace("\n", "#").replace("客", "%E5%AE%A2")


def test_a_query_takes_part_in_the_signature(lasting, connect):
    """Some clients put an id into it."""
    living = connect(lasting.home)
    living.log_in()
    for query in ("x-ca-request-id=1&a=", "z=%E5%AE%A2&a=1+x", "a=2&a=1&b"):
        assert len(good(living.ask(f"/cloud/account/queryIdentityByPage?{query}", {"count": 1}))) == 1


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/octet-stream; charset=utf-8",
                                          "application/json; charset=utf-8", "text/plain"])
def test_any_content_type_is_json(lasting, client, content_type):
    body = '{"id":7,"params":{"count":1}}'
    made = client(lasting.other)
    response = made.request("POST", "/cloud/account/queryIdentityByPage", body=body, content_type=content_type)
    assert len(good(response.json())) == 1 and response.json()["id"] == "7"


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"params":1', '"客"', "[" * 100_000])
def test_bodies_that_are_no_envelope(lasting, client, body):
    response = client(lasting.other).request("POST", "/cloud/account/queryIdentityByPage", body=body,
                                           content_type="application/json")
    assert response.status == 200
    refused(response.json(), 400)


def test_a_long_body(lasting, client):
    response = client(lasting.other).request("POST", "/cloud/token", body="x" * 2_000_000)
    assert (response.status, response.get_header("X-Ca-Error-Message")) == (400, "Invalid Request Body")
    refused(response.json(), 400)


def test_the_clock(lasting, client):
    for off_s, fresh in ((-840, True), (840, True), (-960, False), (960, False)):
        made = client(lasting.other, clock=lambda off_s=off_s: time.time() + off_s)
        response = made.request("POST", "/cloud/account/queryIdentityByPage", json_body={})
        if fresh:
            good(response.json())
        else:
            assert (response.status, response.get_header("X-Ca-Error-Message")) == (400, "Timestamp Expired")


def test_a_request_is_taken_once(world, client):
    def send(project, secret=None):
        made = client(project, secret, nonce_factory=lambda: "7f7bd3b1-客".encode().hex())
        response = made.request("POST", "/cloud/account/queryIdentityByPage", json_body={})
        return response.status, response.get_header("X-Ca-Error-Message")

    # A wrong signature burns nobody's nonce.
    assert send(world.other, "x")[0] == 400
    assert send(world.other) == (200, None)
    assert send(world.other) == (400, "Nonce Used")
    # They are each AppKey's own.
    assert send(world.home) == (200, None)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods(lasting, client, method):
    response = client(lasting.home).request(method, "/cloud/token")
    assert (response.status, response.get_header("X-Ca-Error-Message")) == (400, "API Not Found")
    refused(response.json(), 404)


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream; charset=utf-8"])
def test_the_old_layout(lasting, server, base, content_type):
    """It has no way to name a CA: the file that OpenSSL reads by default does."""
    project = lasting.home
    made = old_clients.DefaultClient(app_key=project.app_key, app_secret=project.app_secret)
    request = old_requests.Request(host=base, url="/cloud/token", method="POST")
    request.set_content_type(content_type)
    body = envelope_of({"grantType": "project", "res": project.project_id})
    # Only JSON may be an object there.
    request.set_body(body if content_type == "application/json" else json.dumps(body, ensure_ascii=False))
    status, headers, answer = made.execute(request)
    assert status == 200
    check_headers({name.lower(): value for name, value in headers})
    server.secrets.add(good(json.loads(answer))["cloudToken"])
