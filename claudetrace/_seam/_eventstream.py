"""Parses Bedrock's event stream, `application/vnd.amazon.eventstream`: binary frames that carry the API's events.

A frame is total length, headers' length, CRC of both (4 bytes each), headers, payload, CRC of all.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from struct import unpack_from
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PRELUDE_BYTES = 12
MAX_FRAME_BYTES = 32 * 2**20
DELTA_PAYLOAD = b'{"bytes":"' + base64.b64encode(b'{"type":"content_block_delta",')
"""How the payload of a delta begins."""
# Header values by type: their fixed length, or the length of the length that precedes them.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_COUNTED = {6, 7}


class FrameBuffer:
    """Splits the bytes of an event stream into frames, in whatever pieces they arrive."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def frames(self, chunk: bytes) -> Iterator[tuple[Mapping[str, str], bytes]]:
        """The headers and the payload of each frame that `chunk` completes. Raises `ValueError` on a broken one."""
        pending = self._pending
        pending += chunk
        while len(pending) >= PRELUDE_BYTES:
            total, headers = unpack_from("!II", pending)
            if not PRELUDE_BYTES + 4 + headers <= total <= MAX_FRAME_BYTES:
                raise ValueError(f"an event stream's frame says {total} bytes, {headers} of them headers")
            if len(pending) < total:
                return
            frame = bytes(pending[:total])
            del pending[:total]
            body = PRELUDE_BYTES + headers
            yield frame_headers(frame[PRELUDE_BYTES:body]), frame[body:-4]


@lru_cache(maxsize=4)
def frame_headers(raw: bytes) -> Mapping[str, str]:
    """The text headers of a frame, such as `:message-type` and `:event-type`: the same in nearly every frame."""
    headers: dict[str, str] = {}
    at = 0
    while at < len(raw):
        name_end = at + 1 + raw[at]
        name = raw[at + 1 : name_end].decode("utf-8", "replace")
        kind = raw[name_end]
        at = name_end + 1
        if kind in _COUNTED:
            (length,) = unpack_from("!H", raw, at)
            at += 2
            if kind == 7:
                headers[name] = raw[at : at + length].decode("utf-8", "replace")
        else:
            length = _FIXED[kind]
        at += length
    return headers


def event_of(payload: bytes) -> bytes:
    """The API's event inside a payload, as JSON."""
    return base64.b64decode(orjson.loads(payload)["bytes"])
