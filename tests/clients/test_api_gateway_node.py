"""aliyun-api-gateway of npm, unmodified, in a process of its own: each call takes a whole address. It checks no
certificate, whoever calls it."""

import re

import pytest

from javascript import started
from living import READING, WRITING, Living, check_headers, good, refused

CLIENT = "aliyun-api-gateway (npm)"


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    with (tmp_path_factory.mktemp("node") / "stderr.log").open("wb") as stderr, started("call.js", stderr) as send:
        yield send


@pytest.fixture
def send(node, base):
    def send(project, path, body, secret=None, method="post", through=node, **options):
        return through(key=project.app_key, secret=secret or project.app_secret, stage="RELEASE", method=method,
                       url=base + path, options={"data": body} | options)

    return send


def envelope_of(answer):
    assert set(answer) == {"returned"}, answer
    return answer["returned"]


@pytest.fixture
def connect(server, send):
    def connect(project, secret=None):
        def call(path, params, token, api_ver):
            request = {"apiVer": api_ver, "cloudToken": token}
            body = {"id": "客-1", "version": "1.0", "request": request, "params": params}
            answer = send(project, path, body, secret)
            assert answer["returned"]["id"] == "客-1"
            return answer

        return Living(server, project, call, envelope_of)

    return connect


@pytest.mark.parametrize("walk", READING, ids=lambda walk: walk.__name__)
def test_reading(walk, lasting, connect):
    walk(lasting, connect)


@pytest.mark.parametrize("walk", WRITING, ids=lambda walk: walk.__name__)
def test_writing(walk, world, connect):
    walk(world, connect)


def thrown(answer, code):
    """It makes an exception of the status and of two headers, and does not read the body."""
    assert set(answer) == {"thrown"} and answer["thrown"]["code"] == code, answer
    check_headers(answer["thrown"]["headers"])
    pattern = f"[A-Z]+ http.+ failed width code\\({code}\\)\\. request id: ([0-9A-F-]{{36}}), error message: (.+)"
    found = re.fullmatch(pattern, answer["thrown"]["message"])
    assert found and found[1] == answer["thrown"]["headers"]["x-ca-request-id"], answer
    return found[2]


def test_what_it_throws(lasting, send):
    home = lasting.home
    assert thrown(send(home, "/cloud/token", {}, "x"), 400).startswith("Invalid Signature, Server StringToSign:")
    assert thrown(send(home, "/cloud/nothing", {}), 400) == "API Not Found"
    assert thrown(send(home, "/cloud/token", {}, method="put"), 400) == "API Not Found"
    old = {"x-ca-timestamp": "1530262800000"}
    assert thrown(send(home, "/cloud/token", {}, headers=old), 400) == "Timestamp Expired"
    assert thrown(send(home, "/cloud/token", {}, headers={"x-ca-timestamp": "soon"}), 400) == "Invalid Timestamp"


def test_a_refusal_of_the_api_is_returned(lasting, send):
    refused(envelope_of(send(lasting.home, "/cloud/token", {})), 460)
    refused(envelope_of(send(lasting.home, "/cloud/device/queryByUser", {})), 401)


def test_its_debug_output_has_the_same_text_twice(lasting, send, tmp_path):
    """It prints what it signed above what the server says it should have signed."""
    log = tmp_path / "stderr.log"
    with log.open("wb") as stderr, started("call.js", stderr, DEBUG="api-gateway", DEBUG_COLORS="no") as process:
        thrown(send(lasting.home, "/cloud/token?b=2&a=1", {}, "x", through=process), 400)
    lines = dict(re.findall("api-gateway (client|server): (.+?)(?: \\+[0-9]+ms)?$", log.read_text(), re.MULTILINE))
    assert lines["server"].strip("`") == lines["client"] and lines["client"].endswith("#/cloud/token?a=1&b=2")


def test_other_types_and_signed_headers(lasting, send):
    body, path = {"id": 7, "params": {"count": 1}}, "/cloud/account/queryIdentityByPage"
    for headers in ({}, {"content-type": "application/octet-stream"}, {"content-type": "text/plain; charset=UTF-8"},
                    {"x-ca-stage": "TEST"}, {"date": "Fri, 29 Jun 2018 09:00:00 GMT"}):
        answer = send(lasting.other, path, body, headers=headers)
        if "date" in headers:
            assert thrown(answer, 400) == "Timestamp Expired"
        else:
            assert len(good(envelope_of(answer))) == 1 and answer["returned"]["id"] == "7"
    answer = send(lasting.other, path, body, signHeaders={"X-Mine": "a b", "area": "x"}, query={"b": "2", "a": "+/="})
    assert len(good(envelope_of(answer))) == 1
