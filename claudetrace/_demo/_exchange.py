"""`Exchange`: an answer of the play server and the requests it is for. `Received`: a request that came."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

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
    encoding: Literal["gzip", "deflate"] | None = None
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
        """The body as it is sent, compressed by `encoding`."""
        body = self.body(request) if callable(self.body) else self.body
        if self.encoding is None:
            return body
        packed = packed_chunks([body] if isinstance(body, bytes) else body, self.encoding)
        return b"".join(packed) if isinstance(body, bytes) else list(packed)


def packed_chunks(chunks: Iterable[bytes], encoding: Literal["gzip", "deflate"]) -> Iterator[bytes]:
    """Each chunk compressed so that it can be read on arrival, and the end of the compressed data."""
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    for chunk in chunks:
        yield packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()
