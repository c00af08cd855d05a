"""Why a budget stops a call, as the error that its caller gets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from claudetrace._call import exact_usd, usd
from claudetrace._errors import BudgetExceeded

KindT = TypeVar("KindT", bound=BudgetExceeded)

SOONEST_S = 1.0

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._records import Denied
    from claudetrace._budgets._totals import Totals
    from claudetrace._budgets._windows import Window


class CallNotKnown(BudgetExceeded):
    """The budget stops calls of which it cannot be known what they can cost."""

    def __str__(self) -> str:
        return (
            f"{self.whose()} stops calls whose cost cannot be known before they are made "
            '(unpriced="block" or unbounded="block"): name a model that has a price, and send all content with the '
            'request, or set both to "alert"'
        )


class CallUntagged(BudgetExceeded):
    """The budget is over each value of a tag, and stops calls that have none."""

    tag = ""

    def __str__(self) -> str:
        return (
            f'{self.whose()} stops calls without the tag {self.tag!r} (untagged="block"): make them in '
            f'`with claudetrace.tag({self.tag}=…)`, or set untagged to "alert"'
        )


class TooManyCalls(BudgetExceeded):
    """The budget's `max_calls` are made or running."""

    max_calls: int | None = None
    calls = running = 0

    def __str__(self) -> str:
        made = f"{self.calls:,} of {self.max_calls or 0:,} calls are made or running"
        if self.retryable:
            made = f"{self.running:,} of its {self.max_calls or 0:,} calls are running"
        return f"{self.whose()} has no room for this call: {made}; {self.way_out()}"


class StoreUnusable(BudgetExceeded):
    """The budget's store is at fault, and the budget says `on_store_error="closed"`."""

    path = reason = ""

    def __str__(self) -> str:
        return f'budget {self.budget!r} has on_store_error="closed", and its store {self.path} fails: {self.reason}'


def is_retryable(denied: Denied, picousd: int, calls: int) -> bool:
    """Whether a call that needs so much fits beside what is spent, so that running calls only have to settle."""
    totals, budget = denied.totals, denied.claim.budget.raised(denied.totals)
    limit, most = budget.limit_picousd, budget.max_calls
    fits = limit is None or totals.picousd + totals.held_picousd + picousd <= limit
    return fits and (most is None or totals.calls + calls <= most)


def exceeded(denied: Denied, needed: tuple[int | None, int], usual_s: float, now: float) -> BudgetExceeded:
    """The error of a call that a budget has no room for. `usual_s`: how long calls usually run."""
    _, key, window = denied.claim
    totals, resets_at = denied.totals, window.end_at
    budget = denied.claim.budget.raised(totals)
    if window.rolls and totals.oldest_slot is not None:
        # The first moment at which some of it is forgotten.
        resets_at = datetime.fromtimestamp(totals.oldest_slot + window.step_s + window.length_s, UTC)
    error = refusal(budget, totals, needed[0], resets_at)
    error.key = key or None
    error.retryable = is_retryable(denied, needed[0] or 0, needed[1])
    if error.retryable:
        error.retry_after_s = max(SOONEST_S, usual_s)
    elif resets_at is not None and not error.is_too_large:
        error.retry_after_s = max(SOONEST_S, resets_at.timestamp() - now)
    if isinstance(error, TooManyCalls):
        error.running = totals.reserved_calls
    return error


def refusal(budget: Budget, totals: Totals, needed: int | None, resets_at: datetime | None = None) -> BudgetExceeded:
    """The error of a call for which what is used leaves no room, of the dollars that it needs or of calls."""
    limit = budget.limit_picousd
    of_calls = limit is None or totals.used_picousd + (needed or 0) <= limit
    kind = TooManyCalls if of_calls and budget.max_calls is not None else BudgetExceeded
    sums = exact_usd(totals.picousd), exact_usd(totals.reserved_picousd), usd(needed)
    error = kind(str(budget.name), budget.usd, *sums, resets_at)
    error.held_usd = exact_usd(totals.held_picousd)
    if isinstance(error, TooManyCalls):
        error.max_calls, error.calls = budget.max_calls, totals.used_calls
    return error


def refuse_untagged(budgets: Iterable[Budget]) -> None:
    """Raises where one of the budgets, whose tag a call lacks, stops such calls."""
    for budget in budgets:
        if budget.untagged == "block":
            error = _stopped(CallUntagged, budget)
            error.tag = str(budget.each_tag)
            raise error


def refuse_unknown(budgets: Iterable[tuple[Budget, str, Window | None]], *, priced: bool, bounded: bool) -> None:
    """Raises where one of the budgets, each with its key and window, stops calls without a price, or without a
    bound."""
    for budget, key, window in budgets:
        if (not priced and budget.unpriced == "block") or (not bounded and budget.unbounded == "block"):
            raise _stopped(CallNotKnown, budget, key, None if window is None else window.end_at)


def unusable(budget: Budget, key: str, path: str, error: Exception) -> StoreUnusable:
    """The error of a call that a budget stops because its store at `path` fails."""
    stopped = _stopped(StoreUnusable, budget, key)
    stopped.path, stopped.reason = path, str(error)
    return stopped


def _stopped(kind: type[KindT], budget: Budget, key: str = "", resets_at: datetime | None = None) -> KindT:
    """An error of which it does not matter what is spent."""
    error = kind(str(budget.name), budget.usd, exact_usd(0), exact_usd(0), None, resets_at)
    error.key = key or None
    return error
