"""A call that has returned is in the ledger exactly once, however its process ended."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

from claudetrace._demo._server import PlayServer

from ._running import Ending, run_all, run_worker


def test_no_ending_of_a_process_loses_a_call(server: PlayServer, tmp_path: Path) -> None:
    """200 calls in a burst, then each way to end at once: all are there, none twice."""
    statuses = {
        "normal": 0,
        "exception": 1,
        "sys_exit": 3,
        "sigterm": -signal.SIGTERM,
        "sigint": -signal.SIGINT,
        "sigkill": -signal.SIGKILL,
        "sigterm_handled": 0,
        "os_exit": 0,
        "asyncio_run": 0,
        "pool_at_exit": 0,
        "later_atexit": 0,
        "after_uninstrument": -signal.SIGKILL,
    }
    endings = run_all({name: partial(run_worker, name, tmp_path / name, server.url) for name in statuses})

    assert endings == {name: Ending(status, 200, 0, 0) for name, status in statuses.items()}


def test_a_process_killed_amid_calls_loses_none_that_returned(server: PlayServer, tmp_path: Path) -> None:
    """Killed from outside in the midst of a burst, or ended under a daemon thread that calls: 0 lost, 0 twice."""
    kills = {"endless": (signal.SIGKILL, signal.SIGTERM), "daemon_thread": (None,)}
    endings = run_all(
        {
            f"{name} {kill}": partial(run_worker, name, tmp_path / f"{name}{kill}", server.url, kill)
            for name, signals in kills.items()
            for kill in signals
        }
    )

    assert {name: (ending.lost, ending.twice) for name, ending in endings.items()} == dict.fromkeys(endings, (0, 0))
    assert min(ending.acknowledged for ending in endings.values()) >= 100
