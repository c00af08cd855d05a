"""`DeliveryThread`: calls a function at intervals, when woken, and once more at the end."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable


class _Request(Event):
    """Somebody waits for a delivery that begins after this was made."""

    delivered = False


class DeliveryThread:
    """Calls `deliver`, which returns whether all was sent, on its own daemon thread; at the end calls `finish`."""

    def __init__(self, name: str, interval_s: float, deliver: Callable[[], bool], finish: Callable[[], object]) -> None:
        self._interval_s = interval_s
        self._deliver = deliver
        self._finish = finish
        # A `put` may interrupt another one on the same thread: a dropped stream ends inside a garbage collection.
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._woken = False
        self._closing = False
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Has a delivery begin soon. Takes no lock."""
        if not self._woken:
            self._woken = True
            self._requests.put(None)

    def flush(self, timeout_s: float) -> bool:
        """Begins a delivery. Whether it sent everything within `timeout_s`."""
        request = _Request()
        self._requests.put(request)
        return request.wait(timeout_s) and request.delivered

    def close(self) -> None:
        """Begins the last delivery. Does not wait for it."""
        self._closing = True
        self._requests.put(None)

    def ended(self, timeout_s: float) -> bool:
        """Whether the last delivery is over. Blocks at most `timeout_s`."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        from opentelemetry import context

        # The exporter's own requests are no calls of the user's: other instrumentations must not trace them.
        suppressed = context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001 - the SDK's own processors use it
        context.attach(context.set_value(suppressed, True))
        due = monotonic() + self._interval_s
        closing = False
        while not closing:
            try:
                request = self._requests.get(timeout=max(0.0, due - monotonic()))
            except Empty:
                request = None
                due = monotonic() + self._interval_s
            self._woken = False
            closing = self._closing
            delivered = self._deliver()
            if request is not None:
                request.delivered = delivered
                request.set()
        self._finish()
