"""`Share`: what a query of an agent has set aside, of which each of its responses takes its cost."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._admission import reserve_in
from claudetrace._budgets._refusals import exceeded
from claudetrace._call import PICOUSD_PER_USD
from claudetrace._errors import BudgetExceeded
from claudetrace._guard import pass_on
from claudetrace._ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claudetrace._budgets._budgets import Budgets
    from claudetrace._budgets._records import Claim, Denied
    from claudetrace._budgets._reservation import Owned
    from claudetrace._budgets._run import Run
    from claudetrace._budgets._store import Store
    from claudetrace._budgets._writer import Writer

LEAST = 2
"""An agent starts where there is room for this part of what it wants, and not with less."""
MARGIN = 2
"""So many of its most expensive responses must fit into what is left: some are under way when one is known."""


async def open_share(budgets: Budgets, call_id: str, columns: Mapping[str, Any], wanted_picousd: int) -> Share | None:
    """What an agent's query sets aside, as much of what it wants as there is room for; `None` where no budget limits
    it. Raises `BudgetExceeded` where there is hardly any room."""
    if not budgets.concerns(columns):
        return None
    least = wanted_picousd // LEAST
    while True:
        owned = budgets.of_agent(call_id, columns, wanted_picousd)
        try:
            await budgets.admit_async(owned.reservation)
        except BudgetExceeded as error:
            owned.reservation.settled = True
            if not least < (room := _room_of(error)) < wanted_picousd:
                raise
            wanted_picousd = room
        else:
            return Share(owned, budgets.writer, wanted_picousd)


class Share:
    """It was admitted with `owned`. Its methods are called on one thread, and raise nothing but what the host did."""

    def __init__(self, owned: Owned, writer: Writer | None, wanted_picousd: int) -> None:
        reservation = owned.reservation
        self.exceeded: BudgetExceeded | None = None
        """Why the agent has to stop."""
        self._owned, self._writer = owned, writer
        self._claims: Sequence[Claim] = reservation.claims if reservation.asked else ()
        self._runs: Sequence[Run] = reservation.runs
        self._wanted, self._most = wanted_picousd, 0
        self._open = {reservation.call_id: reservation.picousd or 0}
        self._expected: dict[str | None, int] = {}
        """What responses cost at least of which the whole cost is not known yet."""

    @property
    def left_picousd(self) -> int:
        """What its next responses may cost."""
        return sum(self._open.values()) - sum(self._expected.values())

    def expect(self, message_id: str, picousd: int) -> None:
        """A response has begun that costs at least so much."""
        self._expected[message_id] = picousd
        self._look_ahead(picousd)

    def spend(self, row_id: str, message_id: str | None, picousd: int) -> None:
        """A response has cost so much: that is charged, and the rest stays set aside."""
        self._expected.pop(message_id, None)
        opened, rest_id, rest = list(self._open), uuid7(time.time_ns()), max(0, sum(self._open.values()) - picousd)

        def charge(store: Store) -> None:
            store.reserve(row_id, self._claims, picousd, 1, forced=True)
            store.charge(row_id, picousd, 1)
            _release(opened, store)
            store.reserve(rest_id, self._claims, rest, 0, forced=True)

        if self._claims and self._writer is not None:
            self._writer.do(charge)
        for run in self._runs:
            for number, share_id in enumerate(opened):
                run.settle(share_id, 0 if number else picousd, 0 if number else 1, 0)
            run.reserve(rest_id, rest, 0)
        self._owned.reservation.settled = True
        self._open = {rest_id: rest}
        self._look_ahead(picousd)

    def close(self) -> None:
        """Lets go of what is left."""
        opened, self._open = list(self._open), {}
        if self._claims and self._writer is not None and opened:
            self._writer.do(partial(_release, opened))
        self._let_go(*opened)
        self._owned.reservation.settled = True

    def _look_ahead(self, picousd: int) -> None:
        self._most = max(self._most, picousd)
        if self.left_picousd < MARGIN * self._most and self.exceeded is None:
            self._take_more()

    def _take_more(self) -> None:
        """Sets more aside, or as much as there is room for; with too little, the agent has to stop."""
        share_id = uuid7(time.time_ns())
        wanted = self._wanted
        for _ in range(1 + len(self._claims) + len(self._runs)):
            refused = self._reserve(share_id, wanted)
            if refused is None:
                self._open[share_id] = wanted
                return
            room = _room_of(refused)
            if room + self.left_picousd < MARGIN * self._most:
                self.exceeded = refused
                return
            wanted = room

    def _reserve(self, share_id: str, picousd: int) -> BudgetExceeded | None:
        """Why there is no room for so much."""
        try:
            reserve_in(self._runs, share_id, picousd, 0)
        except BudgetExceeded as error:
            pass_on(error)
            return error.with_traceback(None)
        if self._claims and self._writer is not None:
            denied: Denied | None = self._writer.do(lambda store: store.reserve(share_id, self._claims, picousd, 0))
            if denied is not None:
                self._let_go(share_id)
                return exceeded(denied, (picousd, 0), 0.0, time.time())
        return None

    def _let_go(self, *opened: str) -> None:
        """Sets no more aside for these in the runs."""
        for run in self._runs:
            for share_id in opened:
                run.settle(share_id, 0, 0, 0)


def _release(opened: list[str], store: Store) -> None:
    """Sets no more aside for these in the store."""
    for share_id in opened:
        store.charge(share_id, 0, 0)


def _room_of(error: BudgetExceeded) -> int:
    """The picodollars for which a budget that refused still has room."""
    left_usd = None if error.needed_usd is None else error.left_usd
    return 0 if left_usd is None else int(left_usd * PICOUSD_PER_USD)
