import paho.mqtt.client as mqtt
import pytest

from tylink import Device

VERSIONS = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


@pytest.fixture(params=VERSIONS)
def version(request):
    return VERSIONS[request.param]


@pytest.fixture(params=["plain", "tls"])
def tls(request):
    return request.param == "tls"


@pytest.fixture
def device(server):
    """Makes devices, not connected yet."""
    made = []

    def device(project, device_id, **options):
        options = {"secret": project.facts[device_id]["secret"]} | options
        made.append(Device(server, device_id, **options))
        return made[-1]

    yield device
    for one in made:
        one.stop()


@pytest.fixture
def plug(world, device):
    """A plug that listens, as the vendor's C library does."""
    return device(world.home, world.home.devices["plug"]).connect().listen()
