"""Hands the rows of this process to those who take them: the user's sinks, metrics, standard output, budgets."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from claudetrace._exit import exit_left_s
from claudetrace._forks import Forks, watch
from claudetrace._pricing._row import with_price
from claudetrace._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claudetrace._call import Call, Row
    from claudetrace._guard import Guard

    Take = Callable[[list[Row]], None]
    OnRows = Callable[[list[Row], bool], None]

MAX_WAITING = 10_000


class Sink(Protocol):
    """What `sinks=` takes: any object with these two methods, called on a background thread.

    class Lines:
        def write(self, calls):
            for call in calls:
                print(call.model, call.cost_usd)

        def close(self): ...

    What it raises is logged once and counted; the application does not notice.
    """

    def write(self, calls: Sequence[Call]) -> None:
        """Takes calls of this process, some at a time."""

    def close(self) -> None:
        """Is called once, when recording ends."""


def to_each(takers: dict[str, Take], guard: Guard) -> OnRows:
    """What hands rows to each of `takers`, unless a process that is gone left them: this process did not make those
    calls. One that fails holds up no other."""

    def hand_on(rows: list[Row], replayed: bool) -> None:
        for doing, take in () if replayed else takers.items():
            with guard(doing):
                take(rows)

    return hand_on


def to_sinks(sinks: Sequence[Sink], guard: Guard) -> Take:
    """What hands rows to `sinks` as `Call` objects."""
    from claudetrace._call import Call

    def take(rows: list[Row]) -> None:
        calls = [Call.from_row(row) for row in rows]
        for sink in sinks:
            with guard("write to a sink"):
                sink.write(calls)

    return take


class Feed(Forks):
    """Takes rows on any thread where there is neither a ledger nor a journal, prices them on its own and hands them to
    `on_rows`. It has `LedgerWriter`'s verbs."""

    def __init__(self, guard: Guard, on_rows: OnRows, *, wanted: Callable[[], bool]) -> None:
        self._guard = guard
        self._on_rows = on_rows
        self._wanted = wanted
        self._rows: deque[Row | threading.Event] = deque()
        self._started = False
        self._thread = Worker(self._hand_on, guard, "count calls in metrics")
        watch(self)

    def append(self, row: Row) -> None:
        """Hands `row` on, if anybody wants it. Never raises, takes no lock."""
        try:
            if not self._wanted():
                return
            if len(self._rows) >= MAX_WAITING:
                self._guard.caught("count a call in metrics", OverflowError(f"{MAX_WAITING} wait already"))
                return
            self._rows.append(row)
            if not self._started:
                self._started = True
                atexit.register(self._close_at_exit)
            self._thread.wake()
        except Exception as error:  # noqa: BLE001 - the caller's call goes on
            self._guard.caught("count a call in metrics", error)

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was appended before is handed on. Blocks at most `timeout_s`."""
        if not self._started:
            return True
        done = threading.Event()
        self._rows.append(done)
        return self._thread.wake() and done.wait(timeout_s)

    def close(self, timeout_s: float = 2.0) -> None:
        """Hands on what is left and stops, after `timeout_s` at the latest."""
        self._thread.end(timeout_s)
        atexit.unregister(self._close_at_exit)

    def _close_at_exit(self) -> None:
        self.close(exit_left_s())

    def health(self) -> dict[str, Any]:
        """Nothing: what is not kept cannot be lost."""
        return {}

    def after_fork_in_child(self) -> None:
        """Leaves to the parent what waits there."""
        self._rows, self._started = deque(), False

    def _hand_on(self) -> None:
        while self._rows:
            taken = self._rows.popleft()
            if isinstance(taken, threading.Event):
                taken.set()
                continue
            with self._guard("count a call in metrics"):
                self._on_rows([with_price(taken)], False)
