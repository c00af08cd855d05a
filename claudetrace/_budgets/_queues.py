"""`Queues`: calls that wait until running ones settle; of one budget and key, in the order in which they came."""

from __future__ import annotations

import random
from bisect import insort
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

from claudetrace._budgets._records import Claim, Denied
from claudetrace._budgets._refusals import is_retryable
from claudetrace._budgets._steps import answer_of
from claudetrace._budgets._writer import Awaited, Job, Writer
from claudetrace._clock import monotonic
from claudetrace._forks import Forks, watch

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterable

    from claudetrace._budgets._reservation import Reservation
    from claudetrace._budgets._store import Store
    from claudetrace._budgets._totals import Totals

    Place: TypeAlias = tuple[str, str]
    Tried: TypeAlias = list[tuple["Waiter", Denied | None]]

MOST_AT_ONCE = 64
"""So many are tried in one group of the store."""
LOOK_AGAIN_S = 0.1
"""How often the store is asked for room that other processes have made, give or take a half."""


class Waiter(Awaited):
    """A call that may have to wait. It is decided in groups of the store, and woken once that is committed."""

    __slots__ = ("began", "claim", "denied", "error", "gone", "number", "reservation")

    def __init__(self, reservation: Reservation) -> None:
        super().__init__()
        self.reservation = reservation
        self.claim: Claim | None = None
        """What it waits for, `None` where it does not have to."""
        self.denied: Denied | None = None
        """Why it had no room when it was tried last; `None` until then."""
        self.error: Exception | None = None
        self.gone = False
        """Whether nobody waits any more for it to be decided."""
        self.number, self.began = 0, 0.0

    @property
    def left_s(self) -> float:
        """How long it may wait on, for the budget in whose queue it is; 0 once it is decided."""
        return 0.0 if self.done or self.claim is None else self.began + self.claim.budget.wait_s - monotonic()

    def finish(self, denied: Denied | None, error: Exception | None = None) -> None:
        self.denied, self.error = denied, error
        self.wake()


class _Queue(deque[Waiter]):
    """The calls that wait for one budget and key."""

    totals: Totals
    """What the budget had spent and reserved when it was asked last."""


class Queues(Forks):
    """The queues of one process. Those of other processes are not in order with them."""

    def __init__(self, writer: Writer, clock: Callable[[], float]) -> None:
        self._writer, self._clock = writer, clock
        writer.idle = self.idle
        self.after_fork_in_child()
        watch(self)

    def after_fork_in_child(self) -> None:
        # Whoever waits is a thread or a task of the parent.
        self._queues: dict[Place, _Queue] = {}
        self._asked: set[Place] = set()
        self._ask_again: set[Place] = set()
        self._numbers = count(1)
        self._look_at = 0.0

    # On the caller's thread.

    def admit(self, reservation: Reservation) -> Denied | None:
        """Sets aside what the call needs, or gives why it cannot; waits for room as long as its budgets say. Raises
        what the store does."""
        waiter = Waiter(reservation)
        try:
            self._writer.do(partial(self._arrive, waiter))
            while (left_s := waiter.left_s) > 0:
                waiter.wait(left_s)
        finally:
            self._leave(waiter)
        return self._result(waiter)

    async def admit_async(self, reservation: Reservation, loop: AbstractEventLoop) -> Denied | None:
        """As `admit`, while the event loop goes on."""
        waiter = Waiter(reservation)
        try:
            await self._writer.do_async(partial(self._arrive, waiter), loop)
            # When it is time, it may have come to wait for another budget.
            while (left_s := waiter.left_s) > 0:
                await waiter.wait_async(loop, left_s)
        finally:
            self._leave(waiter)
        return self._result(waiter)

    def _leave(self, waiter: Waiter) -> None:
        """The caller waits no more, also where it was interrupted or cancelled."""
        waiter.gone = True
        if waiter.claim is not None:
            waiter.reservation.waited_s = monotonic() - waiter.began
            self.look_at([waiter.claim.place])

    def _result(self, waiter: Waiter) -> Denied | None:
        if waiter.error is not None:
            raise waiter.error
        claim = None if waiter.done else waiter.claim
        if claim is not None and (queue := self._queues.get(claim.place)) is not None:
            # It was not tried, or not lately.
            return Denied(claim, queue.totals)
        return waiter.denied

    # On the thread that serves the store: in a group, which may be tried again, or after its commit.

    def _arrive(self, waiter: Waiter, store: Store) -> None:
        """Tries the call, which then may have to wait. Behind others it is not tried: a small call does not pass a
        large one."""
        self._remove(waiter)
        waiter.claim, waiter.number = None, waiter.number or next(self._numbers)
        for claim in waiter.reservation.claims:
            if claim.budget.wait_s and (queue := self._living(claim.place)):
                waiter.denied = Denied(claim, queue.totals)
                break
        else:
            waiter.denied = answer_of(waiter.reservation.reserve(store))
        self._enqueue(waiter)

    def _enqueue(self, waiter: Waiter) -> bool:
        """Whether the call may wait for what it was denied, where it now does."""
        denied = waiter.denied
        if (
            denied is None
            or not denied.claim.budget.wait_s
            or not is_retryable(denied, *waiter.reservation.needed_in(denied.claim))
        ):
            return False
        self._remove(waiter)
        waiter.claim, waiter.began = denied.claim, waiter.began or monotonic()
        queue = self._queues.setdefault(denied.claim.place, _Queue())
        queue.totals = denied.totals
        insort(queue, waiter, key=attrgetter("number"))
        return True

    def _remove(self, waiter: Waiter) -> None:
        if waiter.claim is not None:
            with suppress(KeyError, ValueError):
                self._queues[waiter.claim.place].remove(waiter)

    def _living(self, place: Place) -> _Queue | None:
        """The queue, without those at its head that nobody waits for any more; `None` where it is empty."""
        queue = self._queues.get(place)
        while queue and (queue[0].gone or queue[0].done):
            queue.popleft()
        if queue is not None and not queue:
            del self._queues[place]
        return queue or None

    def _try(self, places: Iterable[Place], store: Store) -> Tried:
        """Tries those who wait in these queues, each until one has no room."""
        tried: dict[Waiter, Denied | None] = {}
        for place in places:
            for waiter in self._queues.get(place, ()):
                if waiter.gone or waiter.done or waiter in tried:
                    continue
                if len(tried) >= MOST_AT_ONCE:
                    # Others wait for the store, too.
                    break
                waiter.reservation.renew(self._clock())
                denied = tried[waiter] = answer_of(waiter.reservation.reserve(store))
                if denied is not None and denied.claim.place == place:
                    break
        return list(tried.items())

    def _tried(self, places: set[Place], job: Job) -> None:
        """Wakes those who are decided. Where the store fails, that are all."""
        self._asked -= places
        if job.error is not None:
            for waiter in [waiter for place in places for waiter in self._queues.pop(place, ())]:
                waiter.finish(None, job.error)
            return
        for waiter, denied in job.result:
            waiter.denied = denied
            if not self._enqueue(waiter):
                self._remove(waiter)
                waiter.finish(denied)
        again = places & self._ask_again
        self._ask_again -= places
        # Not all were tried, or some have come since behind others that are gone.
        again |= {place for place in places if (queue := self._living(place)) and queue[0] not in dict(job.result)}
        self.look_at(again)

    # On any thread.

    def look_at(self, places: Iterable[Place]) -> None:
        """There may be room in these: those who wait are tried."""
        waited_for = {place for place in places if place in self._queues}
        self._ask_again |= waited_for & self._asked
        new = waited_for - self._asked
        if new:
            self._asked |= new
            self._writer.post(Job(partial(self._try, new), then=partial(self._tried, new)), hurry=True)

    def freed(self, claims: Iterable[Claim], _job: Job | None = None) -> None:
        """A call has settled that had set something aside in these."""
        if self._queues:
            self.look_at(claim.place for claim in claims)

    def idle(self) -> float | None:
        """Looks for the room that other processes have made, if it is time, and gives when it will be again."""
        if not self._queues:
            return None
        now = monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_AGAIN_S * random.uniform(0.5, 1.5)  # noqa: S311 - so that processes do not meet
            self.look_at(list(self._queues))
        return max(0.0, self._look_at - now)
