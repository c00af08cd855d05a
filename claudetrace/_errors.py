"""The errors that users see. Nothing else of ours is raised into their code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal


class ClaudetraceError(Exception):
    """A setting, a file or an argument cannot be used; the message says the way out."""


class BudgetExceeded(ClaudetraceError):  # noqa: N818 - the public name is fixed
    """A budget with `on_exceeded="block"` stopped a call before its request left. Can be pickled."""

    def __init__(
        self,
        budget: str,
        limit_usd: Decimal | None,
        spent_usd: Decimal,
        reserved_usd: Decimal,
        needed_usd: Decimal | None,
        resets_at: datetime | None,
    ) -> None:
        # `args` holds every part, so that the error survives pickling between processes.
        super().__init__(budget, limit_usd, spent_usd, reserved_usd, needed_usd, resets_at)
        self.budget = budget
        self.limit_usd = limit_usd
        self.spent_usd = spent_usd
        self.reserved_usd = reserved_usd
        self.needed_usd = needed_usd
        self.resets_at = resets_at

    def __str__(self) -> str:
        until = f"; it resets at {self.resets_at.isoformat()}" if self.resets_at else ""
        return (
            f"budget {self.budget!r}: ${self.spent_usd} spent and ${self.reserved_usd} reserved "
            f"of ${self.limit_usd}{until}"
        )
