"""Ids and times as the ledger writes them."""

from __future__ import annotations

import os
import time

_VARIANT = "89ab"

_second: tuple[int, str] = (-1, "")


def uuid7(now_ns: int) -> str:
    """A UUIDv7 (RFC 9562) of the moment `now_ns`: ordered by milliseconds, unique over all machines."""
    noise = os.urandom(10)
    digits = noise.hex()
    time_digits = f"{now_ns // 1_000_000:012x}"
    return f"{time_digits[:8]}-{time_digits[8:]}-7{digits[:3]}-{_VARIANT[noise[9] & 3]}{digits[3:6]}-{digits[6:18]}"


def utc_text(now_ns: int) -> str:
    """The moment `now_ns` as UTC, ISO 8601 with milliseconds and `Z`."""
    global _second
    second, rest = divmod(now_ns, 1_000_000_000)
    known, prefix = _second
    if known != second:
        prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second = (second, prefix)
    return f"{prefix}.{rest // 1_000_000:03d}Z"
