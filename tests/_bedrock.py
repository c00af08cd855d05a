"""Bodies as Bedrock sends them: frames of `application/vnd.amazon.eventstream`."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from claudetrace._demo._wire import json_bytes


def frames(events: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """A frame for each event."""
    return [frame(json_bytes({"bytes": base64.b64encode(json_bytes(each)).decode()})) for each in events]


def frame(payload: bytes, *, event_type: str = "chunk", message_type: str = "event") -> bytes:
    """One frame with its headers and both checksums."""
    kind = ":exception-type" if message_type == "exception" else ":event-type"
    named = {kind: event_type, ":content-type": "application/json", ":message-type": message_type}
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in named.items()
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack("!I", zlib.crc32(body))
