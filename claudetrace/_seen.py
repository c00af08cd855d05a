"""`SeenIds`: the ids of recent responses of this process, to know one that a host replays."""

from __future__ import annotations

_MOST = 8192


class SeenIds:
    """Remembers at least the last `_MOST` ids, and at most twice as many. Takes no lock."""

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
