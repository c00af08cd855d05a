"""`Query`: what was asked of an agent at once, and who asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from claudetrace._ids import uuid7
from claudetrace._operations import MESSAGES_CREATE

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from claudetrace._call import Row
    from claudetrace._errors import BudgetExceeded
    from claudetrace._tags import TagContext


class Query:
    """A user's message to the agent, with the tags and the trace that were in force when it was written."""

    __slots__ = ("columns", "has_answers", "has_ended", "id", "session", "share", "span", "started_ns", "tags")

    def __init__(self, attribute: Callable[[Row, Any, object], TagContext]) -> None:
        self.started_ns = time.time_ns()
        self.id = uuid7(self.started_ns)
        self.columns: Row = {"operation": MESSAGES_CREATE.name}
        """The columns that say who and what for."""
        self.tags = attribute(self.columns, None, None)
        self.span: Any = None
        self.share: Any = None
        """What budgets have set aside for it."""
        self.session: str | None = None
        self.has_answers = False
        self.has_ended = False

    @property
    def is_counted(self) -> bool:
        """Whether somebody here wants to know what it costs as soon as it has been answered."""
        return bool(self.tags.scopes) or self.share is not None


class Queries(Protocol):
    """Who is told of agents. No method raises, but `admit`."""

    def begin(self, query: Query) -> None:
        """An agent is asked: here and now is where its responses belong."""

    def run_usd(self) -> Decimal | None:
        """What a query may spend in the runs that are in force here; `None` without one that limits dollars."""

    def limited(self, query: Query) -> bool:
        """Whether a budget may stop the query."""
        ...

    async def admit(self, query: Query, wanted_picousd: int | None) -> None:
        """Sets aside what the query may spend, or as much as the settings say. Raises `BudgetExceeded`."""

    def refused(self, query: Query, error: BudgetExceeded) -> None:
        """A budget has stopped the query: that is a row, which costs nothing."""

    def add(self, query: Query, row: Row) -> None:
        """Counts and keeps a priced row that was read elsewhere than off the wire. On any thread."""

    def end(self, query: Query) -> None:
        """The agent has answered, or will not. On any thread."""
