"""Limits how much of a usage object is kept, since a server may send anything."""

from __future__ import annotations

from typing import Any

from claudetrace._doubts import KNOWN
from claudetrace._text import bounded

_MOST_VALUES = 64
"""An object with more values than this is copied value by value."""
_LONGEST = 1024
_BUDGET = 65_536
_DEEPEST = 6
LEFT_OUT = "claudetrace_left_out_uses"
"""Under this name the kept object counts what was left out. No price is known for it, so the cost is flagged."""


def kept_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """`usage`, or a copy within the limits: known names first, long text cut, omissions counted."""
    if _is_small(usage, _DEEPEST):
        return usage
    keeper = _Keeper()
    kept: dict[str, Any] = keeper.kept(usage, _DEEPEST)
    if keeper.left_out:
        kept[LEFT_OUT] = keeper.left_out
    return kept


def _is_small(value: Any, deepest: int) -> bool:
    if not deepest or len(value) > _MOST_VALUES:
        return False
    inside = value
    if type(value) is dict:
        if len("".join(value)) > _LONGEST * 2:
            return False
        inside = value.values()
    for inner in inside:
        kind = type(inner)
        if kind is str:
            if len(inner) > _LONGEST:
                return False
        elif (kind is dict or kind is list) and not _is_small(inner, deepest - 1):
            return False
    return True


def _last_of_all(item: tuple[str, Any]) -> tuple[bool, bool]:
    return item[0] not in KNOWN, isinstance(item[1], dict | list)


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
            ordered = sorted(value.items(), key=_last_of_all)
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
