"""`Worker`: one thread of ours, started when it is first needed, that ends well around forks and at the exit."""

from __future__ import annotations

import threading
from _thread import get_ident, start_new_thread
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from claudetrace._clock import monotonic
from claudetrace._forks import Forks, is_before_forks, watch
from claudetrace._guard import pass_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._guard import Guard

START_S = 0.1
"""How long a thread may take to start before another is started in its place: an interrupt may have prevented it."""
FAILED_S = 1.0
"""How long to sleep after `work` has failed."""


class _Life:
    """The state of one thread, and of those that follow it in the same process."""

    def __init__(self) -> None:
        # Neither takes a lock that a garbage collection or a signal handler could find held by its own thread.
        self.woken: SimpleQueue[None] = SimpleQueue()
        self.baton = threading.Lock()
        self.thread = 0
        self.started_at = 0.0
        self.ending = False
        self.ended = threading.Event()


class Worker(Forks):
    """Calls `work` on a thread of its own each time that it is woken, and once more before it ends.

    `work` returns how many seconds to sleep at most before it is called again; `None`: until it is woken.
    """

    def __init__(self, work: Callable[[], float | None], guard: Guard, doing: str) -> None:
        self._work, self._guard, self._doing = work, guard, doing
        self._life = _Life()
        watch(self)

    def wake(self) -> bool:
        """Has `work` called soon; `False` where no thread can run: before uWSGI forks, or as the interpreter ends.
        Takes no lock, so that it may be called anywhere."""
        life = self._life
        life.woken.put(None)
        return life.thread != 0 or self._start(life)

    @property
    def is_here(self) -> bool:
        """Whether this is the worker's thread."""
        return self._life.thread == get_ident()

    def end(self, timeout_s: float) -> bool:
        """Whether the thread has ended, after one more call of `work`. Blocks at most `timeout_s`. Who wakes it later
        has one call of `work` more."""
        life = self._life
        life.ending = True
        if not life.thread and not life.started_at:
            return True
        life.woken.put(None)
        return self.is_here or life.ended.wait(max(0.0, timeout_s))

    def _start(self, life: _Life) -> bool:
        now = monotonic()
        if now < life.started_at + START_S:
            return True
        if is_before_forks():
            return False
        life.started_at, started = now, False
        try:
            start_new_thread(self._run, (life,))
            started = True
        except RuntimeError as error:
            pass_on(error)
            return False
        finally:
            if not started:
                # Also where an interrupt came first: the next to wake it starts it.
                life.started_at = 0.0
        return True

    # On the worker's thread, where no signal handler runs.

    def _run(self, life: _Life) -> None:
        # Two may have been started. The one without the baton ends.
        if not life.baton.acquire(blocking=False):
            return
        life.thread = get_ident()
        life.ended.clear()
        try:
            self._loop(life)
        finally:
            life.thread = 0
            life.ended.set()
            life.baton.release()
            # Last: one that was started meanwhile had no baton.
            life.started_at = 0.0
        if not life.woken.empty():
            self._start(life)

    def _loop(self, life: _Life) -> None:
        while True:
            while not life.woken.empty():
                life.woken.get_nowait()
            # Asked before the last call, which then finds all that came before the end.
            ending, nap_s = life.ending, FAILED_S
            with self._guard(self._doing):
                nap_s = self._work()  # type: ignore[assignment]  # None is for ever
            if ending or life is not self._life:
                return
            try:
                life.woken.get(timeout=nap_s)
            except Empty:
                continue

    def after_fork_in_child(self) -> None:
        self._life = _Life()


class Chores(Forks):
    """Does one act after the other on a thread of its own, in the order in which they came."""

    def __init__(self, guard: Guard, doing: str) -> None:
        self._guard, self._doing = guard, doing
        self._worker = Worker(self._do_all, guard, doing)
        self.after_fork_in_child()
        watch(self)

    def after_fork_in_child(self) -> None:
        # What waits is the parent's to do.
        self._acts: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._last: threading.Event | None = None

    @property
    def behind(self) -> bool:
        """Whether something is still to be done."""
        return self._last is not None and not self._last.is_set()

    def do(self, act: Callable[[], None]) -> None:
        """Has `act` done, at once by the caller where no thread can run. Never raises."""
        self._last = done = threading.Event()
        self._acts.append((act, done))
        if not self._worker.wake():
            self._do_all()

    def wait(self, timeout_s: float) -> bool:
        """Whether all that came before is done. Blocks at most `timeout_s`."""
        return self._last is None or self._last.wait(max(0.0, timeout_s))

    def end(self, timeout_s: float) -> bool:
        """As `Worker.end`."""
        return self._worker.end(timeout_s)

    def _do_all(self) -> None:
        while self._acts:
            act, done = self._acts.popleft()
            with self._guard(self._doing):
                act()
            done.set()
