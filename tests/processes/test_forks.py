"""Processes that come from processes: each call of parent and child is in the one ledger exactly once."""

from __future__ import annotations

from pathlib import Path

from claudetrace._demo._server import PlayServer

from ._running import no_loss


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

    assert no_loss(calls, tmp_path, server.url)


def test_no_fork_that_python_does_not_see_loses_a_call(server: PlayServer, tmp_path: Path) -> None:
    """C code forks before any call, and the child ends hard, and one process executes another: 0 lost, 0 twice."""
    assert no_loss({"unseen_fork_before_any_call": 80, "executed": 80}, tmp_path, server.url)
