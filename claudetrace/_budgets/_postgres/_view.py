"""The budgets' store on a server read from outside, without the budgets in code."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from claudetrace._alerts._alert import alert_from
from claudetrace._alerts._outbox import GIVE_UP_S
from claudetrace._budgets._definition import budget_from
from claudetrace._budgets._postgres._link import Link
from claudetrace._budgets._store import ChannelState, Fact, Grant, Open, Raised, Spread, Stored, Totals
from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._budgets._store import View
    from claudetrace._budgets._windows import Window

LONGEST_S = 30.0
APART_S = 5.0


@contextmanager
def view(url: ServerUrl) -> Iterator[View]:
    """As `_connect.view`; raises `ServerError`."""
    link = Link(url)
    try:
        yield PostgresView(link)
    finally:
        link.drop()


class PostgresView:
    """The store in a database. Each question sees it as it is then."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def _look(self, what: str, **said: Any) -> Any:
        return self._link.call("look_v1", {"what": what, **said}, LONGEST_S)

    @cached_property
    def _read(self) -> tuple[list[Stored], dict[str, str]]:
        read, left_out, last = dict[str, Stored](), dict[str, str](), dict[str, int]()
        for budget_id, name, definition, used_at, _ in self._look("budgets", used_after=0) or []:
            # Of one name the shape that was set last.
            if used_at < last.get(name, 0):
                continue
            last[name] = used_at
            try:
                used = datetime.fromtimestamp(used_at, UTC)
                read[name] = Stored(id=budget_id, budget=budget_from(definition), used_at=used)
                left_out.pop(name, None)
            except ClaudetraceError as error:
                left_out[name] = str(error)
                read.pop(name, None)
        return list(read.values()), left_out

    def budgets(self) -> list[Stored]:
        return self._read[0]

    def applied(self) -> list[Budget]:
        """As in `View`. Raises `ClaudetraceError` for one that cannot be used here."""
        found = self._look("budgets", used_after=0) or []
        return [budget_from(definition) for _, _, definition, _, applied in found if applied]

    def unusable(self) -> dict[str, str]:
        return self._read[1]

    def keys(self, each: Stored, window: Window, top: int) -> list[str]:
        return self._look("keys", id=each.id, since=window.since, until=window.until, limit=top) or []

    def totals(self, each: Stored, key: str, window: Window) -> Totals:
        return Totals(*self._look("totals", id=each.id, key=key, since=window.since, until=window.until))

    def grants(self, limit: int) -> list[Grant]:
        return grants_of(self._look("grants", limit=limit))

    def spread(self, each: Stored, window: Window) -> Spread:
        most = {"usd": each.budget.limit_picousd, "calls": each.budget.max_calls}
        counts = self._look("spread", id=each.id, since=window.since, until=window.until, **most)
        return Spread(**dict(zip(("keys", "reached", "blocked_calls"), counts, strict=True)))

    def alerts(self, limit: int) -> list[Raised]:
        found = self._look("alerts", limit=limit) or []
        return [Raised(alert=alert_from(text), delivered=had, channels=are) for text, had, are in found]

    def channels(self, now: float) -> list[ChannelState]:
        found = self._look("channels", after_ms=int((now - GIVE_UP_S) * 1000)) or []
        return [_channel(each) for each in found]

    def open(self) -> list[Open]:
        return [Open(*each) for each in self._look("open") or []]

    def facts(self) -> Iterator[Fact]:
        found = self._look("server")
        yield Fact("server", f"PostgreSQL {found['server']}")
        yield Fact("schema", f"version {found['version']}")
        yield Fact("a crash", "loses nothing" if found["durable"] else "may lose the last second, which is sent again")
        apart_s = time.time() - found["now"]
        finding = "set this host's clock: rows and alerts have its time" if abs(apart_s) > APART_S else None
        yield Fact("clock", f"{apart_s:+.1f} s from the server's", finding)
        if not os.environ.get("CLAUDETRACE_HASH_KEY"):
            told = "not set: hash_tags gives one value another hash on each host; set one on all that use it"
            yield Fact("CLAUDETRACE_HASH_KEY", told)


def grants_of(found: Any) -> list[Grant]:
    """The grants that `look_v1` gives."""
    return [
        Grant(
            budget=each["name"],
            key=each["key"],
            picousd=each["picousd"],
            calls=each["calls"],
            made_at=datetime.fromtimestamp(each["made_at"], UTC),
            made_by=each["made_by"],
            why=each["why"],
            until=_at_s(each["until"]),
            ended_at=_at_s(each["ended_at"]),
            ended_by=each["ended_by"],
        )
        for each in found or []
    ]


def _at_s(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _channel(said: dict[str, Any]) -> ChannelState:
    ((reason, tries, due),) = said["failing"] or [(None, 0, None)]
    return ChannelState(
        name=said["name"],
        delivered_at=_at_ms(said["delivered_ms"]),
        waiting=said["waiting"],
        oldest_at=_at_ms(said["oldest_ms"]),
        error=reason,
        tries=int(tries),
        again_at=_at_ms(due),
    )


def _at_ms(ms: str | int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(int(ms) / 1000, UTC)
