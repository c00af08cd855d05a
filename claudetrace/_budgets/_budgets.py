"""`Budgets`: asked before each call whether there is room for it, told afterwards what it cost, and of every row."""

from __future__ import annotations

import atexit
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import ref

from claudetrace._alerts._rules import Rules
from claudetrace._alerts._sender import EXIT_S, Sender
from claudetrace._budgets import _connect
from claudetrace._budgets._admission import Admission
from claudetrace._budgets._local import Local
from claudetrace._budgets._match import ALL, matching, untagged
from claudetrace._budgets._offers import Offers
from claudetrace._budgets._records import Claim, Opening
from claudetrace._budgets._reservation import Owned, Reservation, items_of
from claudetrace._budgets._run import runs
from claudetrace._budgets._status import Observed
from claudetrace._budgets._writer import PATIENCE_S, Writer, nothing
from claudetrace._clock import monotonic
from claudetrace._exit import LEAST_S, exit_left_s
from claudetrace._forks import Forks, is_before_forks, watch
from claudetrace._pricing._upper_bound import UNRESERVED, Bound, bound
from claudetrace._worker import Chores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from claudetrace._alerts._alert import Alert
    from claudetrace._alerts._channel import Channel
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._connect import StoreName
    from claudetrace._budgets._store import Store
    from claudetrace._budgets._totals import Totals
    from claudetrace._budgets._windows import Window
    from claudetrace._call import Row
    from claudetrace._errors import BudgetExceeded
    from claudetrace._guard import Guard
    from claudetrace._pricing._terms import Terms

PATIENT_S, FRESH_S = 10.0, 30.0
OF_AGENT = "an agent's responses are not known before it makes them"


class Budgets(Forks):
    """The budgets of one `instrument()`, with their alerts; without a store only runs are limited. Every method may be
    called on any thread; only `open`, `admit` and `correct` raise."""

    def __init__(
        self,
        budgets: Sequence[Budget] = (),
        store: StoreName | None = None,
        channels: Sequence[Channel] = (),
        *,
        guard: Guard,
        spent_before: Callable[[Budget, Window], Mapping[str, tuple[int, int]]] | None = None,
        clock: Callable[[], float] = time.time,
        of_store: bool = False,
    ) -> None:
        self.budgets, self._guard, self._clock = tuple(budgets), guard, clock
        self._of_store, self._again_at = of_store, 0.0
        self._blocking = tuple(budget for budget in self.budgets if budget.blocks) if store is not None else ()
        self._place, self._closed = store, False
        self.after_fork_in_child()
        watch(self)
        self._local = Local()
        self._chores = Chores(guard, "look after the budgets")
        self._store: Store | None = None
        self.writer: Writer | None = None
        self.offers = Offers(guard, spent_before)
        self.count = self.offers.count
        if store is not None:
            opening = Opening(self.budgets, guard, clock, self.offers.seed, self._local.saw, self._raised)
            self._store = _connect.open_store(store, opening)
            self.writer = self.offers.writer = Writer(self._store, guard)
        self._admission = Admission(self._blocking, self.writer, self._local, guard, clock)
        self.admit, self.admit_async = self._admission.admit, self._admission.admit_async
        self.settle = self._admission.settle
        self.sender = Sender(channels, guard=guard, writer=self.writer)
        asked = (None, None) if self.writer is None else (self.totals, self._block)
        self.rules = Rules(self.budgets, self.sender.raise_alert, *asked, guard=guard, clock=clock)
        self.observed = Observed(self.budgets, store, guard)
        if store is not None or channels:
            # Before the loader's own, so that it runs after: what the last rows say is still counted.
            atexit.register(self._close_at_exit)

    def after_fork_in_child(self) -> None:
        # What runs is the parent's to settle.
        self._running: dict[ref[Owned], Reservation] = {}
        self._dropped: deque[ref[Owned]] = deque()

    def start(self) -> None:
        """Opens the store, so that what is wrong with it is told now and not at a call. Never raises."""
        if is_before_forks():
            # Each worker opens it for itself.
            return
        if self._store is not None:
            with self._guard(f"open the budgets' store {self._store.name}"):
                self.open()
        with self._guard("start the sender of alerts"):
            self.sender.start()

    def open(self) -> None:
        """Makes or opens the store now. Raises `ClaudetraceError` where it cannot be used."""
        self._take_from_store()
        self._ask(nothing, PATIENT_S)

    def _take_from_store(self) -> None:
        """Takes the budgets that are set in the store, if that is where they are from, as they are now. Raises what
        reading it does."""
        if self._place is None or not self._of_store or monotonic() < self._again_at:
            return
        self._again_at = monotonic() + FRESH_S
        with _connect.view(self._place) as view:
            set_ = view.applied()
        # One that is the same stays the same object: calls that run are under it.
        found = tuple(next((each for each in self.budgets if each == budget), budget) for budget in set_)
        if found != self.budgets and self._store is not None:
            self.budgets = self.rules.budgets = found
            self._blocking = self._admission.budgets = tuple(budget for budget in found if budget.blocks)
            self.observed.names = [budget.name for budget in found]
            self._ask(lambda store: store.use(found), PATIENT_S)

    # What the recorder asks and tells.

    def concerns(self, columns: Mapping[str, Any], *, has_items: bool = False) -> bool:
        """Whether a call with these columns has to be admitted. What bills nothing is never stopped; a batch's results
        are charged as rows, to what the batch has set aside. `has_items`: of which each may be for somebody else."""
        if columns["operation"] in UNRESERVED:
            return False
        if has_items and self._blocking:
            return True
        if runs.get() or next(matching(self._blocking, columns), None) is not None:
            return True
        return any(budget.untagged == "block" for budget in untagged(self._blocking, columns))

    def reservation(
        self,
        call_id: str,
        columns: Mapping[str, Any],
        body: Mapping[str, Any],
        terms: Terms,
        *,
        has_middleware: bool,
        columns_of: Callable[[str | None], Mapping[str, Any]] | None = None,
    ) -> Owned:
        """What a request needs, with nothing set aside yet. `columns_of`: those of an item of a batch, where they are
        its own. Never raises."""
        self._settle_dropped()
        day = columns["started_at"][:10]
        if columns_of is not None and (items := items_of(body, terms, columns_of, self._blocking, day)):
            reservation = Reservation(call_id, columns, items[0][1].plus(*(bound for _, bound in items[1:])))
            reservation.items = items
        else:
            model, operation = columns.get("model_requested"), columns["operation"]
            found = bound(body, operation=operation, model=model, terms=terms, day=day, has_middleware=has_middleware)
            reservation = Reservation(call_id, columns, found)
        for of, needed in reservation.items:
            # A model without a price is told as that, if its budget wants it told.
            if needed.why_unbounded is not None and needed.priced:
                for budget, key in matching(self._blocking, of):
                    self.rules.note_unbounded(budget, key, needed.why_unbounded)
        return self._owned(reservation)

    def of_agent(self, call_id: str, columns: Mapping[str, Any], picousd: int) -> Owned:
        """As `reservation`, of so much, for an agent that makes its requests by itself."""
        for budget, key in matching(self._blocking, columns):
            self.rules.note_unbounded(budget, key, OF_AGENT)
        return self._owned(Reservation(call_id, columns, Bound(picousd=picousd, why_unbounded=OF_AGENT, calls=0)))

    def _owned(self, reservation: Reservation) -> Owned:
        owned = Owned(reservation)
        # Called by the interpreter alone: no signal handler runs in it, whose exception would go nowhere.
        self._running[ref(owned, self._dropped.append)] = reservation
        return owned

    def note_blocked(self, error: BudgetExceeded) -> None:
        """Has the call counted that was stopped like this. A run's are known to who entered it."""
        budget = next((each for each in self.budgets if each.name == error.budget), None)
        if budget is not None and all(run.budget.name != error.budget for run in runs.get()):
            self.rules.note_blocked(Claim(budget, error.key or ALL, budget.window(self._clock())), error.why())

    def _settle_dropped(self) -> None:
        """Settles calls that nobody has any more, as where a signal handler interrupted their end."""
        # Each is forgotten last: this may be interrupted too, or run on two threads.
        for owned in list(self._dropped):
            if (reservation := self._running.get(owned)) is not None:
                # What it cost nobody has said, if nothing was recorded of it.
                reservation.unknown = reservation.unknown or not reservation.heard
                self.settle(reservation)
            self._running.pop(owned, None)
            with suppress(ValueError):
                self._dropped.remove(owned)

    # What the loader offers, on its thread.

    def count_aside(self, rows: list[Row]) -> None:
        """As `count`, for rows of the meter that this one replaces, on that one's thread."""
        if not self._closed:
            self.offers.count_aside(rows)

    def correct(self, changes: Iterable[tuple[str, int, Row]]) -> None:
        """Adds what rows cost more since they were priced again, each change once by its mark. Raises `StoreError`,
        with nothing changed."""
        self._ask(lambda store: store.correct(changes), PATIENT_S)

    def look(self, rows: list[Row]) -> None:
        """Looks for what to alert of in rows that are in the ledger."""
        self._chores.do(lambda: self.rules.rows(rows))

    def tick(self, lost: int = 0) -> None:
        """To be called every second or so: looks after alerts and the store, off the caller's thread."""
        if not self._chores.behind:
            self._chores.do(self.tend)
            self._chores.do(lambda: self.rules.tick(lost))

    def tend(self) -> None:
        """Tries again what a fault of the store kept waiting, and has it kept in order. Never raises."""
        self._settle_dropped()
        if self.writer is None or self._store is None or self._place is None or self._store.is_lost or self._closed:
            return
        if not (self.writer.used or _connect.exists(self._place)):
            return
        with self._guard(f"tend the budgets' store {self._store.name}"):
            self._take_from_store()
            self.writer.retry()
            while self.writer.do(lambda store: store.keep_house(), PATIENT_S, tries=True):
                continue
            self._store.checkpoint()

    def totals(self, budget: Budget, key: str, window: Window) -> Totals:
        """What a budget of these has spent in the window. Raises what the store does."""
        return self._ask(lambda store: store.totals(budget, key, window))  # type: ignore[no-any-return]  # what it gives

    def _block(self, claim: Claim, calls: int) -> int:
        return self._ask(lambda store: store.block(claim, calls), PATIENT_S)  # type: ignore[no-any-return]  # what it gives

    def settle_all(self, timeout_s: float) -> bool:
        """Whether what was settled before is in the store. Blocks at most `timeout_s`."""
        self._settle_dropped()
        return self.writer is None or self.writer.flush(timeout_s)

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was handed over before is counted and looked at. Blocks at most `timeout_s`."""
        until = monotonic() + timeout_s
        done = self._chores.wait(timeout_s)
        return self.settle_all(until - monotonic()) and done

    def close(self, timeout_s: float = EXIT_S) -> None:
        """Ends its threads, after `timeout_s` at the latest, and lets go of the store. What still runs is settled when
        it ends."""
        until = monotonic() + timeout_s
        atexit.unregister(self._close_at_exit)
        self._chores.end(timeout_s / 2)
        self._closed = True
        self.sender.close(until - monotonic())
        self._settle_dropped()
        if self.writer is not None:
            self.writer.retry()
            self.writer.close(max(LEAST_S, until - monotonic()))

    def _close_at_exit(self) -> None:
        self.close(min(EXIT_S, exit_left_s()))

    # Inside.

    def _ask(self, act: Callable[[Store], Any], patience_s: float = PATIENCE_S) -> Any:
        return None if self.writer is None else self.writer.do(act, patience_s)

    def _raised(self, alert: Alert, stored_as: str) -> None:
        self.sender.send(alert, stored_as)
