"""One POST or GET: bounded in time and size, certificates checked, no redirect followed, no secret in an error."""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.request import (
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
)

from claudetrace._alerts._channel import DeliveryFailed
from claudetrace._clock import monotonic
from claudetrace._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

SILENCE_S = 10.0
"""How long a server may send nothing."""
WHOLE_S = 20.0
"""How long a whole answer may take, however steadily the server sends."""
ANSWER_BYTES = 65_536
LONGEST_RETRY_AFTER_S = 3600
FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "it did not answer in time"),
    (ConnectionRefusedError, "the connection was refused"),
    (socket.gaierror, "its host's name could not be resolved"),
)
CONTENT = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"claudetrace/{__version__}"}


def post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Hands `body` to `url`. Raises `DeliveryFailed` unless the answer is a 2xx."""
    # Read, so that the server has not written in vain; a little, so that it cannot keep us.
    _ask(Request(url, data=body, headers={**CONTENT, **headers}, method="POST"), ANSWER_BYTES)  # noqa: S310 - http and https alone


def get(url: str, most_bytes: int) -> bytes:
    """What `url` answers with a 2xx, and no more than `most_bytes` of it. Raises `DeliveryFailed`."""
    # With the proxies that the environment names, but for what goes to this machine unencrypted.
    direct = [ProxyHandler({})] if url.startswith("http:") else []
    return _ask(Request(url, headers={"User-Agent": CONTENT["User-Agent"]}), most_bytes, *direct)  # noqa: S310 - as above


def _ask(request: Request, most_bytes: int, *handlers: ProxyHandler) -> bytes:
    """What is answered with a 2xx.

    What is raised is made of the kind of failure alone, and outside of the handler: neither its words nor what it
    came from hold anything of the URL, and nothing of what the server wrote.
    """
    opener = build_opener(_Http, _Https(context=ssl.create_default_context()), _AsItIs, *handlers)
    try:
        with opener.open(request, timeout=SILENCE_S) as response:
            answer: bytes = response.read(most_bytes)
            if 200 <= response.status < 300:
                return answer
            seconds = _seconds(response.headers.get("Retry-After"))
            failed = DeliveryFailed(_status_text(response.status), retry_after_s=seconds)
    except Exception as error:  # noqa: BLE001 - told in words of ours
        failed = DeliveryFailed(_reason(error))
    raise failed


class _AsItIs(HTTPErrorProcessor):
    """Returns answers of every status: no redirect is followed, nothing is repeated or raised. An alert goes where the
    user said, and nowhere else."""

    def http_response(self, request: Any, response: Any) -> Any:  # noqa: ARG002 - urllib's signature
        return response

    https_response = http_response


class _Raw(io.RawIOBase):
    """Reads from `connected` until the deadline: a server cannot evade the time-out by sending slowly."""

    def __init__(self, connected: socket.socket, file: Any) -> None:
        self._socket, self._file = connected, file
        self._until = monotonic() + WHOLE_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(SILENCE_S, left))
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # The file that was made keeps the socket open: `http.client` closes its own reference early.
        self.fp = io.BufferedReader(_Raw(sock, self.fp))


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Http(HTTPHandler):
    def http_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(HTTPSHandler):
    def https_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req, context=self._context)  # type: ignore[attr-defined]  # urllib's own


def _status_text(status: int) -> str:
    led = "; redirects are not followed: give the address that it leads to" if 300 <= status < 400 else ""
    return f"the server answered {status}{led}"


def _seconds(retry_after: str | None) -> float | None:
    """The seconds of a `Retry-After` header; `None` for a date or nonsense."""
    digits = (retry_after or "").strip()
    return float(min(int(digits), LONGEST_RETRY_AFTER_S)) if digits.isdecimal() and len(digits) < 10 else None


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None)
    error = inner if isinstance(inner, Exception) else error
    for kind, words in FAILURES:
        if isinstance(error, kind):
            return words
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, OSError) and isinstance(error.errno, int) and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return f"the request failed: {type(error).__name__}"
