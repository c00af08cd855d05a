"""OTLP as the standard variables say: which protocol, where to, and the exporter that OpenTelemetry has for it."""

from __future__ import annotations

import logging
import os
import re
import threading
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from claudetrace._errors import ClaudetraceError
from claudetrace._telemetry import _answers
from claudetrace._text import without_password

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROTOCOLS = {"http/protobuf": "http", "grpc": "grpc"}
"""The standard's words, with the package of each."""

EXPORTERS = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
}
"""The module and the class of each signal's exporter: the same in both packages."""

SENDING = {"traces": "send spans to the collector", "metrics": "send metrics to the collector"}
"""What the guard is told was being done."""


LARGEST = 1e9
LEAST_SECRET = 4
HEADERS_LOG = "opentelemetry.util.re"


class ExportError(Exception):
    """What an exporter said of a batch that the collector did not take, or took but for `rejected` of it."""

    def __init__(self, reason: str, rejected: int = 0) -> None:
        super().__init__(reason)
        self.rejected = rejected


def check() -> None:
    """Raises `ClaudetraceError` where the standard variables say what cannot be."""
    for signal in EXPORTERS:
        protocol(signal)


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
    return make(
        getattr(import_module(f"opentelemetry.exporter.otlp.proto.{protocol(signal)}.{module}"), name), signal, otlp
    )


def make(kind: Any, signal: str, otlp: bool | str) -> Any:
    """An exporter of the class `kind`, with what it logs overheard."""
    # Where it logs: in the modules of its classes.
    overhear(each.__module__ for each in kind.__mro__ if each.__module__.startswith("opentelemetry.exporter."))
    overhear([HEADERS_LOG])
    said: list[logging.LogRecord] = []
    kind = _answers.hear_grpc(kind) if protocol(signal) == "grpc" else kind
    with overheard(said):
        made = kind(endpoint=endpoint(signal, otlp), **session(signal))
    for record in said:
        if record.name == HEADERS_LOG:
            _tell_headers()
        else:
            logging.getLogger(record.name).handle(record)
    return made


@cache
def _tell_headers() -> None:
    # OpenTelemetry would log the entry itself, with the secret in it.
    logging.getLogger("claudetrace").warning(
        "an entry of OTEL_EXPORTER_OTLP_HEADERS, or of a signal's own, is left out: it is no name=value, URL-encoded"
    )


def session(signal: str) -> dict[str, Any]:
    """The `session` of an HTTP exporter, so that its answers are heard. Of a session of our own the certificate is that
    of the standard variables: by itself `requests` lets `REQUESTS_CA_BUNDLE` win over that."""
    if protocol(signal) == "grpc":
        return {}
    import requests

    class Session(requests.Session):
        def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
            verify = self.verify if verify is None else verify
            return super().merge_environment_settings(url, proxies, stream, verify, cert)

    named = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{infix}CERTIFICATE") for infix in ("", f"{signal.upper()}_"))
    made = _credential_session(signal) or (Session() if named else requests.Session())
    return {"session": _answers.hear_http(made)}


def _credential_session(signal: str) -> Any:
    """The session of the credential provider that the standard variables name, if they name one."""
    names = (f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{infix}CREDENTIAL_PROVIDER" for infix in ("", f"{signal.upper()}_"))
    provider = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if provider is None:
        return None
    from importlib.metadata import entry_points

    for found in entry_points(group="opentelemetry_otlp_credential_provider", name=provider):
        return found.load()()
    raise ClaudetraceError(f"no installed package has the OTLP credential provider {provider!r}")


class _Overheard(logging.Filter):
    """Keeps to itself what an exporter of ours logs, every few seconds while a collector is away: it is told once, by
    the guard. What other threads log, with exporters of the app's, passes."""

    def __init__(self) -> None:
        super().__init__()
        self._of_thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        said: list[logging.LogRecord] | None = getattr(self._of_thread, "said", None)
        if said is None:
            return True
        said.append(record)
        return False

    @contextmanager
    def __call__(self, said: list[logging.LogRecord]) -> Iterator[None]:
        self._of_thread.said = said
        try:
            yield
        finally:
            self._of_thread.said = None


overheard = _Overheard()
"""`with overheard(said)`: what this thread logs by loggers that are overheard goes to `said` and to no log."""


def overhear(loggers: Iterable[str]) -> None:
    """Has these loggers be overheard."""
    for name in loggers:
        filters = logging.getLogger(name).filters
        if overheard not in filters:
            # The first of them: OpenTelemetry's own hides what is logged again within some seconds.
            filters.insert(0, overheard)


def export(by: Any, batch: Any, said: list[logging.LogRecord], **options: Any) -> None:
    """Sends `batch` by the exporter `by`, whose words go to `said` and to no log. Raises `ExportError` with the first
    of them where the collector did not take it."""
    said.clear()
    _answers.forget()
    try:
        with overheard(said):
            result = by.export(batch, **options)
    except Exception as error:  # noqa: BLE001 - it goes on, without secrets
        raise ExportError(f"{type(error).__name__}: {without_secrets(str(error))}") from None
    if result.name != "SUCCESS":
        raise ExportError(words(said) or f"{type(by).__name__} gave up")
    if (answer := _answers.last()).reason:
        raise ExportError(without_secrets(answer.reason), answer.rejected)


def words(said: list[logging.LogRecord]) -> str:
    """The first thing that was `said`, or nothing."""
    return without_secrets(said[0].getMessage())[:300] if said else ""


def without_secrets(text: str) -> str:
    """`text` without what the headers of the standard variables hold, and what of a URL may be a password or a key."""
    for name, pairs in os.environ.items():
        if name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("HEADERS"):
            for raw in (pair.partition("=")[2].strip() for pair in pairs.split(",")):
                value = unquote(raw).strip()
                for secret in (value, repr(value)[1:-1], raw):
                    text = text.replace(secret, "…") if len(secret) >= LEAST_SECRET else text
    return without_password(text)


def number(name: str, default: float) -> float:
    """What the variable `name` says, as far as a clock or a queue can take it, or `default` where it says no number
    above 0."""
    try:
        value = float(os.environ.get(name, default))
    except ValueError:
        return default
    return min(value, LARGEST) if value > 0 else default


def whole(name: str, default: int) -> int:
    """As `number`, in whole steps: at least 1."""
    return max(1, int(number(name, default)))
