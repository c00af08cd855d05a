"""Reads whether a collector accepted a request: OpenTelemetry's exporters take any status below 400 for success."""

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
"""How much of a reply is read, and for how long."""
_CHUNK_BYTES = 1 << 16
_PROTOBUF = ("application/x-protobuf", "application/protobuf", "")


@dataclass(frozen=True, slots=True)
class Reply:
    """Whether a request was accepted: `reason` is empty if all of it was."""

    reason: str = ""
    rejected: int = 0
    """How many of its records, spans or points the collector rejected."""
    told: str = ""
    """What it said of them. OTLP has no place for which they are; `claudetrace collect` says it here."""
    retry_after_s: float = 0.0
    """How long it asked to be left alone."""


_of_thread = threading.local()


def forget() -> None:
    """Forgets the last reply to this thread."""
    _of_thread.last = None


def last() -> Reply:
    """The last reply to this thread since `forget`. Without one, all counts as accepted."""
    return getattr(_of_thread, "last", None) or Reply()


def judge_grpc(kind: type) -> type:
    """A subclass of the gRPC exporter `kind`, whose replies are judged."""

    class Judged(kind):  # type: ignore[misc]  # which package it is of is known at run time
        def __setattr__(self, name: str, value: Any) -> None:
            # The exporter makes a new stub whenever it reconnects.
            super().__setattr__(name, _JudgedStub(value) if name == "_client" and hasattr(value, "Export") else value)

    return Judged


class _JudgedStub:
    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def Export(self, *args: Any, **options: Any) -> Any:  # noqa: N802 - gRPC's name
        message = self._stub.Export(*args, **options)
        _of_thread.last = _judged(message)
        return message


def judge_http(response: Any, **_: Any) -> Any:
    """The hook that judges `response`. It is read up to a limit, and no redirect is followed."""
    body = _read(response.raw)
    response.raw = BytesIO(body or b"")
    # Nobody configured the target of a redirect: neither rows nor secret headers may go there.
    response.headers.pop("location", None)
    _of_thread.last = _http_reply(response.status_code, response.headers, body)
    return response


def _read(raw: Any) -> bytes | None:
    """The whole body, or `None` where it is longer than a reply can be."""
    read, body, until = getattr(raw, "read1", raw.read), b"", monotonic() + LONGEST_S
    while chunk := read(_CHUNK_BYTES, decode_content=True):
        body += chunk
        if len(body) > MOST_BYTES or monotonic() > until:
            raw.close()
            return None
    raw.release_conn()
    return body


def _http_reply(status: int, headers: Mapping[str, str], body: bytes | None) -> Reply:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status != 200:
        after = headers.get("retry-after", "")
        return Reply(f"the collector answered {status}", retry_after_s=float(after) if after.isdecimal() else 0.0)
    if body == b"":
        return Reply()
    told = f"the collector answered 200 with {media_type or 'something'} that is not OTLP"
    if body is None:
        return Reply(f"{told}: it has no end")
    try:
        if media_type == "application/json":
            return _json_reply(body) or Reply(told)
        if media_type in _PROTOBUF:
            # The response of every signal has the same field numbers.
            from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

            return _judged(ExportLogsServiceResponse.FromString(body))
    except ValueError:
        return Reply(told)
    except Exception as error:  # noqa: BLE001 - protobuf's own error has had several classes
        return Reply(f"{told}: {type(error).__name__}")
    return Reply(told)


def _json_reply(body: bytes) -> Reply | None:
    """The reply in OTLP's JSON, or `None` for any other JSON."""
    found = json.loads(body)
    if not isinstance(found, dict) or set(found) - {"partialSuccess", "partial_success"}:
        return None
    partial = next(iter(found.values()), None) or {}
    rejected = [value for name, value in partial.items() if name.lower().startswith("rejected")]
    return _partial(int(rejected[0]) if rejected else 0, str(partial.get("errorMessage", "")))


def _judged(message: Any) -> Reply:
    partial = message.partial_success
    rejected = next((value for field, value in partial.ListFields() if field.number == 1), 0)
    return _partial(rejected, partial.error_message)


def _partial(rejected: int, why: str) -> Reply:
    if not rejected:
        return Reply()
    return Reply(f"the collector rejected {rejected}: {why[:300] or 'no reason given'}", rejected, why)
