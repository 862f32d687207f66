import os
from contextlib import contextmanager

import pytest

# Their assertions are as telling as those of a test.
pytest.register_assert_rewrite("answers", "history", "living")

from tuya_connector import TuyaOpenAPI

import history as histories
from answers import good
from server import Server
from signing import Raw
from world import new_world


@pytest.fixture(scope="session")
def new_server(tmp_path_factory):
    """Starts a server that nobody else has; for tests that stop it."""

    @contextmanager
    def new_server():
        binary = os.environ.get("INGLE_BIN")
        assert binary, "INGLE_BIN names the binary to test: use tests/clients/run"
        server = Server(binary, tmp_path_factory.mktemp("server") / "stderr.log")
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


@pytest.fixture(scope="session")
def history(server):
    """A device with a long log, for tests that only read."""
    return histories.imported(new_world(server))


@pytest.fixture(params=["http", "https"])
def base(request, server):
    """The address of either listener."""
    return getattr(server, request.param)


@pytest.fixture
def connect(server):
    """The vendor's connector, connected."""

    def connect(project, base=server.http, **options):
        api = TuyaOpenAPI(base, project.client_id, project.secret, **options)
        good(api.connect())
        server.secrets |= {api.token_info.access_token, api.token_info.refresh_token}
        return api

    return connect


@pytest.fixture
def raw(server):
    return lambda project: Raw(server.http, project)
