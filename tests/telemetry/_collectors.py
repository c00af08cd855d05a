"""Collectors of records that answer as a test says, over HTTP and gRPC."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

from ._decode import Log, logs

Answer = Callable[[list[Log]], tuple[int, dict[str, str], Iterator[bytes]]]
"""Makes the status, the headers and the chunks of the body of an answer to these records."""


@dataclass
class Collector:
    """A server on loopback that answers as its function says."""

    answer: Answer
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent_bytes: int = 0
    url: str = ""

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append((str(handler.command), handler.path))
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        is_logs = handler.path.endswith("logs")
        status, headers, chunks = self.answer(
            list(logs(logs_service_pb2.ExportLogsServiceRequest.FromString(body))) if is_logs else []
        )
        handler.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(chunk)
            self.sent_bytes += len(chunk)


@contextmanager
def collecting(answer: Answer) -> Iterator[Collector]:
    """A collector over HTTP."""
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
            """A client that does not read to the end is no failure here."""

    server = Server(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield collector
    server.shutdown()
    server.server_close()


@contextmanager
def collecting_grpc(export: Callable[[list[Log], Any], Any]) -> Iterator[str]:
    """The URL of a collector over gRPC, which answers what `export` makes of records and gRPC's context."""

    class Servicer(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            return export(list(logs(request)), context)

    server = grpc.server(futures.ThreadPoolExecutor(2))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


class Refusing:
    """Refuses a request for what it holds, as its `rule` says."""

    def __init__(self, rule: Callable[[list[Log]], bool]) -> None:
        self.rule = rule
        self.logs: list[Log] = []
        self.requests = 0

    def takes(self, arrived: list[Log]) -> bool:
        self.requests += 1
        if self.rule(arrived):
            return False
        self.logs += arrived
        return True


@contextmanager
def refusing_http(receiver: Refusing) -> Iterator[str]:
    with collecting(lambda arrived: (200 if receiver.takes(arrived) else 400, {}, iter(()))) as collector:
        yield collector.url


def refusing_grpc(receiver: Refusing) -> AbstractContextManager[str]:
    def export(arrived: list[Log], context: Any) -> Any:
        if not receiver.takes(arrived):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not that one")
        return logs_service_pb2.ExportLogsServiceResponse()

    return collecting_grpc(export)
