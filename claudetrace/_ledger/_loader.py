"""`LedgerWriter`: the journal and the thread behind it, which brings its rows into the ledger."""

from __future__ import annotations

import atexit
import random
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from claudetrace import _usable
from claudetrace._clock import WallClock, monotonic
from claudetrace._descriptors import held_here
from claudetrace._exit import OTHERS_S, exit_left_s
from claudetrace._files import warn_of_fragile
from claudetrace._forks import Forks, is_before_forks, notice, watch
from claudetrace._ledger._journal import Journal
from claudetrace._ledger._load import JournalLoader
from claudetrace._places import spool_of
from claudetrace._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._ledger._prune import Retention
    from claudetrace._ledger._record_sender import Exporter, RecordSender
    from claudetrace._ledger._store import Store

T = TypeVar("T")

TAIL_S = 0.2
"""How long rows wait where a budget waits for them, or only memory has them."""
GATHER_S = 2.0
"""How long they wait elsewhere, unless somebody flushes: a transaction costs as much as many rows. An idle process also
looks no more often whether its ledger is still there, and whether others have left rows."""
TICK_S = 1.0
WORK_S, PAUSE_S = 0.00015, 0.0001
"""So long rows are worked on before callers, who cannot run meanwhile, get a pause to go on."""
LONGEST_RETRY_S = 5.0
FORK_WAIT_S = 0.5
IN_FLIGHT_S = 0.01
PATIENCE_S = 5.0
"""How long others may keep this process from writing anything before that is logged."""


class LedgerWriter(Forks):
    """Takes rows on any thread, and loads them into the ledger `db` on a thread of its own.

    That thread calls `on_rows` with the rows that are new, and whether a process that is gone left them. With `db=None`
    there is no ledger, and rows go to `on_rows` alone.

    With `records`, this process or a later one sends every row until that exporter has acknowledged it. `only_outbox`:
    the ledger is there for that alone, and a row is deleted once it is sent.

    `before_commit` gets new rows inside the transaction that stores them; `on_tick` is called about once a second.
    """

    def __init__(
        self,
        db: Path | None,
        *,
        guard: Guard,
        spool: Path | None = None,
        retention_days: float | None = None,
        max_db_mb: float | None = None,
        on_rows: Callable[[list[Row], bool], None] | None = None,
        records: Exporter | None = None,
        only_outbox: bool = False,
        before_commit: Callable[[list[Row]], None] | None = None,
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        self.db = db
        self.spool = spool or spool_of(db)
        self.journal = Journal(self.spool, guard, to_send=records is not None)
        self._guard = guard
        self._limits = retention_days, max_db_mb
        self._on_rows, self._before_commit, self._on_tick = on_rows, before_commit, on_tick
        self._only_outbox = only_outbox
        self._records = records
        if records is not None:
            journal = self.journal
            records.needed = lambda: journal.recorded > 0
        self._store: Store | None = None
        self._wall_clock = WallClock(guard)
        self._forking: dict[int, bool] = {}
        self._thread = Worker(self._work, guard, "run the thread that loads the ledger")
        self._reset()
        watch(self)

    def _reset(self) -> None:
        self._gate = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._started = self._ended = False
        self._closing = self._given_up = self._hurries = False
        self._loader: JournalLoader | None = None
        self._sender: RecordSender | None = None
        self._retry_s = 0.0
        self._locked: tuple[float, int] | None = None
        self._next_look = self._next_tick = self._pause_at = 0.0
        self._retention: Retention | None = None

    def append(self, row: Row) -> None:
        """Keeps `row` from here on, also through SIGKILL. Never raises, takes no lock."""
        notice()
        self.journal.append(row)
        if not self._started:
            self.begin()

    def begin(self) -> None:
        """Starts the thread, also before there is a row: others may have left some. Never raises."""
        if self._closing:
            return
        if self._thread.wake():
            self._started = True
            # A forked child has inherited its parent's.
            atexit.unregister(self._close_at_exit)
            atexit.register(self._close_at_exit)
        elif not is_before_forks():
            error = RuntimeError(f"no thread can start now; rows wait in {self.spool}")
            self._guard.caught("start the thread that loads the ledger", error)

    def send_left(self) -> None:
        """Starts the thread if there may be rows of an earlier process that are to be sent. Never raises."""
        if self._records is not None and self.db is not None and (self.db.exists() or self.spool.exists()):
            self.begin()

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was appended before is in the ledger, and acknowledged where it is to be sent. Blocks at
        most `timeout_s`."""
        until = monotonic() + timeout_s
        return self.load(timeout_s) and (self._sender is None or self._sender.flush(until - monotonic()))

    def load(self, timeout_s: float) -> bool:
        """Whether all that was appended before is in the ledger. Blocks at most `timeout_s`."""
        if not self._started:
            if self.journal.recorded == 0:
                return True
            self.begin()
        done = threading.Event()
        self._waiting.append(done)
        self.begin()
        return self._started and done.wait(timeout_s)

    def close(self, timeout_s: float = 2.0, *, kept_s: float = 0.0) -> None:
        """Loads what is pending and stops, after `timeout_s` at the latest. What is then still in the journal waits
        there for the next process. Sending leaves `kept_s` of that time to others."""
        until = monotonic() + timeout_s
        self._closing = True
        if not (self._thread.end(timeout_s) and self._ended):
            self._given_up = True
            self.journal.seal()
        if self.db is not None:
            self.journal.leave_kept()
        if self._sender is not None:
            self._sender.close(until - kept_s - monotonic())
        atexit.unregister(self._close_at_exit)

    def _close_at_exit(self) -> None:
        # Records that are not sent wait in the ledger; spans and metrics, which come after, do not.
        self.close(exit_left_s(), kept_s=OTHERS_S)

    def health(self) -> dict[str, Any]:
        """What became of the rows of this process."""
        loader, journal, sender = self._loader, self.journal, self._sender
        handled = loader.handled if loader else 0
        quarantined = loader.quarantined if loader else 0
        return {
            "recorded": journal.recorded,
            "written": max(0, handled - quarantined),
            "pending": max(0, journal.recorded - journal.lost - handled),
            "lost": journal.lost,
            "quarantined": quarantined,
            "pruned": self._retention.pruned if self._retention else 0,
            "unreadable": loader.unreadable if loader else 0,
            "unsent": sender.waiting if sender else 0,
            "refused": sender.refused if sender else 0,
            "last_error": self._guard.last_error,
        }

    # On the loader's thread.

    def _work(self) -> float | None:
        loader = self._loader or self._open()
        if not self._closing:
            self._step(loader)
            return self._retry_s or (TAIL_S if self._on_tick is not None or self.journal.kept else GATHER_S)
        while not (self._last_steps(loader) or self._given_up):
            time.sleep(self._retry_s)
        with self._gate:
            self.journal.release()
            if self._store is not None:
                self._store.close()
            if self.db is None:
                with suppress(OSError):  # another one's segments are in it
                    self.spool.rmdir()
        self._ended = True
        return None

    def _open(self) -> JournalLoader:
        """What takes the rows: into the ledger, or to other processes where this one may not open it."""
        if self.db is not None and not _usable.is_forbidden():
            self._open_ledger(self.db)
        self._loader = JournalLoader(
            self.spool,
            guard=self._guard,
            gate=self._gate,
            store=self._store,
            journal=self.journal,
            has_ledger=self.db is not None,
            on_rows=self._on_rows,
            on_marked=self._sender.marked if self._sender else None,
            pace=self._pace,
        )
        return self._loader

    def _open_ledger(self, db: Path) -> None:
        # Here and not above, so that sqlite3 is imported once there is a row to load. Behind the gate, since a child
        # that is forked in the middle of an import waits for its end for ever.
        with self._gate:
            from claudetrace._ledger._prune import Retention
            from claudetrace._ledger._record_sender import RecordSender
            from claudetrace._ledger._store import Store

        self._store = Store(
            db, self._guard, only_outbox=self._only_outbox, before_commit=self._before_commit, pace=self._pace
        )
        self._retention = Retention(self._store, self._gate, self._guard, self._wall_clock, *self._limits)
        warn_of_fragile(db, "its ledger", "db")
        if self._records is not None:
            self._sender = RecordSender(self._store, self._gate, self._guard, self._records)
            self._sender.start()

    def _pace(self, steps: Iterable[T]) -> Iterator[T]:
        """`steps`, with pauses while nobody waits for them: the interpreter gives others a turn after 5 ms only."""
        for step in steps:
            yield step
            if monotonic() > self._pause_at and not (self._waiting or self._hurries or self._closing):
                time.sleep(PAUSE_S)
                self._pause_at = monotonic() + WORK_S

    def _step(self, loader: JournalLoader) -> bool:
        """Whether all that waited before is loaded."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._hurries = bool(waiting)
        try:
            loader.load_own()
            done = not (self.journal.kept or (loader.waits_for_others and not self._closing))
            for event in waiting if done else ():
                event.set()
            waiting = [] if done else waiting
            self._now_and_then(loader)
        except Exception as error:  # noqa: BLE001 - the rows wait in the journal
            self._faulted(error)
            done = False
        else:
            self._retry_s, self._locked = 0.0, None
        self._waiting.extend(waiting)
        return done

    def _now_and_then(self, loader: JournalLoader) -> None:
        now = monotonic()
        if self._on_tick is not None and (now >= self._next_tick or self._closing):
            self._next_tick = now + TICK_S
            with self._guard("look after what else is fed"):
                self._on_tick()
        if self._closing or loader.leaves:
            return
        if now >= self._next_look:
            self._next_look = now + GATHER_S
            loader.load_orphans()
            if self._store is not None:
                with self._gate:
                    self._store.look()
        if self._retention is not None:
            self._retention.step()

    def _last_steps(self, loader: JournalLoader) -> bool:
        """Whether the thread may end: all is loaded after writers were led away."""
        self.journal.seal()
        time.sleep(IN_FLIGHT_S)
        if self._step(loader) and not self.journal.retired:
            return True
        self._retry_s = min(self._retry_s or IN_FLIGHT_S, TAIL_S)
        return False

    def _faulted(self, error: Exception) -> None:
        """Plans the next try, and logs each kind of fault once."""
        kind = getattr(error, "sqlite_errorname", None) or type(error).__name__
        if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            # Others are writing. Waits are random, so that no process is always last.
            now, handled = monotonic(), self._loader.handled if self._loader else 0
            if self._locked is None or self._locked[1] != handled:
                # Rows were written meanwhile: many write, and nobody holds the lock for long.
                self._locked = now, handled
            self._retry_s = random.uniform(0.01, 0.1)  # noqa: S311 - no secret
            if now - self._locked[0] < PATIENCE_S:
                return
        else:
            self._retry_s = min(max(TAIL_S, self._retry_s * 2), LONGEST_RETRY_S)
            if self._store is not None:
                with self._gate:
                    self._store.close()
        self._guard.caught(f"write the ledger {self.db} ({kind}); rows wait in {self.spool}", error)

    # Around a fork. SQLite must be closed: a child that inherits an open file takes no locks on it of its own.

    def before_fork(self) -> None:
        held = self._gate.acquire(timeout=FORK_WAIT_S)
        self._forking[threading.get_ident()] = held
        if held and self._store is not None:
            self._store.close()

    def after_fork_in_parent(self) -> None:
        if self._forking.pop(threading.get_ident(), False):
            self._gate.release()

    def after_fork_in_child(self) -> None:
        held = self._forking.pop(threading.get_ident(), False)
        self._forking.clear()
        at_work = not held and self._started and not self._ended
        if self.db is not None and (at_work or held_here(self.db)):
            _usable.forbid(_usable.FORKED)
        if self._loader is not None:
            self._loader.after_fork_in_child()
        if self._sender is not None:
            self._sender.after_fork_in_child()
        if not held and self._store is not None:
            self._store.abandon()
        self._store = None
        self._reset()
