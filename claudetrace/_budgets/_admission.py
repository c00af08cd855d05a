"""`Admission`: lets a call through that its budgets have room for, and settles it when it has ended."""

from __future__ import annotations

from _asyncio import _get_running_loop
from functools import partial
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._match import matching, untagged
from claudetrace._budgets._queues import Queues
from claudetrace._budgets._records import Denied, StoreError
from claudetrace._budgets._refusals import exceeded, refusal, refuse_unknown, refuse_untagged, unusable
from claudetrace._budgets._run import Run, runs
from claudetrace._budgets._writer import Job, Writer
from claudetrace._clock import monotonic
from claudetrace._guard import Guard, pass_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._local import Local
    from claudetrace._budgets._reservation import Reservation
    from claudetrace._budgets._store import Store

USUAL_OF = 8
"""Over about how many calls it is averaged how long they run."""


class Admission:
    """Admits calls to `budgets`, which block, and to the runs around them. Without a `writer` there are only runs."""

    def __init__(
        self, budgets: Sequence[Budget], writer: Writer | None, local: Local, guard: Guard, clock: Callable[[], float]
    ) -> None:
        self.budgets, self._local, self._guard, self._clock = budgets, local, guard, clock
        if writer is not None:
            self._writer, self.queues = writer, Queues(writer, clock)
        self._usual_s = 0.0
        """How long calls run, the last ones above all."""

    def admit(self, reservation: Reservation, *, may_wait: bool = True) -> None:
        """Sets aside what the call needs in every budget. Raises `BudgetExceeded`, with nothing set aside."""
        if not self._prepare(reservation):
            return
        try:
            for act in self._telling():
                self._writer.do(act)
            # On the thread of an event loop it would hold up all that runs there.
            if may_wait and reservation.may_wait and _get_running_loop() is None:
                denied = self.queues.admit(reservation)
            else:
                denied = self._writer.do(reservation.reserve)
        except Exception as error:  # noqa: BLE001 - what the store cannot say, the budget's `on_store_error` does
            pass_on(error)
            denied = self._without_store(reservation, error)
        self._answer(reservation, denied)

    async def admit_async(self, reservation: Reservation) -> None:
        """As `admit`, while the event loop goes on. Another loop than asyncio's waits for the store, never for room."""
        if (loop := _get_running_loop()) is None:
            self.admit(reservation, may_wait=False)
            return
        if not self._prepare(reservation):
            return
        try:
            for act in self._telling():
                await self._writer.do_async(act, loop)
            if reservation.may_wait:
                denied = await self.queues.admit_async(reservation, loop)
            else:
                denied = await self._writer.do_async(reservation.reserve, loop)
        except Exception as error:  # noqa: BLE001 - as in `admit`
            pass_on(error)
            denied = self._without_store(reservation, error)
        self._answer(reservation, denied)

    def settle(self, reservation: Reservation) -> None:
        """The call has ended: what it cost takes the place of what was set aside. Waits for no lock; further times
        change nothing."""
        if reservation.settled:
            return
        charged = reservation.charged()
        for run in reservation.runs:
            # In a run a batch costs what it may cost at most: its results may be read elsewhere, or never.
            run.settle(
                reservation.call_id, None if reservation.batch_id else charged.picousd, charged.calls, charged.held
            )
        if reservation.asked:
            if reservation.locally or self._writer.away():
                for part in reservation.reserved():
                    self._local.settle(part, charged)
            if not self._writer.store.is_lost:
                freed = partial(self.queues.freed, reservation.claims)
                self._writer.post(Job(partial(reservation.settle, charged), keep=True, then=freed))
            if reservation.admitted:
                self._usual_s += (monotonic() - reservation.since - self._usual_s) / USUAL_OF
        reservation.settled = True

    def _prepare(self, reservation: Reservation) -> bool:
        """Whether a store has to be asked. Sets aside what the call needs in its runs."""
        found, columns = reservation.bound, reservation.columns
        bounded = found.why_unbounded is None
        reservation.runs = runs_of(columns)
        reserve_in(reservation.runs, reservation.call_id, reservation.picousd, found.calls, bounded=bounded)
        reservation.claim(self.budgets, self._clock())
        for part, (each, bound) in zip(reservation.parts, reservation.items, strict=True):
            refuse_untagged(untagged(self.budgets, each))
            refuse_unknown(part.claims, priced=bound.priced, bounded=bound.why_unbounded is None)
        reservation.asked = bool(reservation.claims)
        reservation.admitted = not reservation.asked
        return reservation.asked

    def _telling(self) -> Iterable[Callable[[Store], None]]:
        """What the store hears first, where it is there again: of the calls that were let through without it."""
        return self._local.telling() if self._local.is_used else ()

    def _answer(self, reservation: Reservation, denied: Denied | None) -> None:
        """Raises `BudgetExceeded` where there is no room."""
        if denied is not None:
            # Where nobody waits any more for an answer, the store may still set it aside.
            reservation.asked = (reservation.locally and reservation.asked) or reservation.waited_s is not None
            picousd, calls = reservation.needed_in(denied.claim)
            needed = None if reservation.picousd is None else picousd, calls
            raise exceeded(denied, needed, self._usual_s, self._clock())
        reservation.admitted, reservation.since = True, monotonic()

    def _without_store(self, reservation: Reservation, error: Exception) -> Denied | None:
        name = self._writer.store.name
        doing = f"reserve in the budgets' store {name}; this process limits itself by what it knew and what it spends"
        self._guard.caught(doing, error)
        # What has failed has set nothing aside. There is nothing to settle where the call is stopped, either.
        reservation.asked = isinstance(error, StoreError) and error.may_be_done
        for claim in reservation.claims:
            if claim.budget.on_store_error == "closed":
                raise unusable(claim.budget, claim.key, name, error) from None
        reservation.locally = True
        for done, part in enumerate(reservation.parts):
            if (denied := self._local.reserve(part, self._writer.store.peers)) is not None:
                for undone in reservation.parts[:done]:
                    self._local.withdraw(undone.call_id)
                return denied
        reservation.asked = True
        return None


def runs_of(columns: Mapping[str, Any]) -> list[Run]:
    """The runs around this that a call with these columns is in."""
    return [run for run in runs.get() for _ in matching((run.budget,), columns)]


def reserve_in(
    entered: Sequence[Run], call_id: str, picousd: int | None, calls: int = 1, *, bounded: bool = True
) -> None:
    """Sets aside what the call may cost, in each of these runs. Raises `BudgetExceeded`, with nothing set aside.

    `picousd` is `None` where no price is known, and `bounded` says whether it cannot cost more.
    """
    refuse_unknown([(run.budget, "", None) for run in entered], priced=picousd is not None, bounded=bounded)
    for run in entered:
        if (full := run.reserve(call_id, picousd or 0, calls)) is not None:
            for admitted in entered:
                admitted.settle(call_id, 0, 0, 0)
            raise refusal(run.budget, full, picousd or 0)
