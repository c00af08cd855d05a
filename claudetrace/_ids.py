"""Ids and times as the ledger writes them; and `SeenIds`, to know a response that a host replays."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from claudetrace._forks import in_child, notice

_BITS = 74
"""Those of a UUIDv7 beside its time, its version and its variant."""
_VARIANT = 0x8000

# Asking the system for each id's noise costs more than the rest of the id. A generator of our own is seeded by the
# system, here and in each forked child, and no `random.seed` of the application reaches it.
_random = random.Random()  # noqa: S311 - ids are unique, not secret
_noise = _random.getrandbits
in_child(_random.seed)

_NS_PER_S = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_second: tuple[int, str] = (-_NS_PER_S, "")
"""When the second of the last text began, and its text."""
FAMILIES = {"agent_sdk": "claude_code", "claude_code": "claude_code", "recorded": "recorded"}
"""The sources that may tell of one response more than once, each with whom it shares its responses."""
_MOST = 8192


def uuid7(now_ns: int) -> str:
    """A UUIDv7 (RFC 9562) of the moment `now_ns`: ordered by milliseconds, unique over all machines."""
    notice()
    return _uuid7(now_ns, _noise(_BITS))


def response_id(at_ns: int, source: str, message_id: str) -> str:
    """The id of a row of a source in `FAMILIES`: the same wherever and however often the response of the moment
    `at_ns` is told of."""
    told = f"{FAMILIES[source]}\0{message_id}".encode("utf-8", "replace")
    return _uuid7(at_ns, int.from_bytes(blake2b(told, digest_size=10).digest()) >> 80 - _BITS)


def _uuid7(now_ns: int, bits: int) -> str:
    at_ms = now_ns // 1_000_000
    parts = at_ms >> 16, at_ms & 0xFFFF, bits >> 48 & 0xFFF, bits >> 60 | _VARIANT, bits & 0xFFFF_FFFF_FFFF
    return "%08x-%04x-7%03x-%04x-%012x" % parts  # noqa: UP031 - takes half the time of the other ways


def ns_of(at: datetime) -> int:
    """The nanoseconds from 1970 to `at`, which has a zone: exact, as a float is not."""
    return (at - _EPOCH) // _MICROSECOND * 1_000


def utc_text(now_ns: int) -> str:
    """The moment `now_ns` as UTC, ISO 8601 with milliseconds and `Z`."""
    global _second
    began_ns, prefix = _second
    if not 0 <= (rest_ns := now_ns - began_ns) < _NS_PER_S:
        rest_ns = now_ns % _NS_PER_S
        prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime((now_ns - rest_ns) // _NS_PER_S))
        _second = (now_ns - rest_ns, prefix)
    return "%s.%03dZ" % (prefix, rest_ns // 1_000_000)  # noqa: UP031 - as above


class SeenIds:
    """The ids of recent responses of this process: at least the last `_MOST`, at most twice as many. Takes no lock."""

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: dict[str, str] = {}
        self._old: dict[str, str] = {}

    def is_replayed(self, message_id: str, call_id: str) -> bool:
        """Whether another call than `call_id` has had the response `message_id`; from now on this one has."""
        if len(self._new) >= _MOST:
            self._old, self._new = self._new, {}
        first = self._new.setdefault(message_id, self._old.get(message_id, call_id))
        return first != call_id
