"""What a collector answers decides what counts as taken: an answer that is not OTLP's took nothing."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as wire
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc

from claudetrace._demo import _answers
from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter

from ._decode import logs
from ._records import record, row
from ._sending import PATIENCE_S, ask

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


@dataclass
class Collector:
    """A server on loopback that answers as its function says: a status, headers and the body in chunks."""

    answer: Callable[[list[str]], tuple[int, dict[str, str], Iterator[bytes]]]
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent_bytes: int = 0
    url: str = ""

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append((str(handler.command), handler.path))
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        arrived = wire.ExportLogsServiceRequest.FromString(body) if handler.path.endswith("logs") else None
        status, headers, chunks = self.answer(
            [each.attributes["claudetrace.id"] for each in logs(arrived)] if arrived else []
        )
        handler.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(chunk)
            self.sent_bytes += len(chunk)


@contextmanager
def collecting(answer: Callable[[list[str]], tuple[int, dict[str, str], Iterator[bytes]]]) -> Iterator[Collector]:
    collector = Collector(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self)

        do_GET = do_POST  # noqa: N815 - the standard library's name

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that does not read to the end is what this is about."""

    server = Server(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield collector
    server.shutdown()
    server.server_close()


def always(status: int, media_type: str | None, body: bytes, **headers: str) -> Callable[[list[str]], Any]:
    typed = {"Content-Type": media_type} if media_type else {}
    return lambda _ids: (status, {**typed, **headers}, iter([body]))


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


@contextmanager
def rejecting_http(bad: str, taken: Counter[str]) -> Iterator[str]:
    def answer(ids: list[str]) -> Any:
        taken.update(each for each in ids if each != bad)
        return 200, {"Content-Type": PROTOBUF}, iter([partial(ids.count(bad), "too old")])

    with collecting(answer) as collector:
        yield collector.url


@contextmanager
def rejecting_grpc(bad: str, taken: Counter[str]) -> Iterator[str]:
    class Servicer(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            ids = [each.attributes["claudetrace.id"] for each in logs(request)]
            taken.update(each for each in ids if each != bad)
            return wire.ExportLogsServiceResponse.FromString(partial(ids.count(bad), "too old"))

    server = grpc.server(futures.ThreadPoolExecutor(2))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


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
    with collecting(lambda _ids: (200, {"Content-Type": PROTOBUF}, (chunk for _ in range(chunks)))) as collector:
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
