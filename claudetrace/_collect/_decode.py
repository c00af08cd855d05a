"""The rows in a request of OTLP: the inverse of what sends them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._ledger._store import GENERATED
from claudetrace._tags import with_own_tags
from claudetrace._telemetry._records import ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

    from claudetrace._call import Row
    from claudetrace._ledger._row_check import RowCheck

ID = next(name for name, column in ATTRIBUTES.items() if column == "id")
PREFIX = ID.removesuffix("id")
VALUES = {"string_value": str, "int_value": int, "double_value": float, "bool_value": int}
"""The kinds of values that a record has, each with its type in the ledger."""
LARGEST_RECORD = 1 << 20
GZIP = zlib.MAX_WBITS | 16
CHUNK = 1 << 16


class Refused(Exception):  # noqa: N818 - what it is, not how it went
    """A request that is none, with the status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Found(NamedTuple):
    """One record of a request: its row, or its id and why it is none."""

    row: Row | None
    id: str = ""
    fault: str = ""


def unpacked(body: bytes, limit: int) -> bytes:
    """What is in a body of gzip. Raises `Refused` for one that is broken, or larger than `limit` inside."""
    packed = zlib.decompressobj(GZIP)
    try:
        found = packed.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refused(400, f"the body is no gzip: {error}") from None
    if len(found) > limit:
        raise Refused(413, f"the body is larger than {limit:,} bytes when unpacked; send fewer records at once")
    if not packed.eof:
        raise Refused(400, "the body of gzip is cut short")
    return found


def records(body: bytes) -> Iterator[LogRecord]:
    """Every log record in a request. Raises `Refused` for what is none."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it has no types
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    try:
        request = ExportLogsServiceRequest.FromString(body)
    except DecodeError:
        raise Refused(400, "the body is no ExportLogsServiceRequest of OTLP") from None
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            yield from scope.log_records


def decoded(record: LogRecord, check: RowCheck) -> Found:
    """What a record holds."""
    if record.ByteSize() > LARGEST_RECORD:
        return Found(None, _id_of(record), "it is larger than any call")
    row: Row = {}
    for attribute in record.attributes:
        column = ATTRIBUTES.get(attribute.key)
        if column is None:
            if attribute.key.startswith(PREFIX):
                return Found(None, _id_of(record), f"{attribute.key[:64]} is of another version of claudetrace")
            continue
        kind = attribute.value.WhichOneof("value")
        if kind not in VALUES:
            return Found(None, _id_of(record), f"{attribute.key} has a value of the kind {kind}")
        row[column] = VALUES[kind](getattr(attribute.value, kind))
    if "id" not in row:
        return Found(None, "", "it is no call of claudetrace")
    for column in GENERATED:
        row.pop(column, None)
    fault = check.fault(row)
    return Found(with_own_tags(row)) if fault is None else Found(None, _id_of(record), fault)


def _id_of(record: LogRecord) -> str:
    return next((each.value.string_value[:64] for each in record.attributes if each.key == ID), "")
