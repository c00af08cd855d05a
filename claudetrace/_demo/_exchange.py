"""`Exchange`: one answer of the play server, and which request it answers. `Received`: a request as it came."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Body: TypeAlias = bytes | list[bytes]
"""Whole bytes are sent with their length; a list is sent a chunk each, with chunked encoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it came. `path` is without the query; the names of `headers` are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body read as JSON, or `None` where it is none."""
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
    """An answer, and the requests it answers: those of `method` and `path` for whose JSON `when` holds.

    `path` may hold `*`. An exchange answers `times` requests, `None` for any number. `body` may be made from
    the request. `pause_s` passes before each chunk but the first; `before_chunk` is called with each chunk's
    index, and may block. After `cut_after` bytes of the body the connection is closed; with `hang_up` it is
    closed without an answer.
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
        """Whether this is an answer to `request`."""
        return (
            self.method in ("*", request.method)
            and fnmatchcase(request.path, self.path)
            and (self.when is None or bool(self.when(request.json)))
        )

    def body_for(self, request: Received) -> Body:
        """The body as it goes over the wire, packed as `encoding` says."""
        body = self.body(request) if callable(self.body) else self.body
        if self.encoding is None:
            return body
        packed = packed_chunks([body] if isinstance(body, bytes) else body, self.encoding)
        return b"".join(packed) if isinstance(body, bytes) else list(packed)


def packed_chunks(chunks: Iterable[bytes], encoding: Literal["gzip", "deflate"]) -> Iterator[bytes]:
    """Each chunk packed so that it can be unpacked as soon as it has come, and the end of the packing."""
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    for chunk in chunks:
        yield packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()
