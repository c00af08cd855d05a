"""Rows of this process on their way to metrics, where there is neither a ledger nor a journal."""

from __future__ import annotations

import atexit
import threading
from _thread import start_new_thread
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from claudetrace._exit import exit_left_s
from claudetrace._forks import Forks, is_before_forks, watch
from claudetrace._pricing._row import with_price

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._call import Row
    from claudetrace._guard import Guard

MAX_WAITING = 10_000


class Feed(Forks):
    """Takes rows on any thread, prices them on its own and hands them to `on_rows`. It has `LedgerWriter`'s verbs."""

    def __init__(self, guard: Guard, on_rows: Callable[[list[Row], bool], None], *, wanted: Callable[[], bool]) -> None:
        self._guard = guard
        self._on_rows = on_rows
        self._wanted = wanted
        self._reset()
        watch(self)

    def _reset(self) -> None:
        # Its `put` may be interrupted by itself: a dropped stream ends inside a garbage collection.
        self._queue: SimpleQueue[Row | threading.Event | None] = SimpleQueue()
        self._starter: deque[None] = deque([None])
        self._stopped = threading.Event()
        self._started = False

    def append(self, row: Row) -> None:
        """Hands `row` on, if anybody wants it. Never raises, takes no lock."""
        try:
            if not self._wanted():
                return
            if self._queue.qsize() >= MAX_WAITING:
                self._guard.caught("count a call in metrics", OverflowError(f"{MAX_WAITING} wait already"))
                return
            self._queue.put(row)
            if not self._started:
                self._start()
        except Exception as error:  # noqa: BLE001 - the caller's call goes on
            self._guard.caught("count a call in metrics", error)

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was appended before is handed on. Blocks at most `timeout_s`."""
        if not self._started:
            return True
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout_s)

    def close(self, timeout_s: float = 2.0) -> None:
        """Hands on what is left and stops, after `timeout_s` at the latest."""
        if self._started:
            self._queue.put(None)
            self._stopped.wait(timeout_s)
        atexit.unregister(self._close_at_exit)

    def _close_at_exit(self) -> None:
        self.close(exit_left_s())

    def health(self) -> dict[str, Any]:
        """Nothing: what is not kept cannot be lost."""
        return {}

    def after_fork_in_child(self) -> None:
        """Leaves to the parent what waits there."""
        self._reset()

    def _start(self) -> None:
        if is_before_forks():
            return
        try:
            self._starter.pop()
        except IndexError:
            return
        # Not threading.Thread: its start takes a lock that a garbage collection may find held.
        start_new_thread(self._run, (self._queue, self._stopped))
        self._started = True
        atexit.register(self._close_at_exit)

    def _run(self, queue: SimpleQueue[Row | threading.Event | None], stopped: threading.Event) -> None:
        while (taken := queue.get()) is not None:
            if isinstance(taken, threading.Event):
                taken.set()
                continue
            with self._guard("count a call in metrics"):
                self._on_rows([with_price(taken)], False)
        stopped.set()
