"""Stores by their names: opened, changed by commands, and looked at through a `View`, without the budgets in code."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._alerts._alert import alert_from
from claudetrace._alerts._sender import GIVE_UP_S
from claudetrace._budgets._budget import Budget, budget_from
from claudetrace._budgets._records import ChannelState, Fact, Grant, Open, Opening, Raised, Spread, Stored
from claudetrace._budgets._totals import Totals
from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._budgets._store import Store
    from claudetrace._budgets._windows import Window

    StoreName: TypeAlias = str | Path | ServerUrl

KINDS: Mapping[str, str] = {"": "_sqlite", "postgresql": "_postgres"}
"""The implementations, by what a name has before `://`. Each has `OwnStore`, `view` and `changing`."""


class View:
    """Reads by `look`, which takes what is asked for and by which values. It changes nothing."""

    def __init__(self, look: Callable[..., Any], facts: Callable[[], Iterator[Fact]]) -> None:
        self._look = look
        self.facts = facts
        """How the store itself is."""

    @cached_property
    def _read(self) -> tuple[dict[str, Stored], dict[str, str]]:
        read, left_out, last = dict[str, Stored](), dict[str, str](), dict[str, int]()
        for budget_id, name, definition, used_at, _ in self._look("budgets", used_after=0) or []:
            # Of one name the shape that was set last.
            if used_at < last.get(name, 0):
                continue
            last[name] = used_at
            read.pop(name, None)
            left_out.pop(name, None)
            try:
                read[name] = Stored(budget_id, budget_from(definition), datetime.fromtimestamp(used_at, UTC))
            except ClaudetraceError as error:
                left_out[name] = str(error)
        return read, left_out

    def budgets(self) -> list[Stored]:
        """Each budget by its name, as it was set last, in the order in which they came."""
        return list(self._read[0].values())

    def find(self, name: str, store: object) -> Stored:
        """The budget of that name. Raises `ClaudetraceError`, which names those that are in the `store`."""
        if name not in self._read[0]:
            there = ", ".join(map(repr, self._read[0])) or "none"
            raise ClaudetraceError(f"there is no budget {name!r} in {store}; there is {there}")
        return self._read[0][name]

    def unusable(self) -> dict[str, str]:
        """The budgets that cannot be used here and are left out of `budgets`, each with the reason."""
        return self._read[1]

    def applied(self) -> list[Budget]:
        """Those that an administrator has set, which no program can change. Raises `ClaudetraceError` for one that
        cannot be used here."""
        found = self._look("budgets", used_after=0) or []
        return [budget_from(definition) for _, _, definition, _, applied in found if applied]

    def keys(self, each: Stored, window: Window, top: int) -> list[str]:
        """The values of the budget's tag that spent most."""
        span = {"since": window.since, "until": window.until, "start": window.start, "end": window.end}
        return self._look("keys", id=each.id, limit=top, **span) or []

    def totals(self, each: Stored, key: str, window: Window) -> Totals:
        """What is spent, reserved and held in the window."""
        return Totals(*self._look("totals", id=each.id, key=key, since=window.since, until=window.until))

    def grants(self, limit: int) -> list[Grant]:
        """The last grants, also those that have ended, the newest first."""
        return grants_of(self._look("grants", limit=limit))

    def spread(self, each: Stored, window: Window) -> Spread:
        """How the values of a budget's tag stand in the window."""
        most = {"usd": each.budget.limit_picousd, "calls": each.budget.max_calls}
        return Spread(*self._look("spread", id=each.id, since=window.since, until=window.until, **most))

    def alerts(self, limit: int) -> list[Raised]:
        """The last alerts, the newest first."""
        found = self._look("alerts", limit=limit) or []
        return [Raised(alert_from(text), delivered, channels) for text, delivered, channels in found]

    def channels(self, now: float) -> list[ChannelState]:
        """Each channel that programs on this store have, or had. Alerts too old to be sent any more do not wait."""
        return [_channel(each) for each in self._look("channels", after_ms=int((now - GIVE_UP_S) * 1000)) or []]

    def open(self) -> list[Open]:
        """What calls have set aside now."""
        return [Open(*each) for each in self._look("open") or []]


def grants_of(found: Any) -> list[Grant]:
    """The grants that a store says."""
    moments = ("made_at", "until", "ended_at")
    return [
        Grant._make(_at(each[name]) if name in moments else each[name] for name in Grant._fields)
        for each in found or []
    ]


def _channel(said: dict[str, Any]) -> ChannelState:
    ((reason, tries, due),) = said["failing"] or [(None, 0, None)]
    moments = (said["delivered_ms"], said["oldest_ms"], due)
    delivered, oldest, again = (None if ms is None else _at(int(ms) / 1000) for ms in moments)
    return ChannelState(said["name"], delivered, said["waiting"], oldest, reason, int(tries), again)


def _at(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def open_store(name: StoreName, opening: Opening) -> Store:
    """The store of that name, which its first group makes or opens."""
    return _kind(name).OwnStore(name, opening)  # type: ignore[no-any-return]  # as each of them does


def view(name: StoreName) -> AbstractContextManager[View]:
    """What the store holds now; nothing is changed. Raises `ClaudetraceError` where there is none, and `sqlite3.Error`
    where its file is broken."""
    return _kind(name).view(name)  # type: ignore[no-any-return]  # as each of them does


def exists(name: StoreName) -> bool:
    """Whether there is such a store. A server may be asked."""
    return _scheme(name) != "" or Path(str(name)).exists()


def changing(name: StoreName, *, wholly: bool = False) -> AbstractContextManager[Any]:
    """What a command changes the store by, all or nothing: `look`, as a `View` has it, and `do`, which takes a step.
    `wholly`: nothing stays of what was there before. Raises as `view` does, and where a file cannot be rid of it."""
    return _kind(name).changing(name, wholly=wholly)  # type: ignore[no-any-return]  # as each of them does


def _kind(name: StoreName) -> Any:
    return import_module(f"claudetrace._budgets.{KINDS[_scheme(name)]}")


def _scheme(name: StoreName) -> str:
    """What is before `://`, nothing where it is a file."""
    scheme, found, _ = str(name).partition("://")
    return scheme if found else ""
