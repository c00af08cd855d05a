"""`Budget(per="run")` as a block: what it may spend, in this process and in memory."""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._totals import Totals
from claudetrace._call import exact_usd, usd
from claudetrace._entries import Blocks
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
        self._ended = Totals()
        self._open: dict[str, tuple[int, int]] = {}
        """The dollars and calls that are set aside for each call that runs."""
        # A dropped stream settles inside a garbage collection, where no lock may be waited for.
        self._settled: deque[tuple[str, int | None, int | None, int]] = deque()
        self.after_fork_in_child()
        watch(self)

    def after_fork_in_child(self) -> None:
        # Whoever held it is a thread of the parent. It is one that a signal handler's call can take once more.
        self._lock = RLock()

    def reserve(self, call_id: str, picousd: int, calls: int) -> Totals | None:
        """Sets so much aside, or gives what leaves no room for it."""
        with self._lock:
            before = self.totals()
            # First set aside and then looked at, so that a signal handler's call in between sees it.
            self._open[call_id] = picousd, calls
            now, most = self.totals(), self.budget.max_calls
            over = self._limit is not None and now.used_picousd > self._limit
            if over or (most is not None and now.used_calls > most):
                del self._open[call_id]
                return before
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

    def totals(self) -> Totals:
        """What it has spent, reserved and held."""
        with self._lock:
            while self._settled:
                call_id, picousd, calls, rest_picousd = self._settled.popleft()
                if (reserved := self._open.pop(call_id, None)) is not None:
                    spent = reserved[0] if picousd is None else picousd, reserved[1] if calls is None else calls
                    held = rest_picousd if self.budget.cut_streams == "bound" else 0
                    self._ended = self._ended.plus(Totals(*spent, held_picousd=held))
            opened = list(self._open.values())
            return self._ended.plus(Totals(0, 0, sum(each for each, _ in opened), sum(each for _, each in opened)))

    @property
    def spent_usd(self) -> Decimal:
        """What its calls have cost in US dollars, exact."""
        return exact_usd(self.totals().picousd)

    @property
    def reserved_usd(self) -> Decimal:
        """What is set aside for running calls, in US dollars."""
        return exact_usd(self.totals().reserved_picousd)

    @property
    def held_usd(self) -> Decimal:
        """What may still be billed for interrupted streams, in US dollars, with `cut_streams="bound"`."""
        return exact_usd(self.totals().held_picousd)

    @property
    def left_usd(self) -> Decimal | None:
        """What it may still spend, in US dollars; `None` if only the number of calls is limited."""
        return usd(None if self._limit is None else max(0, self._limit - self.totals().used_picousd))

    @property
    def calls(self) -> int:
        """The number of its calls that have ended."""
        return self.totals().calls


runs: Blocks[Run, tuple[Run, ...]] = Blocks("claudetrace_runs", tuple)
"""The runs that are in force here."""
