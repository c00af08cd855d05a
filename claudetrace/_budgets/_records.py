"""The records that a budgets' store takes and gives, whatever keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from claudetrace._alerts._alert import Alert
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._totals import Totals
    from claudetrace._budgets._windows import Window
    from claudetrace._guard import Guard


class StoreError(ClaudetraceError):
    """The store cannot be used now, as where it is locked, full or away. Nothing of the group was done."""

    may_be_done = False
    """Whether it is still to be seen what was done: the store has not answered in time."""


class Claim(NamedTuple):
    """A budget that a call is under, in one window."""

    budget: Budget
    key: str
    window: Window

    @property
    def place(self) -> tuple[str, str]:
        """Whose limit it is, in whatever window."""
        return str(self.budget.name), self.key

    def at(self, now: float) -> Claim:
        """The same in the window of now."""
        return self._replace(window=self.budget.window(now))


class Part(NamedTuple):
    """What a call sets aside under one id: all of it, or what the items of a batch that are for the same need."""

    call_id: str
    claims: list[Claim]
    picousd: int
    calls: int


class Charged(NamedTuple):
    """What a call has cost: dollars and calls, `None` for what was set aside; and what its cut streams can cost."""

    picousd: int | None
    calls: int | None
    rests: tuple[Rest, ...]

    @property
    def held(self) -> int:
        return sum(rest.picousd for rest in self.rests)


class Denied(NamedTuple):
    """Which claim did not hold, and why."""

    claim: Claim
    totals: Totals


class Rest(NamedTuple):
    """What the cut stream of one row can be billed beyond the usage that was seen."""

    row_id: str
    at: float
    picousd: int


class Grant(NamedTuple):
    """Room on top of a limit, which somebody on call gave to one window."""

    budget: str
    key: str
    picousd: int
    calls: int
    made_at: datetime
    made_by: str
    why: str
    until: datetime | None
    """When it ends before its window does."""
    ended_at: datetime | None = None
    ended_by: str | None = None
    """Who took it back; nobody where its time was up."""


class Opening(NamedTuple):
    """What a store is opened with."""

    budgets: tuple[Budget, ...]
    guard: Guard
    clock: Callable[[], float]
    spent_before: Callable[[Budget, Window], Mapping[str, tuple[int, int]]]
    """By each key, the picodollars and calls that a new budget begins with."""
    saw: Callable[[str, str, int, Totals], None]
    """Told of each counter that the store has read or changed: the budget's name, the key, the slot, what it holds."""
    on_alert: Callable[[Alert, str], None]
    """Told of each alert that the store has raised by itself, with its id, once that is committed."""


# What is read of it from outside.


class Stored(NamedTuple):
    """A budget as the store holds it, as it was set last."""

    id: int
    budget: Budget
    used_at: datetime
    """When a program with this budget was last started."""


class Spread(NamedTuple):
    """How many values of a tag have spent something of theirs, how many of them all, and how many calls of theirs were
    stopped."""

    keys: int
    reached: int
    blocked_calls: int


class Raised(NamedTuple):
    """An alert with how many of the channels that it is for have had it."""

    alert: Alert
    delivered: int
    channels: int


class ChannelState(NamedTuple):
    """A channel on the wire that some program has: what waits for it, and why its last try failed."""

    name: str
    delivered_at: datetime | None
    waiting: int
    oldest_at: datetime | None
    error: str | None
    tries: int
    again_at: datetime | None


class Open(NamedTuple):
    """What one call has set aside."""

    call_id: str
    picousd: int
    owner: str
    """The process that made the call; empty for a batch."""
    owner_is_gone: bool


class Fact(NamedTuple):
    """One thing to know of a store, and what is wrong with it, if anything."""

    name: str
    said: str
    finding: str | None = None
