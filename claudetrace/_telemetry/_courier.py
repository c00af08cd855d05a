"""A thread that delivers: every so often, when asked to, and once more at the end."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable


class _Asked(Event):
    """Somebody waits for a delivery that begins after the asking."""

    delivered = False


class Courier:
    """Calls `deliver`, which says whether all went out, on a daemon thread of its own; then `finish`, once."""

    def __init__(self, name: str, interval_s: float, deliver: Callable[[], bool], finish: Callable[[], object]) -> None:
        self._interval_s = interval_s
        self._deliver = deliver
        self._finish = finish
        # Its `put` may be interrupted by itself: a dropped stream ends inside a garbage collection.
        self._bell: SimpleQueue[_Asked | None] = SimpleQueue()
        self._rung = False
        self._closing = False
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ring(self) -> None:
        """Has a delivery made soon. Takes no lock."""
        if not self._rung:
            self._rung = True
            self._bell.put(None)

    def flush(self, timeout_s: float) -> bool:
        """Whether a delivery that began after this went out whole. Blocks at most `timeout_s`."""
        asked = _Asked()
        self._bell.put(asked)
        return asked.wait(timeout_s) and asked.delivered

    def close(self) -> None:
        """Has the last delivery made. Does not wait for it."""
        self._closing = True
        self._bell.put(None)

    def ended(self, timeout_s: float) -> bool:
        """Whether the last delivery is over. Blocks at most `timeout_s`."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        from opentelemetry import context

        # What an exporter asks of the network is no call of the user's: no instrumentation is to see it.
        suppressed = context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001 - the SDK's own processors use it
        context.attach(context.set_value(suppressed, True))
        due = monotonic() + self._interval_s
        closing = False
        while not closing:
            try:
                asked = self._bell.get(timeout=max(0.0, due - monotonic()))
            except Empty:
                asked = None
                due = monotonic() + self._interval_s
            self._rung = False
            closing = self._closing
            delivered = self._deliver()
            if asked is not None:
                asked.delivered = delivered
                asked.set()
        self._finish()
