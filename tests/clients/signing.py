"""Requests signed by the vendor's document, byte for byte as given, for what no SDK can send."""

import hashlib
import hmac
import http.client
import json
import time
from urllib.parse import unquote, urlsplit

from evidence import OWN_AGENT


def sign(secret, *, client_id, t, method, target, token="", nonce="", body=b"", signed_headers=()):
    """The new rule: `target` is path and query as the document wants them signed, sorted and decoded."""
    headers = "".join(f"{name}:{value}\n" for name, value in signed_headers)
    text = "\n".join([method, hashlib.sha256(body).hexdigest(), headers, target])
    return keyed(secret, client_id + token + t + nonce + text)


def keyed(secret, message):
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest().upper()


def sorted_target(target):
    path, _, query = target.partition("?")
    if not query:
        return target
    pairs = [pair.partition("=")[::2] for pair in query.split("&")]
    return path + "?" + "&".join(sorted(f"{unquote(name)}={unquote(value)}" for name, value in pairs))


class Raw:
    """One project's credentials at one server."""

    def __init__(self, base, project):
        self.host = urlsplit(base).netloc
        self.project = project

    def token(self):
        answer = self.send("GET", "/v1.0/token?grant_type=1", token=None)
        assert answer["success"], answer
        return answer["result"]["access_token"]

    def send(
        self, method, target, body=b"", *, token, nonce="", at=None, signed_headers=(), signed_target=None, **headers
    ):
        """Sends `target` as it is, signed over `signed_target` or else over its sorted and decoded form, at the time
        `at`. A header given by name replaces the one made here; `None` leaves it out."""
        t = at or str(time.time_ns() // 1_000_000)
        signature = sign(
            self.project.secret,
            client_id=self.project.client_id,
            t=t,
            method=method,
            target=signed_target or sorted_target(target),
            token=token or "",
            nonce=nonce,
            body=body,
            signed_headers=signed_headers,
        )
        sent = {"User-Agent": OWN_AGENT, "client_id": self.project.client_id, "t": t, "sign": signature}
        sent |= {"sign_method": "HMAC-SHA256", "access_token": token, "nonce": nonce or None}
        sent |= dict(signed_headers) | headers
        if signed_headers:
            sent["Signature-Headers"] = ":".join(name for name, _ in signed_headers)
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        # The vendor's clients break on anything else, so no outcome may have another status.
        assert response.status == 200, (response.status, text)
        assert response.getheader("Content-Type") == "application/json;charset=UTF-8"
        return json.loads(text)
