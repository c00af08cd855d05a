"""What a collector answered: OpenTelemetry's exporters take any status below 400 for delivery."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES = 1 << 20
LONGEST_S = 10.0
"""How much of an answer is read, and for how long."""
_CHUNK_BYTES = 1 << 16
_PROTOBUF = ("application/x-protobuf", "application/protobuf", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a request was taken: `reason` is empty if all of it was."""

    reason: str = ""
    rejected: int = 0
    """How many of its records, spans or points the collector rejected; it does not say which."""


_of_thread = threading.local()


def forget() -> None:
    """Forgets the last answer that this thread heard."""
    _of_thread.last = None


def last() -> Answer:
    """The last answer that this thread heard since `forget`; one that took all where nothing can be heard."""
    return getattr(_of_thread, "last", None) or Answer()


def hear_http(session: Any) -> Any:
    """`session`, whose answers are judged, read up to a limit, and followed nowhere."""
    session.hooks["response"].append(_heard)
    return session


def hear_grpc(kind: type) -> type:
    """The gRPC exporter `kind`, whose answers are judged."""

    class Heard(kind):  # type: ignore[misc]  # which package it is of is known at run time
        def __setattr__(self, name: str, value: Any) -> None:
            # The exporter makes its stub anew when it connects again.
            super().__setattr__(name, _HeardStub(value) if name == "_client" and hasattr(value, "Export") else value)

    return Heard


class _HeardStub:
    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def Export(self, *args: Any, **options: Any) -> Any:  # noqa: N802 - gRPC's name
        message = self._stub.Export(*args, **options)
        _of_thread.last = _judged(message)
        return message


def _heard(response: Any, **_: Any) -> Any:
    body = _read(response.raw)
    response.raw = BytesIO(body or b"")
    # Where a redirect leads nobody named: neither rows nor secret headers go there.
    response.headers.pop("location", None)
    _of_thread.last = _http_answer(response.status_code, response.headers, body)
    return response


def _read(raw: Any) -> bytes | None:
    """The whole body, or `None` where it is longer than an answer can be."""
    read, body, until = getattr(raw, "read1", raw.read), b"", monotonic() + LONGEST_S
    while chunk := read(_CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > MOST_BYTES or monotonic() > until:
            raw.close()
            return None
    raw.release_conn()
    return body


def _http_answer(status: int, headers: Mapping[str, str], body: bytes | None) -> Answer:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status != 200:
        return Answer(f"the collector answered {status}")
    if body == b"":
        return Answer()
    told = f"the collector answered 200 with {media_type or 'something'} that is not OTLP"
    if body is None:
        return Answer(f"{told}: it has no end")
    try:
        if media_type == "application/json":
            return _json_answer(body) or Answer(told)
        if media_type in _PROTOBUF:
            return _judged(_response_class().FromString(body))
    except ValueError:
        return Answer(told)
    except Exception as error:  # noqa: BLE001 - protobuf's own error has had several classes
        return Answer(f"{told}: {type(error).__name__}")
    return Answer(told)


def _response_class() -> Any:
    # Its fields have the same numbers for all signals.
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    return ExportLogsServiceResponse


def _json_answer(body: bytes) -> Answer | None:
    """The answer in OTLP's JSON, or `None` where it is other JSON."""
    found = json.loads(body)
    if not isinstance(found, dict) or set(found) - {"partialSuccess", "partial_success"}:
        return None
    partial = next(iter(found.values()), None) or {}
    rejected = [value for name, value in partial.items() if name.lower().startswith("rejected")]
    return _partial(int(rejected[0]) if rejected else 0, str(partial.get("errorMessage", "")))


def _judged(message: Any) -> Answer:
    partial = message.partial_success
    rejected = next((value for field, value in partial.ListFields() if field.number == 1), 0)
    return _partial(rejected, partial.error_message)


def _partial(rejected: int, why: str) -> Answer:
    return (
        Answer(f"the collector rejected {rejected}: {why[:300] or 'no reason given'}", rejected)
        if rejected
        else Answer()
    )
