"""Prompts that were not read from the cache, by the API's own word for why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._call import exact_usd
from claudetrace._ledger._question import CALLS

if TYPE_CHECKING:
    import sqlite3

    from claudetrace._ledger._question import Question

MISSES = """
    SELECT
        c.cache_miss_reason,
        COUNT(*),
        SUM(COALESCE(c.cache_missed_input_tokens, 0)),
        SUM(COALESCE(c.cache_lost_picousd, 0) / 1000000) AS microusd,
        SUM(COALESCE(c.cache_lost_picousd, 0) % 1000000)
    FROM calls AS c
    WHERE c.cache_miss_reason IS NOT NULL
        AND c.started_at >= ?
        AND c.started_at < ?
        AND EXISTS (SELECT 1 FROM measured_calls AS m WHERE m.id = c.id AND {})
    GROUP BY c.cache_miss_reason
    ORDER BY microusd DESC, c.cache_miss_reason
"""


class Miss(NamedTuple):
    """The responses that missed the cache for one reason."""

    reason: str
    responses: int
    tokens: int
    """Those that would have been read, as far as the API said it."""
    lost_picousd: int
    """What they cost more than if they had been."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it: whole counts, and exact dollars as text."""
        counts = {"reason": self.reason, "responses": self.responses, "missed_tokens": self.tokens}
        return {**counts, "lost_usd": f"{exact_usd(self.lost_picousd):f}"}


def cache_misses(connection: sqlite3.Connection, question: Question) -> list[Miss]:
    """The misses of what the question is of, the most expensive reason first. Only calls that asked for it have one."""
    condition, values = question.condition(CALLS, question.span)
    # The condition is of this package; all that comes from outside is a parameter.
    found = connection.execute(MISSES.format(condition), (*question.span.stamps(), *values))
    return [Miss(reason, count, tokens, whole * 10**6 + rest) for reason, count, tokens, whole, rest in found]
