"""Forks of C code amid running threads. The C library may hang in such a fork whatever we do: run it again then."""

from __future__ import annotations

from pathlib import Path

from tests.processes._running import answering, no_loss


def test_no_fork_amid_threads_loses_a_call(tmp_path: Path) -> None:
    """C code forks while the ledger is open, or amid a stream, and the child ends hard: 0 lost, 0 twice."""
    calls = {"unseen_fork": 100, "unseen_fork_sigkill": 100, "unseen_fork_in_a_stream": 1}

    with answering() as server:
        assert no_loss(calls, tmp_path, server.url)
