"""Makes the channels of `alert_to=`: callables, the log, webhooks, Slack, and apprise's services."""

from __future__ import annotations

import os
import re
from inspect import iscoroutinefunction
from urllib.parse import urlsplit

from claudetrace._alerts._channels._kinds import CallableChannel, Channel, DeliveryFailed, LogChannel, wire_name
from claudetrace._alerts._channels._web import SlackChannel, WebhookChannel, split_login, split_secret
from claudetrace._errors import ClaudetraceError

__all__ = ["Channel", "DeliveryFailed", "LogChannel", "channels"]

WEBHOOK_SCHEMES = ("https", "http")
SLACK_HOST = "hooks.slack.com"
SLACK_SCHEMES = {"slack+https": "https", "slack+http": "http"}
LOG = "log"
KNOWN = 'a callable, "log", an https URL, a URL of Slack\'s, a URL that apprise knows, or "env:NAME" of one'


def channels(name: str, value: object) -> tuple[Channel, ...]:
    """The channels that the setting `name` asks for, each once; the log where it asks for none. Raises
    `ClaudetraceError`, which shows no more of a URL than its channel's public name."""
    if value is None:
        return (LogChannel(),)
    given = value if isinstance(value, (list, tuple)) else (value,)
    made = [_channel(f"{name}[{at}]" if len(given) > 1 else name, each) for at, each in enumerate(given)]
    return tuple({channel.name: channel for channel in made}.values()) or (LogChannel(),)


def _channel(where: str, value: object) -> Channel:
    if isinstance(value, str):
        return _named(where, _from_environment(where, value.strip()))
    if not callable(value):
        raise ClaudetraceError(f"{where} cannot be used, it is of type {type(value).__name__}: give {KNOWN}")
    if iscoroutinefunction(value):
        raise ClaudetraceError(f"{where} cannot be used, it is a coroutine function: give one that is called and done")
    return CallableChannel(value)


def _from_environment(where: str, text: str) -> str:
    if not text.startswith("env:"):
        return text
    variable = text.removeprefix("env:")
    if not (found := os.environ.get(variable, "").strip()):
        raise ClaudetraceError(f"{where}='{text}' cannot be used: the environment variable {variable} is not set")
    return found


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
