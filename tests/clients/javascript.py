"""A client of Node in a process of its own, which answers each line of JSON with another."""

import json
import os
import select
import subprocess
from contextlib import contextmanager
from pathlib import Path

CALL_SECONDS = 30


@contextmanager
def started(script, stderr, **environment):
    """A script of `node/`, which does what it is sent, one thing at a time."""
    process = subprocess.Popen(["node", Path(__file__).parent / "node" / script], env=os.environ | environment,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0)

    def send(**call):
        process.stdin.write(json.dumps(call).encode() + b"\n")
        ready, _, _ = select.select([process.stdout], [], [], CALL_SECONDS)
        line = process.stdout.readline() if ready else b""
        assert line, "node did not answer"
        return json.loads(line)

    try:
        yield send
    finally:
        process.kill()
        process.communicate()
