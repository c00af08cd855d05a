"""`items_of`: what a batch needs for each of those that its items are for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._budgets._match import matching
from claudetrace._pricing._upper_bound import item_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._pricing._terms import Terms
    from claudetrace._pricing._upper_bound import Bound

    Columns = Mapping[str, Any]


def items_of(
    body: Mapping[str, Any],
    terms: Terms,
    columns_of: Callable[[str | None], Columns],
    budgets: Sequence[Budget],
    day: str,
) -> list[tuple[Columns, Bound]]:
    """The items that are under the same `budgets` for the same keys together: the columns of one, and what all need."""
    groups: dict[tuple[tuple[str | None, str], ...], tuple[Columns, list[Bound]]] = {}
    for custom_id, bound in item_bounds(body, terms, day):
        columns = columns_of(custom_id)
        under = tuple((budget.name, key) for budget, key in matching(budgets, columns))
        groups.setdefault(under, (columns, []))[1].append(bound)
    return [(columns, bounds[0].plus(*bounds[1:])) for columns, bounds in groups.values()]
