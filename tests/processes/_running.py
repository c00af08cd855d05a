"""Runs workers in processes of their own and compares what they acknowledged with what the ledger has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import claudetrace

WORKER = Path(__file__).with_name("_worker.py")
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Ending:
    """How a process ended, and what became of its calls."""

    status: int
    acknowledged: int
    lost: int
    twice: int


def outside_pytest() -> dict[str, str]:
    """The environment as a user's program has it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def compared(status: int, db: Path, acks: Path) -> Ending:
    """What is in the ledger as soon as anyone opens it, against what returned. More may be there: a call whose
    return was not acknowledged any more."""
    numbers = Counter(acks.read_text().split())
    assert set(numbers.values()) == {1}
    with claudetrace.Ledger(db) as ledger:
        rows = Counter(call.tags["number"] for call in ledger.calls(limit=1_000_000))
    return Ending(status, len(numbers), len(numbers.keys() - rows.keys()), sum(count > 1 for count in rows.values()))


def run_worker(ending: str, folder: Path, url: str, kill: signal.Signals | None = None) -> Ending:
    """One worker from its start to its end; with `kill` it is sent that after 100 calls."""
    folder.mkdir(parents=True)
    db, acks = folder / "ledger.db", folder / "acks"
    with subprocess.Popen(
        [sys.executable, str(WORKER), ending, str(db), url, str(acks)],
        env=outside_pytest(),
        stderr=subprocess.DEVNULL,
    ) as process:
        if kill is not None:
            wait_for(lambda: acks.exists() and acks.read_bytes().count(b"\n") >= 100)
            process.send_signal(kill)
        try:
            status = process.wait(PATIENCE_S)
        finally:
            process.kill()
    return compared(status, db, acks)


def run_all(workers: Mapping[str, Callable[[], Ending]], at_once: int = 3) -> dict[str, Ending]:
    """The endings of all `workers`, a few at a time."""
    with ThreadPoolExecutor(at_once) as pool:
        running = {name: pool.submit(worker) for name, worker in workers.items()}
        return {name: ending.result() for name, ending in running.items()}


def wait_for(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Returns when `condition` holds."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)
