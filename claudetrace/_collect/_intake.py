"""`Intake`: brings the rows in requests of OTLP into the journal, and acknowledges what is there."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._ledger._calls import GENERATED
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._ledger._row_check import RowCheck
from claudetrace._tags import with_own_tags
from claudetrace._telemetry._records import ATTRIBUTES
from claudetrace._usable import UnusableError, check_room

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

    from claudetrace._call import Row
    from claudetrace._config import Settings
    from claudetrace._guard import Guard

ID = next(name for name, column in ATTRIBUTES.items() if column == "id")
PREFIX = ID.removesuffix("id")
VALUES = {"string_value": str, "int_value": int, "double_value": float, "bool_value": int}
"""The kinds of values that a record has, each with its type in the ledger."""
LARGEST_RECORD = 1 << 20
GZIP = zlib.MAX_WBITS | 16
CHUNK = 1 << 16
LARGEST = 32 << 20
"""In bytes: what a request may hold, packed and unpacked."""
MOST_PENDING = 100_000
"""So many records may wait in the journal. Then senders wait until the loader has caught up."""
ROWS_PER_S = 1500
LONGEST_WAIT_S = 30
NO_ROOM_S = 5
NO_ROOM = "the journal's disk has no room, or cannot be written"
TOLD = 1 << 16


class Refused(Exception):  # noqa: N818 - what it is, not how it went
    """A request that is none, with the status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


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


def decoded(record: LogRecord, check: RowCheck) -> Row | str:
    """The row that a record holds, or why it holds none."""
    if record.ByteSize() > LARGEST_RECORD:
        return "it is larger than any call"
    row: Row = {}
    for attribute in record.attributes:
        column = ATTRIBUTES.get(attribute.key)
        if column is None:
            if attribute.key.startswith(PREFIX):
                return f"{attribute.key[:64]} is of another version of claudetrace"
            continue
        kind = attribute.value.WhichOneof("value")
        if kind not in VALUES:
            return f"{attribute.key} has a value of the kind {kind}"
        row[column] = VALUES[kind](getattr(attribute.value, kind))
    if "id" not in row:
        return "it is no call of claudetrace"
    for column in GENERATED:
        row.pop(column, None)
    fault = check.fault(row)
    return with_own_tags(row) if fault is None else fault


def _id_of(record: LogRecord) -> str:
    return next((each.value.string_value[:64] for each in record.attributes if each.key == ID), "")


class Request(NamedTuple):
    """The body of a request, and whose records its token lets in."""

    body: bytes
    is_packed: bool
    services: Container[object]


class Reply(NamedTuple):
    """What a request is answered. With status 200: how many records were rejected, and `text` says which and why."""

    status: int
    text: str = ""
    rejected: int = 0
    taken: int = 0
    retry_after_s: int = 0


class Intake:
    """The journal and the loader of the central ledger `db`. Closing it leaves nothing behind that is not loaded."""

    def __init__(self, db: Path, settings: Settings, guard: Guard) -> None:
        self.taken = self.rejected = 0
        """How many records came since the start: doubles among them, and those that are none."""
        self._db, self.guard = db, guard
        self._check = RowCheck()
        self._writer = LedgerWriter(
            db, guard=guard, retention_days=settings.retention_days, max_db_mb=settings.max_db_mb
        )
        self._writer.begin()

    def close(self) -> None:
        """Loads what waits, for some seconds; the rest is there at the next start."""
        self._writer.close(timeout_s=10.0)

    def trouble(self) -> Reply | None:
        """Why nothing is taken now, or `None`."""
        if self._writer.journal.kept or not self._has_room():
            return Reply(503, NO_ROOM, retry_after_s=NO_ROOM_S)
        pending = self._writer.health()["pending"]
        if pending > MOST_PENDING:
            wait_s = min(LONGEST_WAIT_S, 1 + (pending - MOST_PENDING) // ROWS_PER_S)
            return Reply(429, f"{pending:,} records wait to be loaded", retry_after_s=wait_s)
        return None

    def take(self, requests: list[Request]) -> list[Reply]:
        """Brings the requests into the journal, with one sync for all. What is answered 200 survives a power cut."""
        replies = [self._taken(request) for request in requests]
        if any(reply.taken for reply in replies) and not self._is_on_disk():
            return [Reply(503, NO_ROOM, retry_after_s=NO_ROOM_S) if each.taken else each for each in replies]
        for reply in replies:
            self.taken += reply.taken
            self.rejected += reply.rejected
        return replies

    def _taken(self, request: Request) -> Reply:
        if trouble := self.trouble():
            return trouble
        before = self._faults()
        try:
            rows, rejected = self._read(request)
        except Refused as refused:
            return Reply(refused.status, str(refused))
        for row in rows:
            self._writer.append(row)
        if self._faults() != before or self._writer.journal.kept:
            # Some of it may be in the journal. It comes again, and is known by its id.
            return Reply(503, NO_ROOM, retry_after_s=NO_ROOM_S)
        count = sum(map(len, rejected.values()))
        text = "; ".join(f"{fault}: {', '.join(filter(None, ids))}" for fault, ids in rejected.items())
        if count:
            self.guard.caught("take every record", ValueError(text[:500]))
        return Reply(200, text[:TOLD], count, len(rows))

    def _read(self, request: Request) -> tuple[list[Row], dict[str, list[str]]]:
        """The rows of a request, and the ids of records that are none, by what is wrong with them."""
        body = unpacked(request.body, LARGEST) if request.is_packed else request.body
        rows: list[Row] = []
        rejected: dict[str, list[str]] = {}
        foreign = 0
        for record in records(body):
            found = decoded(record, self._check)
            if isinstance(found, dict) and found.get("service") not in request.services:
                foreign += 1
                found = "its service is not that of the token"
            if isinstance(found, str):
                rejected.setdefault(found, []).append(_id_of(record))
            else:
                rows.append(found)
        if foreign and not rows:
            # Nothing is set aside at the sender: its token may be put right.
            raise Refused(403, "the token is of another service")
        return rows, rejected

    def _has_room(self) -> bool:
        try:
            check_room(self._db)
        except UnusableError:
            return False
        return True

    def _faults(self) -> int:
        return sum(count for doing, count in list(self.guard.failures.items()) if doing.startswith("write the journal"))

    def _is_on_disk(self) -> bool:
        """Whether all that is in the journal is on the disk. Segments that are gone are in the ledger."""
        journal = self._writer.journal
        for segment in (*journal.retired, journal.segment):
            if segment is not None and segment.held.is_ours():
                try:
                    os.fsync(segment.fd)
                except OSError as error:
                    if segment.held.is_ours():
                        self.guard.caught("write the journal to the disk", error)
                        return False
        return True
