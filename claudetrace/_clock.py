"""Clocks that no test suite freezes, to bound our waits; and whether somebody has set the wall clock."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._guard import Guard

STEP_S = 60.0
"""How far the wall clock may move by itself: what is less is no reason to keep what is old."""
DAY_S = 86_400.0

# A test suite that freezes time replaces `time.monotonic` wherever it stands, and a wait bound by it never ends. Nobody
# replaces the system's own clocks by their number.
monotonic: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_MONOTONIC) if hasattr(time, "clock_gettime") else time.monotonic
)
"""Seconds by a clock that only goes forward, also where a test suite has frozen time."""
_boot: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else monotonic
)
"""Seconds since the machine began, those in which it slept included."""


class WallClock:
    """Whether the wall clock keeps pace with the boot clock, since this was made. It does not once somebody sets it;
    a machine that slept is no such case."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._apart_s = time.time() - _boot()
        self._departed_at: float | None = None

    def may_delete(self) -> bool:
        """Whether what is old by the wall clock may go: the clocks have agreed for a day, or always. Tells a no."""
        now = _boot()
        jump_s = time.time() - now - self._apart_s
        if abs(jump_s) > STEP_S:
            self._departed_at = now
            told = (
                f"the wall clock was set {abs(jump_s):,.0f} s {'forward' if jump_s > 0 else 'back'} while this program "
                "ran; nothing is deleted until it has been right again for a day, or the program is started again"
            )
            self._guard.caught("tell what is old enough to be deleted", ClaudetraceError(told))
        return self._departed_at is None or now - self._departed_at >= DAY_S
