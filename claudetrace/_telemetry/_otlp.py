"""OTLP as the standard variables say: which protocol, where to, and the exporter that OpenTelemetry has for it."""

from __future__ import annotations

import logging
import os
import re
import threading
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from claudetrace._errors import ClaudetraceError

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOCOLS = {"http/protobuf": "http", "grpc": "grpc"}
"""The standard's words, with the package of each."""

EXPORTERS = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
}
"""The module and the class of each signal's exporter: the same in both packages."""

SENDING = {"traces": "send spans to the collector", "metrics": "send metrics to the collector"}
"""What the guard is told was being done."""


class ExportError(Exception):
    """What an exporter said of a batch that the collector did not take."""


def check(otlp: bool | str) -> None:
    """Raises `ClaudetraceError` where `otlp` or the standard variables say what cannot be."""
    for signal in EXPORTERS:
        protocol(signal)
    if isinstance(otlp, str):
        parts = urlsplit(otlp)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClaudetraceError(f"otlp={otlp!r} is no URL of a collector; write it as http://host:4318")


def protocol(signal: str) -> str:
    """The package that exports `signal`: `http` or `grpc`. Raises `ClaudetraceError` for another word."""
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if word := os.environ.get(name, "").strip():
            if word not in PROTOCOLS:
                raise ClaudetraceError(f"{name}={word!r}: it is one of {', '.join(PROTOCOLS)}")
            return PROTOCOLS[word]
    return "http"


def prepare() -> None:
    """Loads what cannot be loaded while the interpreter ends, when a short program's only spans go out."""
    if any(protocol(signal) == "grpc" for signal in EXPORTERS):
        # The gRPC exporters import it, and it starts threads as it is imported.
        import_module("opentelemetry.sdk._logs")


def wanted(signal: str) -> bool:
    """Whether the standard variables let `signal` out at all."""
    return (
        os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower() != "none"
    )


def endpoint(signal: str, otlp: bool | str) -> str | None:
    """Where `signal` goes by the keyword `otlp`; `None` where the exporter asks the standard variables."""
    if not isinstance(otlp, str):
        return None
    if protocol(signal) == "grpc":
        return otlp
    return f"{re.sub(r'/(v1/(traces|metrics|logs))?/?$', '', otlp)}/v1/{signal}"


def exporter(signal: str, otlp: bool | str) -> Any:
    """The exporter of `signal`. Headers, TLS, compression and timeouts it takes from the standard variables.

    Takes a tenth of a second the first time: never on a caller's thread.
    """
    module, name = EXPORTERS[signal]
    kind = getattr(import_module(f"opentelemetry.exporter.otlp.proto.{protocol(signal)}.{module}"), name)
    made = kind(endpoint=endpoint(signal, otlp), **session(signal))
    # Where it logs: in the modules of its classes.
    for kind in type(made).__mro__:
        logger = logging.getLogger(kind.__module__)
        if kind.__module__.startswith("opentelemetry.exporter.") and _overheard not in logger.filters:
            logger.addFilter(_overheard)
    return made


def session(signal: str) -> dict[str, Any]:
    """The exporter's `session`, where it needs one to heed the certificate of the standard variables: by itself it
    lets `REQUESTS_CA_BUNDLE` win over that."""
    named = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{infix}CERTIFICATE") for infix in ("", f"{signal.upper()}_"))
    if protocol(signal) == "grpc" or not named or any("CREDENTIAL_PROVIDER" in name for name in os.environ):
        return {}
    import requests

    class Session(requests.Session):
        def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
            verify = self.verify if verify is None else verify
            return super().merge_environment_settings(url, proxies, stream, verify, cert)

    return {"session": Session()}


class _Overheard(logging.Filter):
    """Keeps to itself what an exporter of ours logs, every few seconds while a collector is away: it is told once, by
    the guard. What other threads log, with exporters of the app's, passes."""

    def __init__(self) -> None:
        super().__init__()
        self._of_thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        said: list[str] | None = getattr(self._of_thread, "said", None)
        if said is None:
            return True
        said.append(record.getMessage())
        return False

    @contextmanager
    def __call__(self, said: list[str]) -> Iterator[None]:
        self._of_thread.said = said
        try:
            yield
        finally:
            self._of_thread.said = None


_overheard = _Overheard()


def export(by: Any, batch: Any, said: list[str], **options: Any) -> None:
    """Sends `batch` by the exporter `by`, whose words go to `said` and to no log. Raises `ExportError` with the first
    of them where the collector did not take it."""
    said.clear()
    with _overheard(said):
        result = by.export(batch, **options)
    if result.name != "SUCCESS":
        raise ExportError(said[0][:300] if said else f"{type(by).__name__} gave up")


def number(name: str, default: float) -> float:
    """What the variable `name` says, or `default` where it says no number above 0."""
    try:
        value = float(os.environ.get(name, default))
    except ValueError:
        return default
    return value if value > 0 else default
