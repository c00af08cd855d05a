"""`Alert`: something to know about a budget, as users get it and as the store keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson

from claudetrace._alerts._origin import here
from claudetrace._call import Dollars, usd

if TYPE_CHECKING:
    from decimal import Decimal

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._windows import Window

_TIMES = ("window_start", "window_end", "at")
_MONEY = ("spent_usd", "limit_usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What `alert_to=` functions receive. Each is raised once per window of its budget.

    def page(alert):
        if alert.kind in ("threshold", "blocked"):
            send(alert.message, alert.link)
    """

    kind: Literal[
        "threshold", "forecast", "spike", "loop", "unpriced", "unbounded", "blocked", "untagged", "lost", "unseen"
    ]
    budget: str | None = None
    """The budget's name; `None` if the alert concerns none."""
    threshold: float | None = None
    """The part of the limit that was reached, such as 0.8."""
    spent_usd: Decimal | None = None
    limit_usd: Decimal | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    key: str | None = None
    """The value of the tag, for a budget of which each value has its own."""
    at: datetime = field()
    message: str = ""
    """One sentence for people."""
    service: str | None = None
    environment: str | None = None
    host: str | None = None
    """Where it was raised."""
    command: str | None = None
    """A shell command that lists the calls behind it on that host."""
    link: str | None = None
    """The same calls on the dashboard, if `dashboard_url` is set."""


class Outgoing(NamedTuple):
    """An alert on its way to one channel."""

    id: str
    """The same over all tries, channels and processes: a receiver deduplicates by it."""
    alert: Alert
    tries: int = 0
    """How many failed so far."""
    since: float = 0.0
    due: float = 0.0
    """In memory, by the monotonic clock: when it was raised, and when it may be tried."""


_FIELDS = frozenset(each.name for each in fields(Alert))


def alert_of(
    kind: Any,
    message: str,
    now: float,
    *,
    budget: Budget | None = None,
    key: str | None = None,
    spent_picousd: int | None = None,
    window: Window | None = None,
    threshold: float | None = None,
) -> Alert:
    """An alert that is raised now."""
    origin = here[0]
    command, link = origin.leads(kind, budget, key or "", window, now)
    return Alert(
        service=origin.service,
        environment=origin.environment,
        host=origin.host,
        command=command,
        link=link,
        kind=kind,
        budget=None if budget is None else budget.name,
        threshold=threshold,
        spent_usd=usd(spent_picousd),
        limit_usd=None if budget is None else budget.usd,
        window_start=None if window is None else window.start_at,
        window_end=None if window is None else window.end_at,
        key=key or None,
        at=datetime.fromtimestamp(now, UTC),
        message=message,
    )


def alert_text(alert: Alert) -> str:
    """The alert as JSON: money as exact text, moments as ISO 8601."""
    return orjson.dumps(asdict(alert), default=str).decode()


def alert_from(text: str) -> Alert:
    """The alert of `alert_text`."""
    said: dict[str, Any] = orjson.loads(text)
    for name in _TIMES:
        said[name] = None if said[name] is None else datetime.fromisoformat(said[name])
    for name in _MONEY:
        said[name] = None if said[name] is None else Dollars(said[name])
    # A later version may say more in it.
    return Alert(**{name: value for name, value in said.items() if name in _FIELDS})
