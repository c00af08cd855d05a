"""The runs that are in force here: apart from what a run is, so that a process without one loads no more than this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._entries import Blocks

if TYPE_CHECKING:
    from claudetrace._budgets._run import Run

runs: Blocks[Run, tuple[Run, ...]] = Blocks("claudetrace_runs", tuple)
