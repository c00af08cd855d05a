"""`Exporters`: the exporter of records of this process, made when it is needed and anew after a fork."""

from __future__ import annotations

# What exports needs it, and once the process has begun to end it cannot be loaded any more.
import concurrent.futures.thread  # noqa: F401
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from claudetrace._forks import Forks, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._ledger._journal import Journal

FORK_WAIT_S = 5.0

# What a forked child inherits may neither be used nor closed there.
_untouchable: list[object] = []


class Exporter(Protocol):
    """Where rows are sent."""

    def send(self, rows: list[Row]) -> str | None:
        """`None` once `rows` are acknowledged, else why they were refused. Raises where the receiver is away."""

    def close(self) -> None:
        """Ends what is being sent, on any thread."""


class Exporters(Forks):
    """Makes the exporter by `make`: when the first rows are to be sent, or at the beginning of the process's end
    where the journal had rows. OpenTelemetry cannot be loaded later than that."""

    def __init__(self, make: Callable[[], Exporter], guard: Guard, journal: Journal) -> None:
        self._make = make
        self._guard = guard
        self._journal = journal
        self._held: dict[int, bool] = {}
        self._reset()
        watch(self)
        _before_the_end(weakref.ref(self))

    def _reset(self) -> None:
        self._making = threading.Lock()
        self.made: Exporter | None = None

    def get(self) -> Exporter:
        """The exporter. Raises where none can be made."""
        with self._making:
            if self.made is None:
                self.made = self._make()
            return self.made

    def make_ready(self) -> None:
        """Makes the exporter where it will be needed. Never raises."""
        if self.made is None and self._journal.recorded:
            with self._guard("load what sends records"):
                self.get()

    # Around a fork. A child that is forked in the middle of an import never sees its end.

    def before_fork(self) -> None:
        self._held[threading.get_ident()] = self._making.acquire(timeout=FORK_WAIT_S)

    def after_fork_in_parent(self) -> None:
        if self._held.pop(threading.get_ident(), False):
            self._making.release()

    def after_fork_in_child(self) -> None:
        self._held.clear()
        _untouchable.append(self.made)
        self._reset()


def _before_the_end(exporters: weakref.ref[Exporters]) -> None:
    def make_ready() -> None:
        if (living := exporters()) is not None:
            living.make_ready()

    # What `atexit` calls comes too late: no thread pool can be used by then, and OpenTelemetry uses one while it loads.
    register: Any = getattr(threading, "_register_atexit", None)
    if register is not None:
        with suppress(RuntimeError):
            register(make_ready)
