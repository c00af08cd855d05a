"""What budgets ask of a store: the verbs, said in steps. A file and a server each do the steps in their way.

A store is shared by processes, and for PostgreSQL by hosts. `_connect` finds its implementation by its name.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from claudetrace._alerts._alert import Alert, Outgoing, alert_from, alert_text
from claudetrace._alerts._rules import mark_of, threshold_alert
from claudetrace._budgets._budget import Budget, budget_from
from claudetrace._budgets._steps import Asked, Ids, Step, correcting, settling, taking
from claudetrace._budgets._totals import Totals
from claudetrace._budgets._windows import ROLLING, Window
from claudetrace._clock import monotonic
from claudetrace._ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from claudetrace._budgets._records import Claim, Denied, Opening, Rest, StoreError
    from claudetrace._call import Row

MOST_TOLD = 100_000
SOME = 200
"""So many rows are settled or forgotten at once, so that no caller notices."""
KEEP_S = 35 * 86_400
"""Rows are offered within moments; one of a machine that was off comes late. What is forgotten too early is charged
twice at worst, never not at all."""
KEEP_STEPS_S, KEEP_COUNTERS_S = 86_400, 400 * 86_400
"""Steps of a rolling window say nothing once they are out of it; windows that are over are history to look at."""
UNSEEN_S = 7 * 86_400
"""Longer than an alert waits to be sent: who has a channel again by then misses nothing."""
RESULTS_S = 29 * 86_400
"""How long the API keeps the results of a batch."""
OTHERS_S = 35 * 86_400
"""How long after its last program a budget still counts what others spend."""


class Store(ABC):
    """The budgets of one process in a store. One thread at a time uses it, and each verb inside a `group`."""

    name: str
    """Where it is, without a secret."""
    down_s: float
    """How long callers are told that it is away without another try of theirs, so that it does not delay each."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._ids = Ids(())
        self._mine: dict[int, Budget] = {}
        self._others: tuple[float, list[Any]] = 0.0, []
        """When it was last looked which budgets there are, and what was found."""
        self._channels: dict[str, None] = {}
        """Those that this process has."""
        self._told: set[tuple[str | None, str]] = set()
        """Thresholds that are known to be told of, so that the store is not asked again."""
        self._telling: list[tuple[Alert, str, str | None]] = []
        """What the group says of thresholds, each with its mark and its id: true once it is committed."""

    # What each implementation does in its way.

    @property
    def is_lost(self) -> bool:
        """Whether this process may never use it again."""
        return False

    @property
    @abstractmethod
    def peers(self) -> int:
        """How many processes set something aside in it, this one among them, as far as can be told without it."""

    @abstractmethod
    def group(self, patience_s: float) -> AbstractContextManager[None]:
        """All that is done inside, or nothing. Waits at most `patience_s` for other processes. Raises `StoreError`."""

    @abstractmethod
    def _add(self, step: Step) -> Denied | Asked | None:
        """Does the step, by the end of the group at the latest."""

    @abstractmethod
    def _now(self, step: Step, *, durable: bool = False) -> Any:
        """What the step is answered, after those before it."""

    @abstractmethod
    def _look(self, what: str, **said: Any) -> Any:
        """What the store says, as to a `View`, after the steps before."""

    def mend(self, error: StoreError) -> bool:  # noqa: ARG002 - of interest to some
        """Whether the store was at fault and is made anew, so that the group can be tried again at once."""
        return False

    @abstractmethod
    def keep_house(self) -> bool:
        """One short step: settles for processes that are gone, forgets what is old. Whether there is more to do."""

    def checkpoint(self) -> None:  # noqa: B027 - nothing to do for some
        """Whatever else keeps the store quick and may take long. Outside of a group, on any one thread."""

    def use(self, budgets: tuple[Budget, ...]) -> None:  # noqa: B027 - as above
        """Takes these in place of those that it was opened with, where an administrator sets them."""

    def pause(self, timeout_s: float) -> bool:  # noqa: ARG002 - of interest to some
        """Before a fork, with nobody inside a group: whether nothing of the store's is open now."""
        return True

    def resume(self) -> None:  # noqa: B027 - as above
        """After a fork that it was paused for, in the parent."""

    @abstractmethod
    def inherited(self, *, paused: bool, in_use: bool) -> None:
        """In a forked child: leaves to the parent what is the parent's. `in_use`: a thread was inside a group."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the store. The next group opens it again; what is still set aside is for others to settle."""

    # Charges.

    def reserve(
        self, call_id: str, claims: Sequence[Claim], picousd: int, calls: int, *, forced: bool = False
    ) -> Denied | Asked | None:
        """Sets so much aside for the call in every budget, or in none and says which had no room. `forced`: also
        where there is no room. A call that is known already changes nothing."""
        said = {"do": "reserve", "call": call_id, "usd": picousd, "calls": calls}
        step = Step(said, self._in_time(claims))
        return self._add(step.again() if forced else step)

    def withdraw(self, call_id: str) -> None:
        """What was set aside for the call in this group was not."""
        self._now(Step({"do": "withdraw", "call": call_id}))

    def charge(self, call_id: str, picousd: int | None, calls: int | None, rests: Sequence[Rest] = ()) -> None:
        """The call has ended: charges what its owner says that it cost, in place of what is set aside for it; with
        `None` what its rows say, else what is set aside. Once; holds the `rests` in budgets that want it."""
        self._add(settling(call_id, picousd, calls, rests, self._reserved(call_id)))

    def hold_batch(self, call_id: str, batch_id: str) -> None:
        """The call has made a batch: what is set aside stays so until its results are offered."""
        self._add(Step({"do": "hold_batch", "call": call_id, "batch": batch_id}))

    def offer(self, rows: Iterable[Row]) -> None:
        """Counts rows of the ledger, each once, unless their call's owner accounts for them."""
        budgets = self._budgets()
        for row in rows:
            if row.get("error_type") == "BudgetExceeded":
                continue
            step = None
            with self._opening.guard("count a row of the ledger in a budget"):
                step = taking(row, budgets)
            if step is not None:
                self._add(step)

    def correct(self, changes: Iterable[tuple[str, int, Row]]) -> None:
        """Adds what rows cost more since they were priced again, each change once by its mark."""
        budgets = self._budgets()
        for mark, picousd, row in changes:
            self._add(correcting(mark, picousd, row, budgets))

    def totals(self, budget: Budget, key: str, window: Window) -> Totals:
        """What a budget has spent, reserved, held and been granted in the window."""
        return Totals(*self._look("totals", id=self._ids.of(budget), key=key, since=window.since, until=window.until))

    def block(self, claim: Claim, calls: int) -> int:
        """Counts calls that the budget has stopped; gives how many it has in the window."""
        return self._now(Step({"do": "block", "calls": calls}, self._in_time([claim])))  # type: ignore[no-any-return]  # a count

    def _in_time(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """The claims by the store's clock."""
        return claims

    def _reserved(self, call_id: str) -> Step | None:  # noqa: ARG002 - of interest to some
        """What is set aside for the call, where the store may have lost it."""
        return None

    def now(self) -> float:
        """The store's time."""
        return self._opening.clock()

    # Budgets.

    def _registered(self, mine: list[tuple[Budget, int]]) -> None:
        """The store knows these now."""
        self._mine = {budget_id: budget for budget, budget_id in mine}
        self._ids, self._others = Ids(mine), (0.0, [])
        self._told.clear()

    def _budgets(self, fresh_s: float = 0.0) -> list[Budget]:
        """Those of this process, and those of others on this store, as of a release that is being rolled out: what
        this process spends counts in them as well. Others' are as they were `fresh_s` ago at most."""
        looked_at, before = self._others
        if not looked_at or monotonic() - looked_at >= fresh_s:
            found = self._look("budgets", used_after=int(self.now() - OTHERS_S)) or []
            self._others = monotonic(), found
            if found != before:
                known = self._ids.budgets
                others = {each[0]: self._other(each, before, known) for each in found if each[0] not in self._mine}
                both = {**self._mine, **others}
                self._ids = Ids([(budget, budget_id) for budget_id, budget in both.items() if budget is not None])
        return list(self._ids.budgets.values())

    def _other(self, found: Any, before: list[Any], known: dict[int, Budget]) -> Budget | None:
        """A budget of another program; `None` where it cannot be used here, which is told."""
        budget_id, name, definition, *_ = found
        if budget_id in known and any(each[0] == budget_id and each[2] == definition for each in before):
            # The same stays the same object: calls that run are under it.
            return known[budget_id]
        with self._opening.guard(f"count calls in the budget {name!r} of another program"):
            return budget_from(definition)
        return None

    # Thresholds.

    def _saw(self, counters: Iterable[tuple[int, str, int, Totals, Totals]]) -> None:
        """Remembers counters, each with what its window holds, and puts an alert into the outbox for each threshold
        that one has passed, once in its window across all processes."""
        due: list[tuple[Alert, str, bool]] = []
        for budget_id, key, slot, counter, found in counters:
            # A process whose budget it is tells it, and nobody where it was removed.
            if (budget := self._mine.get(budget_id)) is not None:
                self._opening.saw(str(budget.name), key, slot, counter)
                due += self._passed(budget, key, slot, found)
        for alert, mark, silent in due:
            self._telling.append((alert, mark, self.raise_alert(alert, mark, silent=silent)))

    def _passed(self, budget: Budget, key: str, slot: int, found: Totals) -> list[tuple[Alert, str, bool]]:
        """An alert of each threshold that nobody is known to have told of, with its mark and whether it is silent: of
        several the highest alone is told."""
        limited = budget.raised(found)
        limit, most = limited.limit_picousd, limited.max_calls
        part = max(found.picousd / limit if limit else 0.0, found.calls / most if most else 0.0)
        passed = [threshold for threshold in budget.thresholds if threshold <= part]
        due: list[tuple[Alert, str, bool]] = []
        for threshold in passed:
            mark = mark_of(limited, f"threshold {threshold:g}", slot, key, of_limit=True)
            if (budget.name, mark) not in self._told:
                now = self.now()
                window = budget.window(now if budget.per.startswith(ROLLING) else slot)
                alert = threshold_alert(limited, key, window, threshold, (found.picousd, found.calls), now)
                due.append((alert, mark, threshold != passed[-1]))
        return due

    def _committed(self) -> None:
        """What was told of thresholds is known from now on, and handed on."""
        if len(self._told) > MOST_TOLD:
            self._told.clear()
        telling, self._telling = self._telling, []
        for alert, mark, alert_id in telling:
            self._told.add((alert.budget, mark))
            if alert_id is not None:
                with self._opening.guard("hand on an alert of a budget"):
                    self._opening.on_alert(alert, alert_id)

    # The alerts' outbox.

    def raise_alert(self, alert: Alert, mark: str, *, silent: bool = False) -> str | None:
        """The new alert's id, or `None` where its budget has fired `mark` already, in this or another process, and
        where it only fires, `silent`."""
        said: dict[str, Any] = {"budget": alert.budget or "", "mark": mark, "forget_at": _forget_at(alert, self.now())}
        said |= {"id": uuid7(time.time_ns()), "alert": alert_text(alert), "at_ms": int(alert.at.timestamp() * 1000)}
        if silent:
            said["silent"] = True
        return self._now(Step({"do": "raise", **said}), durable=True)  # type: ignore[no-any-return]  # the id

    def open_channel(self, channel: str) -> None:
        """Remembers since when there is this channel, the first time: it gets what is raised from then on."""
        self._channels[channel] = None
        self._now(Step({"do": "see", "channels": [channel]}), durable=True)

    def claim(self, channel: str, lease_s: float, max_age_s: float) -> Outgoing | None:
        """The oldest alert that `channel` has not had, that is due and not too old; nobody else's for `lease_s`."""
        if channel not in self._channels:
            self.open_channel(channel)
        lease = {"lease_ms": int(lease_s * 1000), "max_age_ms": int(max_age_s * 1000)}
        found = self._now(Step({"do": "claim", "channel": channel, **lease}))
        return None if found is None else Outgoing(found[0], alert_from(found[1]), found[2])

    def mark_delivered(self, alert_id: str, channel: str) -> None:
        """Never again through this channel."""
        self._now(Step({"do": "delivered", "id": alert_id, "channel": channel}), durable=True)

    def mark_failed(self, alert_id: str, channel: str, wait_s: float, reason: str) -> None:
        """Due again after `wait_s`, counted as a try."""
        said = {"id": alert_id, "channel": channel, "wait_ms": wait_s * 1000, "reason": reason}
        self._now(Step({"do": "failed", **said}))


def _forget_at(alert: Alert, now: float) -> int | None:
    """When what was told is forgotten; a threshold of a window without an end never is."""
    if alert.window_end is None:
        return None if alert.kind == "threshold" else int(now) + KEEP_S
    return int(max(now, alert.window_end.timestamp())) + KEEP_S
