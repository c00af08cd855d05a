"""Makes the channels of `alert_to=`, among them webhooks and Slack's, and sends through all of them at once."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import os
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote_to_bytes, urldefrag, urlsplit, urlunsplit

from claudetrace._alerts._alert import Alert
from claudetrace._alerts._channel import CallableChannel, Channel, DeliveryFailed, LogChannel, Notice, wire_name
from claudetrace._clock import monotonic
from claudetrace._errors import ClaudetraceError
from claudetrace._ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claudetrace._budgets._budget import Budget

log = logging.getLogger("claudetrace")

WEBHOOK_SCHEMES = ("https", "http")
SLACK_HOST = "hooks.slack.com"
SLACK_SCHEMES = {"slack+https": "https", "slack+http": "http"}
LOG = "log"
ENV = "env:"
KNOWN = 'a callable, "log", an https URL, a URL of Slack\'s, a URL that apprise knows, or "env:NAME" of one'
TEST_S = 30.0
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
        from claudetrace._alerts._http import post

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


def channels(name: str, value: object) -> tuple[Channel, ...]:
    """The channels that the setting `name` asks for, each once; the log where it asks for none. Raises
    `ClaudetraceError`, which shows no more of a URL than its channel's public name. A channel whose environment
    variable is not set is left out, with a warning."""
    if value is None:
        return (LogChannel(),)
    missing = unset(value)
    for variable in missing:
        log.warning("claudetrace sends no alerts to %s%s: that environment variable is not set", ENV, variable)
    given = [each for each in _listed(value) if _variable(each) not in missing]
    made = [_channel(f"{name}[{at}]" if len(given) > 1 else name, each) for at, each in enumerate(given)]
    return tuple({channel.name: channel for channel in made}.values()) or (LogChannel(),)


def unset(value: object) -> list[str]:
    """The environment variables that `alert_to` names channels by, and that are not set."""
    named = map(_variable, _listed(value))
    return [name for name in named if name is not None and not os.environ.get(name, "").strip()]


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _variable(value: object) -> str | None:
    named = isinstance(value, str) and value.strip().startswith(ENV)
    return str(value).strip().removeprefix(ENV) if named else None


def _channel(where: str, value: object) -> Channel:
    if isinstance(value, str):
        variable = _variable(value)
        return _named(where, (value if variable is None else os.environ[variable]).strip())
    if not callable(value):
        raise ClaudetraceError(f"{where} cannot be used, it is of type {type(value).__name__}: give {KNOWN}")
    if iscoroutinefunction(value):
        raise ClaudetraceError(f"{where} cannot be used, it is a coroutine function: give one that is called and done")
    return CallableChannel(value)


def _named(where: str, text: str) -> Channel:
    if text == LOG:
        return LogChannel()
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    # Some of apprise's URLs are not valid elsewhere; those that we send to ourselves must be.
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise ClaudetraceError(f"{where} cannot be used, it is no URL: give {KNOWN}")
    if scheme in WEBHOOK_SCHEMES or scheme in SLACK_SCHEMES:
        return _web_channel(where, scheme, text)
    from claudetrace._alerts._apprise import AppriseChannel

    return AppriseChannel(where, scheme, text)


def _web_channel(where: str, scheme: str, text: str) -> Channel:
    target, secret = split_secret(where, text)
    try:
        parts = urlsplit(target)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    # http.client would refuse the rest later, and show the URL.
    if not host or re.search(r"[^\x21-\x7e]", target):
        raise ClaudetraceError(f"{where}, of the scheme {scheme}, cannot be used: its host, port or path is no URL's")
    name = wire_name(scheme, host, target)
    url, login = split_login(SLACK_SCHEMES.get(scheme, scheme) + target[len(scheme) :])
    if scheme in SLACK_SCHEMES or host == SLACK_HOST:
        return SlackChannel(name, url, login)
    return WebhookChannel(name, url, login, secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The result of an alert on one channel."""

    channel: str
    error: str | None
    """`None` where it was delivered."""


def send_test(budget: Budget, channels: Sequence[Channel], *, service: str, timeout_s: float = TEST_S) -> list[Tried]:
    """Sends one alert, marked as a test, through every channel at once and returns the results. Blocks at most
    `timeout_s`."""
    name, now = budget.name, datetime.now(UTC)
    message = f"This is a test of budget {name!r}, which nothing was spent on; alerts of this budget arrive here."
    alert = Alert(kind="threshold", budget=name, limit_usd=budget.usd, at=now, message=message, service=service)
    return send_now(alert, channels, timeout_s=timeout_s, test=True)


def send_now(
    alert: Alert, channels: Sequence[Channel], *, timeout_s: float = TEST_S, test: bool = False
) -> list[Tried]:
    """Sends `alert` through every channel at once and returns the results. Blocks at most `timeout_s`."""
    notice = Notice(id=uuid7(time.time_ns()), alert=alert, test=test)
    results: dict[str, Tried] = {}

    def attempt(channel: Channel) -> None:
        try:
            channel.send(notice)
            error = None
        except Exception as failed:  # noqa: BLE001 - told to whoever asked
            error = str(failed) if isinstance(failed, DeliveryFailed) else f"{type(failed).__name__}: {failed}"
        results[channel.name] = Tried(channel=channel.name, error=error)

    threads = [threading.Thread(target=attempt, args=(channel,), daemon=True) for channel in channels]
    for thread in threads:
        thread.start()
    until = monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, until - monotonic()))
    silent = f"no answer within {timeout_s:g} s"
    return [results.get(each.name, Tried(channel=each.name, error=silent)) for each in channels]
