"""Runs workers in processes of their own and compares what they acknowledged with what the ledger has."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, LifoQueue
from select import select

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer

SLOW = 7
WORKER = Path(__file__).with_name("_worker.py")
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Ending:
    """How a process ended, and what became of its calls."""

    status: int
    acknowledged: int
    lost: int
    twice: int


def answering() -> PlayServer:
    """A loopback API that always answers, also streams, and slowly where it is asked for `SLOW` tokens at most."""
    hello = _wire.message("Hello.", _wire.usage(1_000, 50), model="claude-sonnet-5")
    streamed = _answers.stream(hello, when=lambda body: bool(body.get("stream")), times=None)
    slow = _answers.stream(hello, when=lambda body: body["max_tokens"] == SLOW, delay_s=0.5, times=None)
    return PlayServer(slow, streamed, _answers.answer(hello, times=None))


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


class Starter:
    """Starts workers, one after the other, each forked from a program that has imported the SDK and nothing else."""

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, str(WORKER)],
            env=outside_pytest(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def start(self, *arguments: str) -> int:
        """The number of the worker's process."""
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps(arguments).encode() + b"\n")
        self._program.stdin.flush()
        return self._answer()

    def wait(self, worker: int) -> int:
        """The status with which the worker ended; it is killed where it does not."""
        assert self._program.stdout is not None
        if not select([self._program.stdout], [], [], PATIENCE_S)[0]:
            os.kill(worker, signal.SIGKILL)
        return self._answer()

    def _answer(self) -> int:
        assert self._program.stdout is not None
        # Unbuffered, so that `select` sees what is left.
        return int(b"".join(iter(partial(self._program.stdout.raw.read, 1), b"\n")))  # type: ignore[attr-defined]


_idle: LifoQueue[Starter] = LifoQueue()


def run_worker(ending: str, folder: Path, url: str, kill: signal.Signals | None = None) -> Ending:
    """One worker from its start to its end; with `kill` it is sent that after 100 calls."""
    folder.mkdir(parents=True)
    db, acks = folder / "ledger.db", folder / "acks"
    try:
        starter = _idle.get_nowait()
    except Empty:
        starter = Starter()
    worker = starter.start(ending, str(db), url, str(acks))
    if kill is not None:
        wait_for(lambda: acks.exists() and acks.read_bytes().count(b"\n") >= 100)
        os.kill(worker, kill)
    status = starter.wait(worker)
    _idle.put(starter)
    return compared(status, db, acks)


def run_all(workers: Mapping[str, Callable[[], Ending]]) -> dict[str, Ending]:
    """The endings of all `workers`, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        running = {name: pool.submit(worker) for name, worker in workers.items()}
        return {name: ending.result() for name, ending in running.items()}


def no_loss(calls: Mapping[str, int], folder: Path, url: str) -> bool:
    """Whether each of these workers ended well, with so many calls in a sound ledger, each once."""
    endings = run_all({name: partial(run_worker, name, folder / name, url) for name in calls})
    assert endings == {name: Ending(0, count, 0, 0) for name, count in calls.items()}
    for name in calls:
        with closing(sqlite3.connect(folder / name / "ledger.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return True


def wait_for(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Returns when `condition` holds."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)
