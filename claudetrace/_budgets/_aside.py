"""`Aside`: a thread of its own for what may wait for the budgets' store, so that the ledger never does."""

from __future__ import annotations

import threading
from _thread import start_new_thread
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from claudetrace._forks import Forks, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._guard import Guard

IDLE_S = 5.0


class Aside(Forks):
    """Does one thing after the other, in the order in which they came. Its thread ends when there is nothing to do."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._reset()
        watch(self)

    def _reset(self) -> None:
        self._acts: SimpleQueue[tuple[Callable[[], None], threading.Event]] = SimpleQueue()
        self._starting = threading.Lock()
        self._runs = False
        self._last = threading.Event()
        self._last.set()

    @property
    def behind(self) -> bool:
        """Whether something is still to be done."""
        return not self._last.is_set()

    def do(self, act: Callable[[], None]) -> threading.Event:
        """Has `act` done, and says when it is. Never raises."""
        self._last = done = threading.Event()
        self._acts.put((act, done))
        with self._starting:
            if not self._runs:
                try:
                    start_new_thread(self._run, ())
                    self._runs = True
                except RuntimeError:
                    # The interpreter ends: nobody else does it.
                    self._drain()
        return done

    def wait(self, timeout_s: float) -> bool:
        """Whether all that came before is done. Blocks at most `timeout_s`."""
        return self._last.wait(max(0.0, timeout_s))

    def _run(self) -> None:
        acts = self._acts
        while acts is self._acts:
            self._drain(IDLE_S)
            with self._starting:
                if acts.empty():
                    self._runs = False
                    return

    def _drain(self, idle_s: float = 0.0) -> None:
        while True:
            try:
                act, done = self._acts.get(timeout=idle_s) if idle_s else self._acts.get_nowait()
            except Empty:
                return
            with self._guard("look after the budgets"):
                act()
            done.set()

    def after_fork_in_child(self) -> None:
        # What waits is the parent's to do.
        self._reset()
