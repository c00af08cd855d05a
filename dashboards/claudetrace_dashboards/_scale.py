"""`Scale`: where a number is in the height of a chart, and the round numbers beside it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10


@dataclass(frozen=True, slots=True)
class Scale:
    """From a number to a height in pixels."""

    bottom: float
    top: float
    step: float
    height: int

    @classmethod
    def of(cls, highest: float, height: int, top: float | None = None, lowest: float = 0) -> Scale:
        lowest, highest = min(lowest, 0), max(highest, 0)
        step = _nice((top or (highest - lowest) or 1) / 4)
        above = max(0 if lowest else 1, ceil(highest / step - 1e-9))
        return cls(floor(lowest / step + 1e-9) * step, top or above * step, step, height)

    def y(self, value: float) -> float:
        return 8 + (self.height - 8) * (self.top - value) / (self.top - self.bottom)

    def ticks(self) -> list[float]:
        first, last = round(self.bottom / self.step), floor(self.top / self.step + 1e-9)
        return [number * self.step for number in range(first, last + 1)]


def _nice(step: float) -> float:
    """The least of 1, 2, 2.5, 5 and 10 times a power of ten that is not below `step`."""
    power = 10.0 ** floor(log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))
