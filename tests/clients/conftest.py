import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

# Their assertions show as much as those of a test.
pytest.register_assert_rewrite("answers", "history", "living", "pairing", "things", "tylink")

from tuya_connector import TuyaOpenAPI

import history as histories
from answers import good
from evidence import Evidence
from living import logged_in
from server import Server
from signing import Raw
from world import new_world, with_passwords


@pytest.fixture(scope="session")
def evidence():
    """Which client called what; `run` names a file for it when all tests run."""
    evidence = Evidence()
    yield evidence
    if path := os.environ.get("INGLE_EVIDENCE"):
        evidence.write(Path(path))


@pytest.fixture(autouse=True)
def calls(request, evidence):
    """The calls of each test go to the client that its file names in `CLIENT`, and to those of the fixtures below."""
    evidence.begin(getattr(request.module, "CLIENT", None))
    yield
    evidence.end()


@pytest.fixture(scope="session")
def new_server(tmp_path_factory, evidence):
    """Starts a server that nobody else has; for tests that stop it."""

    @contextmanager
    def new_server():
        binary = os.environ.get("INGLE_BIN")
        assert binary, "INGLE_BIN names the binary to test: use tests/clients/run"
        server = Server(binary, tmp_path_factory.mktemp("server") / "stderr.log")
        evidence.logs.append(server.log)
        try:
            with pytest.MonkeyPatch.context() as environment:
                # All that the documented host override needs for https: trust in the server's own CA.
                environment.setenv("REQUESTS_CA_BUNDLE", str(server.ca))
                environment.setenv("SSL_CERT_FILE", str(server.ca))
                environment.setenv("NO_PROXY", "127.0.0.1")
                yield server
            server.stop()
        finally:
            server.remove()

    return new_server


@pytest.fixture(scope="session")
def server(new_server):
    """One running server. Tests do not meet in it: each gets projects of its own."""
    with new_server() as server:
        yield server


@pytest.fixture
def world(server):
    return new_world(server)


@pytest.fixture(scope="session")
def lasting(server):
    """A world that tests share because they leave it as it is; their tokens may die between two of them."""
    return new_world(server)


@pytest.fixture
def household(world):
    """A world whose people can sign in."""
    return with_passwords(world)


@pytest.fixture(scope="session")
def lasting_household(server):
    """As `household`, for tests that leave it as it is and mistake no password, which is counted for a minute."""
    return with_passwords(new_world(server))


@pytest.fixture(scope="session")
def history(server):
    """A device with a long log, for tests that only read."""
    return histories.imported(new_world(server))


@pytest.fixture(params=["http", "https"])
def base(request, server):
    """The address of either listener."""
    return getattr(server, request.param)


@pytest.fixture
def connect(server, evidence):
    """The vendor's connector, connected."""
    evidence.clients.add("tuya-connector-python")

    def connect(project, base=server.http, **options):
        api = TuyaOpenAPI(base, project.client_id, project.secret, **options)
        good(api.connect())
        server.secrets |= {api.token_info.access_token, api.token_info.refresh_token}
        return api

    return connect


@pytest.fixture
def raw(server):
    return lambda project: Raw(server.http, project)


@pytest.fixture
def log_in(server, evidence):
    """The Alibaba Living cloud API over one of its clients, logged in."""
    evidence.clients.add("aliyun-api-gateway-python")
    return lambda project: logged_in(server, project)


class Seen:
    """What the Tuya Cloud OpenAPI shows of a device."""

    SECONDS = 30

    def __init__(self, connect):
        self.connect = connect

    def __call__(self, project, device):
        """Whether it is online, and the values that it reported: all that are no defaults, which have no time in the
        shadow."""
        api = self.connect(project)
        # First, as no value ceases to be reported.
        shadow = good(api.get(f"/v2.0/cloud/thing/{device}/shadow/properties"))["properties"]
        shown = good(api.get(f"/v1.0/devices/{device}"))
        defaults = {row["code"] for row in shadow if row["time"] == 0}
        return shown["online"], {
            point["code"]: point["value"] for point in shown["status"] if point["code"] not in defaults}

    def until(self, project, device, wanted):
        """Reads until the condition holds: what nothing acknowledges is processed later."""
        end = time.monotonic() + self.SECONDS
        while not wanted(shown := self(project, device)):
            assert time.monotonic() < end, shown
        return shown

    def gone(self, project, device):
        """Waits until it is offline."""
        self.until(project, device, lambda shown: not shown[0])


@pytest.fixture
def seen(connect):
    return Seen(connect)


@pytest.fixture
def thing(request, server):
    """Makes devices of aliyun-iot-linkkit, not connected yet. A test takes it with the parameter "tls" or "plain"."""
    from things import Thing

    tls = getattr(request, "param", "plain") == "tls"
    made = []

    def thing(project, device, **options):
        facts = project.facts[device]
        options = {"product_key": project.product_keys[facts["product_id"]], "device_name": facts["device_name"],
                   "device_secret": facts["secret"]} | options
        made.append(Thing(server, tls, options))
        return made[-1]

    yield thing
    for one in made:
        one.end()
