"""What budgets ask of a store, whatever keeps it: the verbs, and the records that they take and give.

A store is shared by processes, and for PostgreSQL by hosts. `_connect` finds its implementation by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from claudetrace._alerts._alert import Alert, Outgoing
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._windows import Window
    from claudetrace._call import Row
    from claudetrace._guard import Guard


class StoreError(ClaudetraceError):
    """The store cannot be used now, as where it is locked, full or away. Nothing of the group was done."""

    may_be_done = False
    """Whether it is still to be seen what was done: the store has not answered in time."""


class Sums(NamedTuple):
    """What a counter holds, in picodollars and calls. What is held for cut streams counts as reserved."""

    picousd: int = 0
    calls: int = 0
    reserved_picousd: int = 0
    reserved_calls: int = 0
    granted_picousd: int = 0
    granted_calls: int = 0

    def plus(self, *more: int) -> Sums:
        return Sums(*map(sum, zip_longest(self, more, fillvalue=0)))


class Claim(NamedTuple):
    """A budget that a call is under, in one window."""

    budget: Budget
    key: str
    window: Window


class Totals(NamedTuple):
    """What a budget has spent, reserved and held in its window."""

    picousd: int
    calls: int
    reserved_picousd: int
    reserved_calls: int
    oldest_slot: int | None = None
    held_picousd: int = 0
    granted_picousd: int = 0
    granted_calls: int = 0
    blocked_calls: int = 0

    def limited(self, budget: Budget) -> Budget:
        """The budget with what was granted on top of its limit."""
        return budget.raised(self.granted_picousd, self.granted_calls)


class Denied(NamedTuple):
    """Which claim did not hold, and why."""

    claim: Claim
    totals: Totals


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


class Later:
    """An answer that a store gives best once its group has ended: it then asks for all of them at once."""

    __slots__ = ()

    @property
    def answer(self) -> Denied | None:
        """Which budget had no room."""
        raise NotImplementedError


def answer_of(given: Any) -> Any:
    """What was given, or the answer that is given later."""
    return given.answer if isinstance(given, Later) else given


class Rest(NamedTuple):
    """What the cut stream of one row can be billed beyond the usage that was seen."""

    row_id: str
    at: float
    picousd: int


class Opening(NamedTuple):
    """What a store is opened with."""

    budgets: tuple[Budget, ...]
    guard: Guard
    clock: Callable[[], float]
    spent_before: Callable[[Budget, Window], Mapping[str, tuple[int, int]]]
    """By each key, the picodollars and calls that a new budget begins with."""
    saw: Callable[[str, str, int, Sums], None]
    """Told of each counter that the store has read or changed: the budget's name, the key, the slot, what it holds."""
    on_alert: Callable[[Alert, str], None]
    """Told of each alert that the store has raised by itself, with its id, once that is committed."""


class Store(Protocol):
    """The budgets of one process in a store. One thread at a time uses it, and each verb inside a `group`."""

    name: str
    """Where it is, without a secret."""
    down_s: float
    """How long callers are told that it is away without another try of theirs, so that it does not delay each."""

    @property
    def is_lost(self) -> bool:
        """Whether this process may never use it again."""

    @property
    def peers(self) -> int:
        """How many processes set something aside in it, this one among them, as far as can be told without it."""

    def group(self, patience_s: float) -> AbstractContextManager[None]:
        """All that is done inside, or nothing. Waits at most `patience_s` for other processes. Raises `StoreError`."""

    def mend(self, error: StoreError) -> bool:
        """Whether the store was at fault and is made anew, so that the group can be tried again at once."""

    # Charges.

    def reserve(
        self, call_id: str, claims: Sequence[Claim], picousd: int, calls: int, *, forced: bool = False
    ) -> Denied | Later | None:
        """Sets so much aside for the call in every budget, or in none and says which had no room. `forced`: also
        where there is no room. A call that is known already changes nothing."""

    def withdraw(self, call_id: str) -> None:
        """What was set aside for the call in this group was not."""

    def charge(self, call_id: str, picousd: int | None, calls: int | None, rests: Sequence[Rest] = ()) -> None:
        """The call has ended: charges what its owner says that it cost, in place of what is set aside for it; with
        `None` what its rows say, else what is set aside. Once; holds the `rests` in budgets that want it."""

    def hold_batch(self, call_id: str, batch_id: str) -> None:
        """The call has made a batch: what is set aside stays so until its results are offered."""

    def offer(self, rows: Iterable[Row]) -> None:
        """Counts rows of the ledger, each once, unless their call's owner accounts for them."""

    def correct(self, changes: Iterable[tuple[str, int, Row]]) -> None:
        """Adds what rows cost more since they were priced again, each change once by its mark."""

    def totals(self, budget: Budget, key: str, window: Window) -> Totals:
        """What a budget has spent, reserved, held and been granted in the window."""

    def grants(self, budget: Budget, key: str, window: Window) -> list[Grant]:
        """The grants that are in force in the window."""

    def block(self, claim: Claim, calls: int) -> int:
        """Counts calls that the budget has stopped; gives how many it has in the window."""

    def use(self, budgets: tuple[Budget, ...]) -> None:
        """Takes these in place of those that it was opened with."""

    # Housekeeping.

    def keep_house(self) -> bool:
        """One short step: settles for processes that are gone, forgets what is old. Whether there is more to do."""

    def checkpoint(self) -> None:
        """Whatever else keeps the store quick and may take long. Outside of a group, on any one thread."""

    # The alerts' outbox.

    def raise_alert(self, alert: Alert, mark: str) -> str | None:
        """The new alert's id, or `None` where its budget has fired `mark` already, in this or another process."""

    def open_channel(self, channel: str) -> None:
        """Remembers since when there is this channel, the first time: it gets what is raised from then on."""

    def claim(self, channel: str, lease_s: float, max_age_s: float) -> Outgoing | None:
        """The oldest alert that `channel` has not had, that is due and not too old; nobody else's for `lease_s`."""

    def mark_delivered(self, alert_id: str, channel: str) -> None:
        """Never again through this channel."""

    def mark_failed(self, alert_id: str, channel: str, wait_s: float, reason: str) -> None:
        """Due again after `wait_s`, counted as a try."""

    # The process.

    def pause(self, timeout_s: float) -> bool:
        """Before a fork, with nobody inside a group: whether nothing of the store's is open now."""

    def resume(self) -> None:
        """After a fork that it was paused for, in the parent."""

    def inherited(self, *, paused: bool, in_use: bool) -> None:
        """In a forked child: leaves to the parent what is the parent's. `in_use`: a thread was inside a group."""

    def close(self) -> None:
        """Lets go of the store. The next group opens it again; what is still set aside is for others to settle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A budget as the store holds it, as it was set last."""

    id: int
    budget: Budget
    used_at: datetime
    """When a program with this budget was last started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How many values of a tag have spent something of theirs, how many of them all, and how many calls of theirs were
    stopped."""

    keys: int
    reached: int
    blocked_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An alert with how many of the channels that it is for have had it."""

    alert: Alert
    delivered: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
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


class View(Protocol):
    """A store as it is at one moment, to be read by anybody, without the budgets in code."""

    def budgets(self) -> list[Stored]:
        """Each budget by its name, as it was set last, in the order in which they came."""

    def applied(self) -> list[Budget]:
        """Those that an administrator has set, which no program can change."""

    def unusable(self) -> dict[str, str]:
        """The budgets that cannot be used here and are left out of `budgets`, each with the reason."""

    def keys(self, each: Stored, window: Window, top: int) -> list[str]:
        """The values of the budget's tag that spent most."""

    def totals(self, each: Stored, key: str, window: Window) -> Totals:
        """What is spent, reserved and held in the window."""

    def grants(self, limit: int) -> list[Grant]:
        """The last grants, also those that have ended, the newest first."""

    def spread(self, each: Stored, window: Window) -> Spread:
        """How the values of a budget's tag stand in the window."""

    def alerts(self, limit: int) -> list[Raised]:
        """The last alerts, the newest first."""

    def channels(self, now: float) -> list[ChannelState]:
        """Each channel that programs on this store have, or had. Alerts too old to be sent any more do not wait."""

    def open(self) -> list[Open]:
        """What calls have set aside now."""

    def facts(self) -> Iterator[Fact]:
        """How the store itself is."""
