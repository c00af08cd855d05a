"""Who raises alerts in this process, and what leads from an alert to the calls behind it: a command and a link."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from claudetrace._budgets._budget import EACH
from claudetrace._call import RESERVED_TAGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._windows import Window

RECENT = timedelta(minutes=10)
CALLS = "claudetrace tail --once -n 50"
REASONS = {"blocked": ("error_type", "BudgetExceeded"), "unpriced": ("cost_status", "unpriced")}
"""What tells the calls of a kind of alert from others."""
COMMANDS = {"lost": "claudetrace doctor", "unseen": "claudetrace reconcile"}
IN_LINKS = ("model", "feature", "user", "session")
"""What the dashboard has a filter of its own for."""


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
