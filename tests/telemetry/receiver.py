"""OTLP receivers on loopback, over HTTP and gRPC, that decode what arrives and can be broken while they run."""

from __future__ import annotations

import gzip
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any, Literal, Self

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from . import _decode
from ._decode import Log, Metric, Point, Scope, Span

__all__ = ["Log", "Metric", "Point", "Receiver", "Scope", "Span"]

Fault = Literal["hang", "slow", "503", "refuse"]
SLOW_S = 20.0


@dataclass(frozen=True)
class _Signal:
    """One of the three signals: where it arrives, in what, and how it is decoded."""

    service: Any
    pb2: Any
    name: str
    path: str
    decode: Callable[[Any], Iterator[Any]]

    @property
    def request(self) -> Any:
        return getattr(self.pb2, f"Export{self.name}ServiceRequest")

    @property
    def response(self) -> Any:
        return getattr(self.pb2, f"Export{self.name}ServiceResponse")


SIGNALS = {
    "spans": _Signal(trace_service_pb2_grpc, trace_service_pb2, "Trace", "/v1/traces", _decode.spans),
    "metrics": _Signal(metrics_service_pb2_grpc, metrics_service_pb2, "Metrics", "/v1/metrics", _decode.metrics),
    "logs": _Signal(logs_service_pb2_grpc, logs_service_pb2, "Logs", "/v1/logs", _decode.logs),
}


@dataclass
class Receiver:
    """Takes OTLP at `url` while the block lasts. `tls` is a certificate file and its key file."""

    protocol: Literal["http", "grpc"] = "http"
    port: int = 0
    fault: Fault | None = None
    tls: tuple[Path, Path] | None = None
    spans: list[Span] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """The path or the RPC method of each request, with its headers in lower case; also of those that failed."""

    def __post_init__(self) -> None:
        self._arrived = threading.Condition()
        self._release = threading.Event()
        self._server: _Http | _Grpc | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Setting `fault` breaks or heals the receiver at once."""
        super().__setattr__(name, value)
        if name == "fault" and hasattr(self, "_release"):
            (self.stop if value == "refuse" else self.start)()
            self._release.set()
            self._release = threading.Event()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Listens, on the port it had where it has listened before."""
        if self._server is None:
            self._server = (_Http if self.protocol == "http" else _Grpc)(self)
            self.port = self._server.port
            if self.fault == "refuse":
                self.stop()
        return self

    def stop(self) -> None:
        """Refuses connections and drops those that are open."""
        server, self._server = self._server, None
        self._release.set()
        self._release = threading.Event()
        if server is not None:
            server.stop()

    def wait_for(self, met: Callable[[Self], object], timeout_s: float = 10) -> bool:
        """Whether `met` came true of this receiver within `timeout_s`."""
        with self._arrived:
            return bool(self._arrived.wait_for(lambda: met(self), timeout_s))

    def take(self, signal: str, path: str, headers: dict[str, str], body: Any) -> bool:
        """Whether the request is to be answered well: what it says is kept then."""
        with self._arrived:
            self.requests.append((path, headers))
            self._arrived.notify_all()
        if self.fault in ("hang", "slow"):
            self._release.wait(SLOW_S if self.fault == "slow" else None)
        if self.fault not in (None, "slow"):
            return False
        decoded = list(SIGNALS[signal].decode(body))
        with self._arrived:
            getattr(self, signal).extend(decoded)
            self._arrived.notify_all()
        return True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.opened: set[socket] = set()
        super().__init__(("127.0.0.1", receiver.port), _Handler)
        self.port = self.server_address[1]
        if receiver.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*receiver.tls)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.opened.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.opened.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.opened):
            try:
                connection.shutdown(SHUT_RDWR)
            except OSError:
                continue


_UNPACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        body = _UNPACK.get(headers.get("content-encoding", ""), bytes)(body)
        signal = next((name for name, each in SIGNALS.items() if each.path == self.path), None)
        if signal is None:
            self._answer(404, b"")
            return
        ok = self.server.receiver.take(signal, self.path, headers, SIGNALS[signal].request.FromString(body))
        self._answer(200 if ok else 503, SIGNALS[signal].response().SerializeToString())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Quiet."""


class _Grpc:
    def __init__(self, receiver: Receiver) -> None:
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        for name, signal in SIGNALS.items():
            servicer = type(name, (), {"Export": _export(receiver, name, signal)})()
            getattr(signal.service, f"add_{signal.name}ServiceServicer_to_server")(servicer, self._server)
        address = f"127.0.0.1:{receiver.port}"
        if receiver.tls:
            certificate, key = (path.read_bytes() for path in receiver.tls)
            self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
        else:
            self.port = self._server.add_insecure_port(address)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


def _export(receiver: Receiver, name: str, signal: _Signal) -> Callable[..., Any]:
    def export(_self: object, request: Any, context: Any) -> Any:
        headers = {str(key): value for key, value in context.invocation_metadata()}
        if not receiver.take(name, f"{signal.name}Service/Export", headers, request):
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose")
        return signal.response()

    return export
