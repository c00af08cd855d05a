"""`SqliteStore`: the budgets' store in a file. Each step is done as it comes, in the transaction of its group."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from claudetrace import _usable
from claudetrace._budgets._budget import Budget, definition_of, shape_of
from claudetrace._budgets._records import Denied, Opening, StoreError
from claudetrace._budgets._sqlite._counters import EXCHANGE, KNOWN, Work, counted, split
from claudetrace._budgets._sqlite._file import StoreFile, begin, connect, is_broken
from claudetrace._budgets._sqlite._look import LOOKS
from claudetrace._budgets._sqlite._owners import Owner, owners_of
from claudetrace._budgets._sqlite._upkeep import OF_OWNER, STEPS, Housekeeping, see
from claudetrace._budgets._store import Store
from claudetrace._budgets._windows import ROLLING, Window
from claudetrace._clock import monotonic
from claudetrace._descriptors import held_here
from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claudetrace._budgets._steps import Step
    from claudetrace._budgets._totals import Totals

DOWN_S = 2.0
EVERY_S = 60.0
MOST_KNOWN = 10_000


class SqliteStore(Store):
    """The budgets of one process in the file at `path`, which the first group makes or opens."""

    def __init__(self, name: str | Path, opening: Opening) -> None:
        super().__init__(opening)
        path = Path(name)
        self.name, self.down_s = str(path), DOWN_S
        self._file = StoreFile(path, self._register)
        self._owner = Owner(owners_of(path))
        self._housekeeping, self._next = Housekeeping(opening.guard, self._owner), 0.0
        self._checkpointing = Lock()
        self._open: Work | None = None

    @property
    def is_lost(self) -> bool:
        return _usable.is_forbidden()

    @property
    def peers(self) -> int:
        """As in `Store`, by the files in which processes hold their locks."""
        return len(self._owner.names()) + 1

    @property
    def _work(self) -> Work:
        assert self._open is not None, "outside of a group"
        return self._open

    @contextmanager
    def group(self, patience_s: float) -> Iterator[None]:
        try:
            connection = self._file.connection(patience_s)
            begin(connection, patience_s)
            self._open = Work(connection, self.now(), self._owner.id)
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                self._telling.clear()
                with suppress(sqlite3.Error):
                    connection.rollback()
                raise
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OSError, ClaudetraceError) as error:
            raise StoreError(str(error)) from error
        finally:
            self._open = None
        self._committed()

    def mend(self, error: StoreError) -> bool:
        cause = error.__cause__
        if not isinstance(cause, sqlite3.DatabaseError):
            return False
        if (aside := self._file.set_aside(cause)) is not None:
            doing = f"use the budgets' store; it is kept as {aside.name}, and a new one begun"
            self._opening.guard.caught(doing, cause)
        return aside is not None or is_broken(cause)

    def _add(self, step: Step) -> Denied | None:
        found = self._now(step)
        return None if found is None else Denied(step.claims[found["denied"]], found["totals"])

    def _now(self, step: Step, *, durable: bool = False) -> Any:  # noqa: ARG002 - of interest to a server
        work = self._work
        answer = STEPS[step.said["do"]](work, step.to_send(self._ids))
        if work.changed:
            self._saw_changes(work)
        return answer

    def _saw_changes(self, work: Work) -> None:
        changed = [(where, counted(after)) for where, after in work.changed.items()]
        work.changed = {}
        self._saw([(*where, counter, self._in_window(where, counter)) for where, counter in changed])

    def _in_window(self, where: tuple[int, str, int], counter: Totals) -> Totals:
        """What the window of now holds in which a counter is: by the calendar that alone."""
        budget = self._ids.budgets.get(where[0])
        if budget is None or not budget.per.startswith(ROLLING):
            return counter
        window = budget.window(self.now())
        return self._work.totals(*where[:2], window.since, window.until)

    def _look(self, what: str, **said: Any) -> Any:
        return LOOKS[what](self._work, said)

    # Its budgets.

    def _register(self, connection: sqlite3.Connection) -> None:
        """Makes sure that the file knows these budgets, also one that was made anew."""
        work = Work(connection, self.now(), self._owner.id)
        self._registered([(budget, self._row_of(work, budget)) for budget in self._opening.budgets])
        for budget_id, budget in self._mine.items():
            for key, slot, *after in work.run(KNOWN, budget_id, int(work.now), MOST_KNOWN):
                self._opening.saw(str(budget.name), key, slot, counted(after))
        see(work, {"channels": self._channels})

    def _row_of(self, work: Work, budget: Budget) -> int:
        """The row of a budget; one that is new begins with what the ledger says was spent."""
        named, said = (budget.name, shape_of(budget)), (definition_of(budget), int(work.now))
        for (known,) in work.run("SELECT id FROM budgets WHERE name = ? AND shape = ?", *named):
            work.run("UPDATE budgets SET definition = ?, used_at = ? WHERE id = ?", *said, known)
            return int(known)
        sql = "INSERT INTO budgets (name, shape, definition, used_at, since) VALUES (?, ?, ?, ?, ?) RETURNING id"
        ((new,),) = work.run(sql, *named, *said, said[1])
        for slot, span in _slots(budget, said[1]):
            for key, (picousd, calls) in self._opening.spent_before(budget, span).items():
                work.run(EXCHANGE, new, key, slot.slot, slot.end, 0, 0, *split(picousd), calls)
        return int(new)

    # Housekeeping.

    def keep_house(self) -> bool:
        if self._housekeeping.settle_for_the_dead(self._work):
            more = True
        elif monotonic() < self._next:
            return False
        else:
            # A connection does not notice that the file below its cache is broken. Another one does, and raises it.
            with closing(connect(self._file.path, "ro")) as another:
                another.execute("SELECT COUNT(*) FROM budgets").fetchone()
            for budget_id in self._mine:
                self._work.run("UPDATE budgets SET used_at = ? WHERE id = ?", int(self.now()), budget_id)
            see(self._work, {"channels": self._channels})
            more = self._housekeeping.forget(self._work)
            self._next = 0.0 if more else monotonic() + EVERY_S
        self._saw_changes(self._work)
        return more

    def checkpoint(self) -> None:
        """By a connection of its own: this waits for the disk, and callers do not."""
        with self._checkpointing:
            self._file.checkpoint()

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
            owner = self._owner.name
            settled = not owner or not self._file.connection().execute(OF_OWNER, (owner, 1)).fetchall()
        self._owner.close(settled=settled)
        self._file.close()


def _slots(budget: Budget, now: int) -> list[tuple[Window, Window]]:
    """The counters that a new store begins with, each with the span of what goes into it: the window of now, or the
    steps of a rolling one."""
    window = budget.window(now)
    if not window.rolls:
        return [(window, window)]
    steps = map(budget.window, range(window.since, window.slot + 1, window.step_s))
    return [(each, each._replace(start=each.slot, end=each.slot + each.step_s)) for each in steps]
