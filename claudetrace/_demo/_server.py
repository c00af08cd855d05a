"""`PlayServer`: an HTTP server on loopback that plays exchanges to a client such as the anthropic SDK."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Body: TypeAlias = bytes | list[bytes]
"""Bytes are sent whole, with their length; a list is sent in chunks, with chunked encoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request. `path` is without the query; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body parsed as JSON, or `None` if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def server_url(self) -> str:
        """The address the client used, without the path."""
        return f"http://{self.headers.get('host', '127.0.0.1')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An answer to requests with this `method` and `path`, if `when` returns true for their JSON.

    `path` may contain `*`. The exchange answers `times` requests; `None` means any number. `body` may be a function of
    the request. `pause_s` is the wait before each chunk except the first; `before_chunk` gets each chunk's index, and
    may block. After `cut_after` bytes of the body the connection closes; with `hang_up` it closes without an answer.
    """

    method: str = "POST"
    path: str = "/v1/messages"
    when: Callable[[Any], bool] | None = None
    times: int | None = 1
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | Callable[[Received], Body] = b""
    delay_s: float = 0.0
    pause_s: float = 0.0
    before_chunk: Callable[[int], None] | None = None
    cut_after: int | None = None
    hang_up: bool = False

    def answers(self, request: Received) -> bool:
        """Whether it answers `request`."""
        return (
            self.method in ("*", request.method)
            and fnmatchcase(request.path, self.path)
            and (self.when is None or bool(self.when(request.json)))
        )

    def body_for(self, request: Received) -> Body:
        """The body of the answer to `request`."""
        return self.body(request) if callable(self.body) else self.body


STOPPING_S = 5.0
"""How long the end waits for answers in progress."""


class PlayServer:
    """A context manager that answers requests to `url`, on a free port unless one is given.

    Each request gets the first exchange that fits and is not used up, or else status 404 and an error in the API's form
    that names the request. `requests` lists the requests in order.
    """

    def __init__(self, *exchanges: Exchange, port: int = 0) -> None:
        self.requests: list[Received] = []
        self.failures: list[BaseException] = []
        self._script: list[Exchange] = []
        self._played = Counter[int]()
        """How many requests each of them has answered, by its place."""
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self._http = _HTTPServer(("127.0.0.1", port), self)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), name="claudetrace-play-server", daemon=True
        )
        self.add(*exchanges)

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def unplayed(self) -> list[Exchange]:
        """The exchanges that are not used up, except those for any number of requests."""
        with self._lock:
            return [each for place, each in enumerate(self._script) if self._played[place] < (each.times or 0)]

    def add(self, *exchanges: Exchange) -> None:
        """Adds exchanges to the end."""
        with self._lock:
            self._script.extend(exchanges)

    def exchange_for(self, request: Received) -> Exchange:
        """The exchange for `request`, counted as used. Called on a connection's thread."""
        with self._lock:
            self.requests.append(request)
            for place, each in enumerate(self._script):
                if (each.times is None or self._played[place] < each.times) and each.answers(request):
                    self._played[place] += 1
                    return each
        return _nothing_fits(request)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the port and every connection."""
        self.stopping.set()
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.close_connections()
        self._http.server_close()


def _nothing_fits(request: Received) -> Exchange:
    message = f"the play server has no exchange left for {request.method} {request.path}"
    body = {"type": "error", "error": {"type": "not_found_error", "message": message}}
    headers = {"content-type": "application/json"}
    return Exchange(path="*", status=404, headers=headers, body=json.dumps(body).encode())


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # The default of 5 refuses connections when a test opens many at once.
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], play: PlayServer) -> None:
        self.play = play
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own method looks up the host's name, which may query a name server.
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def close_connections(self) -> None:
        """Wakes the threads that wait for another request, and waits until all connections are closed."""
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, timeout=STOPPING_S)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class calls it
        # A client that hangs up is no failure: tests and the demo do it on purpose.
        if (error := sys.exc_info()[1]) is not None and not isinstance(error, OSError):
            self.play.failures.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Sends the status line and headers in one packet with a short body.
    wbufsize = 65536
    server: _HTTPServer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Says nothing."""

    def answer(self) -> None:
        """Reads the request and plays the exchange for it."""
        play = self.server.play
        path, _, query = self.path.partition("?")
        request = Received(
            method=self.command,
            path=path,
            query=query,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=b"".join(self._request_body()),
        )
        exchange = play.exchange_for(request)
        play.stopping.wait(exchange.delay_s)
        if exchange.hang_up:
            self.close_connection = True
            return
        body = exchange.body_for(request)
        chunks = [body] if isinstance(body, bytes) else body
        self._send_head(exchange, None if chunks is body else len(chunks[0]))
        if request.method != "HEAD":
            self._send_body(exchange, chunks, chunked=chunks is body)

    def _request_body(self) -> Iterator[bytes]:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            yield self.rfile.read(int(self.headers.get("content-length") or 0))
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _send_head(self, exchange: Exchange, length: int | None) -> None:
        self.send_response(exchange.status)
        for name, value in exchange.headers.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(length))
        self.end_headers()

    def _send_body(self, exchange: Exchange, chunks: list[bytes], *, chunked: bool) -> None:
        left = exchange.cut_after
        for index, chunk in enumerate(chunks):
            if index:
                self.server.play.stopping.wait(exchange.pause_s)
            if exchange.before_chunk is not None:
                self.wfile.flush()
                exchange.before_chunk(index)
            piece = chunk if left is None else chunk[:left]
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                self.wfile.flush()
            if left is not None and (left := left - len(piece)) == 0:
                self.close_connection = True
                return
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
