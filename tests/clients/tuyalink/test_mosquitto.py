"""The command-line clients of Mosquitto, of the distribution's own package, with the credentials of a device: what one
would try first from a shell."""

import hashlib
import hmac
import json
import subprocess
import time

import pytest

from answers import done, good
from tylink import SECONDS, credentials

VERSIONS = ("mqttv311", "mqttv5")
# How a message is to be printed: whether it was retained, its topic and its payload.
ARRIVED = ("-F", "arrived %r %t %p")


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def words(server):
    """The words of a command line up to what it is about."""

    def words(program, says, *more, version="mqttv311", tls=False):
        client_id, username, password = says
        port = server.mqtt_tls_port if tls else server.mqtt_port
        # Each of its lines is to be seen at once.
        line = ["stdbuf", "-oL", program, "-h", "localhost", "-p", str(port), "-V", version, "-i", client_id,
                "-u", username, "-P", password, *more]
        return line + ["--cafile", str(server.ca)] if tls else line

    return words


@pytest.fixture
def publish(words):
    """Runs mosquitto_pub to its end, and gives its exit code and what it complained of."""

    def publish(says, topic, payload, *more, **options):
        line = words("mosquitto_pub", says, "-t", topic, "-m", json.dumps(payload), *more, **options)
        ran = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
        return ran.returncode, ran.stderr

    return publish


@pytest.fixture
def start(words):
    """Starts a program and gives it with a way to wait for a line of it."""
    started = []

    def start(program, says, *more, **options):
        line = words(program, says, "-d", *more, **options)
        process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
        started.append(process)

        def until(text):
            for said in process.stdout:
                if text in said:
                    return said
            raise AssertionError(f"{program} ended without {text!r}")

        return process, until

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def of(project, device):
    return credentials(device, project.facts[device]["secret"], int(time.time()))


def report(data):
    return {"msgId": "1", "time": int(time.time() * 1000), "data": data}


@pytest.mark.parametrize("qos", ["0", "1"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_report(world, publish, seen, version, tls, qos):
    plug = world.home.devices["plug"]
    words = f"tylink/{plug}/thing/property/report", report({"countdown_1": 60, "note": "水"})
    assert publish(of(world.home, plug), *words, "-q", qos, version=version, tls=tls) == (0, "")
    values = {"countdown_1": 60, "note": "水"}
    if qos == "0":
        # It did not wait.
        seen.until(world.home, plug, lambda shown: shown[1] == values)
    assert seen(world.home, plug)[1] == values


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_command(world, start, connect, version, tls):
    plug = world.home.devices["plug"]
    process, until = start("mosquitto_sub", of(world.home, plug), *ARRIVED, "-C", "1", "-q", "1",
                           "-t", f"tylink/{plug}/thing/property/set", "-t", f"tylink/{plug}/thing/action/+",
                           version=version, tls=tls)
    until("Subscribed")
    body = {"commands": [{"code": "switch_1", "value": True}]}
    done(connect(world.home).post(f"/v1.0/devices/{plug}/commands", body))
    _, _, topic, payload = until("arrived ").split(" ", 3)
    assert topic == f"tylink/{plug}/thing/property/set"
    assert json.loads(payload)["data"] == {"switch_1": True}
    assert process.wait(SECONDS) == 0


def test_who_cannot_prove_it(world, publish, seen, version):
    plug = world.home.devices["plug"]
    client_id, username, password = of(world.home, plug)
    words = f"tylink/{plug}/thing/property/report", report({"countdown_1": 60})
    for says in ((client_id, username, "0" * 64), (client_id, username, ""), (client_id, plug, password),
                 ("tuyalink_nobody", username, password)):
        code, said = publish(says, *words, "-q", "1", version=version)
        assert code == {"mqttv311": 4, "mqttv5": 134}[version] and "onnection error" in said, (code, said)
    assert seen(world.home, plug) == (False, {})


def test_a_publish_to_another(world, publish, seen, version):
    """It is not acknowledged, and the connection ends."""
    plug, lamp = world.home.devices["plug"], world.home.devices["lamp"]
    for topic in (f"tylink/{lamp}/thing/property/report", "x"):
        code, said = publish(of(world.home, plug), topic, report({"switch_1": True}), "-q", "1", version=version)
        assert code != 0 and said, topic
    assert seen(world.home, lamp) == (False, {})


def test_subscriptions_beyond_its_own(world, start, version):
    plug, lamp = world.home.devices["plug"], world.home.devices["lamp"]
    for topic in ("#", "+/+/#", f"tylink/{lamp}/#", "tylink/#", "$SYS/#"):
        _, until = start("mosquitto_sub", of(world.home, plug), "-t", topic, version=version)
        until("denied")
    # One of its own among them is granted.
    _, until = start("mosquitto_sub", of(world.home, plug), "-t", "#", "-t", f"tylink/{plug}/#", version=version)
    assert until("Subscribed").split(":")[-1].split(",")[0].strip() in ("128", "135")


def test_what_is_retained(world, publish, start, seen, connect, version):
    """It is a report like others, and is not sent to later subscribers."""
    plug = world.home.devices["plug"]
    for topic in (f"tylink/{plug}/thing/property/report", f"tylink/{plug}/thing/property/set"):
        words = topic, report({"countdown_1": 60}), "-q", "1", "-r"
        assert publish(of(world.home, plug), *words, version=version) == (0, "")
    assert seen(world.home, plug)[1] == {"countdown_1": 60}
    _, until = start("mosquitto_sub", of(world.home, plug), *ARRIVED, "-t", f"tylink/{plug}/#", version=version)
    until("Subscribed")
    body = {"commands": [{"code": "switch_1", "value": True}]}
    done(connect(world.home).post(f"/v1.0/devices/{plug}/commands", body))
    _, retained, topic, payload = until("arrived ").split(" ", 3)
    assert (retained, topic) == ("0", f"tylink/{plug}/thing/property/set")
    assert json.loads(payload)["data"] == {"switch_1": True}


def test_a_will(world, start, seen, connect, version):
    """Taken, and not published: neither to another nor as a report of its own."""
    plug, lamp = world.home.devices["plug"], world.home.devices["lamp"]
    _, watch = start("mosquitto_sub", of(world.home, lamp), *ARRIVED, "-t", f"tylink/{lamp}/#")
    watch("Subscribed")
    for topic in (f"tylink/{lamp}/thing/property/set", f"tylink/{plug}/thing/property/report"):
        process, until = start(
            "mosquitto_sub", of(world.home, plug), "-t", f"tylink/{plug}/thing/property/set", "--will-topic", topic,
            "--will-payload", json.dumps(report({"countdown_1": 60})), "--will-qos", "1", version=version)
        until("Subscribed")
        process.kill()
        seen.gone(world.home, plug)
    body = {"commands": [{"code": "switch_1", "value": True}]}
    done(connect(world.home).post(f"/v1.0/devices/{lamp}/commands", body))
    assert json.loads(watch("arrived ").split(" ", 3)[3])["data"] == {"switch_1": True}
    assert seen(world.home, plug) == (False, {})


def test_a_device_of_the_other_protocol(world, publish, start, seen, connect, version):
    """By the document of Alibaba's, on the same port."""
    facts = world.home.facts[world.home.devices["plug"]]
    key, name = world.home.product_keys[facts["product_id"]], facts["device_name"]
    content = f"clientIdshelldeviceName{name}productKey{key}timestamp1530262800000"
    sign = hmac.new(facts["secret"].encode(), content.encode(), hashlib.sha256).hexdigest()
    says = "shell|securemode=3,signmethod=hmacsha256,timestamp=1530262800000|", f"{name}&{key}", sign.upper()
    post = {"id": "1", "version": "1.0", "params": {"switch_1": 1}, "method": "thing.event.property.post"}
    assert publish(says, f"/sys/{key}/{name}/thing/event/property/post", post, "-q", "1", version=version) == (0, "")
    assert seen(world.home, facts["device_id"])[1] == {"switch_1": True}
    _, until = start("mosquitto_sub", says, *ARRIVED, "-t", f"/sys/{key}/{name}/thing/service/#", version=version)
    until("Subscribed")
    body = {"commands": [{"code": "switch_1", "value": False}]}
    done(connect(world.home).post(f"/v1.0/devices/{facts['device_id']}/commands", body))
    _, _, topic, payload = until("arrived ").split(" ", 3)
    assert topic == f"/sys/{key}/{name}/thing/service/property/set"
    assert json.loads(payload)["params"] == {"switch_1": 0}
    code, said = publish((says[0], says[1], "0" * 64), "x", {}, version=version)
    assert code == {"mqttv311": 4, "mqttv5": 134}[version] and "onnection error" in said


def test_another_ca(world, words):
    """Without the server's own it does not trust it."""
    plug = world.home.devices["plug"]
    line = words("mosquitto_pub", of(world.home, plug), "-t", "x", "-m", "x", tls=True)
    line[line.index("--cafile") + 1] = "/etc/ssl/certs/ca-certificates.crt"
    ran = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    assert ran.returncode != 0 and ran.stderr
