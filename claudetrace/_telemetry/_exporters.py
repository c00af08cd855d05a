"""`Exporters`: the exporter of records of this process, created when it is needed and again after a fork."""

from __future__ import annotations

# Exporters need it, and once the process has begun to end it cannot be loaded any more.
import concurrent.futures.thread  # noqa: F401
import os
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from claudetrace._clock import monotonic
from claudetrace._forks import in_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._telemetry._records import RecordExporter

LOADING_S = 5.0
SENDING_S = 0.2
"""How long a fork waits for an exporter that is being loaded, or is sending."""
LOOK_AGAIN_S = 0.05

_living: weakref.WeakSet[Exporters] = weakref.WeakSet()
# A forked child may neither use nor close the exporters that it inherits.
_untouchable: list[object] = []


class Exporters:
    """Creates the exporter with `make` when the first rows are to be sent, or when the process begins to end and rows
    wait. OpenTelemetry cannot be loaded later than that."""

    def __init__(self, make: Callable[[], RecordExporter], guard: Guard) -> None:
        self._make = make
        self._guard = guard
        self.needed: Callable[[], bool] = lambda: False
        """Whether this process has rows to send."""
        self._held: dict[int, bool] = {}
        self._reset()
        _living.add(self)

    def _reset(self) -> None:
        self._busy = threading.Lock()
        self._used = False
        self.made: RecordExporter | None = None

    def send(self, rows: list[Row]) -> str | dict[str, str] | None:
        """Like `RecordExporter.send`, after creating the exporter. Raises if that fails, too."""
        with self._busy:
            if self.made is None:
                self.made = self._make()
        with self._busy:
            answer = self.made.send(rows)
            self._used = True
            return answer

    def close(self) -> None:
        """Ends what is being sent, on any thread."""
        if self.made is not None:
            self.made.close()

    def make_ready(self) -> None:
        """Creates the exporter if it will be needed. Never raises."""
        while self.made is None and self.needed():
            # Short waits: the thread that creates it holds the lock while it sends.
            if not self._busy.acquire(timeout=0.05):
                continue
            try:
                with self._guard("load what sends records"):
                    self.made = self.made or self._make()
                return
            finally:
                self._busy.release()

    # Around a fork. In a child that is forked in the middle of an import, the import never ends. The first use of an
    # exporter imports too.

    def before_fork(self) -> None:
        held, until = False, monotonic() + LOADING_S
        # Checked again and again: the thread that created it goes on to send, which may take long.
        while self.made is None and not held and monotonic() < until:
            held = self._busy.acquire(timeout=LOOK_AGAIN_S)
        if not held:
            can_be_cut = self.made is not None and self._used and not self.made.minds_forks
            held = self._busy.acquire(timeout=0.0 if can_be_cut else SENDING_S)
        self._held[threading.get_ident()] = held

    def after_fork_in_parent(self) -> None:
        if self._held.pop(threading.get_ident(), False):
            self._busy.release()

    def after_fork_in_child(self) -> None:
        self._held.clear()
        _untouchable.append(self.made)
        self._reset()


def _each(act: Callable[[Exporters], None]) -> Callable[[], None]:
    def act_on_all() -> None:
        for exporters in list(_living):
            act(exporters)

    return act_on_all


if hasattr(os, "register_at_fork"):
    # Registered after the thread pools, and so called before them: before a fork, pools take a lock that OpenTelemetry
    # needs while it loads.
    os.register_at_fork(before=_each(Exporters.before_fork), after_in_parent=_each(Exporters.after_fork_in_parent))
in_child(_each(Exporters.after_fork_in_child))

# `atexit` is too late: OpenTelemetry uses a thread pool while it loads, and by then none can be used.
_register_atexit: Any = getattr(threading, "_register_atexit", None)
if _register_atexit is not None:
    with suppress(RuntimeError):
        _register_atexit(_each(Exporters.make_ready))
