"""`SqliteStore`: the verbs of a budgets' store on a SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING

from claudetrace import _usable
from claudetrace._budgets._sqlite import _charges, _grants, _outbox, _rows
from claudetrace._budgets._sqlite._counters import BLOCK, totals
from claudetrace._budgets._sqlite._file import StoreFile, begin, is_broken
from claudetrace._budgets._sqlite._housekeeping import Housekeeping
from claudetrace._budgets._sqlite._owners import Owner
from claudetrace._budgets._sqlite._registry import Registry
from claudetrace._budgets._store import StoreError
from claudetrace._descriptors import held_here
from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from claudetrace._alerts._alert import Alert, Outgoing
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._store import Claim, Denied, Grant, Opening, Rest, Totals
    from claudetrace._budgets._windows import Window
    from claudetrace._call import Row


DOWN_S = 2.0


class SqliteStore:
    """The budgets of one process in the file at `path`, which the first group makes or opens."""

    def __init__(self, path: Path, opening: Opening) -> None:
        self.name, self.down_s = str(path), DOWN_S
        self._guard, self._clock = opening.guard, opening.clock
        self._file = StoreFile(path, self._register)
        self._registry = Registry(opening)
        self._owner = Owner(path.with_name(f"{path.name}.owners"))
        self._housekeeping = Housekeeping(path, self._registry, self._owner)
        self._channels: dict[str, None] = {}
        """Those that this process has."""
        self._checkpointing = Lock()
        self._open: sqlite3.Connection | None = None

    def _register(self, connection: sqlite3.Connection) -> None:
        self._registry.register(connection)
        _outbox.see_channels(connection, tuple(self._channels), self._clock())

    @property
    def is_lost(self) -> bool:
        return _usable.is_forbidden()

    @property
    def peers(self) -> int:
        """As in `Store`, by the files in which processes hold their locks."""
        return len(self._owner.names()) + 1

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._open is not None, "outside of a group"
        return self._open

    @contextmanager
    def group(self, patience_s: float) -> Iterator[None]:
        try:
            connection = self._open = self._file.connection(patience_s)
            begin(connection, patience_s)
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                self._registry.rolled_back()
                with suppress(sqlite3.Error):
                    connection.rollback()
                raise
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OSError, ClaudetraceError) as error:
            raise StoreError(str(error)) from error
        finally:
            self._open = None
        self._registry.committed()

    def mend(self, error: StoreError) -> bool:
        cause = error.__cause__
        if not isinstance(cause, sqlite3.DatabaseError):
            return False
        if (aside := self._file.set_aside(cause)) is not None:
            doing = f"use the budgets' store; it is kept as {aside.name}, and a new one begun"
            self._guard.caught(doing, cause)
        return aside is not None or is_broken(cause)

    # Charges.

    def reserve(
        self, call_id: str, claims: Sequence[Claim], picousd: int, calls: int, *, forced: bool = False
    ) -> Denied | None:
        asked = (self._connection, self._registry, call_id, claims, (picousd, calls), self._owner.id())
        if not forced:
            return _charges.reserve(*asked)
        _charges.reserve_anyway(*asked)
        return None

    def withdraw(self, call_id: str) -> None:
        _charges.withdraw(self._connection, self._registry, call_id)

    def charge(self, call_id: str, picousd: int | None, calls: int | None, rests: Sequence[Rest] = ()) -> None:
        _charges.settle(self._connection, self._registry, call_id, picousd, calls, rests)

    def hold_batch(self, call_id: str, batch_id: str) -> None:
        self._connection.execute(_charges.HOLD_BATCH, (batch_id, call_id))

    def offer(self, rows: Iterable[Row]) -> None:
        connection, budgets = self._connection, self._registry.all(self._connection)
        for row in rows:
            connection.execute("SAVEPOINT one_row")
            try:
                _rows.take(connection, self._registry, row, budgets)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
                connection.execute("ROLLBACK TO one_row")
                self._guard.caught("count a row of the ledger in a budget", error)
            connection.execute("RELEASE one_row")

    def correct(self, changes: Iterable[tuple[str, int, Row]]) -> None:
        budgets = self._registry.all(self._connection)
        for mark, picousd, row in changes:
            _rows.correct(self._connection, self._registry, mark, picousd, row, budgets)

    def totals(self, budget: Budget, key: str, window: Window) -> Totals:
        return totals(self._connection, self._registry.mine[str(budget.name)].id, key, window)

    def grants(self, budget: Budget, key: str, window: Window) -> list[Grant]:
        return _grants.in_force(self._connection, self._registry.mine[str(budget.name)].id, key, window)

    def block(self, claim: Claim, calls: int) -> int:
        budget_id, (_, key, window) = self._registry.mine[str(claim.budget.name)].id, claim
        self._connection.execute(BLOCK, (budget_id, key, window.slot, window.end, calls))
        return totals(self._connection, budget_id, key, window).blocked_calls

    def use(self, budgets: tuple[Budget, ...]) -> None:
        """As in `Store`: nobody sets budgets in a file."""

    # Housekeeping.

    def keep_house(self) -> bool:
        return self._housekeeping.step(self._connection, tuple(self._channels))

    def checkpoint(self) -> None:
        """By a connection of its own: this waits for the disk, and callers do not."""
        with self._checkpointing:
            self._file.checkpoint()

    # The alerts' outbox.

    def raise_alert(self, alert: Alert, mark: str) -> str | None:
        return _outbox.raise_alert(self._connection, alert, mark, self._registry.now)

    def open_channel(self, channel: str) -> None:
        _outbox.see_channels(self._connection, (channel,), self._clock())
        self._channels[channel] = None

    def claim(self, channel: str, lease_s: float, max_age_s: float) -> Outgoing | None:
        if channel not in self._channels:
            self.open_channel(channel)
        return _outbox.claim(self._connection, channel, self._clock(), lease_s, max_age_s)

    def mark_delivered(self, alert_id: str, channel: str) -> None:
        _outbox.mark_delivered(self._connection, alert_id, channel, self._clock())

    def mark_failed(self, alert_id: str, channel: str, wait_s: float, reason: str) -> None:
        _outbox.mark_failed(self._connection, alert_id, channel, self._clock() + wait_s, reason)

    # The process.

    def pause(self, timeout_s: float) -> bool:
        if not self._checkpointing.acquire(timeout=timeout_s):
            return False
        self._file.close()
        return True

    def resume(self) -> None:
        self._checkpointing.release()

    def inherited(self, *, paused: bool, in_use: bool) -> None:
        """As in `Store`. A file that was in use is never opened again here: SQLite's locks would be the parent's."""
        at_work = self._file.is_open or in_use or self._checkpointing.locked()
        if (at_work and not paused) or held_here(self._file.path):
            _usable.forbid(_usable.FORKED)
        if not paused:
            self._file.abandon()
        self._checkpointing = Lock()
        self._open = None

    def close(self) -> None:
        settled = False
        with suppress(sqlite3.Error, OSError, ClaudetraceError):
            # Not opened only to be closed.
            settled = not self._owner.name or self._housekeeping.has_nothing_open(self._file.connection())
        self._owner.close(settled=settled)
        self._file.close()
