"""Our threads and the hooks around forks, where two things happen at once."""

from __future__ import annotations

import sys
import threading
from typing import Any

from claudetrace import _forks
from claudetrace._guard import Guard
from claudetrace._worker import Worker


class Baton:
    """Wakes the worker in the moment before its thread gives the baton back."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._lock, self._released = worker, threading.Lock(), False

    def acquire(self, *, blocking: bool) -> bool:
        return self._lock.acquire(blocking=blocking)

    def release(self) -> None:
        if not self._released:
            self._released = True
            self._worker.wake()
            threading.Event().wait(0.05)
        self._lock.release()


def test_a_worker_that_is_woken_as_its_thread_ends_works_once_more() -> None:
    """A thread that is started before the last one has ended gives up; the last one then starts another."""
    worked = threading.Semaphore(0)

    def work() -> None:
        worked.release()

    worker = Worker(work, Guard(), "work")
    life: Any = worker._life
    life.baton = Baton(worker)
    worker.wake()
    assert worked.acquire(timeout=10)
    assert worker.end(10)
    assert worked.acquire(timeout=10)

    assert worked.acquire(timeout=10)


def test_a_fork_while_threads_begin_what_it_must_stop_is_whole() -> None:
    """Whatever other threads begin or drop meanwhile, each of the hooks is called."""
    seen = 0

    class Counting(_forks.Forks):
        def before_fork(self) -> None:
            nonlocal seen
            seen += 1

    def begin() -> None:
        while not ended.is_set():
            _forks.watch(_forks.Forks())

    counting, ended = Counting(), threading.Event()
    _forks.watch(counting)
    thread = threading.Thread(target=begin)
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(500):
            _forks._before()
            _forks._in_parent()
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(switch_s)

    assert seen == 500
