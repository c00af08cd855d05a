"""Ids and times as the ledger writes them."""

from __future__ import annotations

import os
import time

_second: tuple[int, str] = (-1, "")


def uuid7(now_ns: int) -> str:
    """A UUIDv7 (RFC 9562) of the moment `now_ns`: ordered by milliseconds, unique over all machines."""
    noise = int.from_bytes(os.urandom(10), "big")
    value = (
        ((now_ns // 1_000_000) & (2**48 - 1)) << 80
        | 0x7 << 76
        | (noise >> 68) << 64
        | 0b10 << 62
        | (noise & (2**62 - 1))
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def utc_text(now_ns: int) -> str:
    """The moment `now_ns` as UTC, ISO 8601 with milliseconds and `Z`."""
    global _second
    second, rest = divmod(now_ns, 1_000_000_000)
    known, prefix = _second
    if known != second:
        prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second = (second, prefix)
    return f"{prefix}.{rest // 1_000_000:03d}Z"
