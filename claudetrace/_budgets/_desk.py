"""`Desk`: where the threads of a process wait for the budgets' store, so that one transaction serves all who wait.

Whoever finds the desk free serves itself and all others; so a lone caller changes no thread, and of 64 callers one
at a time meets the locks of other processes. A thread of the desk's own serves event loops, and does what nobody
waits for.
"""

from __future__ import annotations

import sqlite3
import threading
from _thread import start_new_thread
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from claudetrace import _usable
from claudetrace._budgets._file import BROKEN, begin
from claudetrace._clock import monotonic
from claudetrace._descriptors import held_here
from claudetrace._forks import Forks, watch
from claudetrace._guard import pass_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._budgets._file import StoreFile
    from claudetrace._guard import Guard

PATIENCE_S = 1.0
"""How long another process may hold the store's lock before that is a fault."""
NO_PATIENCE_S = 0.02
"""The same once it is one."""
DOWN_S = 2.0
"""How long callers are told of a fault without another try, so that it does not delay each of them."""
LINGER_S = 0.002
ROUNDS = 3
FORK_WAIT_S = 0.5
MAX_WAITING = 100_000


class Hooks(Protocol):
    """What has to know of transactions."""

    def committed(self) -> None:
        """It is done; at the desk."""

    def rolled_back(self) -> None:
        """It never was; at the desk."""

    def hand_on(self) -> None:
        """Callers are served: what else there is to do may be done. Raises nothing."""


class Job:
    """Something to do in a transaction. `then` is called when it is done, on the thread that did it."""

    __slots__ = ("act", "done", "error", "keep", "ready", "result", "then")

    def __init__(self, act: Callable[[sqlite3.Connection], Any], *, keep: bool, then: Any = None) -> None:
        self.act = act
        self.keep = keep
        self.then = then
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.ready: threading.Lock | None = None

    def finish(self) -> None:
        """Wakes whoever waits for it, the first time."""
        if self.done:
            return
        self.done = True
        if self.then is not None:
            self.then(self)
        if self.ready is not None:
            self.wake()

    def wake(self) -> None:
        with suppress(RuntimeError):  # woken already
            self.ready.release()  # type: ignore[union-attr]  # who waits has one


class Desk(Forks):
    """Does what is to be done in the store, one transaction for all that wait."""

    def __init__(self, file: StoreFile, guard: Guard, hooks: Hooks) -> None:
        self._file = file
        self._guard = guard
        self._hooks = hooks
        self._ended = False
        self.used = False
        """Whether anything was asked of it in this process."""
        self._reset()
        watch(self)

    def _reset(self) -> None:
        # It knows its owner, so that an interrupt between taking it and what lets it go leaves it held by nobody.
        self._lock = threading.RLock()
        self._checkpointing = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._kept: deque[Job] = deque(maxlen=MAX_WAITING)
        self._down_until = 0.0
        self._fault: Exception | None = None
        self._new_bell()
        self._forking: dict[int, bool] = {}

    def _new_bell(self) -> None:
        # A lock and two words, since an event takes ten times as long to wake somebody.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._rung = self._hurry = False
        self._clerk: deque[None] = deque([None])

    def do(self, act: Callable[[sqlite3.Connection], Any]) -> Any:
        """What `act` gives, in a transaction that is on the disk's side of this process. Raises what it raises."""
        if self._is_held_here():
            raise RuntimeError(
                "the budgets' store was asked amid a transaction of the same thread, as by a signal handler"
            )
        job = Job(act, keep=False)
        try:
            self._see_done(job)
        except BaseException:
            self._let_go()
            raise
        if job.error is not None:
            raise job.error
        return job.result

    def _see_done(self, job: Job) -> None:
        if self._lock.acquire(blocking=False):
            self._jobs.append(job)
            self._serve()
        else:
            job.ready = threading.Lock()
            job.ready.acquire()
            self._jobs.append(job)
        while not job.done:
            if self._lock.acquire(blocking=False):
                self._serve()
            elif job.ready is not None:
                job.ready.acquire()

    def _is_held_here(self) -> bool:
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - as `threading.Condition` does

    def _let_go(self) -> None:
        """Lets go of the desk where an interrupt left it with this caller, and has another do what waits."""
        while self._is_held_here():
            self._lock.release()
        self._leave_to_another()

    def _leave_to_another(self) -> None:
        if heir := next((job for job in list(self._jobs) if job.ready), None):
            heir.wake()
        elif self._jobs:
            self._ring()

    def post(self, act: Callable[[sqlite3.Connection], Any], *, then: Callable[[Job], None] | None = None) -> None:
        """Has `act` done by whoever is next at the desk, and at once where there is something to do `then`. Waits for
        no lock: a stream that is dropped settles inside a garbage collection. Without `then` it is kept through a
        fault of the store."""
        self._jobs.append(Job(act, keep=then is None, then=then))
        if then is not None:
            self._hurry = True
            self._ring()
        elif not self._rung:
            self._ring()

    def retry_kept(self) -> None:
        """Tries again what was kept."""
        self._down_until = 0.0
        while self._kept:
            self._jobs.append(self._kept.popleft())
        if self._jobs and self._lock.acquire(blocking=False):
            self._serve()

    def checkpoint(self) -> None:
        """Brings the log into the file, by a connection of its own: this waits for the disk, and callers do not."""
        with self._checkpointing:
            self._file.checkpoint()

    def close(self) -> None:
        """Closes the file and ends the desk's thread. A settlement that comes later has both while it takes."""
        self._ended = True
        with self._lock:
            self._file.close()
        bell = self._bell
        self._new_bell()
        with suppress(RuntimeError):  # it is ringing
            bell.release()
        if self._jobs:
            self._ring()

    def _serve(self) -> None:
        """With the lock: serves who waits, then hands the desk to one of those who came meanwhile."""
        rounds = 0
        while True:
            batch: list[Job] = []
            try:
                while self._jobs and len(batch) < 256:
                    # In both for a moment: an interrupt in between loses none.
                    batch.append(self._jobs[0])
                    self._jobs.popleft()
                self._transact(batch)
            finally:
                undone = [job for job in batch if not (job.done or (self._jobs and self._jobs[0] is job))]
                self._jobs.extendleft(reversed(undone))
                self._lock.release()
                if undone:
                    self._leave_to_another()
            self._hooks.hand_on()
            rounds += 1
            if not self._jobs:
                return
            if rounds >= ROUNDS and (heir := next((job for job in list(self._jobs) if job.ready), None)):
                heir.wake()
                return
            if not self._lock.acquire(blocking=False):
                return

    def _transact(self, batch: list[Job]) -> None:
        if not batch:
            return
        try:
            self._commit(batch)
        except Exception as error:  # noqa: BLE001 - each caller is told
            pass_on(error)
            self._failed(batch, error)
        else:
            self._fault = None
            if self._kept:
                self._jobs.extend(self._kept.popleft() for _ in range(min(len(self._kept), 200)))
        for job in batch:
            job.finish()

    def _commit(self, batch: list[Job]) -> None:
        self.used = True
        if self._fault is not None and monotonic() < self._down_until:
            raise self._fault.with_traceback(None)
        try:
            self._in_transaction(batch)
        except sqlite3.DatabaseError as error:
            aside = self._file.set_aside(error)
            if aside is None and not _is_broken(error):
                raise
            if aside is not None:
                self._guard.caught(f"use the budgets' store; it is kept as {aside.name}, and a new one begun", error)
            self._in_transaction(batch)

    def _in_transaction(self, batch: list[Job]) -> None:
        connection = self._file.connection()
        begin(connection, PATIENCE_S if self._fault is None else NO_PATIENCE_S)
        try:
            for job in batch:
                job.result = job.act(connection)
            connection.execute("COMMIT")
            self._hooks.committed()
        except BaseException:
            self._hooks.rolled_back()
            with suppress(sqlite3.Error):
                connection.rollback()
            raise

    def _failed(self, batch: list[Job], error: Exception) -> None:
        if isinstance(error, (sqlite3.Error, OSError)) and not isinstance(error, sqlite3.IntegrityError):
            now = monotonic()
            if self._fault is not error:
                self._fault, self._down_until = error, now + DOWN_S
        elif len(batch) > 1:
            # One of them is at fault, and not the file.
            for job in batch:
                self._transact([job])
            return
        for job in batch:
            job.error = error
            if job.keep and error is self._fault:
                self._kept.append(job)
            elif job.keep:
                self._guard.caught("settle a call in the budgets' store", error)

    # The desk's own thread, for callers that may not wait.

    def _ring(self) -> None:
        self._rung = True
        with suppress(RuntimeError):  # it is ringing
            self._bell.release()
        try:
            self._clerk.pop()
        except IndexError:
            return
        try:
            start_new_thread(self._run, ())
        except RuntimeError:
            # The interpreter ends: what is left is done by `close`.
            self._clerk.append(None)

    def _run(self) -> None:
        bell = self._bell
        while bell is self._bell:
            bell.acquire()
            if not self._hurry:
                # It goes along with the next caller's transaction, if one comes soon.
                bell.acquire(timeout=LINGER_S)
            self._rung = self._hurry = False
            if self._jobs:
                with self._guard("serve the budgets' store"):
                    self._lock.acquire()
                    self._serve()
                if self._ended:
                    self.close()

    # Around a fork. SQLite must be closed: a child that inherits an open file takes no locks on it of its own.

    def before_fork(self) -> None:
        held = not self._is_held_here() and self._lock.acquire(timeout=FORK_WAIT_S)
        if held and not self._checkpointing.acquire(timeout=FORK_WAIT_S):
            self._lock.release()
            held = False
        self._forking[threading.get_ident()] = held
        if held:
            self._file.close()

    def after_fork_in_parent(self) -> None:
        if self._forking.pop(threading.get_ident(), False):
            self._checkpointing.release()
            self._lock.release()

    def after_fork_in_child(self) -> None:
        held = self._forking.pop(threading.get_ident(), False)
        at_work = self._file.is_open or not self._lock.acquire(blocking=False) or self._checkpointing.locked()
        if (at_work and not held) or held_here(self._file.path):
            _usable.forbid(_usable.FORKED)
        if not held:
            self._file.abandon()
        # The jobs are of the parent's callers.
        self._reset()


def _is_broken(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(BROKEN)
