"""`Budget(per="run")` as a block: what it may spend, in this process and in memory."""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import TYPE_CHECKING, Any

from claudetrace._call import exact_usd, usd
from claudetrace._forks import Forks, watch

if TYPE_CHECKING:
    from decimal import Decimal


class Run(Forks):
    """What a `with Budget(..., per="run")` block has spent and has left. Includes threads and tasks that it started.

    with claudetrace.Budget(usd=0.50, per="run") as run:
        answer = agent(question)
    print(run.calls, run.spent_usd, run.left_usd)
    """

    def __init__(self, budget: Any) -> None:
        self.budget = budget
        """The `Budget`, which makes its runs."""
        self._limit: int | None = budget.limit_picousd
        self._spent = self._held = self._calls = 0
        self._open: dict[str, tuple[int, int]] = {}
        """The dollars and calls that are set aside for each call that runs."""
        # A dropped stream settles inside a garbage collection, where no lock may be waited for.
        self._settled: deque[tuple[str, int | None, int | None, int]] = deque()
        self.after_fork_in_child()
        watch(self)

    def reserve(self, call_id: str, picousd: int, calls: int) -> tuple[int, int, int, int] | None:
        """Sets so much aside, or gives what leaves no room for it: dollars spent, reserved and held, and calls."""
        with self._lock:
            self._fold()
            before = self._sums()
            # First set aside and then looked at, so that a signal handler's call in between sees it.
            self._open[call_id] = picousd, calls
            spent, reserved, now_calls, held = self._sums()
            most = self.budget.max_calls
            over = self._limit is not None and spent + reserved + held > self._limit
            if over or (most is not None and now_calls > most):
                del self._open[call_id]
                return before[0], before[1], before[3], before[2]
        return None

    def charge(self, call_id: str, picousd: int, calls: int) -> None:
        """A call that was made elsewhere has cost so much, whether there was room for it or not."""
        with self._lock:
            self._open[call_id] = picousd, calls
        self.settle(call_id, picousd, calls, 0)

    def settle(self, call_id: str, picousd: int | None, calls: int | None, rest_picousd: int) -> None:
        """Charges what came of the call in place of what was set aside for it, that with `None`, and holds the rest
        that it can cost. Takes no lock. Further times change nothing, nor does a call with nothing set aside."""
        self._settled.append((call_id, picousd, calls, rest_picousd))

    def _sums(self) -> tuple[int, int, int, int]:
        """Dollars spent and reserved, calls ended and running, dollars held."""
        opened = list(self._open.values())
        return (
            self._spent,
            sum(picousd for picousd, _ in opened),
            self._calls + sum(calls for _, calls in opened),
            self._held,
        )

    def _fold(self) -> None:
        while self._settled:
            call_id, picousd, calls, rest_picousd = self._settled.popleft()
            if (reserved := self._open.pop(call_id, None)) is not None:
                self._spent += reserved[0] if picousd is None else picousd
                self._calls += reserved[1] if calls is None else calls
                self._held += rest_picousd if self.budget.cut_streams == "bound" else 0

    def _read(self) -> tuple[int, int, int]:
        with self._lock:
            self._fold()
            spent, reserved, _, held = self._sums()
            return spent, reserved, held

    @property
    def spent_usd(self) -> Decimal:
        """What its calls have cost in US dollars, exact."""
        return exact_usd(self._read()[0])

    @property
    def reserved_usd(self) -> Decimal:
        """What is set aside for running calls, in US dollars."""
        return exact_usd(self._read()[1])

    @property
    def held_usd(self) -> Decimal:
        """What may still be billed for interrupted streams, in US dollars, with `cut_streams="bound"`."""
        return exact_usd(self._read()[2])

    @property
    def left_usd(self) -> Decimal | None:
        """What it may still spend, in US dollars; `None` if only the number of calls is limited."""
        return usd(None if self._limit is None else max(0, self._limit - sum(self._read())))

    @property
    def calls(self) -> int:
        """The number of its calls that have ended."""
        self._read()
        return self._calls

    def after_fork_in_child(self) -> None:
        # Whoever held it is a thread of the parent. It is one that a signal handler's call can take once more.
        self._lock = RLock()
