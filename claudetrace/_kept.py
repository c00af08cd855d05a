"""Limits how much of a usage object is kept, since a server may send anything."""

from __future__ import annotations

from typing import Any

import orjson

from claudetrace._doubts import KNOWN
from claudetrace._text import bounded

_SMALL = 8_192
"""What is no longer than this as JSON is kept as it is. Anything longer is copied value by value."""
_BUDGET = 65_536
_DEEPEST = 6
LEFT_OUT = "claudetrace_left_out_uses"
"""Under this name the kept object counts what was left out. No price is known for it, so the cost is flagged."""


def kept_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """`usage`, or a copy within the limits: known names first, long text cut, omissions counted."""
    if small_json(usage) is not None:
        return usage
    keeper = _Keeper()
    kept: dict[str, Any] = keeper.kept(usage, _DEEPEST)
    if keeper.left_out:
        kept[LEFT_OUT] = keeper.left_out
    return kept


def small_json(usage: dict[str, Any]) -> bytes | None:
    """The JSON of `usage` if that is within every limit: it is short, and not deep."""
    try:
        told = orjson.dumps(usage)
    except TypeError:
        return None
    # Where there are few objects in all, none is deep.
    is_flat = b"[" not in told and told.count(b"{") <= _DEEPEST
    return told if len(told) <= _SMALL and (is_flat or _depth(usage) <= _DEEPEST) else None


def _depth(value: Any) -> int:
    inside = value.values() if type(value) is dict else value if type(value) is list else None
    return 0 if inside is None else 1 + max(map(_depth, inside), default=0)


class _Keeper:
    """Copies a value while there is room, known names first."""

    def __init__(self) -> None:
        self.room = _BUDGET
        self.left_out = 0

    def kept(self, value: Any, deepest: int) -> Any:
        """`value`, or as much of it as there is room for."""
        if isinstance(value, str):
            value = bounded(value, 128)
            self.room -= len(value)
        elif isinstance(value, dict):
            ordered = sorted(value.items(), key=lambda item: (item[0] not in KNOWN, isinstance(item[1], dict | list)))
            return {bounded(name, 128): self.kept(inner, deepest - 1) for name, inner in self._some(ordered, deepest)}
        elif isinstance(value, list):
            return [self.kept(inner, deepest - 1) for inner in self._some(value, deepest)]
        return value

    def _some(self, values: list[Any], deepest: int) -> Any:
        for at, value in enumerate(values):
            if self.room <= 0 or not deepest:
                self.left_out += len(values) - at
                return
            self.room -= 24
            yield value
