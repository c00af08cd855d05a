"""`Budget(per="run")` as a block: what it may spend, in this process and in memory."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

from claudetrace._call import exact_usd, usd
from claudetrace._forks import Forks, watch

if TYPE_CHECKING:
    from decimal import Decimal


class Run(Forks):
    """What one block has spent, has reserved and has left. Any thread or task that began inside it is in it."""

    def __init__(self, budget: Any) -> None:
        self.budget = budget
        """The `Budget`, which makes its runs."""
        self._limit: int | None = budget.limit_picousd
        self._lock = Lock()
        self._spent = self._reserved = self._held = self._calls = self._reserved_calls = 0
        # A dropped stream settles inside a garbage collection, where no lock may be waited for.
        self._settled: deque[tuple[int, int, int, int, int]] = deque()
        watch(self)

    def reserve(self, picousd: int, calls: int) -> tuple[int, int, int, int] | None:
        """Sets so much aside, or gives what leaves no room for it: dollars spent, reserved and held, and calls."""
        with self._lock:
            self._fold()
            over = self._limit is not None and self._spent + self._reserved + self._held + picousd > self._limit
            most = self.budget.max_calls
            if over or (most is not None and self._calls + self._reserved_calls + calls > most):
                return self._spent, self._reserved, self._held, self._calls + self._reserved_calls
            self._reserved += picousd
            self._reserved_calls += calls
        return None

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
