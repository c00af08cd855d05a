"""`Query`: what was asked of an agent at once, and who asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._call import Row
    from claudetrace._tags import TagContext


class Query:
    """A user's message to the agent, with the tags and the trace that were in force when it was written."""

    __slots__ = ("columns", "has_answers", "has_ended", "session", "span", "started_ns", "tags")

    def __init__(self, attribute: Callable[[Row, Any, object], TagContext]) -> None:
        self.started_ns = time.time_ns()
        self.columns: Row = {}
        """The columns that say who and what for."""
        self.tags = attribute(self.columns, None, None)
        self.span: Any = None
        self.session: str | None = None
        self.has_answers = False
        self.has_ended = False

    @property
    def is_counted(self) -> bool:
        """Whether somebody here wants to know what it costs as soon as it has been answered."""
        return bool(self.tags.scopes)
