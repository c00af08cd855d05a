"""What a call sets aside in the runs that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._budgets._current import runs
from claudetrace._budgets._match import matching
from claudetrace._budgets._refusals import refusal, refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._budgets._run import Run


def runs_of(columns: Mapping[str, Any]) -> list[Run]:
    """The runs around this that a call with these columns is in."""
    return [run for run in runs.get() for _ in matching((run.budget,), columns)]


def reserve_in(entered: list[Run], call_id: str, picousd: int | None, calls: int = 1, *, bounded: bool = True) -> None:
    """Sets aside what the call may cost, in each of these runs. Raises `BudgetExceeded`, with nothing set aside.

    `picousd` is `None` where no price is known, and `bounded` says whether it cannot cost more.
    """
    refuse_unknown([(run.budget, "", None) for run in entered], priced=picousd is not None, bounded=bounded)
    for run in entered:
        if (full := run.reserve(call_id, picousd or 0, calls)) is not None:
            for admitted in entered:
                admitted.settle(call_id, 0, 0, 0)
            spent, reserved, held, made = full
            raise refusal(run.budget, (spent, reserved, held, picousd or 0), made, None)
