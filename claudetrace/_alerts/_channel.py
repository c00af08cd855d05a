"""`Channel`: where alerts go, each as a `Notice`; and the two without a network: callables and the log."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._alerts._alert import Alert

HEADLINES = {
    "threshold": "{percent} reached",
    "forecast": "on course to pass its limit",
    "spike": "spend is spiking",
    "loop": "Runaway loop",
    "unpriced": "calls without a price",
    "unbounded": "a call without an upper bound",
    "blocked": "calls are stopped",
    "untagged": "calls that it does not see",
    "lost": "Calls were not recorded",
    "unseen": "Calls on the bill are not in the ledger",
}
# `&` first. A word after @ would call people on servers that read names in the text.
SLACK_ESCAPES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "@\u200b"))
SLACK_OPTIONS = {"mrkdwn": True, "parse": "none", "link_names": False, "unfurl_links": False, "unfurl_media": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An alert with the id by which receivers deduplicate."""

    id: str
    alert: Alert
    test: bool = False

    def as_json(self) -> dict[str, Any]:
        """The whole alert: money as decimal strings, times in UTC as ISO 8601."""
        told = {each.name: _plain(getattr(self.alert, each.name)) for each in fields(self.alert)}
        return {**told, "id": self.id, "test": self.test}

    def body(self) -> bytes:
        return json.dumps(self.as_json(), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def headline(self) -> str:
        """A few words for a title."""
        alert, words = self.alert, HEADLINES.get(self.alert.kind, self.alert.kind)
        if self.test:
            words = "a test of its alerts"
        elif alert.threshold is not None:
            words = words.format(percent=percent_text(alert.threshold))
        whose = "" if alert.budget is None else f"Budget {alert.budget}" + (f" for {alert.key}" if alert.key else "")
        return one_line(f"{whose}: {words}" if whose else words[0].upper() + words[1:])

    def lines(self) -> list[str]:
        """The message, what shows the calls behind it, and the link to them."""
        see = None if self.alert.command is None else f"See its calls: {self.alert.command}"
        return [each for each in (self.alert.message, see, self.alert.link) if each]

    def sender(self) -> str:
        """The service that raised it, its environment and its host."""
        return " · ".join(filter(None, (self.alert.service, self.alert.environment, self.alert.host)))

    def slack_body(self) -> bytes:
        """Slack's incoming-webhook format, in which nothing of a tag's value is markup or calls anybody."""
        text = "\n".join(
            [f"*{slack_text(self.headline())}*", *map(slack_text, self.lines()), f"_{slack_text(self.sender())}_"]
        )
        return json.dumps({"text": text, **SLACK_OPTIONS}).encode()


def slack_text(text: str) -> str:
    for character, instead in SLACK_ESCAPES:
        text = text.replace(character, instead)
    return one_line(text)


def one_line(text: str) -> str:
    """`text` without characters that would break a line, a terminal or the subject of a mail."""
    return "".join(character if character.isprintable() or character == "\u200b" else " " for character in text)


def percent_text(share: float) -> str:
    return f"{round(share * 100, 1):g} %"


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


NAME_ROUNDS = 20_000


class DeliveryFailed(Exception):  # noqa: N818 - it is what happened
    """A channel did not accept an alert. The message contains no secret, so it may be logged and stored."""

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Channel(ABC):
    """Where alerts go. Its `repr` is its name; channels of one `target` deliver the same way to the same place."""

    name: str
    """Contains no secret, so it may be logged and stored. The same in every process."""
    of_process = False
    """Whether it belongs to this process alone: it gets only what this process raises."""
    target: object
    """What it sends to, with its secrets."""

    @abstractmethod
    def send(self, notice: Notice) -> None:
        """Delivers an alert in a bounded time. Raises `DeliveryFailed`, or whatever a callable raises."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Channel) and other.target == self.target

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return self.name


class CallableChannel(Channel):
    """Calls `function(alert)`."""

    of_process = True

    def __init__(self, function: Callable[[Alert], object]) -> None:
        self.target = self._function = function
        named = getattr(function, "__qualname__", None) or type(function).__qualname__
        # Two closures of one name are two channels.
        self.name = f"callable:{getattr(function, '__module__', None) or '?'}.{named}#{id(function):x}"

    def send(self, notice: Notice) -> None:
        self._function(notice.alert)


class LogChannel(Channel):
    """Writes the alert's message to the logger `claudetrace.alerts`, as a warning."""

    of_process = True
    name = target = "log"

    def send(self, notice: Notice) -> None:
        # The message is a sentence that holds values of tags: as an argument, so that none of it is a format.
        logging.getLogger("claudetrace.alerts").warning(
            "%s", " ".join(notice.lines()), extra={"claudetrace_alert": notice}
        )


def wire_name(scheme: str, host: str | None, url: str) -> str:
    """The public name of a channel: scheme, host where that is no secret, and 24 bits that tell two `url`s apart.

    So few bits, and so slow to work out, that they do not help to guess a password.
    """
    digest = hashlib.pbkdf2_hmac("sha256", url.encode("utf-8", "replace"), b"claudetrace channel", NAME_ROUNDS)
    place = scheme if host is None else f"{scheme}://{host}"
    return f"{place}#{digest.hex()[:6]}"
