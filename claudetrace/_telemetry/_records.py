"""`RecordExporter`: each row of the ledger as one OTLP log record.

OpenTelemetry's logs are used here alone: their modules are still private.
"""

from __future__ import annotations

import time
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from claudetrace._call import CALL_FIELDS
from claudetrace._errors import ClaudetraceError
from claudetrace._ids import ns_of
from claudetrace._telemetry import _otlp
from claudetrace._telemetry._attributes import EVENT, SCOPE
from claudetrace._version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource

    from claudetrace._call import Row

SIGNAL = "logs"
RESOURCE = {
    "service": "service.name",
    "environment": "deployment.environment.name",
    "instance": "service.instance.id",
}
"""The columns that become attributes of the resource."""
ATTRIBUTES = {f"claudetrace.{name}": name for name in CALL_FIELDS}
"""Each attribute of a record with the column that it is, for who sends records and who takes them."""
OLDEST_SDK = (1, 39)


def check() -> None:
    """Raises `ClaudetraceError` if the installed SDK or the standard variables do not allow records."""
    _otlp.protocol(SIGNAL)
    found = version("opentelemetry-sdk")
    parts = found.split(".")[:2]
    if all(part.isdigit() for part in parts) and tuple(map(int, parts)) < OLDEST_SDK:
        raise ClaudetraceError(
            f'records="otlp" needs opentelemetry-sdk 1.39 or newer, and {found} is installed: '
            "pip install -U opentelemetry-exporter-otlp"
        )


class RecordExporter:
    """Sends rows to the URL `otlp`, else where the `OTEL_EXPORTER_OTLP_*` variables say. For one thread of a process.
    A fork while it sends breaks it in the child if it `minds_forks`.

    Creating it loads OpenTelemetry's exporter, and raises where that fails.
    """

    def __init__(self, otlp: bool | str | None = None) -> None:
        self.minds_forks = _otlp.protocol(SIGNAL) == "grpc"
        self._exporter = _otlp.exporter(SIGNAL, otlp or False)
        self._resources: dict[tuple[Any, ...], Resource] = {}

    def send(self, rows: list[Row]) -> str | dict[str, str] | None:
        """`None` once `rows` are acknowledged, else why they were refused: each that the collector named by its
        id, where it took the others. Raises where the collector is away."""
        from opentelemetry import context

        suppressed = context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True)  # noqa: SLF001 - it has no other name
        try:
            records = [self._record(row) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            return f"a row cannot be made a record: {error}"
        token = context.attach(suppressed)
        try:
            _otlp.export(self._exporter, records, [])
        except _otlp.ExportError as error:
            if error.refused:
                return _named(rows, error) or str(error)
            raise
        finally:
            context.detach(token)
        return None

    def close(self) -> None:
        """Ends what is being sent, also on another thread."""
        self._exporter.shutdown()

    def _record(self, row: Row) -> ReadableLogRecord:
        from opentelemetry._logs import LogRecord, SeverityNumber
        from opentelemetry.sdk._logs import ReadableLogRecord
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        words = (row.get("operation"), row.get("model") or row.get("model_requested"), row.get("outcome"))
        return ReadableLogRecord(
            log_record=LogRecord(
                timestamp=_nanoseconds(row["started_at"]),
                observed_timestamp=time.time_ns(),
                context=_context(row),
                severity_text="INFO",
                severity_number=SeverityNumber.INFO,
                body=" ".join(word for word in words if word),
                attributes={name: row[column] for name, column in ATTRIBUTES.items() if row.get(column) is not None},
                event_name=EVENT,
            ),
            resource=self._resource(row),
            instrumentation_scope=InstrumentationScope(SCOPE, __version__),
        )

    def _resource(self, row: Row) -> Resource:
        from opentelemetry.sdk.resources import Resource

        key = tuple(row.get(column) for column in RESOURCE)
        if key not in self._resources:
            named = zip(RESOURCE.values(), key, strict=True)
            self._resources[key] = Resource({name: value for name, value in named if value is not None})
        return self._resources[key]


def _named(rows: list[Row], error: _otlp.ExportError) -> dict[str, str] | None:
    """The rejected ones of `rows` with the reason of each, if the collector has named them all: `reason: id, id; …`."""
    told = [each.rpartition(": ") for each in error.reply.told.split("; ")]
    named = {id_: reason for reason, _, ids in told for id_ in ids.split(", ")}
    found = {row["id"]: _otlp.without_secrets(named[row["id"]]) for row in rows if row["id"] in named}
    return found if len(found) == error.reply.rejected else None


def _context(row: Row) -> Any:
    """A context with the span of the row's call, or without a span."""
    from opentelemetry import trace

    trace_id, span_id = row.get("trace_id"), row.get("span_id")
    span = trace.INVALID_SPAN
    if trace_id and span_id:
        of_call = trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False)
        span = trace.NonRecordingSpan(of_call)
    return trace.set_span_in_context(span)


def _nanoseconds(moment: str) -> int:
    return ns_of(datetime.fromisoformat(moment))
