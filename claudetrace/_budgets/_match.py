"""Which budgets a call falls under, by its columns: who it is for, and its model; and how many fall under none."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from claudetrace._budgets._budget import EACH, Budget
from claudetrace._budgets._records import Claim
from claudetrace._call import RESERVED_TAGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


ALL = ""
"""The key of a budget that is one for all its calls."""


def matching(budgets: Iterable[Budget], columns: Mapping[str, Any]) -> Iterator[tuple[Budget, str]]:
    """The budgets that a call with these columns is under, each with its key: the value of its `*` tag, or `ALL`."""
    for budget, key in _keyed(budgets, columns):
        if key is not None:
            yield budget, key


def claims_of(budgets: Iterable[Budget], columns: Mapping[str, Any], at: float) -> list[Claim]:
    """The same with their windows of the moment `at`."""
    return [Claim(budget, key, budget.window(at)) for budget, key in matching(budgets, columns)]


def untagged(budgets: Iterable[Budget], columns: Mapping[str, Any]) -> Iterator[Budget]:
    """The budgets that a call with these columns would be under if it had their `*` tag."""
    return (budget for budget, key in _keyed(budgets, columns) if key is None)


def _keyed(budgets: Iterable[Budget], columns: Mapping[str, Any]) -> Iterator[tuple[Budget, str | None]]:
    free: Mapping[str, Any] | None = None
    for budget in budgets:
        if budget.model is not None and budget.model not in (columns.get("model_requested"), columns.get("model")):
            continue
        key: str | None = ALL
        for tag, wanted in (budget.tags or {}).items():
            if tag in RESERVED_TAGS:
                value = columns.get(RESERVED_TAGS[tag])
            else:
                if free is None:
                    free = orjson.loads(columns.get("tags") or "{}")
                value = free.get(tag)
            if wanted == EACH:
                key = value or None
            elif value != wanted:
                break
        else:
            yield budget, key


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
