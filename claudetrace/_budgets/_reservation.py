"""`Reservation`: what budgets set aside for one call. The call owns it before a store is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._budgets._match import claims_of, matching
from claudetrace._budgets._records import Charged, Claim, Denied, Part
from claudetrace._budgets._steps import Asked, answer_of, rest_of
from claudetrace._operations import BATCHES_CREATE
from claudetrace._pricing._upper_bound import Bound, item_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._run import Run
    from claudetrace._budgets._store import Store
    from claudetrace._call import Row
    from claudetrace._pricing._terms import Terms


class Reservation:
    """The most that a call can cost, in every budget that it is under, and what came of it."""

    __slots__ = (
        "admitted",
        "asked",
        "batch_id",
        "bound",
        "call_id",
        "columns",
        "cut",
        "heard",
        "items",
        "locally",
        "parts",
        "runs",
        "settled",
        "since",
        "spent_picousd",
        "unknown",
        "waited_s",
    )

    def __init__(self, call_id: str, columns: Mapping[str, Any], bound: Bound) -> None:
        self.call_id, self.columns, self.bound = call_id, columns, bound
        self.items: Sequence[tuple[Mapping[str, Any], Bound]] = ((columns, bound),)
        """Whom it is for, with what is needed of each: more than one only for a batch whose items have own tags."""
        self.parts: list[Part] = []
        self.runs: list[Run] = []
        self.asked = self.admitted = self.locally = self.settled = False
        """Whether something may be set aside for it; whether it is; whether it was while the store was away; whether
        that is over."""
        self.since = 0.0
        """When it was admitted."""
        self.spent_picousd = 0
        self.unknown = False
        """Whether a response may have cost something that nobody knows."""
        self.waited_s: float | None = None
        """How long it has waited for room, if it has."""
        self.heard = False
        """Whether a response of it was recorded."""
        self.batch_id: str | None = None
        self.cut: tuple[Row, ...] = ()
        """The rows of responses that may be billed beyond what they say."""

    @property
    def picousd(self) -> int | None:
        """What it needs, `None` where no price is known."""
        return self.bound.picousd if self.bound.priced else None

    @property
    def claims(self) -> list[Claim]:
        """The budgets that it is under."""
        if len(self.parts) == 1:
            return self.parts[0].claims
        return [claim for part in self.parts for claim in part.claims]

    def claim(self, budgets: Iterable[Budget], now: float) -> None:
        """Finds the budgets that it is under, in their windows of now."""
        for columns, bound in self.items:
            call_id = f"{self.call_id}/{len(self.parts)}" if self.parts else self.call_id
            claims = claims_of(budgets, columns, now)
            self.parts.append(Part(call_id, claims, bound.picousd if bound.priced else 0, bound.calls))

    def needed_in(self, claim: Claim) -> tuple[int, int]:
        """What it needs of one of its budgets, dollars and calls."""
        places = [part for part in self.parts if any(each.place == claim.place for each in part.claims)]
        return sum(part.picousd for part in places), sum(part.calls for part in places)

    @property
    def may_wait(self) -> bool:
        """Whether a budget lets it wait for room."""
        return any(claim.budget.wait_s for claim in self.claims)

    def add(self, row: Row, spend_picousd: int | None) -> None:
        """A response of the call costs so much, or nobody knows what."""
        self.heard = True
        if row["operation"] == BATCHES_CREATE.name and row["outcome"] == "ok":
            self.batch_id = row.get("batch_id")
        if spend_picousd is None:
            self.unknown = True
        else:
            self.spent_picousd += spend_picousd
            if not row["usage_is_final"]:
                self.cut += (row,)

    def reserved(self) -> list[Part]:
        """What is set aside for it."""
        return self.parts if self.admitted else [part._replace(picousd=0, calls=0) for part in self.parts]

    def charged(self) -> Charged:
        """What it has cost. Where it was not admitted, an interrupt may have come after something was set aside."""
        if not self.admitted:
            return Charged(0, 0, ())
        if self.unknown:
            # What is charged at its estimate has no rest.
            return Charged(None, None, ())
        rests = (rest_of(row) for row in self.cut)
        return Charged(self.spent_picousd, None, tuple(rest for rest in rests if rest is not None))

    def renew(self, now: float) -> None:
        """Puts the windows of now in the place of those in which it began to wait."""
        for part in self.parts:
            part.claims[:] = [claim.at(now) for claim in part.claims]

    # In a group of the store.

    def reserve(self, store: Store) -> Denied | Asked | None:
        """Sets aside what it needs, or says which budget has no room."""
        parts = [part for part in self.parts if part.claims]
        if len(parts) == 1:
            return store.reserve(*parts[0])
        for done, part in enumerate(parts):
            if (denied := answer_of(store.reserve(*part))) is not None:
                for undone in parts[:done]:
                    store.withdraw(undone.call_id)
                return denied  # type: ignore[no-any-return]  # which has no room
        return None

    def settle(self, charged: Charged, store: Store) -> None:
        """Puts what it has cost in the place of what is set aside; a batch's stays until its results are read."""
        if self.locally and self.admitted:
            for part in self.parts:
                store.reserve(*part, forced=True)
        for part in self.parts:
            if self.batch_id is not None:
                store.hold_batch(part.call_id, self.batch_id)
            else:
                store.charge(part.call_id, *charged)


class Owned:
    """A reservation in the hands of its call. Once nobody has this any more, the budgets settle what is left open."""

    __slots__ = ("__weakref__", "reservation")

    def __init__(self, reservation: Reservation) -> None:
        self.reservation = reservation


def items_of(
    body: Mapping[str, Any],
    terms: Terms,
    columns_of: Callable[[str | None], Mapping[str, Any]],
    budgets: Sequence[Budget],
    day: str,
) -> list[tuple[Mapping[str, Any], Bound]]:
    """The items that are under the same `budgets` for the same keys together: the columns of one, and what all need."""
    groups: dict[tuple[tuple[str | None, str], ...], tuple[Mapping[str, Any], list[Bound]]] = {}
    for custom_id, bound in item_bounds(body, terms, day):
        columns = columns_of(custom_id)
        under = tuple((budget.name, key) for budget, key in matching(budgets, columns))
        groups.setdefault(under, (columns, []))[1].append(bound)
    return [(columns, bounds[0].plus(*bounds[1:])) for columns, bounds in groups.values()]
