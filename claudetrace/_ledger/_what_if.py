"""What calls would have cost otherwise, beside what they cost: each row priced again from its usage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._call import exact_usd, is_lower_bound, spend_of, spend_picousd
from claudetrace._ledger._spend import COLUMNS, FREE_TAG, VALUE_OF_FREE_TAG, check, plain_name
from claudetrace._pricing._bill import PRICE_COLUMNS
from claudetrace._pricing._otherwise import price_otherwise

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from decimal import Decimal

    from claudetrace._ledger._times import Span
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
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    *PRICE_COLUMNS,
)


@dataclass(slots=True, kw_only=True)
class WhatIf:
    """What the responses of one `key` cost, and would cost. Money is spend: what totals add up."""

    key: str | None
    responses: int = 0
    cost_picousd: int = 0
    """Of all responses that have a cost."""
    compared_picousd: int = 0
    """Of those that have a cost both ways."""
    otherwise_picousd: int = 0
    """What those would cost."""
    unpriced_responses: int = 0
    """Those without a cost one way or the other: they are in no comparison."""
    inexact_responses: int = 0
    """Those whose cost is a lower bound, or not known: what is a sum of it is at least that."""
    too_long_responses: int = 0
    """Those whose prompt is longer than the other model takes."""

    @property
    def cost_usd(self) -> Decimal:
        """`cost_picousd` in dollars, exact."""
        return exact_usd(self.cost_picousd)

    @property
    def otherwise_usd(self) -> Decimal:
        """`otherwise_picousd` in dollars, exact."""
        return exact_usd(self.otherwise_picousd)

    @property
    def difference_usd(self) -> Decimal:
        """What it would be more than it was; below 0 where it would be less."""
        return exact_usd(self.otherwise_picousd - self.compared_picousd)

    def add(self, row: dict[str, Any], what: Otherwise) -> None:
        """Counts a response."""
        flags = tuple(orjson.loads(row["cost_flags"] or "[]"))
        cost = spend_of(row)
        picousd, other_flags = price_otherwise(row, what)
        # Another organization that was billed would have been so otherwise, too.
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
    connection: sqlite3.Connection,
    what: Otherwise,
    by: str | None,
    span: Span,
    trace_id: str | None = None,
) -> list[WhatIf]:
    """For each value of `by`, dearest first or day by day, what the responses in `span` cost and would cost.

    `by=None` is the total. Reads every row of the time: sums do not tell what a single response would cost.
    """
    check(by, ())
    by = plain_name(by)
    found: dict[str | None, WhatIf] = {} if by else {None: WhatIf(key=None)}
    for key, row in _rows(connection, by, span, trace_id):
        found.setdefault(key, WhatIf(key=key)).add(row, what)
    if by == "day":
        return sorted(found.values(), key=lambda each: each.key or "")
    return sorted(found.values(), key=lambda each: (-each.cost_picousd, -each.responses, each.key or ""))


def total(rows: list[WhatIf]) -> WhatIf:
    """The sum of `rows`."""
    names = [name for name in WhatIf.__slots__ if name != "key"]
    return WhatIf(key=None, **{name: sum(getattr(row, name) for row in rows) for name in names})


def _rows(
    connection: sqlite3.Connection, by: str | None, span: Span, trace_id: str | None
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    tag = by.removeprefix(FREE_TAG) if by is not None and by.startswith(FREE_TAG) else None
    column = COLUMNS.get(by or "", by)
    key = "NULL" if by is None else f"m.{column}" if tag is None else VALUE_OF_FREE_TAG.replace("(tags)", "(m.tags)")
    values = [*([] if tag is None else [tag]), *span.stamps(), trace_id, trace_id]
    sql = f"""
        SELECT {key} AS key, {", ".join(f"c.{name}" for name in READ)}
        FROM measured_calls AS m JOIN calls AS c ON c.id = m.id
        WHERE c.started_at >= ? AND c.started_at < ? AND (? IS NULL OR c.trace_id = ?)
    """  # noqa: S608 - names of ours
    for found, *row in connection.execute(sql, values):
        yield found or None, dict(zip(READ, row, strict=True))
