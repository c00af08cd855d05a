"""What calls cost, and what they would have cost otherwise: each row is priced again from its usage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._call import PROMPT_TOKENS, exact_usd, is_lower_bound, spend_of, spend_picousd
from claudetrace._ledger._answer import known_span
from claudetrace._ledger._question import CALENDAR, CALLS, Question
from claudetrace._pricing._bill import PRICE_COLUMNS
from claudetrace._pricing._otherwise import price_otherwise

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

    from claudetrace._pricing._otherwise import Otherwise

READ = (
    "operation",
    "platform",
    "billing",
    "started_at",
    "model",
    "model_requested",
    "stop_reason",
    "usage",
    "usage_is_final",
    *PROMPT_TOKENS,
    *PRICE_COLUMNS,
)


@dataclass(slots=True, kw_only=True)
class WhatIf:
    """What the responses with the same dimensions cost, and would cost. Amounts are spend, which totals add up."""

    dimensions: Mapping[str, str | None]
    responses: int = 0
    cost_picousd: int = 0
    """Of all responses that have a cost."""
    compared_picousd: int = 0
    """Of those that have a cost both ways."""
    otherwise_picousd: int = 0
    """What those would cost."""
    unpriced_responses: int = 0
    """Those without a cost one way or the other, which no comparison includes."""
    inexact_responses: int = 0
    """Those whose cost is a lower bound or unknown, which makes every sum with them a lower bound."""
    too_long_responses: int = 0
    """Those whose prompt is longer than the other model takes."""

    @property
    def key(self) -> str | None:
        """The value of the first dimension."""
        return next(iter(self.dimensions.values()), None)

    @property
    def difference_picousd(self) -> int:
        """How much more they would cost; below 0 where they would cost less."""
        return self.otherwise_picousd - self.compared_picousd

    def plain(self) -> dict[str, Any]:
        """Its fields for JSON: whole counts, and exact dollars as text."""
        counts = {name: getattr(self, name) for name in WhatIf.__slots__ if name != "dimensions"}
        dollars = {
            f"{name}_usd": f"{exact_usd(getattr(self, f'{name}_picousd')):f}"
            for name in ("cost", "otherwise", "difference")
        }
        return {"key": self.key, **self.dimensions, **counts, **dollars}

    def add(self, row: dict[str, Any], what: Otherwise) -> None:
        """Counts a response."""
        flags = tuple(orjson.loads(row["cost_flags"] or "[]"))
        cost = spend_of(row)
        picousd, other_flags = price_otherwise(row, what)
        # Another organization that was billed would also have been billed otherwise.
        otherwise = spend_picousd(picousd, (*flags, *other_flags), row["billing"])
        self.responses += 1
        self.cost_picousd += cost or 0
        self.inexact_responses += int(cost is None or is_lower_bound(row["usage_is_final"], flags))
        self.too_long_responses += int(not what.fits(row))
        if cost is None or otherwise is None:
            self.unpriced_responses += 1
            return
        self.compared_picousd += cost
        self.otherwise_picousd += otherwise


def read_what_if(
    connection: sqlite3.Connection, what: Otherwise, question: Question, trace_id: str | None = None
) -> list[WhatIf]:
    """What the responses cost and would cost, for each value of what the question sums up by: the most expensive first,
    or in the order of time. Reads every row, since no sum can be priced again."""
    found: dict[tuple[str | None, ...], WhatIf] = {}
    for key, row in _rows(connection, question, trace_id):
        if key not in found:
            found[key] = WhatIf(dimensions=dict(zip(question.by, key, strict=True)))
        found[key].add(row, what)
    rows = sorted(found.values(), key=lambda each: (-each.cost_picousd, -each.responses, each.key or ""))
    if question.by and question.by[0] in CALENDAR:
        rows.sort(key=lambda each: each.key or "")
    return rows


def total(rows: list[WhatIf]) -> WhatIf:
    """The sum of `rows`."""
    names = [name for name in WhatIf.__slots__ if name != "dimensions"]
    return WhatIf(dimensions={}, **{name: sum(getattr(row, name) for row in rows) for name in names})


def _rows(
    connection: sqlite3.Connection, question: Question, trace_id: str | None
) -> Iterator[tuple[tuple[str | None, ...], dict[str, Any]]]:
    for shift, span in question.shifts(known_span(connection)):
        keys, key_values = question.keys(CALLS, shift)
        condition, values = question.condition(CALLS, span, shift)
        named = [f"{key} AS key_{number}" for number, key in enumerate(keys)]
        sql = f"""
            SELECT {", ".join((*(f"m.key_{number}" for number in range(len(keys))), *(f"c.{name}" for name in READ)))}
            FROM (SELECT {", ".join(("id", *named))} FROM measured_calls WHERE {condition}) AS m
            JOIN calls AS c ON c.id = m.id
            WHERE ? IS NULL OR c.trace_id = ?
        """  # noqa: S608 - SQL of ours
        for found in connection.execute(sql, (*key_values, *values, trace_id, trace_id)):
            key = tuple(value or None for value in found[: len(keys)])
            yield key, dict(zip(READ, found[len(keys) :], strict=True))
