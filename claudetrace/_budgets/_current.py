"""The runs that are in force here: apart from what a run is, so that a process without one loads no more than this."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claudetrace._budgets._run import Run

runs: ContextVar[tuple[Run, ...]] = ContextVar("claudetrace_runs", default=())
