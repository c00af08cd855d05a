"""How many calls are under no budget, and why."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._budgets._match import matching, untagged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from claudetrace._budgets._budget import Budget


class Coverage(NamedTuple):
    """Of so many `calls` how many are under no budget, by the reason."""

    calls: int
    uncovered: Counter[str]


def coverage(budgets: Sequence[Budget], calls: Iterable[Mapping[str, Any]]) -> Coverage:
    """What is under no budget of these."""
    count, uncovered = 0, Counter[str]()
    for columns in calls:
        count += 1
        if next(matching(budgets, columns), None) is None:
            lacking = next(untagged(budgets, columns), None)
            why = "of no budget's tags or model" if lacking is None else f"without the tag {lacking.each_tag}"
            uncovered[why] += 1
    return Coverage(count, uncovered)
