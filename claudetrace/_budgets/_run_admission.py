"""What a call sets aside in the runs that it is in."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._current import runs
from claudetrace._budgets._match import matching
from claudetrace._budgets._refusals import refusal, refuse_unknown
from claudetrace._budgets._run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class RunReservation:
    """What one call has set aside in each run that it is in. Settled once; further times change nothing."""

    def __init__(self, runs: list[Run], picousd: int, calls: int) -> None:
        self._runs = deque(runs)
        self._reserved = (picousd, calls)

    def settle(self, picousd: int | None, calls: int | None = None, rest_picousd: int = 0) -> None:
        """Charges what the call cost, or all that was set aside where that is not known, and holds the rest that it
        can cost in runs that want it. Takes no lock."""
        charged = (
            self._reserved[0] if picousd is None else picousd,
            self._reserved[1] if calls is None else calls,
        )
        while self._runs:
            try:
                run = self._runs.popleft()
            except IndexError:
                return
            run.settle(self._reserved, charged, rest_picousd)


def admit_to_runs(
    columns: Mapping[str, Any], picousd: int | None, calls: int = 1, *, bounded: bool = True
) -> RunReservation | None:
    """What the call has set aside in its runs, or `None` outside of any. Raises `BudgetExceeded`, with nothing kept.

    `picousd` is `None` where no price is known, and `bounded` says whether it cannot cost more.
    """
    entered = runs.get()
    if not entered:
        return None
    if picousd is None or not bounded:
        budgets = [(run.budget, None) for run in _of(entered, columns)]
        refuse_unknown(budgets, priced=picousd is not None, bounded=bounded)
    needed, admitted = picousd or 0, list[Run]()
    for run in _of(entered, columns):
        if (full := run.reserve(needed, calls)) is not None:
            RunReservation(admitted, needed, calls).settle(0, 0)
            spent, reserved, held, made = full
            raise refusal(run.budget, (spent, reserved, held, needed), made, None)
        admitted.append(run)
    return RunReservation(admitted, needed, calls) if admitted else None


def _of(entered: Iterable[Run], columns: Mapping[str, Any]) -> Iterable[Run]:
    for run in entered:
        for _ in matching((run.budget,), columns):
            yield run
