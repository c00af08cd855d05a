"""Rows of measured figures beside their limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: `measured` in `unit`, to stay at or below `limit` (or above it, where more is better)."""

    what: str
    measured: float
    unit: str
    limit: float | None = None
    at_least: bool = False
    beside: str = ""

    @property
    def kept(self) -> bool:
        if self.limit is None:
            return True
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def show(rows: list[Row]) -> None:
    """Prints the rows as a table."""
    width = max(len(row.what) for row in rows)
    print(f"{'':{width}}  {'measured':>12}  {'limit':>10}  ")
    for row in rows:
        sign = "≥" if row.at_least else "≤"
        limit = "" if row.limit is None else f"{sign} {row.limit:g}"
        mark = "" if row.kept else "  <-- over"
        print(f"{row.what:{width}}  {row.measured:>8,.1f} {row.unit:<3}  {limit:>10}  {row.beside}{mark}")
