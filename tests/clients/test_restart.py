"""Tokens of clients and acknowledged data outlive the server, however it ended."""

from urllib.parse import urlsplit

import pytest
import tinytuya
from aliyun_api_gateway import ApiGatewayClient
from tuya_connector import TuyaOpenAPI

import history as histories
from answers import done, good
from history import DAY_MS, assert_log
from living import Living
from test_visual import Camera, checked
from world import SCHEMA, new_world


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_clients_go_on_after_a_restart(new_server, end):
    with new_server() as server:
        history = histories.imported(new_world(server))
        project, path = history.project, f"/v1.0/devices/{history.device}"

        class Cloud(tinytuya.Cloud):
            def setregion(self, apiRegion=None):
                self.apiRegion, self.urlhost = apiRegion, urlsplit(server.https).netloc

        api = TuyaOpenAPI(server.http, project.client_id, project.secret)
        good(api.connect())
        cloud = Cloud("us", project.client_id, project.secret)
        token = api.token_info.access_token
        assert cloud.token == token
        done(api.put(path, {"name": "客厅灯"}))
        done(cloud.cloudrequest(f"{path}/functions/switch_1", action="PUT", post={"name": "Лампа"}))
        person = good(api.post(f"{path}/user", {"nick_name": "奶奶", "sex": 2}))
        body = {"country_code": "86", "username": "13900000003", "password": "x", "username_type": 1}
        uid = good(api.post(f"/v1.0/apps/{SCHEMA}/user", body))["uid"]
        done(api.delete(f"/v1.0/devices/{project.devices['scal']}"))
        before = good(api.get(path))
        trusted = server.ca.read_bytes()

        getattr(server, end)()
        server.start()
        api.endpoint = server.http
        cloud.setregion("us")

        # Whoever trusted the server's CA and held a token still does.
        assert server.ca.read_bytes() == trusted
        assert good(api.get(path)) == before
        assert before["name"] == "客厅灯" and before["status"] == history.status
        assert good(cloud.cloudrequest(f"{path}/multiple-names")) == [{"identifier": "switch_1", "name": "Лампа"}]
        assert (api.token_info.access_token, cloud.token) == (token, token)
        assert [row["user_id"] for row in good(api.get(f"{path}/users"))] == [person]
        assert good(api.post(f"/v1.0/apps/{SCHEMA}/user", body))["uid"] == uid
        assert project.devices["scal"] not in [row["id"] for row in good(api.get("/v1.0/devices"))["devices"]]
        answer = cloud.getdevicelog(history.device, start=history.now_ms - 20 * DAY_MS, end=history.now_ms)
        assert_log(answer["result"]["logs"], history.rows)
        # It can still be refreshed.
        api.token_info.expire_time = 0
        good(api.get(path))
        assert api.token_info.access_token not in ("", token)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_tokens_of_the_other_dialects_after_a_restart(new_server, end):
    with new_server() as server:
        world = new_world(server)

        def call(path, params, token, api_ver):
            client = ApiGatewayClient(server.http, world.home.app_key, world.home.app_secret)
            head = {"apiVer": api_ver, "cloudToken": token}
            return client.request("POST", path, json_body={"request": head, "params": params})

        living = Living(server, world.home, call, lambda answer: answer.json())
        living.log_in()
        camera = Camera(server, server.http, world)
        plug = camera.device("plug")
        old = camera.log_in(plug)[0]
        kid, keys = server.rotate_visual_key(), camera.keys()
        new = camera.log_in(plug)[0]

        getattr(server, end)()
        server.start()
        camera.base = server.http

        assert living.is_in()
        assert camera.keys() == keys and keys["keys"][0]["kid"] == kid
        for token in (old, new, camera.log_in(plug)[0]):
            checked(token, keys)
            camera.opened(plug, token)
        living.refresh()
        assert living.is_in()
