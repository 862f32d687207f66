"""A device of aliyun-iot-linkkit, unmodified, and what its callbacks received."""

import json
import threading
from queue import Queue

from linkkit import linkkit

SECONDS = 30
END_SECONDS = 5

CALLBACKS = (
    "on_connect",
    "on_disconnect",
    "on_thing_enable",
    "on_thing_disable",
    "on_thing_prop_post",
    "on_thing_prop_changed",
    "on_thing_event_post",
    "on_thing_call_service",
    "on_thing_device_info_update",
    "on_thing_device_info_delete",
    "on_thing_shadow_get",
    "on_thing_raw_data_post",
    "on_subscribe_topic",
    "on_topic_message",
    "on_gateway_add_subdev_topo_reply",
    "on_gateway_delete_subdev_topo_reply",
    "on_gateway_login_subdev_reply",
    "on_gateway_logout_subdev_reply",
    "on_gateway_register_subdev_reply",
    "on_gateway_product_register_subdev_reply",
    "on_gateway_topo_change",
    "on_device_dynamic_register",
    "on_device_dynamic_register_nwl_reply",
    "on_ota_message_arrived",
)
# All the others receive the user's own data as the last argument.
WITHOUT_USER_DATA = ("on_device_dynamic_register_nwl_reply", "on_ota_message_arrived")


class Thing:
    def __init__(self, server, tls, options):
        self.product_key, self.device_name = options["product_key"], options["device_name"]
        self.kit = linkkit.LinkKit("127.0.0.1", **options)
        if tls:
            self.kit.config_mqtt(port=server.mqtt_tls_port, endpoint="localhost", cadata=server.ca.read_text())
        else:
            self.kit.config_mqtt(port=server.mqtt_port, secure="")
        self.received = {callback: Queue() for callback in CALLBACKS}
        for callback in CALLBACKS:
            setattr(self.kit, callback, self._listener(callback))

    def _listener(self, callback):
        last = None if callback in WITHOUT_USER_DATA else -1
        return lambda *received: self.received[callback].put(received[:last])

    def next(self, callback):
        """What a callback received next."""
        return self.received[callback].get(timeout=SECONDS)

    def end(self):
        """The library waits for itself for ever if it is ended while it tries to connect. In that case it is not ended."""
        ending = threading.Thread(target=self.kit.destruct, daemon=True)
        ending.start()
        ending.join(END_SECONDS)

    def model(self, tsl, file):
        """Sets it up with the thing model that the server made, and services and events of the device's own."""
        file.write_text(json.dumps(tsl))
        assert self.kit.thing_setup(str(file)) == 0

    def connect(self):
        self.kit.connect_async()
        assert self.next("on_connect") == (0, 0)
        return self

    def enable(self, tsl, file):
        """Set up and connected."""
        self.model(tsl, file)
        self.connect()
        self.next("on_thing_enable")
        return self

    def answer(self, sent, callback):
        """The answer to what was sent: code, data and text. It must name the request."""
        done, request_id = sent
        assert done == 0
        received = self.next(callback)
        assert received[-4] == request_id, received
        return received[-3:]

    def publish(self, topic, payload, qos=1):
        """What the library has no function for; the answer comes as a message."""
        done, _ = self.kit.publish_topic(topic, json.dumps(payload), qos)
        assert done == 0

    def message(self):
        """The next message that no other callback took: topic and payload."""
        topic, payload, _ = self.next("on_topic_message")
        return topic, json.loads(payload)

    def ask(self, topic, params, request_id="77"):
        """A request of the protocol that the library has no function for, and the answer's code and data."""
        self.publish(topic, {"id": request_id, "version": "1.0", "params": params, "method": "m"})
        received, answer = self.message()
        assert received == f"{topic}_reply" and answer["id"] == request_id
        return answer["code"], answer["data"]

    @property
    def sys(self):
        return f"/sys/{self.product_key}/{self.device_name}/"
