"""A fork in the wrong moment leaves no process without limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _asking import COST_USD, HELLO, block, state, until

from claudetrace._demo import _answers
from tests.processes._running import outside_pytest

if TYPE_CHECKING:
    from claudetrace._demo._server import PlayServer


def test_a_child_forked_while_the_store_is_locked_is_limited(server: PlayServer, db: Path, start: Any) -> None:
    """It makes its half of what was left at the fork, says so once, and its calls are in the store afterwards."""
    server.add(_answers.answer(HELLO, times=None))
    command = [sys.executable, str(Path(__file__).with_name("_forking.py")), str(db), server.url]
    ran = subprocess.run(command, env=outside_pytest(), capture_output=True, text=True, timeout=60, check=True)
    child, made = ran.stdout.split()

    # 4 calls of 10 were known to be spent, and the other half of the rest is its parent's.
    assert made in {"2", "3"}, "whether the call that waited was known at the fork"
    told = [line for line in ran.stderr.splitlines() if line.startswith(child) and "limits itself" in line]
    assert len(told) == 1, ran.stderr
    start(budgets=[block(max_calls=10)])
    until(
        lambda: (
            (state().spent_calls, state().spent_usd, state().reserved_calls)
            == (5 + int(made), (5 + int(made)) * COST_USD, 0)
        )
    )
