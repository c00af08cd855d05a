"""`Writer`: the thread that uses the budgets' store. One transaction serves all who wait for it: group commit."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._records import StoreError
from claudetrace._budgets._steps import answer_of
from claudetrace._clock import monotonic
from claudetrace._forks import Forks, watch
from claudetrace._guard import Guard, pass_on
from claudetrace._worker import START_S, Worker

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable

    from claudetrace._budgets._store import Store

PATIENCE_S = 1.0
"""How long a caller waits for the store, and the store for other processes, before it counts as away."""
NO_PATIENCE_S = 0.02
"""The same once it is."""
LINGER_S = 0.01
"""How long what nobody waits for may wait for company. Each group locks out other processes for its while."""
FORK_WAIT_S = 0.5
MOST_AT_ONCE = 256
MOST_KEPT = 100_000


class Awaited:
    """Something that is done once, on another thread, while a thread or a task waits for it."""

    __slots__ = ("_wake", "done")

    def __init__(self) -> None:
        self.done = False
        self._wake: Callable[[], object] | None = None

    def wake(self) -> None:
        """It is done: whoever waits for it goes on."""
        self.done = True
        if self._wake is not None:
            with suppress(RuntimeError):  # woken already, or on a loop that is closed
                self._wake()

    # Each says first how it is woken, and then looks: who has it done before that wakes nobody.

    def wait(self, timeout_s: float) -> bool:
        """Whether it is done. Blocks at most `timeout_s`."""
        woken = threading.Lock()
        woken.acquire()
        self._wake = woken.release
        return self.done or woken.acquire(timeout=max(0.0, timeout_s)) or self.done

    async def wait_async(self, loop: AbstractEventLoop, timeout_s: float) -> bool:
        """As `wait`, while the event loop goes on."""
        arrived: Future[None] = loop.create_future()
        self._wake = partial(loop.call_soon_threadsafe, _arrive, arrived)
        if not self.done:
            late = loop.call_later(timeout_s, _arrive, arrived)
            try:
                await arrived
            finally:
                late.cancel()
        return self.done


def _arrive(arrived: Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)


class Job(Awaited):
    """Something to do in a transaction. `then` is called when it is done or has failed, on the thread that did it."""

    __slots__ = ("act", "dropped", "error", "keep", "kept", "result", "then", "tries")

    def __init__(
        self,
        act: Callable[[Store], Any],
        *,
        keep: bool = False,
        tries: bool = False,
        then: Callable[[Job], None] | None = None,
    ) -> None:
        super().__init__()
        self.act, self.keep, self.tries, self.then = act, keep, tries, then
        """`keep`: waits out a fault of the store; `tries`: asks a store that is away whether it is back."""
        self.result: Any = None
        self.error: Exception | None = None
        self.dropped = self.kept = False

    def finish(self) -> None:
        """Wakes whoever waits for it, the first time."""
        if not self.done:
            self.done = True
            if self.then is not None:
                self.then(self)
            self.wake()


class Writer(Forks):
    """Does jobs in the store, in their order. No caller ever holds a lock that another needs, and none waits longer
    than it says: so a signal handler may raise, or call Claude itself, wherever it comes."""

    def __init__(self, store: Store, guard: Guard) -> None:
        self.store, self._guard = store, guard
        self.used = self.closed = False
        """Whether anything was asked of it in this process since it was closed; whether it was closed."""
        self.idle: Callable[[], float | None] = lambda: None
        """What is to be looked at while nobody asks for anything, and in how many seconds again."""
        self._worker = Worker(self._work, guard, "serve the budgets' store")
        self._reset()
        watch(self)

    def _reset(self) -> None:
        # It knows its owner: where no thread can run, callers serve themselves.
        self._in_use = threading.RLock()
        self._jobs: deque[Job] = deque()
        self._kept: deque[Job] = deque()
        self._hurry = False
        self._linger_until = 0.0
        self._fault: Exception | None = None
        self._down_until = self._began = 0.0
        self._forking: dict[int, bool] = {}

    # For any thread.

    def do(self, act: Callable[[Store], Any], patience_s: float = PATIENCE_S, *, tries: bool = False) -> Any:
        """What `act` gives, once that is committed. Raises what it raises; `StoreError` after `patience_s` at most."""
        job = Job(act, tries=tries)
        try:
            self.post(job, hurry=True)
            if not job.wait(START_S):
                # An interrupt may have prevented the thread's start.
                self._wake()
                job.wait(patience_s - START_S)
        finally:
            # Whoever waited is gone, by an interrupt or out of patience.
            job.dropped = not job.done
        return self._result(job, patience_s)

    async def do_async(self, act: Callable[[Store], Any], loop: AbstractEventLoop) -> Any:
        """As `do`, while the event loop goes on."""
        job = Job(act)
        try:
            self.post(job, hurry=True)
            await job.wait_async(loop, PATIENCE_S)
        finally:
            job.dropped = not job.done
        return self._result(job, PATIENCE_S)

    def _result(self, job: Job, patience_s: float) -> Any:
        if not job.done:
            late = StoreError(f"{self.store.name} does not answer within {patience_s:g} s")
            late.may_be_done = True
            raise late
        if job.error is not None:
            # One fault is told to many, and each of them would add its frames.
            raise job.error.with_traceback(None)
        return job.result

    def post(self, job: Job, *, hurry: bool = False) -> Job:
        """Has a job done in its turn, `hurry`: now. Waits for no lock: a dropped stream settles inside a garbage
        collection. One that is to be kept waits out a fault of the store; another fails while the store is away."""
        error = None if job.keep or job.tries else self.away()
        if error is not None:
            job.error = error
            job.finish()
            return job
        self.used = True
        self._jobs.append(job)
        if hurry:
            self._hurry = True
        if hurry or not self._linger_until:
            self._wake()
        return job

    def away(self) -> Exception | None:
        """Why the store cannot be used now, as far as it is known without asking it."""
        if self.store.is_lost:
            return StoreError(f"this process can use {self.store.name} no more")
        now, began = monotonic(), self._began
        if self._fault is not None and now < self._down_until:
            return self._fault
        if began and now - began > PATIENCE_S:
            return StoreError(f"{self.store.name} has not answered for {now - began:.0f} s")
        if self._in_use._is_owned() and not self._worker.is_here:  # type: ignore[attr-defined]  # noqa: SLF001 - as `threading.Condition` does
            return StoreError(f"{self.store.name} was asked by a signal handler amid a transaction of its thread")
        return None

    def retry(self) -> None:
        """Tries again what was kept, whether or not the store was away just now. Until it is back, callers are told
        that it is away."""
        if self._kept or self._jobs:
            self._take_up_kept()
            self.post(Job(nothing, tries=True), hurry=True)

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was posted before is done. Blocks at most `timeout_s`."""
        if not self.used:
            return True
        self._take_up_kept()
        last = Job(nothing, tries=True)
        return self.post(last, hurry=True).wait(timeout_s) and last.error is None and not self._kept

    def close(self, timeout_s: float) -> None:
        """Does what waits and lets go of the store. What is posted later has both while it takes."""
        self.closed = True
        if self._worker.end(timeout_s) and self.used:
            self._serve()

    def _wake(self) -> None:
        if not self._worker.wake() and not self._in_use._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as above
            self._serve()

    # On the worker's thread, or on a caller's where none can run.

    def _work(self) -> float | None:
        if self._jobs and not self._hurry and not self.closed:
            # It goes along with the next caller's transaction, if one comes soon.
            now = monotonic()
            self._linger_until = self._linger_until or now + LINGER_S
            if now < self._linger_until:
                return self._linger_until - now
        # Before it looks for jobs: what is posted from now on wakes it again.
        self._hurry, self._linger_until = False, 0.0
        self._serve()
        return self.idle()

    def _serve(self) -> None:
        with self._in_use:
            while self._jobs:
                self._serve_some()
            if self.closed:
                self.store.close()
                self.used = False

    def _serve_some(self) -> None:
        batch: list[Job] = []
        try:
            while self._jobs and len(batch) < MOST_AT_ONCE:
                # In both for a moment: an interrupt in between loses none.
                batch.append(self._jobs[0])
                self._jobs.popleft()
            self._transact([job for job in batch if not job.dropped])
        finally:
            self._began = 0.0
            undone = [job for job in batch if not (job.done or job.dropped or job.kept)]
            self._jobs.extendleft(reversed([job for job in undone if not (self._jobs and self._jobs[0] is job)]))

    def _transact(self, batch: list[Job]) -> None:
        if not batch:
            return
        try:
            self._commit(batch)
        except Exception as error:  # noqa: BLE001 - each caller is told
            pass_on(error)
            self._failed(batch, error)
            return
        self._fault = None
        self._take_up_kept()
        for job in batch:
            job.finish()

    def _take_up_kept(self) -> None:
        # Two threads may do so at once.
        with suppress(IndexError):
            while True:
                job = self._kept.popleft()
                job.kept = False
                self._jobs.append(job)

    def _commit(self, batch: list[Job]) -> None:
        if self._fault is not None and monotonic() < self._down_until and not any(job.tries for job in batch):
            raise self._fault.with_traceback(None)
        try:
            self._group(batch)
        except StoreError as error:
            if not self.store.mend(error):
                raise
            self._group(batch)

    def _group(self, batch: list[Job]) -> None:
        self._began = monotonic()
        with self.store.group(PATIENCE_S if self._fault is None else NO_PATIENCE_S):
            for job in batch:
                job.result = job.act(self.store)
        for job in batch:
            job.result = answer_of(job.result)
        self._began = 0.0

    def _failed(self, batch: list[Job], error: Exception) -> None:
        if isinstance(error, StoreError):
            if self._fault is not error:
                self._fault, self._down_until = error, monotonic() + self.store.down_s
        elif len(batch) > 1:
            # One of them is at fault, and not the store.
            for job in batch:
                self._transact([job])
            return
        for job in batch:
            if job.keep and error is self._fault and len(self._kept) < MOST_KEPT:
                job.kept = True
                self._kept.append(job)
                continue
            job.error = error
            if job.keep:
                self._guard.caught("settle a call in the budgets' store", error)
            job.finish()

    # Around a fork. SQLite must be closed: a child that inherits an open file takes no locks on it of its own.

    def before_fork(self) -> None:
        owned = self._in_use._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        held = not owned and self._in_use.acquire(timeout=FORK_WAIT_S)
        if held and not self.store.pause(FORK_WAIT_S):
            self._in_use.release()
            held = False
        self._forking[threading.get_ident()] = held

    def after_fork_in_parent(self) -> None:
        if self._forking.pop(threading.get_ident(), False):
            self.store.resume()
            self._in_use.release()

    def after_fork_in_child(self) -> None:
        held = self._forking.pop(threading.get_ident(), False)
        self.store.inherited(paused=held, in_use=not self._in_use.acquire(blocking=False))
        # The jobs are of the parent's callers.
        self.used = False
        self._reset()


def nothing(_: Store) -> None:
    """Done as soon as the store is there."""
