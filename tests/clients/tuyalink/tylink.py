"""A TuyaLink device as the vendor documents it: signed here, over paho-mqtt."""

import hashlib
import hmac
import itertools
import json
import ssl
import time
from queue import Queue

import paho.mqtt.client as mqtt

SECONDS = 30

# The refusal of wrong credentials: return code 4 of MQTT 3.1.1, reason code 134 of MQTT 5. paho has one name for both.
WRONG = "Bad user name or password"
# A filter that was refused, in either version.
NOT_GRANTED = 128


def credentials(device_id, secret, timestamp):
    """Client id, user name and password."""
    fields = f"timestamp={timestamp},secureMode=1,accessType=1"
    content = f"deviceId={device_id},{fields}"
    password = hmac.new(secret.encode(), content.encode(), hashlib.sha256).hexdigest()
    return f"tuyalink_{device_id}", f"{device_id}|signMethod=hmacSha256,{fields}", password


class Device:
    """One connection. `connect` has to be called; what comes down is asked for by the topic below the device's own."""

    def __init__(
        self, server, device_id, secret, *, tls=False, version=mqtt.MQTTv311, timestamp=None, will=None, says=None
    ):
        client_id, username, password = says or credentials(device_id, secret, timestamp or int(time.time()))
        self.id, self.numbers = device_id, itertools.count(1)
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=version, reconnect_on_failure=False)
        self.client.username_pw_set(username, password)
        self.port = server.mqtt_tls_port if tls else server.mqtt_port
        if tls:
            self.client.tls_set_context(ssl.create_default_context(cafile=str(server.ca)))
        if will:
            self.client.will_set(*will)
        self.connected, self.gone, self.granted, self.sent = Queue(), Queue(), Queue(), Queue()
        self.came = {}
        self.client.on_connect = lambda client, data, flags, reason, properties: self.connected.put(reason)
        self.client.on_disconnect = lambda client, data, flags, reason, properties: self.gone.put(reason)
        self.client.on_subscribe = lambda client, data, mid, reasons, properties: self.granted.put((mid, reasons))
        self.client.on_publish = lambda client, data, mid, reason, properties: self.sent.put(mid)
        self.client.on_message = lambda client, data, message: self.arrived(message.topic).put(message)

    def try_to_connect(self):
        """What the server says of it."""
        self.client.connect_async("localhost", self.port, keepalive=60)
        self.client.loop_start()
        return self.connected.get(timeout=SECONDS)

    def connect(self):
        assert not self.try_to_connect().is_failure
        return self

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()

    def arrived(self, topic):
        """The queue of a topic. Two threads may ask for it first, and get the same."""
        return self.came.setdefault(topic, Queue())

    def topic(self, below, device_id=None):
        return f"tylink/{device_id or self.id}/{below}"

    def subscribe(self, *filters):
        """Which of the filters were granted, each by its code."""
        _, mid = self.client.subscribe([(one, 1) for one in filters])
        received, reasons = self.granted.get(timeout=SECONDS)
        assert received == mid and len(reasons) == len(filters)
        return [reason.value for reason in reasons]

    def listen(self):
        """As the vendor's C library does it: everything from then on."""
        assert self.subscribe(self.topic("channel/downlink/auto_subscribe"))[0] in (0, 1)
        return self

    def say(self, below, data, *, ack=None, qos=1, device_id=None, **more):
        """Sends a message, and gives its id. With QoS 1 it was acknowledged."""
        message_id = f"m{next(self.numbers)}"
        message = {"msgId": message_id, "time": int(time.time() * 1000), "data": data}
        if ack is not None:
            message["sys"] = {"ack": ack}
        self.put(self.topic(below, device_id), json.dumps(message | more, ensure_ascii=False), qos)
        return message_id

    def put(self, topic, payload, qos=1, **options):
        """Publishes as it is."""
        info = self.client.publish(topic, payload, qos, **options)
        while self.sent.get(timeout=SECONDS) != info.mid:
            pass

    def next(self, below, device_id=None):
        """The next message on one topic."""
        message = self.arrived(self.topic(below, device_id)).get(timeout=SECONDS)
        assert not message.retain
        return json.loads(message.payload)

    def ask(self, below, data, **more):
        """Sends a message and gives the code and data of its answer."""
        device_id = more.get("device_id")
        message_id = self.say(below, data, **more)
        end = below.removesuffix("/request") + "/response" if below.endswith("/request") else f"{below}_response"
        answer = self.next(end, device_id)
        assert answer["msgId"] == message_id and abs(answer["time"] - time.time() * 1000) < 600_000
        return answer["code"], answer.get("data")

    def report(self, data, **more):
        """Reports properties and gives the code of the acknowledgement."""
        code, _ = self.ask("thing/property/report", data, ack=1, **more)
        return code

    def is_quiet(self):
        """Whether nothing came that nobody asked for, up to the answer of one more request."""
        assert self.ask("ext/time/request", {"bizType": "NTP", "dst": 1})[0] == 0
        return all(queue.empty() for queue in list(self.came.values()))
