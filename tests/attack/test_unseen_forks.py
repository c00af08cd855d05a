"""Forks of C code amid running threads. The C library may hang in such a fork whatever we do: run it again then."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from claudetrace._demo._server import PlayServer
from tests.processes._running import Ending, run_all, run_worker


def test_no_fork_amid_threads_loses_a_call(server: PlayServer, tmp_path: Path) -> None:
    """C code forks while the ledger is open, or amid a stream, and the child ends hard: 0 lost, 0 twice."""
    calls = {
        "unseen_fork": 100,
        "unseen_fork_sigkill": 100,
        "unseen_fork_in_a_stream": 1,
    }
    endings = run_all({name: partial(run_worker, name, tmp_path / name, server.url) for name in calls})

    assert endings == {name: Ending(0, count, 0, 0) for name, count in calls.items()}
    for name in calls:
        with closing(sqlite3.connect(tmp_path / name / "ledger.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
