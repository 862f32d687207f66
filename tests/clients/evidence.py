"""Which client calls which endpoint, by the server's own log: its event of an answered request names route and
user agent. Run as a program, it holds what a whole run found against `verified.json`."""

import json
import os
import re
import sys
from pathlib import Path

VERIFIED = Path(__file__).parent / "verified.json"
# What the tests send themselves says so, and is nobody's evidence.
OWN_AGENT = "ingle-tests"
ANSWERED = re.compile(
    rb'a request was answered dialect="[a-z]+" '
    rb'http\.method=([A-Z]+) http\.route="([^"]+)" http\.user_agent="((?:[^"\\]|\\.)*)"'
)
# What distinguishes the clients that meet in one test. Nothing is known of one that is not here.
AGENTS = {"tuya-connector-python": "python-requests/", "aliyun-api-gateway-python": "$", "PyJWT": "Python-urllib/"}


class Evidence:
    """What the clients of one session were answered."""

    def __init__(self):
        # The logs of all servers, and who takes part in the test that runs.
        self.logs, self.clients = [], set()
        self.called = {}

    def begin(self, client):
        """A test begins. Its file names its client, or none."""
        self.clients = {client} - {None}
        self.ends = {log: log.stat().st_size for log in self.logs}

    def end(self):
        """The test ends: what the logs gained goes to its clients."""
        for log in self.logs:
            with log.open("rb") as file:
                file.seek(self.ends.get(log, 0))
                answered = ANSWERED.findall(file.read())
            for method, route, agent in {tuple(map(bytes.decode, found)) for found in answered}:
                if client := self.client_of(agent):
                    self.called.setdefault(f"{method} {route}", set()).add(client)

    def client_of(self, agent):
        """Whose user agent it is; `None` when it could be that of two, or is the tests' own."""
        if agent.startswith(OWN_AGENT):
            return None
        fit = self.clients
        if len(fit) > 1:
            fit = {client for client in fit if re.match(AGENTS.get(client, ""), agent)}
        return next(iter(fit)) if len(fit) == 1 else None

    def write(self, path):
        path.write_text(text_of(self.called), encoding="utf-8")


def text_of(called):
    return json.dumps({endpoint: sorted(called[endpoint]) for endpoint in sorted(called)}, indent=2) + "\n"


def merged(paths):
    called = {}
    for path in paths:
        for endpoint, clients in json.loads(path.read_text(encoding="utf-8")).items():
            called.setdefault(endpoint, set()).update(clients)
    return called


def pairs(called):
    return {(endpoint, client) for endpoint, clients in called.items() for client in clients}


def main(paths):
    found = merged(paths)
    if os.environ.get("INGLE_BLESS"):
        VERIFIED.write_text(text_of(found), encoding="utf-8")
        return 0
    committed = merged([VERIFIED] if VERIFIED.exists() else [])
    for word, some in ("new", pairs(found) - pairs(committed)), ("gone", pairs(committed) - pairs(found)):
        for endpoint, client in sorted(some):
            print(f"{word}: {endpoint} by {client}", file=sys.stderr)
    if VERIFIED.exists() and VERIFIED.read_text(encoding="utf-8") == text_of(found):
        return 0
    print("tests/clients/verified.json is not what the clients call: INGLE_BLESS=1 tests/clients/run writes it, then "
          "INGLE_BLESS=1 cargo test compatibility the table", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
