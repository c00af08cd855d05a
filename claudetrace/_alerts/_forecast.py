"""Forecasts the spend of a window at its present pace, and decides whether that deserves an alert."""

from __future__ import annotations

from collections import OrderedDict
from math import isqrt
from typing import TYPE_CHECKING

from claudetrace._budgets._windows import CALENDAR

if TYPE_CHECKING:
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._windows import Window

LEAST_CALLS = 20
LEAST_ELAPSED_S = 300
LEAST_SHARE = 10
"""An alert waits for the 10th part of the window."""
MOST_KEPT = 10_000


def forecast(budget: Budget, amount: int, window: Window, now: float) -> int | None:
    """What `amount`, in picodollars or calls, will be at the end of the window at the pace since its start. `None` for
    windows without a fixed end: `total` and rolling ones."""
    if budget.per not in CALENDAR or window.end is None or not window.start < now < window.end:
        return None
    elapsed = max(1, int(now - window.start))
    return amount * (window.end - window.start) // elapsed


class Forecasts:
    """Judges whether a budget is on course to pass its limit.

    The forecast is what is spent, and for the rest of the window the lower of two paces. One is that since the
    window's start, less twice its uncertainty: of n calls, a share of 2/√n may be chance. The other is the latest
    pace, over the last quarter or so of the time that has passed, where this process has watched that long: a burst
    that is over is not spent again. Neither is judged before a tenth of the window, five minutes and 20 calls.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], list[tuple[float, int, int]]] = OrderedDict()

    def passes(self, budget: Budget, key: str, window: Window, now: float, spent: tuple[int, int]) -> bool:
        """Whether the forecast exceeds a limit that `spent`, picodollars and calls, has not reached."""
        latest = self._latest(budget, key, window, now, spent)
        if budget.per not in CALENDAR or window.end is None or spent[1] < LEAST_CALLS:
            return False
        elapsed, left = int(now) - window.start, window.end - int(now)
        if elapsed < max(LEAST_ELAPSED_S, (window.end - window.start) // LEAST_SHARE) or left <= 0:
            return False
        limits = (budget.limit_picousd, budget.max_calls)
        return any(
            limit is not None and amount < limit < amount + _cautious(amount, spent[1], elapsed, left, latest, which)
            for which, (amount, limit) in enumerate(zip(spent, limits, strict=True))
        )

    def _latest(
        self, budget: Budget, key: str, window: Window, now: float, spent: tuple[int, int]
    ) -> tuple[int, tuple[int, int]] | None:
        """The seconds that were watched lately and what was spent in them."""
        samples = self._seen.setdefault((str(budget.name), key), [])
        self._seen.move_to_end((str(budget.name), key))
        if len(self._seen) > MOST_KEPT:
            self._seen.popitem(last=False)
        if samples and samples[0][0] < window.start:
            samples.clear()
        elapsed = now - window.start
        if not samples or now - samples[-1][0] > elapsed / 4:
            samples.append((now, *spent))
            del samples[:-2]
        since, picousd, calls = samples[0]
        if now - since < max(1.0, elapsed / 10):
            return None
        return int(now - since), (max(0, spent[0] - picousd), max(0, spent[1] - calls))


def _cautious(
    amount: int, calls: int, elapsed: int, left: int, latest: tuple[int, tuple[int, int]] | None, which: int
) -> int:
    """What the rest of the window adds at the slower of the two paces."""
    # 1 - 2/√n in thousandths, with the root rounded down.
    sure = max(0, 1000 - 2_000_000 // max(1, isqrt(calls * 1_000_000)))
    whole = amount * sure * left // (1000 * elapsed)
    return whole if latest is None else min(whole, latest[1][which] * left // latest[0])
