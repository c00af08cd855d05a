"""Makes OpenTelemetry's exporters as the standard variables say, and sends with them: protocol, endpoint, failures."""

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
from claudetrace._telemetry import _replies
from claudetrace._text import without_password

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROTOCOLS = {"http/protobuf": "http", "grpc": "grpc"}
"""The standard's names of protocols, each with OpenTelemetry's package."""

EXPORTERS = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}
"""The module and the class of each signal's exporter, the same in both packages."""

SENDING = {"traces": "send spans to the collector", "metrics": "send metrics to the collector"}
"""What the providers do with each of their signals, for the guard."""

PASSING = frozenset(
    (
        *(401, 403, 404, 407, 408, 429, 502, 503, 504),
        *("CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "PERMISSION_DENIED"),
        *("UNAUTHENTICATED", "UNAVAILABLE", "UNIMPLEMENTED"),
    )
)
"""Statuses that concern the collector or the way to it, and not what was sent."""
NOT_SENT = ("Failed to encode", "Dropping")
"""How the log of an exporter begins when it does not even try to send."""
LONGEST_WAIT_S = 300.0
"""How long a collector may ask to be left alone."""
LARGEST = 1e9
LEAST_SECRET = 4
HEADERS_LOG = "opentelemetry.util.re"


class ExportError(Exception):
    """Why a collector did not accept a batch, and what it said if it answered."""

    def __init__(self, reason: str, reply: _replies.Reply | None = None, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reply = reply or _replies.Reply()
        self.retry_after_s = min(self.reply.retry_after_s, LONGEST_WAIT_S)
        self.refused = refused or self.reply.rejected > 0
        """Whether the reason is in what was sent, so that it is no use to send it again."""


def check() -> None:
    """Raises `ClaudetraceError` where the standard variables name an unknown protocol."""
    for signal in SENDING:
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
    """Loads what cannot be loaded while the interpreter ends: a short program sends its only spans then."""
    if any(protocol(signal) == "grpc" for signal in SENDING):
        # The gRPC exporters import it, and it starts threads as it is imported.
        import_module("opentelemetry.sdk._logs")


def wanted(signal: str) -> bool:
    """Whether the standard variables let `signal` out at all."""
    return (
        os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower() != "none"
    )


def endpoint(signal: str, otlp: bool | str) -> str | None:
    """The URL for `signal` by the setting `otlp`; `None` where the exporter reads the standard variables."""
    if not isinstance(otlp, str):
        return None
    if protocol(signal) == "grpc":
        return otlp
    return f"{re.sub(r'/(v1/(traces|metrics|logs))?/?$', '', otlp)}/v1/{signal}"


def exporter(signal: str, otlp: bool | str) -> Any:
    """The exporter of `signal`, whose log is captured. It takes headers, TLS, compression and timeouts from the
    standard variables.

    The first call takes a tenth of a second: never make it on a caller's thread.
    """
    module, name = EXPORTERS[signal]
    kind: Any = getattr(import_module(f"opentelemetry.exporter.otlp.proto.{protocol(signal)}.{module}"), name)
    # It logs under the names of its classes' modules.
    capture(each.__module__ for each in kind.__mro__ if each.__module__.startswith("opentelemetry.exporter."))
    capture([HEADERS_LOG])
    said: list[logging.LogRecord] = []
    kind = _replies.judge_grpc(kind) if protocol(signal) == "grpc" else kind
    with captured(said):
        made = kind(endpoint=endpoint(signal, otlp), **session(signal))
    for record in said:
        if record.name == HEADERS_LOG:
            _tell_headers()
        else:
            logging.getLogger(record.name).handle(record)
    return made


@cache
def _tell_headers() -> None:
    # OpenTelemetry would log the entry with the secret in it.
    logging.getLogger("claudetrace").warning(
        "an entry of OTEL_EXPORTER_OTLP_HEADERS, or of a signal's own, is left out: it is no name=value, URL-encoded"
    )


def session(signal: str) -> dict[str, Any]:
    """The argument `session` of an HTTP exporter, whose replies are judged. In our sessions the certificate is that of
    the standard variables: `requests` itself would prefer `REQUESTS_CA_BUNDLE`."""
    if protocol(signal) == "grpc":
        return {}
    import requests

    class Session(requests.Session):
        def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
            verify = self.verify if verify is None else verify
            return super().merge_environment_settings(url, proxies, stream, verify, cert)

    named = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{infix}CERTIFICATE") for infix in ("", f"{signal.upper()}_"))
    made = _credential_session(signal) or (Session() if named else requests.Session())
    made.hooks["response"].append(_replies.judge_http)
    return {"session": made}


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


class _Capture(logging.Filter):
    """Captures what our exporters log, which is every few seconds while a collector is away: the guard logs it once.
    What other threads log, with the app's exporters, passes."""

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


captured = _Capture()
"""`with captured(said)`: what this thread logs with captured loggers goes to `said` alone."""


def capture(loggers: Iterable[str]) -> None:
    """Captures these loggers from now on."""
    for name in loggers:
        filters = logging.getLogger(name).filters
        if captured not in filters:
            # First, since OpenTelemetry's own filter drops what is logged again within some seconds.
            filters.insert(0, captured)


def export(by: Any, batch: Any, said: list[logging.LogRecord], **options: Any) -> None:
    """Sends `batch` with the exporter `by`, whose log records go to `said` alone. Raises `ExportError` if the collector
    did not accept all of it."""
    said.clear()
    _replies.forget()
    try:
        with captured(said):
            result = by.export(batch, **options)
    except Exception as error:  # noqa: BLE001 - it goes on, without secrets
        raise ExportError(f"{type(error).__name__}: {without_secrets(str(error))}") from None
    if result.name != "SUCCESS":
        refused = _is_refused(said)
        told = words(said[-1:] if refused else said) or f"{type(by).__name__} gave up"
        raise ExportError(told, _replies.last(), refused=refused)
    if (reply := _replies.last()).reason:
        raise ExportError(without_secrets(reply.reason), reply)


def words(said: list[logging.LogRecord]) -> str:
    """The first message in `said`, or nothing."""
    return without_secrets(said[0].getMessage())[:300] if said else ""


def _is_refused(said: list[logging.LogRecord]) -> bool:
    """Whether an exporter failed because of what it sent. Only its last log record tells: by a status, or its words."""
    if not (warnings := [each for each in said if each.levelno >= logging.WARNING]):
        return False
    record = warnings[-1]
    arguments = record.args if isinstance(record.args, tuple) else ()
    statuses = [status for status in (getattr(each, "name", each) for each in arguments) if _is_status(status)]
    return not PASSING.intersection(statuses) if statuses else record.getMessage().startswith(NOT_SENT)


def _is_status(argument: object) -> bool:
    """Whether `argument` is an HTTP status, or the name of a gRPC one."""
    if isinstance(argument, int):
        return 400 <= argument < 600
    return isinstance(argument, str) and argument.isupper() and argument.isidentifier()


def without_secrets(text: str) -> str:
    """`text` without the values of configured headers, and without passwords and keys of URLs."""
    for name, pairs in os.environ.items():
        if name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("HEADERS"):
            for raw in (pair.partition("=")[2].strip() for pair in pairs.split(",")):
                value = unquote(raw).strip()
                for secret in (value, repr(value)[1:-1], raw):
                    text = text.replace(secret, "…") if len(secret) >= LEAST_SECRET else text
    return without_password(text)


def number(name: str, default: float) -> float:
    """The value of the variable `name`, limited to what a clock or a queue can take; `default` if it is no number above
    0."""
    try:
        value = float(os.environ.get(name, default))
    except ValueError:
        return default
    return min(value, LARGEST) if value > 0 else default


def whole(name: str, default: int) -> int:
    """Like `number`, as a whole number of at least 1."""
    return max(1, int(number(name, default)))
