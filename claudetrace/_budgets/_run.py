"""`Budget(per="run")` as a block: what it may spend, in this process and in memory."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._current import runs as current
from claudetrace._budgets._match import matching
from claudetrace._budgets._refusals import refusal, refuse_unknown
from claudetrace._call import exact_usd, usd
from claudetrace._errors import BudgetExceeded
from claudetrace._forks import Forks, watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from claudetrace._budgets._budget import Budget


class Run(Forks):
    """What one block has spent, has reserved and has left. Any thread or task that began inside it is in it."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._limit = budget.limit_picousd
        self._lock = Lock()
        self._spent = self._reserved = self._held = self._calls = self._reserved_calls = 0
        # A dropped stream settles inside a garbage collection, where no lock may be waited for.
        self._settled: deque[tuple[int, int, int, int, int]] = deque()
        watch(self)

    def reserve(self, picousd: int, calls: int) -> None:
        """Sets so much aside, or raises `BudgetExceeded`."""
        with self._lock:
            self._fold()
            over = self._limit is not None and self._spent + self._reserved + self._held + picousd > self._limit
            most = self.budget.max_calls
            if over or (most is not None and self._calls + self._reserved_calls + calls > most):
                money = (self._spent, self._reserved, self._held, picousd)
                raise refusal(self.budget, money, self._calls + self._reserved_calls, None)
            self._reserved += picousd
            self._reserved_calls += calls

    def settle(self, reserved: tuple[int, int], charged: tuple[int, int], rest_picousd: int) -> None:
        """Exchanges what was reserved, dollars and calls, for what came of it. Takes no lock."""
        held = rest_picousd if self.budget.cut_streams == "bound" else 0
        self._settled.append((*reserved, *charged, held))

    def _fold(self) -> None:
        while self._settled:
            reserved, reserved_calls, charged, calls, held = self._settled.popleft()
            self._reserved -= reserved
            self._reserved_calls -= reserved_calls
            self._spent += charged
            self._calls += calls
            self._held += held

    def _read(self) -> tuple[int, int, int, int]:
        with self._lock:
            self._fold()
            return self._spent, self._reserved, self._calls, self._held

    @property
    def spent_usd(self) -> Decimal:
        """What its calls have cost, exact."""
        return exact_usd(self._read()[0])

    @property
    def reserved_usd(self) -> Decimal:
        """What is set aside for calls that run."""
        return exact_usd(self._read()[1])

    @property
    def held_usd(self) -> Decimal:
        """What its cut streams can still be billed, with `cut_streams="bound"`."""
        return exact_usd(self._read()[3])

    @property
    def left_usd(self) -> Decimal | None:
        """What it may still spend, or `None` without a limit in dollars."""
        spent, reserved, _, held = self._read()
        return usd(None if self._limit is None else max(0, self._limit - spent - reserved - held))

    @property
    def calls(self) -> int:
        """How many of its calls have ended."""
        return self._read()[2]

    def after_fork_in_child(self) -> None:
        # Whoever held it is a thread of the parent.
        self._lock = Lock()


class RunReservation:
    """What one call has set aside in each run that it is in. Settled once; further times change nothing."""

    def __init__(self, runs: list[Run], picousd: int, calls: int) -> None:
        self._runs = deque(runs)
        self._reserved = (picousd, calls)

    def settle(self, picousd: int | None, calls: int | None = None, rest_picousd: int = 0) -> None:
        """Charges what the call cost, or all that was set aside where that is not known, and holds the rest that it
        can cost in runs that want it. Takes no lock."""
        charged = (
            self._reserved[0] if picousd is None else picousd,
            self._reserved[1] if calls is None else calls,
        )
        while self._runs:
            try:
                run = self._runs.popleft()
            except IndexError:
                return
            run.settle(self._reserved, charged, rest_picousd)


def current_runs() -> tuple[Run, ...]:
    """The runs that a call made here is in, the outermost first."""
    return current.get()


def admit_to_runs(
    columns: Mapping[str, Any], picousd: int | None, calls: int = 1, *, bounded: bool = True
) -> RunReservation | None:
    """What the call has set aside in its runs, or `None` outside of any. Raises `BudgetExceeded`, with nothing kept.

    `picousd` is `None` where no price is known, and `bounded` says whether it cannot cost more.
    """
    runs = current.get()
    if not runs:
        return None
    if picousd is None or not bounded:
        budgets = [(run.budget, None) for run in _of(runs, columns)]
        refuse_unknown(budgets, priced=picousd is not None, bounded=bounded)
    needed, admitted = picousd or 0, list[Run]()
    for run in _of(runs, columns):
        try:
            run.reserve(needed, calls)
        except BudgetExceeded:
            RunReservation(admitted, needed, calls).settle(0, 0)
            raise
        admitted.append(run)
    return RunReservation(admitted, needed, calls) if admitted else None


def _of(runs: Iterable[Run], columns: Mapping[str, Any]) -> Iterable[Run]:
    for run in runs:
        for _ in matching((run.budget,), columns):
            yield run


def enter(budget: Budget, frame: int) -> Run:
    """A new run of `budget`, in force until `leave` from the same frame."""
    run = Run(budget)
    current.enter(budget, run, frame)
    return run


def leave(budget: Budget, frame: int) -> None:
    """Ends that run, wherever it was entered."""
    current.leave(budget, frame)
