"""The clock that bounds a wait of ours."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A test suite that freezes time replaces `time.monotonic` wherever it stands, and a wait bound by it never ends. Nobody
# replaces the system's own clocks by their number.
monotonic: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_MONOTONIC) if hasattr(time, "clock_gettime") else time.monotonic
)
"""Seconds by a clock that only goes forward, also where a test suite has frozen time."""
