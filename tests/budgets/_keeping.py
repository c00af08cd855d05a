"""The budgets' verbs as tests ask for them: a call by its id, its columns and what it needs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from claudetrace._alerts._sender import GIVE_UP_S, LEASE_S
from claudetrace._budgets import _connect
from claudetrace._budgets._budgets import PATIENT_S, Budgets
from claudetrace._budgets._reservation import Reservation
from claudetrace._budgets._status import states
from claudetrace._budgets._writer import nothing
from claudetrace._pricing._upper_bound import Bound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from claudetrace._alerts._alert import Alert, Outgoing
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._status import BudgetState
    from claudetrace._budgets._writer import Writer
    from claudetrace._guard import Guard

TOP = 10


@dataclass(frozen=True)
class Demand:
    """What a call asks for: at most `picousd`, `None` where no price is known."""

    call_id: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    picousd: int | None = None
    bounded: bool = True
    calls: int = 1


class Outbox:
    """The outbox of a store, as a process asks for it."""

    def __init__(self, writer: Writer) -> None:
        self._do = writer.do

    def raise_alert(self, alert: Alert, *, mark: str) -> str | None:
        return self._do(lambda store: store.raise_alert(alert, mark))

    def open_channel(self, channel: str) -> None:
        self._do(lambda store: store.open_channel(channel))

    def claim(self, channel: str, *, lease_s: float = LEASE_S, max_age_s: float = GIVE_UP_S) -> Outgoing | None:
        return self._do(lambda store: store.claim(channel, lease_s, max_age_s))

    def mark_delivered(self, alert_id: str, channel: str) -> None:
        self._do(lambda store: store.mark_delivered(alert_id, channel))

    def mark_failed(self, alert_id: str, channel: str, *, wait_s: float, reason: str) -> None:
        self._do(lambda store: store.mark_failed(alert_id, channel, wait_s, reason))


class Kept(Budgets):
    """The budgets of one process in a store."""

    def __init__(
        self,
        budgets: Sequence[Budget],
        path: Path,
        *,
        guard: Guard,
        clock: Callable[[], float] = time.time,
        **more: Any,
    ) -> None:
        super().__init__(budgets, path, guard=guard, clock=clock, **more)
        self.path = path
        assert self.writer is not None
        self.outbox = Outbox(self.writer)

    def asked(self, demand: Demand) -> Reservation:
        """A reservation with nothing set aside yet."""
        bound = Bound(
            picousd=demand.picousd or 0,
            why_unbounded=None if demand.bounded else "of the test",
            calls=demand.calls,
            priced=demand.picousd is not None,
        )
        return Reservation(demand.call_id, demand.columns, bound)

    def ask(self, demand: Demand) -> Reservation | None:
        """What is set aside for a call, `None` where no budget that blocks is meant. Raises `BudgetExceeded`."""
        reservation = self.asked(demand)
        try:
            self.admit(reservation)
        except BaseException:
            self.settle(reservation)
            raise
        return reservation if reservation.asked else None

    async def ask_async(self, demand: Demand) -> Reservation | None:
        """As `ask`."""
        reservation = self.asked(demand)
        try:
            await self.admit_async(reservation)
        except BaseException:
            # As a call does that is cancelled: the store may have set something aside already.
            self.settle(reservation)
            raise
        return reservation if reservation.asked else None

    def end(self, reservation: Reservation, picousd: int | None, calls: int | None = None) -> None:
        """The call has ended and cost so much."""
        # Said again, as by a process that was taken for dead: the store alone knows.
        reservation.settled = False
        if picousd is None:
            reservation.unknown = True
        else:
            reservation.spent_picousd = picousd
        if calls == 0:
            reservation.admitted = False
        self.settle(reservation)

    def put(self, rows: list[Any]) -> None:
        """Offers rows, and waits until they are counted, unless the store is away."""
        assert self.writer is not None
        self.offers._number += 1
        if (job := self.offers.offer(rows, self.offers._number)) is not None:
            job.wait(0.3 if self.writer.away() else 3)

    def keep_house(self) -> None:
        """What is done once a minute, now."""
        self._store._next = 0.0  # type: ignore[union-attr]
        self.tend()

    def die(self) -> None:
        """As the system does when a process ends, with all that it has reserved."""
        self.flush(10)
        self._store._owner.close(settled=False)  # type: ignore[union-attr]

    def status(self, top: int = TOP) -> list[BudgetState]:
        """As `status_of`, with another try where the store was away."""
        assert self.writer is not None
        self.writer.retry()
        return status_of(self, top)


def status_of(budgets: Budgets, top: int = TOP) -> list[BudgetState]:
    """Each budget of these now, with all that was said before. Raises what the store does."""
    assert budgets.writer is not None
    assert budgets._place is not None
    budgets.writer.do(nothing, PATIENT_S)
    order = [budget.name for budget in budgets.budgets]
    with _connect.view(budgets._place) as view:
        mine = [each for each in view.budgets() if each.budget.name in order]
        found = [state for each in mine for state in states(view, each, budgets._clock(), top)]
    return sorted(found, key=lambda state: order.index(state.budget.name))
