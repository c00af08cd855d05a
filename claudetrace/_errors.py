"""The errors that users see. Nothing else of ours is raised into their code."""

from __future__ import annotations

import math
from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal


class ClaudetraceError(Exception):
    """A setting, a file or an argument cannot be used. The message says what to do."""


class BudgetExceeded(ClaudetraceError):  # noqa: N818 - the public name is fixed
    """A budget with `on_exceeded="block"` stopped a call before it was sent. Can be pickled.

    try:
        client.messages.create(...)
    except claudetrace.BudgetExceeded as error:
        if error.retryable:
            time.sleep(error.retry_after_s or 1)

    budget: the budget's name; `key`: the value of its tag, if each value has a budget of its own.
    limit_usd, spent_usd, reserved_usd, needed_usd: the limit, what is spent, what running calls have set aside, and
        what this call may cost, in US dollars.
    resets_at: when the next window begins; `None` if there is none.
    """

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
        self.key: str | None = None
        """The value of the tag, for a budget of which each value has its own."""
        self.held_usd: Decimal | None = None
        """What may still be billed for interrupted streams, with `cut_streams="bound"`."""
        self.retryable = False
        """Whether waiting helps: there is room for this call once the running ones have ended."""
        self.retry_after_s: float | None = None
        """The estimated number of seconds until it may be tried again; `None` if waiting does not help."""

    def __str__(self) -> str:
        needed = "" if self.needed_usd is None else f", which may cost {dollars(self.needed_usd)}"
        if self.retryable and self.limit_usd is not None:
            running = f"running calls hold {dollars(self.reserved_usd)} of the {dollars(self.limit_usd)}"
            spent = f", {dollars(self.spent_usd)} are spent" if self.spent_usd else ""
            return f"{self.whose()} has no room for this call{needed}: {running}{spent}; {self.way_out()}"
        limit = "" if self.limit_usd is None else f" of {dollars(self.limit_usd)}"
        sums = f"{dollars(self.spent_usd)}{limit} spent and {dollars(self.reserved_usd)} reserved"
        if self.held_usd:
            sums += f" and {dollars(self.held_usd)} held for cut streams"
        return f"{self.whose()} has no room for this call{needed}: {sums}; {self.way_out()}"

    @property
    def left_usd(self) -> Decimal | None:
        """What is neither spent nor set aside, in US dollars; `None` if only the number of calls is limited."""
        if self.limit_usd is None:
            return None
        left = self.limit_usd - self.spent_usd - self.reserved_usd - (self.held_usd or 0)
        return max(left, left * 0)

    @property
    def is_too_large(self) -> bool:
        """Whether this call alone may cost more than the limit, so that waiting never helps."""
        return self.limit_usd is not None and self.needed_usd is not None and self.needed_usd > self.limit_usd

    def why(self) -> str:
        """The message without the budget's name."""
        return str(self).removeprefix(self.whose()).strip()

    def whose(self) -> str:
        """The budget's name, with the value of its tag if each has its own."""
        return f"budget {self.budget!r}" + ("" if self.key is None else f" for {self.key!r}")

    def way_out(self) -> str:
        """When there is room again, or what helps instead."""
        if self.retryable:
            return f"try again in about {math.ceil(self.retry_after_s or 1)} s, or let it wait with wait_s="
        if self.is_too_large:
            return "that alone is over its limit: lower max_tokens, shorten the prompt, or raise the limit"
        if self.resets_at is None:
            return "it does not reset: raise its limit"
        return f"it resets at {self.resets_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def dollars(amount: Decimal) -> str:
    """`amount` exactly, with two digits after the point or as many more as it has."""
    whole, _, rest = f"{amount:,f}".partition(".")
    return f"${whole}.{rest.rstrip('0'):0<2}"
