"""The channels over HTTP: a signed webhook, and Slack's incoming-webhook format."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote_to_bytes, urldefrag, urlsplit, urlunsplit

from claudetrace._alerts._channels._kinds import Channel
from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._alerts._channels._notice import Notice

SECRET_PREFIX = "whsec_"  # noqa: S105 - how such secrets begin, no secret


class _WebChannel(Channel):
    """A channel that posts to `url`, with the header `login` where the URL had a user and a password."""

    def __init__(self, name: str, url: str, login: str | None, secret: bytes | None = None) -> None:
        self.name = name
        self._url = url
        self._login = {} if login is None else {"Authorization": login}
        self._secret = secret
        self.target = url, login, secret

    def _post(self, body: bytes, headers: Mapping[str, str]) -> None:
        # Here and not above: what HTTP needs is imported when there is something to send.
        from claudetrace._alerts._channels._http import post

        post(self._url, body, {**self._login, **headers})


class WebhookChannel(_WebChannel):
    """Posts an alert as JSON; with a secret, signed as https://www.standardwebhooks.com says, so that any library
    for it verifies: `webhook-signature` is `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`."""

    def send(self, notice: Notice) -> None:
        body = notice.body()
        self._post(body, self.headers(notice.id, body, int(time.time())))

    def headers(self, id_: str, body: bytes, timestamp: int) -> dict[str, str]:
        """The id is the same over all tries; the timestamp is this one's, and signed."""
        headers = {"webhook-id": id_, "idempotency-key": id_, "webhook-timestamp": str(timestamp)}
        if self._secret is not None:
            signed = b"%s.%d.%s" % (id_.encode(), timestamp, body)
            digest = hmac.new(self._secret, signed, hashlib.sha256).digest()
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return headers


class SlackChannel(_WebChannel):
    """Posts an alert in the format of Slack's incoming webhooks, which Mattermost and others take too."""

    def send(self, notice: Notice) -> None:
        self._post(notice.slack_body(), {})


def split_login(url: str) -> tuple[str, str | None]:
    """The URL without its user and password, and a header with them: urllib would take them for the host."""
    parts = urlsplit(url)
    login, at, place = parts.netloc.rpartition("@")
    if not at:
        return url, None
    return urlunsplit(parts._replace(netloc=place)), f"Basic {base64.b64encode(unquote_to_bytes(login)).decode()}"


def split_secret(where: str, text: str) -> tuple[str, bytes | None]:
    """The URL without its fragment, and the secret that the fragment names: `#secret=…` or `#secret_env=NAME`."""
    url, fragment = urldefrag(text)
    if not fragment:
        return url, None
    # Not as a form: the `+` of a base64 secret is itself.
    said = parse_qs(fragment.replace("+", "%2B"), keep_blank_values=True)
    if len(said) != 1 or not (set(said) <= {"secret", "secret_env"}) or not all(v[0] for v in said.values()):
        raise ClaudetraceError(f"{where} cannot be used: after # goes secret=… or secret_env=NAME, and nothing else")
    if "secret_env" in said:
        variable = said["secret_env"][0]
        if not (secret := os.environ.get(variable, "").strip()):
            raise ClaudetraceError(f"{where} cannot be used: the environment variable {variable} is not set")
    else:
        secret = said["secret"][0]
    return url, _secret_bytes(where, secret)


def _secret_bytes(where: str, secret: str) -> bytes:
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        pass_on = f"{where} cannot be used: what follows {SECRET_PREFIX} in its secret is not base64"
    raise ClaudetraceError(pass_on)
