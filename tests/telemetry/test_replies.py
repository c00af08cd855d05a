"""What a collector replies decides what counts as accepted: a reply that is not OTLP accepts nothing."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as wire

from claudetrace._demo import _answers
from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter

from ._collectors import Answer, collecting, collecting_grpc
from ._decode import Log
from ._records import record, row
from ._sending import PATIENCE_S, ask

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


def always(status: int, media_type: str | None, body: bytes, **headers: str) -> Answer:
    typed = {"Content-Type": media_type} if media_type else {}
    return lambda _arrived: (status, {**typed, **headers}, iter([body]))


def partial(rejected: int, why: str = "") -> bytes:
    told = wire.ExportLogsServiceResponse()
    told.partial_success.rejected_log_records = rejected
    told.partial_success.error_message = why
    return told.SerializeToString()


@pytest.mark.parametrize(
    "answer",
    [
        always(302, None, b"", Location="/elsewhere"),
        always(307, None, b"", Location="/elsewhere"),
        always(200, "text/html; charset=utf-8", b"<html><body>Sign in</body></html>"),
        always(200, "text/plain", b"ok"),
        always(200, None, b"<html><body>Sign in</body></html>"),
        always(200, PROTOBUF, b"<html>"),
        always(200, JSON, b'{"error":"no such tenant"}'),
        always(200, JSON, b"[]"),
        always(200, JSON, b"not json"),
        always(202, PROTOBUF, b""),
        always(204, None, b""),
        always(200, PROTOBUF, partial(50, "quota")),
        always(200, JSON, b'{"partialSuccess":{"rejectedLogRecords":"50","errorMessage":"quota"}}'),
    ],
    ids=[
        *("302", "307", "html", "text", "html without a type", "html called protobuf"),
        *("other json", "a json list", "no json", "202", "204", "all rejected", "all rejected in json"),
    ],
)
def test_records_that_nobody_took_wait(answer: Any, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """A redirect, a page, another status than 200 and a rejection are no acknowledgement: all rows wait, it is told,
    and nothing goes where a redirect leads."""
    guard = Guard()
    with collecting(answer) as collector:
        writer = started(collector.url, guard=guard)
        recorded = record(writer, 5)
        assert not writer.flush(PATIENCE_S)

    assert [each["id"] for each in ask(db, "SELECT id FROM unsent ORDER BY id")] == recorded
    assert any(failure.startswith("send records") for failure in guard.failures)
    assert set(collector.asked) == {("POST", "/v1/logs")}


@pytest.mark.parametrize(
    "answer",
    [
        always(200, PROTOBUF, b""),
        always(200, None, b""),
        always(200, "text/html", b""),
        always(200, PROTOBUF, partial(0, "only a warning")),
        always(200, JSON, b"{}"),
        always(200, JSON, b'{"partialSuccess":{}}'),
        always(200, JSON, b'{"partialSuccess":{"rejectedLogRecords":"0"}}'),
        always(200, PROTOBUF, gzip.compress(partial(0, "packed")), **{"Content-Encoding": "gzip"}),
    ],
    ids=["otlp", "no type", "empty page", "warning", "json", "json partial", "json none rejected", "packed"],
)
def test_records_that_were_taken(answer: Any, db: Path, started: Callable[..., LedgerWriter]) -> None:
    """An answer of OTLP that rejects none, and an empty one, acknowledge what was sent."""
    with collecting(answer) as collector:
        writer = started(collector.url)
        record(writer, 3)
        assert writer.flush(PATIENCE_S)

    assert ask(db, "SELECT * FROM unsent") == []
    assert len(collector.asked) == 1


def ids(arrived: list[Log]) -> list[str]:
    return [each.attributes["claudetrace.id"] for each in arrived]


@contextmanager
def rejecting_http(bad: str, taken: Counter[str]) -> Iterator[str]:
    def answer(arrived: list[Log]) -> Any:
        taken.update(each for each in ids(arrived) if each != bad)
        return 200, {"Content-Type": PROTOBUF}, iter([partial(ids(arrived).count(bad), "too old")])

    with collecting(answer) as collector:
        yield collector.url


def rejecting_grpc(bad: str, taken: Counter[str]) -> AbstractContextManager[str]:
    def export(arrived: list[Log], _context: Any) -> Any:
        taken.update(each for each in ids(arrived) if each != bad)
        return wire.ExportLogsServiceResponse.FromString(partial(ids(arrived).count(bad), "too old"))

    return collecting_grpc(export)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_record_that_is_rejected_in_part_of_a_batch(
    protocol: str, db: Path, started: Callable[..., LedgerWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that rejects one record of many gets all others; the one is set aside with its reason and told."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    bad, guard, taken = row(), Guard(), Counter[str]()
    with (rejecting_grpc if protocol == "grpc" else rejecting_http)(bad["id"], taken) as url:
        writer = started(url, guard=guard)
        writer.append(bad)
        recorded = record(writer, 20)
        for _ in range(50):
            if writer.health()["refused"]:
                break
            writer.flush(PATIENCE_S)
            recorded += record(writer, 1)
        assert writer.flush(PATIENCE_S)

    assert set(taken) == set(recorded)
    ((aside, why),) = [each.values() for each in ask(db, "SELECT id, refused FROM unsent")]
    assert (aside, "rejected 1: too old" in why) == (bad["id"], True)
    assert any(failure.startswith("send every record") for failure in guard.failures)


def test_an_answer_without_an_end_is_not_read_to_its_end(db: Path, started: Callable[..., LedgerWriter]) -> None:
    """Of an answer of a gigabyte no more than an answer can be is read, and what was sent waits."""
    chunk, chunks = b"x" * (1 << 16), 1 << 14
    with collecting(lambda _arrived: (200, {"Content-Type": PROTOBUF}, (chunk for _ in range(chunks)))) as collector:
        writer = started(collector.url)
        record(writer, 2)
        assert not writer.flush(PATIENCE_S)
        sent = collector.sent_bytes / len(collector.asked)

    assert sent < len(chunk) * chunks / 16
    assert len(ask(db, "SELECT * FROM unsent")) == 2


def test_spans_and_metrics_go_where_they_were_sent_alone(server: Any, client: Any, start: Callable[..., Any]) -> None:
    """A redirect of spans and metrics is not followed, and what nobody took is told."""
    with collecting(always(307, None, b"", Location="/elsewhere")) as collector:
        server.add(_answers.answer())
        running = start(otlp=collector.url)
        client.messages.create(model="claude-haiku-5-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        assert not running.flush(PATIENCE_S)

    assert {path for _, path in collector.asked} == {"/v1/traces", "/v1/metrics"}
    assert "the collector answered 307" in json.dumps(running.health.last_error or "")
