"""`RecordSender`: sends the unsent rows of a ledger, on a thread of its own, until they are acknowledged."""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from claudetrace._clock import monotonic
from claudetrace._descriptors import lock
from claudetrace._files import open_file
from claudetrace._ledger import _unsent
from claudetrace._ledger._schema import transaction
from claudetrace._worker import Worker

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._ledger._store import Store

BATCH_ROWS = 200
POLL_S = 5.0
"""How often to look for what other processes left to send."""
BUSY_S = 0.05
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
SUSPECTS = 10
"""A receiver that has refused so many rows one by one is taken to refuse everything."""
STRIKES = 3
COUNTED = 10_000


class Exporter(Protocol):
    """Where rows are sent. A forked child begins with one of its own."""

    needed: Callable[[], bool]
    """Set by the writer: whether this process has rows to send."""

    def send(self, rows: list[Row]) -> str | dict[str, str] | None:
        """`None` once `rows` are acknowledged, else why they were refused: all, or by their ids those that were where
        the others are acknowledged. Raises where the receiver is away; what is raised may have `retry_after_s`."""

    def close(self) -> None:
        """Ends what is being sent, on any thread."""


@dataclass(slots=True, eq=False)
class _Request:
    """A flush that waits until all that is marked now is sent."""

    until: float
    answered: threading.Event = field(default_factory=threading.Event)
    sent: bool = False


@dataclass(slots=True)
class _Tried:
    """One pass: why rows that were sent alone were refused, and whether the receiver took any row at all."""

    suspects: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None
    any_sent: bool = False


class RecordSender:
    """Sends the unsent rows of `store` by `exporter`.

    It holds the lock `gate` while it uses the store, and never while it sends. Of the processes on a ledger one sends
    at a time. What is acknowledged is not sent again, unless the process dies before that is stored.
    """

    def __init__(self, store: Store, gate: threading.Lock, guard: Guard, exporter: Exporter) -> None:
        self.waiting = 0
        """How many rows waited when last looked, of all processes; counted up to `COUNTED`."""
        self.refused = 0
        """How many rows this process gave up, since the receiver takes others and never these."""
        self._store = store
        self._gate = gate
        self._guard = guard
        self._exporter = exporter
        self._thread = Worker(self._work, guard, "run the thread that sends records")
        self._asked: deque[_Request] = deque()
        self._closing = self._given_up = False
        self._refused_told = 0
        self._acknowledged: list[str] = []
        self._strikes: dict[str, int] = {}
        self._rows = BATCH_ROWS
        self._retry_s = self._retry_at = self._told_at = 0.0
        self._lock_fd = -1

    def start(self) -> None:
        self._thread.wake()

    def marked(self, rows: int) -> None:
        """More rows wait. On the loader's thread."""
        self.waiting += rows
        self._thread.wake()

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was marked before is acknowledged, after one try; once `False` where some was refused since
        the last flush. Blocks at most `timeout_s`."""
        request = _Request(monotonic() + timeout_s)
        self._asked.append(request)
        self._thread.wake()
        request.answered.wait(max(0.0, timeout_s))
        told, self._refused_told = self._refused_told, self.refused
        return request.sent and told == self.refused

    def close(self, timeout_s: float) -> None:
        """Tries once more and stops, after `timeout_s` at the latest. What is left waits in the ledger."""
        self._closing = True
        if not self._thread.end(timeout_s):
            self._given_up = True
            self._close_exporter()

    def _close_exporter(self) -> None:
        with self._guard("stop sending records"):
            self._exporter.close()

    def after_fork_in_child(self) -> None:
        """Leaves the sending to the parent."""
        self._unlock()

    # On the sender's thread.

    def _work(self) -> float | None:
        last = self._closing
        self._step()
        if not last:
            return self._pause_s()
        if not self._given_up:
            self._close_exporter()
        with self._gate:
            self._store.close()
        return None

    def _pause_s(self) -> float:
        if self._asked:
            return BUSY_S
        return min(POLL_S, max(0.0, self._retry_at - monotonic()) or POLL_S)

    def _step(self) -> None:
        """Sends what waits, unless it is not yet time to try again, and answers those who asked for it."""
        asked = [self._asked.popleft() for _ in range(len(self._asked))]
        now = monotonic()
        if not asked and not self._closing and now < self._retry_at:
            return
        try:
            # Also a flush waits for as long as the receiver asked for.
            done = None if now < self._told_at else self._pass()
        except Exception as error:  # noqa: BLE001 - the rows wait in the ledger
            done = self._failed(error)
        for request in asked:
            if done is None and request.until > monotonic() and not self._closing:
                self._asked.append(request)
            else:
                request.sent = bool(done)
                request.answered.set()

    def _pass(self) -> bool | None:
        """Whether all that waits now was sent, or `None` while another process sends."""
        with self._gate:
            connection = self._store.connection()
            self._settle(connection)
            newest = _unsent.newest(connection)
            self.waiting = 0 if newest is None else _unsent.waiting(connection, COUNTED)
            if newest is None:
                return True
            if not self._lock():
                return None
        try:
            tried = self._send_up_to(newest)
        finally:
            self._unlock()
        if tried.any_sent:
            self._strike(tried.suspects)
        if tried.error is not None:
            raise tried.error
        self._retry_s = self._retry_at = 0.0
        return True

    def _send_up_to(self, newest: str) -> _Tried:
        """Sends all rows up to `newest`. Halves a batch that fails, until a row fails alone."""
        tried, after = _Tried(), ""
        while not self._given_up:
            with self._gate:
                rows = _unsent.take(self._store.connection(), after, newest, self._rows)
            if not rows:
                break
            present = [row for row in rows if "call_id" in row]
            away: Exception | None = None
            try:
                reason = self._exporter.send(present) if present else None
            except Exception as error:  # noqa: BLE001 - another try follows
                reason, away = f"{error}", error
            if reason is None or isinstance(reason, dict):
                self._sent(rows, [row for row in present if not reason or row["id"] not in reason])
                for id_, why in (reason or {}).items():
                    self._refuse(id_, why)
                tried.any_sent, after = True, rows[-1]["id"]
                self._rows = min(self._rows * 2, BATCH_ROWS)
                continue
            if getattr(away, "retry_after_s", 0.0):
                tried.error = away
                break
            if len(rows) == 1:
                after = rows[0]["id"]
                tried.suspects[after] = reason
            self._rows = max(1, len(rows) // 2)
            if away is not None or len(rows) == 1:
                tried.error = away or ValueError(reason)
            # A row that fails alone may be at fault itself: the next one shows that.
            others_fail = len(tried.suspects) > 1 if away else len(tried.suspects) >= SUSPECTS and not tried.any_sent
            if (away is not None and len(rows) > 1) or others_fail:
                break
        return tried

    def _sent(self, rows: list[Row], taken: list[Row]) -> None:
        self._acknowledged += [row["id"] for row in taken]
        gone = [row["id"] for row in rows if "call_id" not in row]
        with self._gate:
            connection = self._store.connection()
            if gone:
                with transaction(connection):
                    _unsent.lose(connection, gone)
            self._settle(connection)
        self.waiting = max(0, self.waiting - len(rows))

    def _settle(self, connection: sqlite3.Connection) -> None:
        """Stores what is acknowledged."""
        if self._acknowledged:
            with transaction(connection):
                _unsent.drop(connection, self._acknowledged, with_rows=self._store.only_outbox)
            self._acknowledged = []

    def _strike(self, suspects: dict[str, str]) -> None:
        """Gives up rows that failed alone again and again while others were taken."""
        for id_, reason in suspects.items():
            self._strikes[id_] = self._strikes.get(id_, 0) + 1
            if self._strikes[id_] < STRIKES:
                continue
            del self._strikes[id_]
            self._refuse(id_, reason)

    def _refuse(self, id_: str, reason: str) -> None:
        with self._gate:
            self._store.connection().execute(_unsent.REFUSE, (reason[:500], id_))
        self.refused += 1
        self._guard.caught(f"send every record; the table unsent of {self._store.path} says why", ValueError(reason))

    def _failed(self, error: Exception) -> bool | None:
        """Plans the next try, and logs, once, what kept records from being sent. `None` where that was another process
        that writes the ledger: it counts as no try."""
        kind: Any = getattr(error, "sqlite_errorname", "")
        if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            self._retry_at = monotonic() + BUSY_S
            return None
        self._retry_s = min(max(FIRST_RETRY_S, self._retry_s * 2), LONGEST_RETRY_S)
        self._told_at = monotonic() + getattr(error, "retry_after_s", 0.0)
        self._retry_at = max(monotonic() + self._retry_s, self._told_at)
        self._guard.caught(f"send records; they wait in {self._store.path}", error)
        return False

    def _lock(self) -> bool:
        """Whether no other process sends this ledger's rows."""
        path = self._store.path.with_name(f"{self._store.path.name}.sending")
        self._lock_fd = open_file(path, os.O_RDWR | os.O_CREAT)
        if lock(self._lock_fd):
            return True
        self._unlock()
        return False

    def _unlock(self) -> None:
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            os.close(fd)
