"""`Refusing`: a receiver that refuses some records for what they hold, over HTTP and gRPC."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

from ._decode import Log, logs


class Refusing:
    """A receiver that refuses a request for what it holds, as its `rule` says."""

    def __init__(self, rule: Callable[[list[Log]], bool]) -> None:
        self.rule = rule
        self.logs: list[Log] = []
        self.requests = 0

    def takes(self, request: Any) -> bool:
        arrived = list(logs(request))
        self.requests += 1
        if self.rule(arrived):
            return False
        self.logs += arrived
        return True


@contextmanager
def refusing_http(receiver: Refusing) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken = receiver.takes(logs_service_pb2.ExportLogsServiceRequest.FromString(body))
            self.send_response(200 if taken else 400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@contextmanager
def refusing_grpc(receiver: Refusing) -> Iterator[str]:
    class Servicer(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            if not receiver.takes(request):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not that one")
            return logs_service_pb2.ExportLogsServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(2))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()
