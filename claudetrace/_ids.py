"""Ids and times as the ledger writes them."""

from __future__ import annotations

import random
import time

from claudetrace._forks import in_child, notice

_VARIANT = "89ab"

# Asking the system for each id's noise costs more than the rest of the id. A generator of our own is seeded by the
# system, here and in each forked child, and no `random.seed` of the application reaches it.
_random = random.Random()  # noqa: S311 - ids are unique, not secret
_noise = _random.getrandbits
in_child(_random.seed)

_second: tuple[int, str] = (-1, "")


def uuid7(now_ns: int) -> str:
    """A UUIDv7 (RFC 9562) of the moment `now_ns`: ordered by milliseconds, unique over all machines."""
    notice()
    digits = f"{_noise(74):019x}"
    time_digits = f"{now_ns // 1_000_000:012x}"
    return f"{time_digits[:8]}-{time_digits[8:]}-7{digits[4:7]}-{_VARIANT[int(digits[0])]}{digits[1:4]}-{digits[7:]}"


def utc_text(now_ns: int) -> str:
    """The moment `now_ns` as UTC, ISO 8601 with milliseconds and `Z`."""
    global _second
    second, rest = divmod(now_ns, 1_000_000_000)
    known, prefix = _second
    if known != second:
        prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second = (second, prefix)
    return f"{prefix}.{rest // 1_000_000:03d}Z"
