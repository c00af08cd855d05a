"""`Notice`: an alert as it is sent, as JSON, as Slack's text or as one line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claudetrace._alerts._alert import Alert

ALERT_FIELDS = (
    *("kind", "budget", "key", "threshold", "spent_usd", "limit_usd", "window_start", "window_end", "at"),
    *("message", "environment", "host", "command", "link"),
)
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
    """An alert with the id by which receivers deduplicate, and its sender."""

    id: str
    alert: Alert
    service: str
    test: bool = False

    def as_json(self) -> dict[str, Any]:
        """The whole alert: money as decimal strings, times in UTC as ISO 8601."""
        told = {name: _plain(getattr(self.alert, name)) for name in ALERT_FIELDS}
        return {"id": self.id, "service": self.alert.service or self.service, "test": self.test, **told}

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
        alert = self.alert
        return " · ".join(filter(None, (alert.service or self.service, alert.environment, alert.host)))

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
