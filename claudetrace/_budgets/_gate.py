"""`Gate`: what the recorder asks of budgets before a call leaves, and tells them when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._budgets._current import runs
from claudetrace._budgets._held import rest_of
from claudetrace._budgets._keeper import Demand
from claudetrace._budgets._match import matching
from claudetrace._budgets._run_admission import admit_to_runs
from claudetrace._operations import BATCHES_CREATE
from claudetrace._pricing._upper_bound import UNRESERVED, bound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._alerts._rules import Rules
    from claudetrace._budgets._keeper import Keeper, Reservation
    from claudetrace._budgets._run_admission import RunReservation
    from claudetrace._call import Row
    from claudetrace._pricing import Terms


class Admission:
    """What is set aside for a call, and what its responses have cost so far."""

    __slots__ = ("batch_id", "cut", "reservation", "runs", "spent_picousd", "unknown")

    def __init__(self, reservation: Reservation | None, in_runs: RunReservation | None) -> None:
        self.reservation = reservation
        self.runs = in_runs
        self.spent_picousd = 0
        self.unknown = False
        """Whether a response may have cost something that nobody knows."""
        self.batch_id: str | None = None
        self.cut: tuple[Row, ...] = ()
        """The rows of responses that may be billed beyond what they say."""

    def add(self, row: Row, spend_picousd: int | None) -> None:
        """A response of the call costs so much, or nobody knows what."""
        if row["operation"] == BATCHES_CREATE.name and row["outcome"] == "ok":
            self.batch_id = row.get("batch_id")
        if spend_picousd is None:
            self.unknown = True
        else:
            self.spent_picousd += spend_picousd
            if not row["usage_is_final"]:
                self.cut += (row,)


class Gate:
    """Admits calls to the budgets of the store, if there are any, and to the runs around them."""

    def __init__(self, keeper: Keeper | None = None, rules: Rules | None = None) -> None:
        self.keeper = keeper
        self.rules = rules
        self._blocking = tuple(budget for budget in keeper.budgets if budget.blocks) if keeper else ()

    def concerns(self, columns: Mapping[str, Any]) -> bool:
        """Whether a call with these columns has to be admitted. What bills nothing is never stopped; a batch's results
        are charged as rows, to what the batch has set aside."""
        if columns["operation"] in UNRESERVED:
            return False
        return bool(runs.get()) or next(matching(self._blocking, columns), None) is not None

    def demand(
        self, call_id: str, columns: Mapping[str, Any], body: Mapping[str, Any], terms: Terms, *, has_middleware: bool
    ) -> Demand:
        """What a request asks for. Never raises."""
        found = bound(
            body,
            operation=columns["operation"],
            model=columns.get("model_requested"),
            terms=terms,
            day=columns["started_at"][:10],
            has_middleware=has_middleware,
        )
        # A model without a price is told as that, if its budget wants it told.
        if found.why_unbounded is not None and found.priced and self.rules is not None:
            for budget, key in matching(self._blocking, columns):
                self.rules.note_unbounded(budget, key, found.why_unbounded)
        return Demand(
            call_id=call_id,
            columns=columns,
            picousd=found.picousd if found.priced else None,
            bounded=found.why_unbounded is None,
            calls=found.calls,
        )

    def admit(self, demand: Demand) -> Admission:
        """What is set aside for the call. Raises `BudgetExceeded`, with nothing set aside."""
        in_runs = admit_to_runs(demand.columns, demand.picousd, demand.calls, bounded=demand.bounded)
        try:
            return Admission(None if self.keeper is None else self.keeper.admit(demand), in_runs)
        except BaseException:
            _leave_runs(in_runs)
            raise

    async def admit_async(self, demand: Demand) -> Admission:
        """As `admit`, while the event loop goes on."""
        in_runs = admit_to_runs(demand.columns, demand.picousd, demand.calls, bounded=demand.bounded)
        try:
            return Admission(None if self.keeper is None else await self.keeper.admit_async(demand), in_runs)
        except BaseException:
            _leave_runs(in_runs)
            raise

    def settle(self, admission: Admission) -> None:
        """The call has ended: what it cost takes the place of what was set aside. Takes no lock."""
        picousd = None if admission.unknown else admission.spent_picousd
        # What is charged at its estimate has no rest.
        rests = [] if picousd is None else [rest for row in admission.cut if (rest := rest_of(row)) is not None]
        if admission.runs is not None:
            # In a run a batch costs what it may cost at most: its results may be read elsewhere, or never.
            rest_picousd = sum(rest.picousd for rest in rests)
            admission.runs.settle(None if admission.batch_id else picousd, rest_picousd=rest_picousd)
        if admission.reservation is not None and self.keeper is not None:
            if admission.batch_id is not None:
                self.keeper.hold_batch(admission.reservation, admission.batch_id)
            else:
                self.keeper.settle(admission.reservation, picousd, rests=rests)


def _leave_runs(in_runs: RunReservation | None) -> None:
    if in_runs is not None:
        in_runs.settle(0, 0)
