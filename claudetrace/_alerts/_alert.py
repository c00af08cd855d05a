"""`Alert`: something to know about a budget, as users get it and as the store keeps it; and who raises it here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlencode

import orjson

from claudetrace._budgets._budget import EACH, Budget
from claudetrace._call import RESERVED_TAGS, Dollars, usd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from claudetrace._budgets._windows import Window

_TIMES = ("window_start", "window_end", "at")
_MONEY = ("spent_usd", "limit_usd")
RECENT = timedelta(minutes=10)
CALLS = "claudetrace tail --once -n 50"
REASONS = {"blocked": ("error_type", "BudgetExceeded"), "unpriced": ("cost_status", "unpriced")}
"""What tells the calls of a kind of alert from others."""
COMMANDS = {"lost": "claudetrace doctor", "unseen": "claudetrace reconcile"}
IN_LINKS = ("model", "feature", "user", "session")
"""What the dashboard has a filter of its own for."""


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


class Origin(NamedTuple):
    """What runs here: as its rows say, where its ledger is if it must be named, and where its dashboard is."""

    service: str | None = None
    environment: str | None = None
    host: str | None = None
    db: str | None = None
    dashboard_url: str | None = None

    def leads(
        self, kind: str, budget: Budget | None, key: str, window: Window | None, now: float
    ) -> tuple[str | None, str | None]:
        """The command that shows the calls, and the link to them."""
        where = list(_filters(kind, budget, key))
        since = _since(kind, window, now)
        command = COMMANDS.get(kind, CALLS)
        if kind == "loop":
            command = f"claudetrace find {quote(key)}"
        elif kind not in COMMANDS:
            command += "" if since is None else f" --since {since:%Y-%m-%dT%H:%M}"
            command += "".join(f" --where {quote(f'{name}={value}')}" for name, value in where)
        named = "" if self.db is None or kind == "unseen" else f" --db {quote(self.db)}"
        return command + named, self._link(kind, key, where, since)

    def grant(self, budget: Budget, key: str) -> str:
        """The command that gives room at once."""
        of = f" --key {quote(key)}" if key else ""
        much = "--calls 100" if budget.usd is None else f"--usd {max(1, round(budget.usd / 10))}"
        named = "" if self.db is None else f" --db {quote(self.db)}"
        return f"claudetrace budgets grant {quote(str(budget.name))}{of} {much} --why REASON{named}"

    def _link(self, kind: str, key: str, where: list[tuple[str, str]], since: datetime | None) -> str | None:
        if self.dashboard_url is None or kind in COMMANDS:
            return None
        asked = [] if since is None else [("range", "custom"), ("from", f"{since:%Y-%m-%d}")]
        page = "session" if kind == "loop" else "calls"
        asked += [("session", key)] if kind == "loop" else []
        for name, value in where:
            if name in IN_LINKS:
                asked.append((name, value))
            elif name == "error_type":
                asked.append(("reason", value))
            elif name == "cost_status":
                asked.append(("only", "inexact"))
            elif value:
                asked.append(("tag", f"{name.removeprefix('tag:')}:{value}"))
        return f"{self.dashboard_url.rstrip('/')}/{page}?{urlencode(asked)}"


here = [Origin()]
"""That of the meter that runs: one at a time does."""


def _filters(kind: str, budget: Budget | None, key: str) -> Iterator[tuple[str, str]]:
    if budget is not None and budget.model is not None:
        yield "model", budget.model
    for tag, value in ({} if budget is None else budget.tags or {}).items():
        # Of an alert for all values, and of calls without one.
        if value != EACH or key or kind == "untagged":
            yield tag if tag in RESERVED_TAGS else f"tag:{tag}", key if value == EACH else value
    if kind in REASONS:
        yield REASONS[kind]


def _since(kind: str, window: Window | None, now: float) -> datetime | None:
    if kind == "spike":
        return datetime.fromtimestamp(now, UTC) - RECENT
    return None if window is None or window.start <= 0 else window.start_at


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
