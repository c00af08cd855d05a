"""Alerts of a budget, posted to a webhook of our own that verifies who they are from."""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import _offline  # noqa: F401 - plays the API where there is no key
import anthropic

import claudetrace

KEY = os.urandom(24)
# In the environment, as any secret: what alert_to names is shown by no log and no file.
os.environ["ALERT_SECRET"] = f"whsec_{base64.b64encode(KEY).decode()}"
arrived = threading.Event()


def is_ours(headers: dict[str, str], body: bytes) -> bool:
    """As https://www.standardwebhooks.com says; its libraries, in many languages, do the same."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return fresh and hmac.compare_digest(expected, headers["webhook-signature"])


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        accepted = is_ours({name.lower(): value for name, value in self.headers.items()}, body)
        # Anything but 2xx, and it is sent again: first after a second, for three days.
        self.send_response(204 if accepted else 401)
        self.end_headers()
        if accepted:
            alert = json.loads(body)
            print(f"{alert['kind']}: {alert['message']}")
            arrived.set()

    def log_message(self, *_args: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with claudetrace.instrument(
        budgets=[claudetrace.Budget("small", usd="0.00001", per="total", thresholds=(0.8,))],
        alert_to=[f"http://127.0.0.1:{server.server_port}/alerts#secret_env=ALERT_SECRET"],
    ):
        client = anthropic.Anthropic()
        client.messages.create(
            model="claude-haiku-5-5", max_tokens=100, messages=[{"role": "user", "content": "What does a meter do?"}]
        )
        print("arrived" if arrived.wait(30) else "nothing arrived")
    server.shutdown()
    server.server_close()
