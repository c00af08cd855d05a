"""Processes that come from processes: each call of parent and child is in the one ledger exactly once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from claudetrace._demo._server import PlayServer

from ._running import Ending, run_all, run_worker


def test_no_fork_loses_a_call(server: PlayServer, tmp_path: Path) -> None:
    """Parents and children call before, during and after a fork, and end softly or hard: 0 lost, 0 twice."""
    calls = {
        "fork_os_exit": 200,
        "fork_sigkill": 200,
        "fork_while_a_thread_waits": 261,
        "fork_before_any_call": 200,
        "mp_fork": 240,
        "mp_forkserver": 140,
        "mp_spawn": 140,
    }
    endings = run_all({name: partial(run_worker, name, tmp_path / name, server.url) for name in calls})

    assert endings == {name: Ending(0, count, 0, 0) for name, count in calls.items()}
