"""Where spans and metrics go: to the app's own providers, else to private ones of ours that export over OTLP."""

from __future__ import annotations

import atexit
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

from claudetrace._clock import monotonic
from claudetrace._errors import ClaudetraceError
from claudetrace._exit import exit_left_s
from claudetrace._forks import Forks, watch
from claudetrace._telemetry import _otlp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import TracerProvider

    from claudetrace._guard import Guard
    from claudetrace._telemetry._own_providers import Side

FORK_WAITS_S = 5.0
NAMES = {"service": "service.name", "environment": "deployment.environment.name"}

END_S = 2.0
END_PRIORITY = -100
"""Runs at the end of a `multiprocessing` child after whatever still makes spans and metrics."""

_of_a_parent: list[Side] = []
"""What a fork inherited. Closing it in the child would use the parent's connections."""


class Providers(Forks):
    """The providers of spans and metrics, chosen anew at each call.

    The app's own are used if it has set them, and are never replaced, flushed or shut down. Raises `ClaudetraceError`
    for impossible standard variables.
    """

    def __init__(self, otlp: bool | str | None, guard: Guard, resource: Mapping[str, str]) -> None:
        self._otlp = otlp or None
        self._guard = guard
        self._columns = dict(resource)
        self._seen: dict[str, tuple[object, bool]] = {}
        self._closed = self._leaves_by_process_end = False
        self.hand_over: Callable[[float], object] | None = None
        """Called with a number of seconds before the last delivery: hands over calls that are still on their way."""
        self._resource: Resource | None = None
        self._reset()
        if self._otlp is None:
            return
        _otlp.check()
        # Loaded now: the first caller must not wait for it, and at the interpreter's end it cannot start threads.
        try:
            from claudetrace._telemetry import _own_providers

            _own_providers.check()
            self._resource = self._new_resource()
        except ValueError as error:
            raise ClaudetraceError(f"OpenTelemetry's SDK cannot be used: {error}") from error
        _otlp.prepare()
        watch(self)
        atexit.register(self._close_at_exit)

    def _reset(self) -> None:
        self._sides: dict[str, Side] = {}
        self._locks = {"traces": threading.RLock(), "metrics": threading.RLock(), "imports": threading.RLock()}
        self._held: list[Any] = []

    def tracer_provider(self) -> TracerProvider | None:
        """The provider for spans now: the app's, else ours, else `None`. Takes a microsecond."""
        from opentelemetry import trace

        provider = trace.get_tracer_provider()
        return provider if self._takes("traces", provider) else self._private("traces")

    def meter_provider(self) -> MeterProvider | None:
        """The provider for metrics now: the app's, else ours, else `None`.

        Never called on a caller's thread: the first call builds the exporter, which takes a tenth of a second.
        """
        from opentelemetry import metrics

        provider = metrics.get_meter_provider()
        return provider if self._takes("metrics", provider) else self._private("metrics")

    def takes_metrics(self) -> bool:
        """Whether there is a provider for metrics now. Builds nothing."""
        from opentelemetry import metrics

        return self._takes("metrics", metrics.get_meter_provider()) or (
            self._otlp is not None and _otlp.wanted("metrics")
        )

    def flush(self, timeout_s: float) -> bool:
        """Whether our own providers delivered everything. Blocks at most `timeout_s`. Never raises."""
        until = monotonic() + timeout_s
        delivered = [side.flush(max(0.0, until - monotonic())) for side in list(self._sides.values())]
        return all(delivered)

    def close(self, timeout_s: float = END_S) -> None:
        """Delivers what our own providers hold and ends them; gives up what takes longer than `timeout_s`."""
        self._closed = True
        atexit.unregister(self._close_at_exit)
        sides, until = dict(self._sides), monotonic() + timeout_s
        for side in sides.values():
            side.close()
        for signal, side in sides.items():
            if not side.ended(max(0.0, until - monotonic())):
                why = f": {words}" if (words := _otlp.words(side.said)) else ""
                late = TimeoutError(f"{side.unsent()} given up after {timeout_s:g} s{why}")
                side.abandon()
                self._guard.caught(_otlp.SENDING[signal], late)

    def _close_at_exit(self) -> None:
        self.close(exit_left_s())

    # Around a fork. A child that is forked while a module is being imported could never import it.

    def before_fork(self) -> None:
        """Waits until nothing is being built."""
        self._held = [lock for lock in self._locks.values() if lock.acquire(timeout=FORK_WAITS_S)]

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        held, self._held = self._held, []
        for lock in held:
            lock.release()

    def after_fork_in_child(self) -> None:
        """Leaves the providers to the parent. This process makes its own when it needs them."""
        for side in self._sides.values():
            side.abandon()
            _of_a_parent.append(side)
        self._leaves_by_process_end = False
        self._resource = None
        self._reset()

    def _takes(self, signal: str, provider: object) -> bool:
        """Whether the app's `provider` is a real one."""
        seen = self._seen.get(signal)
        if seen is None or seen[0] is not provider:
            # Proxies and no-op providers are classes of the API itself.
            stand_in = type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))
            seen = self._seen[signal] = (provider, not stand_in)
        return seen[1]

    def _private(self, signal: str) -> Any:
        side = self._sides.get(signal)
        if side is not None and not self._closed:
            return side.provider
        if self._otlp is None or self._closed or not _otlp.wanted(signal):
            return None
        with self._locks[signal]:
            if signal not in self._sides:
                self._sides[signal] = self._make_side(signal)
                self._end_with_process()
            return self._sides[signal].provider

    def _make_side(self, signal: str) -> Side:
        from claudetrace._telemetry import _own_providers

        def make() -> Any:
            with self._locks["imports"]:
                return _otlp.exporter(signal, self._otlp or True)

        return _own_providers.SIDES[signal](make, self._guard, self._resource or self._new_resource())

    def _new_resource(self) -> Resource:
        """The resource: as OpenTelemetry's variables say, else the service, the host and an id of this process.

        Processes that sent their running totals under one id would overwrite each other's.
        """
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource

        try:
            created = Resource.create()
        except RuntimeError:
            # The interpreter is ending and starts no threads for the detectors.
            created = OTELResourceDetector().detect()
        told = dict(created.attributes)
        ours = {name: self._columns[column] for column, name in NAMES.items() if column in self._columns}
        if told.get("service.instance.id") != self._columns.get("instance"):
            ours["host.name"] = self._columns.get("instance", "")
        ours["service.instance.id"] = str(uuid.uuid4())
        if str(told.get("service.name", "")).startswith("unknown_service"):
            del told["service.name"]
        return Resource({**ours, **told}, created.schema_url)

    def _end_with_process(self) -> None:
        """Makes a `multiprocessing` child deliver at its end too: it runs no `atexit` functions."""
        processes, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
        if processes and util and processes.parent_process() is not None and not self._leaves_by_process_end:
            self._leaves_by_process_end = True
            util.Finalize(None, self._end, exitpriority=END_PRIORITY)

    def _end(self) -> None:
        until = monotonic() + END_S
        if self.hand_over is not None:
            with self._guard("hand over the last calls"):
                self.hand_over(END_S / 2)
        self.close(max(0.0, until - monotonic()))
