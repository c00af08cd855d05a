"""`Queries`: what the seam tells of agents: the rows of their responses, spans, and what budgets set aside."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from claudetrace._budgets._run import runs
from claudetrace._call import PICOUSD_PER_USD, exact_usd, spend_of
from claudetrace._errors import BudgetExceeded
from claudetrace._ids import utc_text, uuid7
from claudetrace._parse import Agents

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from claudetrace._budgets._budgets import Budgets
    from claudetrace._call import Row
    from claudetrace._guard import Guard
    from claudetrace._seam._agent_sdk._query import Query
    from claudetrace._telemetry._spans import Spans

REFUSED: Row = {
    "source": "agent_sdk",
    "platform": "anthropic",
    "server_address": "",
    "streamed": 1,
    "outcome": "error",
    "error_type": BudgetExceeded.__name__,
    "usage_is_final": 1,
    "cost_picousd": 0,
    "cost_parts": "[]",
    "cost_flags": "[]",
}


class Queries:
    """No method raises, but `admit`. `add` and `end` are called on the agents' own thread."""

    def __init__(
        self,
        guard: Guard,
        append: Callable[[Row], None],
        spans: Spans | None,
        limits: Callable[[], Budgets | None],
        agents: Agents | None,
        blocked: Callable[[str, BudgetExceeded], None],
    ) -> None:
        self._guard, self._append, self._spans = guard, append, spans
        self._limits, self._blocked = limits, blocked
        self._reserve_picousd = round((agents or Agents()).reserve_usd * PICOUSD_PER_USD)

    def begin(self, query: Query) -> None:
        """An agent is asked: here and now is where its responses belong."""
        if self._spans is not None:
            with self._guard("start the span of an agent's query"):
                self._spans.agents.begin(query)

    def run_usd(self) -> Decimal | None:
        """What a query may spend in the runs that are in force here; `None` without one that limits dollars."""
        left = [left for run in runs.get() if (left := run.left_usd) is not None]
        return min(*left, exact_usd(self._reserve_picousd)) if left else None

    def limited(self, query: Query) -> bool:
        """Whether a budget may stop the query."""
        budgets = self._limits()
        return budgets is not None and budgets.concerns(query.columns)

    async def admit(self, query: Query, wanted_picousd: int | None) -> None:
        """Sets aside what the query may spend, or as much as the settings say. Raises `BudgetExceeded`."""
        if (budgets := self._limits()) is None:
            return
        from claudetrace._budgets._share import open_share

        try:
            query.share = await open_share(budgets, query.id, query.columns, wanted_picousd or self._reserve_picousd)
        except BudgetExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard: the query goes on
            self._guard.caught("ask the budgets for an agent", error)

    def refused(self, query: Query, error: BudgetExceeded) -> None:
        """A budget has stopped the query: that is a row, which costs nothing."""
        with self._guard("record a query that a budget stops"):
            row_id, now_ns = uuid7(time.time_ns()), time.time_ns()
            self._blocked(row_id, error)
            self._append(
                {
                    **query.columns,
                    **REFUSED,
                    "id": row_id,
                    "call_id": row_id,
                    "started_at": utc_text(now_ns),
                    "session_id": query.columns.get("session_id") or query.session,
                }
            )

    def add(self, query: Query, row: Row) -> None:
        """Counts and keeps a priced row."""
        try:
            with self._guard("count a response of an agent"):
                if self._spans is not None and query.span is not None:
                    self._spans.agents.add(query, row)
                spend = spend_of(row)
                for scope in query.tags.scopes:
                    scope.add(first=row["id"] == row["call_id"], spend_picousd=spend)
                if query.share is not None:
                    query.share.spend(row["id"], row.get("message_id"), spend or 0)
        finally:
            self._append(row)

    def end(self, query: Query) -> None:
        """The agent has answered, or will not."""
        if query.share is not None:
            with self._guard("settle what budgets have set aside for an agent"):
                query.share.close()
        if self._spans is not None and query.span is not None:
            with self._guard("end the span of an agent's query"):
                self._spans.agents.end(query)
