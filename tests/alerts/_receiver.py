"""A receiver of alerts on loopback that can be down, slow, or lead elsewhere."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Got(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Keeps what it is sent in `got`; answers `status`, after `answering` says how."""

    def __init__(self, port: int = 0, *, status: int = 200) -> None:
        self.got: list[Got] = []
        self.refused = 0
        self.status = status
        self.answer_headers: dict[str, str] = {}
        self.hang = threading.Event()
        """Set to let go of requests while `hangs`."""
        self.hangs = False
        self.drips = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.hangs:
                    receiver.hang.wait(30)
                    return
                if receiver.status >= 300:
                    receiver.refused += 1
                else:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver.got.append(Got(self.path, headers, body))
                self.send_response(receiver.status)
                for name, value in receiver.answer_headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    while receiver.drips and not receiver.hang.wait(0.05):
                        self.wfile.write(b"x")
                    self.wfile.write(b"ok")
                except OSError:
                    receiver.drips = False

            do_GET = do_POST  # noqa: N815 - the name that http.server looks for

            def log_message(self, *_args: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.at = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.hang.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def until(true: Any, within_s: float = 20.0) -> bool:
    """Whether `true()` came to be; a test that asks fails by it, and not by its speed."""
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
