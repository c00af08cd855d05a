"""`RecordExporter`: each row of the ledger as one OTLP log record.

The only file that knows OpenTelemetry's logs, whose API still bears an underscore.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.metadata import version
from logging import WARNING
from typing import TYPE_CHECKING, Any

from claudetrace._call import CALL_FIELDS
from claudetrace._errors import ClaudetraceError
from claudetrace._telemetry import _answers, _otlp
from claudetrace._telemetry._scope import EVENT, SCOPE
from claudetrace._version import __version__

if TYPE_CHECKING:
    from logging import LogRecord

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource

    from claudetrace._call import Row

SIGNAL = "logs"
RESOURCE = {
    "service": "service.name",
    "environment": "deployment.environment.name",
    "instance": "service.instance.id",
}
"""Each column that tells whose the row is, with the attribute of the resource."""
PASSING = frozenset(
    (
        *(401, 403, 404, 407, 408, 429, 502, 503, 504),
        *("CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "PERMISSION_DENIED"),
        *("UNAUTHENTICATED", "UNAVAILABLE", "UNIMPLEMENTED"),
    )
)
"""Answers that speak of the receiver or the way to it, and not of what was sent."""
NOT_SENT = ("Failed to encode", "Dropping")
"""How the exporter begins to tell that it will not even try."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OLDEST_SDK = (1, 39)


def check() -> None:
    """Raises `ClaudetraceError` where records cannot be sent by what is installed or by the standard variables."""
    _otlp.protocol(SIGNAL)
    found = version("opentelemetry-sdk")
    parts = found.split(".")[:2]
    if all(part.isdigit() for part in parts) and tuple(map(int, parts)) < OLDEST_SDK:
        raise ClaudetraceError(
            f'records="otlp" needs opentelemetry-sdk 1.39 or newer, and {found} is installed: '
            "pip install -U opentelemetry-exporter-otlp"
        )


class RecordExporter:
    """Sends rows where `otlp`, a URL, or else the `OTEL_EXPORTER_OTLP_*` variables say. For one thread of one process.

    Making one loads OpenTelemetry's exporter, and raises where it cannot be made.
    """

    def __init__(self, otlp: bool | str | None = None) -> None:
        self.minds_forks = _otlp.protocol(SIGNAL) == "grpc"
        self._exporter = _exporter(otlp or False)
        self._resources: dict[tuple[Any, ...], Resource] = {}

    def send(self, rows: list[Row]) -> str | None:
        """`None` once `rows` are acknowledged, else why they were refused. Raises where the receiver is away."""
        from opentelemetry import context

        suppressed = context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True)  # noqa: SLF001 - it has no other name
        try:
            records = [self._record(row) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            return f"a row cannot be made a record: {error}"
        said: list[LogRecord] = []
        _answers.forget()
        token = context.attach(suppressed)
        try:
            with _otlp.overheard(said):
                result = self._exporter.export(records)
        except Exception as error:  # noqa: BLE001 - it goes on, without secrets
            raise ConnectionError(f"{type(error).__name__}: {_otlp.without_secrets(str(error))}") from None
        finally:
            context.detach(token)
        if result.name == "SUCCESS":
            answer = _answers.last()
            if not answer.reason:
                return None
            reason, refused = _otlp.without_secrets(answer.reason), answer.rejected > 0
        else:
            reason, refused = _judged(said)
        if refused:
            return reason
        raise ConnectionError(reason)

    def close(self) -> None:
        """Ends what is being sent, also on another thread."""
        self._exporter.shutdown()

    def _record(self, row: Row) -> ReadableLogRecord:
        from opentelemetry._logs import LogRecord, SeverityNumber
        from opentelemetry.sdk._logs import ReadableLogRecord

        words = (row.get("operation"), row.get("model") or row.get("model_requested"), row.get("outcome"))
        return ReadableLogRecord(
            log_record=LogRecord(
                timestamp=_nanoseconds(row["started_at"]),
                observed_timestamp=time.time_ns(),
                context=_context(row),
                severity_text="INFO",
                severity_number=SeverityNumber.INFO,
                body=" ".join(word for word in words if word),
                attributes={f"claudetrace.{name}": row[name] for name in CALL_FIELDS if row.get(name) is not None},
                event_name=EVENT,
            ),
            resource=self._resource(row),
            instrumentation_scope=_scope(),
        )

    def _resource(self, row: Row) -> Resource:
        from opentelemetry.sdk.resources import Resource

        key = tuple(row.get(column) for column in RESOURCE)
        if key not in self._resources:
            named = zip(RESOURCE.values(), key, strict=True)
            self._resources[key] = Resource({name: value for name, value in named if value is not None})
        return self._resources[key]


def _exporter(otlp: bool | str) -> Any:
    module = import_module(f"opentelemetry.exporter.otlp.proto.{_otlp.protocol(SIGNAL)}._log_exporter")
    return _otlp.make(module.OTLPLogExporter, SIGNAL, otlp)


def _scope() -> Any:
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    return InstrumentationScope(SCOPE, __version__)


def _context(row: Row) -> Any:
    """A context with the span of the row's call, or with none."""
    from opentelemetry import trace

    trace_id, span_id = row.get("trace_id"), row.get("span_id")
    span = trace.INVALID_SPAN
    if trace_id and span_id:
        of_call = trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False)
        span = trace.NonRecordingSpan(of_call)
    return trace.set_span_in_context(span)


def _nanoseconds(moment: str) -> int:
    return (datetime.fromisoformat(moment) - EPOCH) // timedelta(microseconds=1) * 1000


def _judged(said: list[LogRecord]) -> tuple[str, bool]:
    """What the exporter has told of a failure, and whether that speaks of what was sent. It tells in no other way."""
    reason, refused = "the exporter does not say why", False
    for record in said:
        if record.levelno >= WARNING:
            reason = _otlp.without_secrets(record.getMessage())
            arguments = record.args if isinstance(record.args, tuple) else ()
            answers = [each for each in (getattr(each, "name", each) for each in arguments) if _is_answer(each)]
            refused = not PASSING.intersection(answers) if answers else reason.startswith(NOT_SENT)
    return reason, refused


def _is_answer(argument: object) -> bool:
    """Whether `argument` is an HTTP status, or the name of a gRPC one."""
    if isinstance(argument, int):
        return 400 <= argument < 600
    return isinstance(argument, str) and argument.isupper() and argument.isidentifier()
