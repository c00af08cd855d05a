"""`Totals`: the sums of a budget."""

from __future__ import annotations

from typing import NamedTuple


class Totals(NamedTuple):
    """What a budget has spent, reserved and held, in its window or in one counter."""

    picousd: int = 0
    calls: int = 0
    reserved_picousd: int = 0
    reserved_calls: int = 0
    oldest_slot: int | None = None
    held_picousd: int = 0
    granted_picousd: int = 0
    granted_calls: int = 0
    blocked_calls: int = 0

    @property
    def used_picousd(self) -> int:
        """What is spent, reserved and held."""
        return self.picousd + self.reserved_picousd + self.held_picousd

    @property
    def used_calls(self) -> int:
        """The calls that are made or running."""
        return self.calls + self.reserved_calls

    def plus(self, more: Totals) -> Totals:
        """Both together."""
        return Totals(*((mine or 0) + (its or 0) for mine, its in zip(self, more, strict=True)))
