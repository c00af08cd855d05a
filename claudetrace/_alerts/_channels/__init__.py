"""Makes the channels of `alert_to=`: callables, the log, webhooks, Slack, and apprise's services."""

from __future__ import annotations

import logging
import os
import re
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from claudetrace._alerts._channels._kinds import CallableChannel, Channel, DeliveryFailed, LogChannel, wire_name
from claudetrace._alerts._channels._web import SlackChannel, WebhookChannel, split_login, split_secret
from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Channel", "DeliveryFailed", "LogChannel", "channels", "unset"]

log = logging.getLogger("claudetrace")

WEBHOOK_SCHEMES = ("https", "http")
SLACK_HOST = "hooks.slack.com"
SLACK_SCHEMES = {"slack+https": "https", "slack+http": "http"}
LOG = "log"
ENV = "env:"
KNOWN = 'a callable, "log", an https URL, a URL of Slack\'s, a URL that apprise knows, or "env:NAME" of one'


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
    from claudetrace._alerts._channels._apprise import AppriseChannel

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
