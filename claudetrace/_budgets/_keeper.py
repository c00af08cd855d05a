"""`Keeper`: asked before each call whether the budgets have room for it, and told afterwards what it cost."""

from __future__ import annotations

import sys
import time
from _asyncio import get_running_loop
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from claudetrace import _usable
from claudetrace._alerts._outbox import Outbox
from claudetrace._budgets import _rows
from claudetrace._budgets import _store as store
from claudetrace._budgets._apart import Apart
from claudetrace._budgets._desk import Desk, Job
from claudetrace._budgets._file import StoreFile
from claudetrace._budgets._held import Rest, hold
from claudetrace._budgets._match import matching
from claudetrace._budgets._owners import Owner
from claudetrace._budgets._refusals import StoreUnusable, exceeded, refuse_unknown
from claudetrace._budgets._states import spent, states
from claudetrace._budgets._store import Claim, Ledgers
from claudetrace._budgets._tending import Tending
from claudetrace._budgets._windows import window_of
from claudetrace._clock import WallClock
from claudetrace._guard import is_of_the_host

if TYPE_CHECKING:
    import sqlite3
    from asyncio import Future
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from claudetrace._alerts._alert import Alert
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._states import BudgetState
    from claudetrace._budgets._windows import Window
    from claudetrace._call import Row
    from claudetrace._guard import Guard

ROWS_AT_ONCE = 50
MAX_BACKLOG = 100_000


@dataclass(frozen=True, slots=True)
class Demand:
    """What a call asks for: at most `picousd`, `None` where no price is known; `bounded` if it cannot cost more."""

    call_id: str
    columns: Mapping[str, Any]
    picousd: int | None
    bounded: bool = True
    calls: int = 1


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is set aside for one call, until `Keeper.settle`."""

    call_id: str
    picousd: int
    calls: int
    claims: list[Claim]


class Keeper:
    """Keeps budgets in the store at `path`. Every method may be called on any thread; only `admit` raises."""

    def __init__(
        self,
        budgets: Sequence[Budget],
        path: Path,
        *,
        guard: Guard,
        spent_before: Callable[[Budget, Window], Mapping[str, tuple[int, int]]] | None = None,
        clock: Callable[[], float] = time.time,
        on_alert: Callable[[Alert, str | None], None] | None = None,
    ) -> None:
        self.budgets = tuple(budgets)
        self._blocking = tuple(budget for budget in self.budgets if budget.blocks)
        self._guard = guard
        self._clock = clock
        self._on_alert = on_alert
        self.path = path
        self._ledgers = Ledgers(self.budgets, guard, clock, spent_before)
        self._apart = Apart(self._ledgers)
        self._desk = Desk(StoreFile(path, self._register), guard, self)
        self._owner = Owner(path.with_name(f"{path.name}.owners"))
        self._backlog: list[tuple[int, Row]] = []
        self.outbox = Outbox(self._desk, clock)
        self._tending = Tending(self._desk, self._ledgers, self._owner, self.outbox, WallClock(guard))

    def open(self) -> None:
        """Makes or opens the store now. Raises `ClaudetraceError` or `sqlite3.Error` where it cannot be used."""
        self._desk.do(StoreFile.is_there)

    # What the seam asks and tells.

    def admit(self, demand: Demand) -> Reservation | None:
        """What is set aside for the call in every blocking budget, or in none, and `BudgetExceeded` is raised.
        `None` where no such budget is meant."""
        claims = self._claims(demand)
        if not claims:
            return None
        try:
            denied = self._desk.do(self._reserving(demand, claims))
        except BaseException as error:
            if isinstance(error, Exception) and not is_of_the_host(error):
                # What the store cannot say, the budget's `on_store_error` does.
                return self._without_store(demand, claims, error)
            # An interrupt: whoever is at the desk may still reserve it.
            self._post(demand.call_id, 0, 0)
            raise
        return self._answer(demand, claims, denied)

    async def admit_async(self, demand: Demand) -> Reservation | None:
        """As `admit`, while the event loop goes on; a call that is cancelled meanwhile has nothing set aside.
        Another loop than asyncio's waits."""
        try:
            loop = get_running_loop()
        except RuntimeError:
            return self.admit(demand)
        claims = self._claims(demand)
        if not claims:
            return None
        arrived: Future[Job] = loop.create_future()

        def arrive(job: Job) -> None:
            try:
                loop.call_soon_threadsafe(_arrive, arrived, job)
            except RuntimeError:  # the loop is closed, and its call with it
                self._post(demand.call_id, 0, 0)

        self._desk.post(self._reserving(demand, claims), then=arrive)
        try:
            job = await arrived
        except BaseException:
            self._post(demand.call_id, 0, 0)
            raise
        if job.error is not None:
            return self._without_store(demand, claims, job.error)
        return self._answer(demand, claims, job.result)

    def settle(
        self, reservation: Reservation, picousd: int | None, calls: int | None = None, rests: Sequence[Rest] = ()
    ) -> None:
        """The call has ended: charges what it cost, or the estimate with `None` until its row says more, and holds the
        `rests` that it can cost in budgets that want it. Waits for nothing that the caller may hold, as a stream that a
        garbage collection drops must not; further times change nothing. `calls=0` for a call that never left."""
        if picousd is None or _usable.is_forbidden():
            self._post(reservation.call_id, picousd, calls, sum(rest.picousd for rest in rests))
            return
        call_id, claims, needed = reservation.call_id, reservation.claims, (reservation.picousd, reservation.calls)
        charged = (picousd, reservation.calls if calls is None else calls)

        def act(connection: sqlite3.Connection) -> None:
            for budget, key, window in claims if rests else ():
                where = (self._ledgers.terms[str(budget.name)].id, key, window.slot)
                for rest in rests:
                    hold(connection, budget, where, rest, self._clock())
            store.settle_claims(connection, self._ledgers, call_id, claims, needed, charged)

        self._desk.post(act)

    def hold_batch(self, reservation: Reservation, batch_id: str) -> None:
        """In place of `settle`, for a call that has made a batch: it stays set aside, and each result that is read
        takes its share of it, in whatever process, until the window closes."""
        call_id = reservation.call_id
        if _usable.is_forbidden():
            # Here it stays set aside.
            return
        self._desk.post(lambda connection: connection.execute(_rows.HOLD, (batch_id, call_id)))

    # What the loader offers, on its thread.

    def number_offer(self) -> int:
        """Numbers an offer of rows. On one thread: once before they are in the ledger, and once when they are, so that
        a store that is begun from the ledger between the two counts them, and one begun later does not."""
        self._ledgers.offer_number += 1
        return self._ledgers.offer_number

    def offer(self, rows: Sequence[Row], number: int | None = None) -> None:
        """Takes rows of the ledger into account, each once, however often it is offered. Kept through a fault."""
        number = self.number_offer() if number is None else number
        self._backlog += [(number, row) for row in rows]
        while self._backlog:
            some = self._backlog[:ROWS_AT_ONCE]
            try:
                self._desk.do(partial(self._take, rows=some))
            except Exception as error:  # noqa: BLE001 - they wait, and are told once
                self._guard.caught(f"count rows in the budgets' store {self.path}", error)
                self._limit_backlog()
                break
            del self._backlog[: len(some)]

    def offer_aside(self, rows: Sequence[Row]) -> None:
        """As `offer`, on a thread beside the one that offers and tends; what a fault takes is told and not kept."""
        with self._guard(f"count rows in the budgets' store {self.path}"):
            self._desk.do(partial(self._take, rows=[(sys.maxsize, row) for row in rows]))

    def correct(self, changes: Iterable[tuple[str, int, Row]]) -> None:
        """Adds what rows cost more since they were priced again, each change once by its mark. Raises what the store
        does, with nothing changed."""

        def act(connection: sqlite3.Connection) -> None:
            besides = _rows.others(connection, self._ledgers)
            for mark, picousd, row in changes:
                _rows.correct(connection, self._ledgers, mark, picousd, row, besides)

        self._desk.do(act)

    def _take(self, connection: sqlite3.Connection, *, rows: list[tuple[int, Row]]) -> None:
        besides = _rows.others(connection, self._ledgers)
        for number, row in rows:
            if number < self._ledgers.seeded_in:
                # It had to wait, and is in the ledger from which the store was begun since.
                continue
            connection.execute("SAVEPOINT one_row")
            try:
                _rows.take(connection, self._ledgers, row, besides)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
                connection.execute("ROLLBACK TO one_row")
                self._guard.caught("count a row of the ledger in a budget", error)
            connection.execute("RELEASE one_row")

    def _limit_backlog(self) -> None:
        if (over := len(self._backlog) - MAX_BACKLOG) > 0:
            del self._backlog[:over]
            self._guard.caught("keep every row for the budgets' store", ValueError(f"{over} are not in it"))

    def tend(self) -> None:
        """To be called every second or so, off callers' threads: settles what is left of processes that are gone,
        tries again what a fault of the store kept waiting, forgets what is no longer needed. Never raises."""
        if _usable.is_forbidden() or not (self._desk.used or self.path.exists()):
            return
        with self._guard(f"tend the budgets' store {self.path}"):
            self._desk.retry_kept()
            if self._backlog:
                self.offer(())
            self._tending.step()

    def status(self, top: int = 10) -> list[BudgetState]:
        """Each budget in its window of now; of one for each value of a tag the `top` that spent most. Never raises."""
        now, terms = self._clock(), self._ledgers.terms

        def read(connection: sqlite3.Connection) -> list[BudgetState]:
            each = [states(connection, one, terms[str(one.name)].id, now, top) for one in self.budgets]
            return [state for found in each for state in found]

        try:
            return self._desk.do(read)  # type: ignore[no-any-return]  # what it gives
        except Exception as error:  # noqa: BLE001 - a status is asked for again
            self._guard.caught(f"read the budgets' store {self.path}", error)
            return []

    def spent(self, budget: Budget, key: str, window: Window) -> tuple[int, int]:
        """The picodollars and calls that a budget of these has spent in the window. Raises what the store does."""
        return self._desk.do(lambda c: spent(c, self._ledgers, budget, key, window))  # type: ignore[no-any-return]  # what spent gives

    def close(self) -> None:
        """Settles what waits and lets go of the store. What still runs is for others to settle."""
        with self._guard("close the budgets' store"):
            self._desk.retry_kept()
            settled = not self._desk.used
            if self._desk.used and not _usable.is_forbidden():
                settled = self._desk.do(self._tending.has_nothing_open)
            self._owner.close(settled=settled)
            self._desk.close()

    # What the desk tells.

    def committed(self) -> None:
        self._ledgers.committed()

    def rolled_back(self) -> None:
        self._ledgers.rolled_back()

    def hand_on(self) -> None:
        """Hands on the alerts that are in the outbox now."""
        alerts = self._ledgers.alerts
        while alerts:
            try:
                alert, alert_id = alerts.popleft()
            except IndexError:
                return
            if self._on_alert is not None:
                with self._guard("hand on an alert of a budget"):
                    self._on_alert(alert, alert_id)

    # Inside.

    def _register(self, connection: sqlite3.Connection) -> None:
        self._ledgers.register(connection)
        self.outbox.see_channels(connection)

    def _claims(self, demand: Demand) -> list[Claim]:
        claims: list[Claim] = []
        for budget, key in matching(self._blocking, demand.columns):
            claims.append(Claim(budget, key, window_of(budget.per, budget.timezone, self._clock())))
        if claims and (demand.picousd is None or not demand.bounded):
            resets = [(claim.budget, claim.window.end_at) for claim in claims]
            refuse_unknown(resets, priced=demand.picousd is not None, bounded=demand.bounded)
        return claims

    def _reserving(self, demand: Demand, claims: list[Claim]) -> Callable[[sqlite3.Connection], Any]:
        needed = (demand.picousd or 0, demand.calls)
        return lambda connection: store.reserve(
            connection, self._ledgers, claims, demand.call_id, self._owner.id(), needed
        )

    def _answer(self, demand: Demand, claims: list[Claim], denied: Any) -> Reservation:
        if denied is not None:
            raise exceeded(denied, demand.picousd)
        return Reservation(demand.call_id, demand.picousd or 0, demand.calls, claims)

    def _without_store(self, demand: Demand, claims: list[Claim], error: BaseException) -> Reservation | None:
        """What is set aside where the store is at fault: nothing, unless this process may never open it."""
        if not _usable.is_forbidden():
            self._unusable(claims, error)
            return None
        self._refuse_closed(claims, error)
        doing = f"use the budgets' store {self.path}; this process limits itself by what it knew and what it spends"
        self._guard.caught(doing, OSError(str(error)))
        needed = (demand.picousd or 0, demand.calls)
        return self._answer(demand, claims, self._apart.reserve(claims, demand.call_id, needed))

    def _unusable(self, claims: list[Claim], error: BaseException) -> None:
        """Lets the call pass without a reservation, or stops it, as its budgets say. Its row is counted later."""
        if isinstance(error, Exception):
            self._guard.caught(f"reserve in the budgets' store {self.path}", error)
        self._refuse_closed(claims, error)

    def _refuse_closed(self, claims: list[Claim], error: BaseException) -> None:
        for claim in claims:
            if claim.budget.on_store_error == "closed":
                raise StoreUnusable(claim.budget, str(self.path), error) from None

    def _post(self, call_id: str, picousd: int | None, calls: int | None, rest_picousd: int = 0) -> None:
        if _usable.is_forbidden():
            self._apart.settle(call_id, picousd, calls, rest_picousd)
            return
        self._desk.post(lambda connection: store.settle(connection, self._ledgers, call_id, picousd, calls))


def _arrive(arrived: Future[Job], job: Job) -> None:
    if not arrived.done():
        arrived.set_result(job)
