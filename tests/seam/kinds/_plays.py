"""The answers that the server plays to the kinds: with the same headers always, so that rows can be whole."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer

from ._rows import MESSAGE

HEADERS = {
    "request-id": "req_seam_1",
    "anthropic-organization-id": "org_seam",
    "anthropic-workspace-id": "wrkspc_seam",
    "anthropic-ratelimit-requests-limit": "4000",
    "anthropic-ratelimit-requests-remaining": "3999",
    "anthropic-ratelimit-input-tokens-limit": "2000",
    "anthropic-ratelimit-input-tokens-remaining": "500",
}


def json_answer(body: Mapping[str, Any] = MESSAGE, **exchange: Any) -> Exchange:
    """A body that comes whole."""
    return _answer("application/json", json.dumps(body).encode(), **exchange)


def streamed(events: Iterable[Mapping[str, Any]] | None = None, **exchange: Any) -> Exchange:
    """These events, or `MESSAGE`'s, a chunk each."""
    told = _wire.stream_events(MESSAGE) if events is None else events
    return _answer("text/event-stream; charset=utf-8", _wire.sse(told), **exchange)


def failure(status: int, kind: str, **exchange: Any) -> Exchange:
    """An error of the API, after which a retry comes at once."""
    headers = {"retry-after-ms": "1", **exchange.pop("headers", {})}
    body = json.dumps(_wire.error(kind)).encode()
    return _answer("application/json", body, status=status, headers=headers, **exchange)


def _answer(content_type: str, body: bytes | list[bytes], **exchange: Any) -> Exchange:
    headers = {"content-type": content_type, **HEADERS, **exchange.pop("headers", {})}
    return Exchange(body=body, headers=headers, **exchange)


_held: list[threading.Event] = []


def holding_from(index: int) -> Callable[[int], None]:
    """What holds back the chunks of a body from this one on, until `let_go`."""
    gate = threading.Event()
    _held.append(gate)

    def before_chunk(at: int) -> None:
        if at >= index:
            gate.wait(10)

    return before_chunk


def let_go() -> None:
    """Nothing is held back any longer."""
    while _held:
        _held.pop().set()


def packed(exchange_of: Any, encoding: str) -> Exchange:
    """The same answer, each chunk packed on its own so far as the encoding can."""
    plain = exchange_of()
    chunks = [plain.body] if isinstance(plain.body, bytes) else plain.body
    body = PACKERS[encoding](chunks)
    name = encoding.removeprefix("raw-")
    whole = [b"".join(body)] if isinstance(plain.body, bytes) else body
    return Exchange(path=plain.path, headers={**plain.headers, "content-encoding": name}, body=whole)


def _zlib_packed(wbits: int) -> Any:
    def pack(chunks: Sequence[bytes]) -> list[bytes]:
        packer = zlib.compressobj(wbits=wbits)
        return [packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH) for chunk in chunks] + [packer.flush()]

    return pack


def _brotli_packed(chunks: Sequence[bytes]) -> list[bytes]:
    import brotli

    packer = brotli.Compressor()
    return [packer.process(chunk) + packer.flush() for chunk in chunks] + [packer.finish()]


def _zstd_packed(chunks: Sequence[bytes]) -> list[bytes]:
    from backports.zstd import ZstdCompressor

    packer = ZstdCompressor()
    return [packer.compress(chunk, mode=packer.FLUSH_BLOCK) for chunk in chunks] + [packer.flush()]


PACKERS = {
    "gzip": _zlib_packed(31),
    "deflate": _zlib_packed(15),
    "raw-deflate": _zlib_packed(-15),
    "br": _brotli_packed,
    "zstd": _zstd_packed,
}


def answering_all() -> PlayServer:
    """A server that answers any number of calls, whole and streamed."""
    return PlayServer(
        streamed(times=None, when=lambda body: body.get("stream")),
        json_answer(times=None, when=lambda body: not body.get("stream")),
    )
