"""What a store on PostgreSQL is asked to do: steps of one exchange, as the functions in the database take them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._match import matching
from claudetrace._budgets._rests import rest_of
from claudetrace._budgets._store import Claim, Later
from claudetrace._budgets._windows import ROLLING, bucket_s, rolling_s, window_of
from claudetrace._call import spend_of, tells_tokens
from claudetrace._operations import BATCHES_CREATE, BATCHES_RESULT, FREE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._store import Denied, Rest

FOREVER = 10**12


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. The ids of its budgets are those of the database at hand when it is sent."""

    said: Mapping[str, Any]
    claims: Sequence[Claim] = ()

    def to_send(self, ids: Ids) -> dict[str, Any]:
        """As the functions take it."""
        said = {**self.said, "bound": ids.bound} if self.said.get("rest") or self.said.get("rests") else self.said
        rows = [(each, ids.of(each.budget)) for each in self.claims]
        claims = [_claim(place, each, row) for place, (each, row) in enumerate(rows) if row is not None]
        return {**said, "claims": claims} if claims else dict(said)

    @property
    def call(self) -> str | None:
        """The call that it reserves for or settles."""
        return self.said.get("call") if self.said["do"] in ("reserve", "settle", "hold_batch") else None

    def again(self) -> Step:
        """The same reservation for a call that runs already: where there is no room, too."""
        needed = {"needed": self.said["usd"], "needed_calls": self.said["calls"]}
        return replace(self, said={**self.said, **needed})

    def at(self, now: float) -> Step:
        """The same in the windows of now."""
        return replace(self, claims=[windowed(each, now) for each in self.claims])


class Asked(Later):
    """A step, and what it is answered; who asks for that before the group has ended has it sent."""

    __slots__ = ("_send", "said", "step")

    def __init__(self, step: Step, send: Callable[[], None]) -> None:
        self.step, self._send = step, send
        self.said: Denied | None = None

    @property
    def answer(self) -> Denied | None:
        """As in `Later`."""
        self._send()
        return self.said


class Ids(dict[int, int]):
    """The rows of budgets in the database, by the identity of each object."""

    def __init__(self, budgets: Iterable[tuple[Budget, int]]) -> None:
        self.budgets = {budget_id: budget for budget, budget_id in budgets}
        self._by_name = {budget.name: budget_id for budget_id, budget in reversed(self.budgets.items())}
        super().__init__((id(budget), budget_id) for budget_id, budget in self.budgets.items())
        self.bound = {
            str(budget_id): each.per.startswith(ROLLING)
            for budget_id, each in self.budgets.items()
            if each.cut_streams == "bound"
        }
        """Those that hold what cut streams can cost, each with whether its window rolls."""

    def of(self, budget: Budget) -> int | None:
        """The row of a budget, also of one that has been set anew since a call began."""
        return self.get(id(budget), self._by_name.get(budget.name))


def windowed(claim: Claim, now: float) -> Claim:
    budget = claim.budget
    return claim._replace(window=window_of(budget.per, budget.timezone, now))


def _claim(place: int, claim: Claim, row: int) -> dict[str, Any]:
    budget, key, window = claim
    rolls = budget.per.startswith(ROLLING)
    return {
        "o": place,
        "b": row,
        "k": key,
        "s": window.slot,
        "e": window.end,
        "since": window.since,
        "until": window.until,
        "lo": window.slot if rolls else window.start,
        "hi": window.slot + bucket_s(rolling_s(budget.per)) if rolls else window.end or FOREVER,
        "usd": budget.limit_picousd,
        "most": budget.max_calls,
    }


def reserving(call_id: str, claims: Sequence[Claim], picousd: int, calls: int) -> Step:
    return Step({"do": "reserve", "call": call_id, "usd": picousd, "calls": calls}, claims)


def settling(
    call_id: str, picousd: int | None, calls: int | None, rests: Sequence[Rest], reserved: Step | None
) -> Step:
    """With what was `reserved`: should the server have lost that, the call is charged all the same."""
    said: dict[str, Any] = {"do": "settle", "call": call_id, "usd": picousd, "calls": calls}
    if reserved is not None:
        said |= {"needed": reserved.said["usd"], "needed_calls": reserved.said["calls"]}
    if rests:
        said["rests"] = [_rest(each) for each in rests]
    return Step(said, () if reserved is None else reserved.claims)


def taking(row: Mapping[str, Any], budgets: Sequence[Budget]) -> Step:
    """One row of a ledger. Raises what a broken row does."""
    is_result = row.get("operation") == BATCHES_RESULT.name and bool(row.get("batch_id"))
    is_create = row.get("operation") == BATCHES_CREATE.name
    told = spend_of(row) if not is_create and tells_tokens(row.get("cost_flags") or "", row) else None
    said = {
        "do": "take",
        "kind": "result" if is_result else "create" if is_create else "call",
        # However often a batch's results are read, they are of the batch, each once.
        "call": row["batch_id"] if is_result else row["call_id"],
        "of": row["call_id"],
        "item": (row.get("custom_id") if is_result else None) or row["id"],
        "batch": row.get("batch_id"),
        "usd": spend_of(row),
        "told": told,
        "calls": calls_of(row),
        "rest": _rest_of(row),
    }
    return Step(said, _under(row, budgets))


def correcting(mark: str, picousd: int, row: Mapping[str, Any], budgets: Sequence[Budget]) -> Step:
    said = {
        "do": "correct",
        "mark": mark,
        "call": row["call_id"],
        "id": row["id"],
        "batch": row.get("batch_id"),
        "usd": spend_of(row),
        "more": picousd,
        "rest": _rest_of(row),
    }
    return Step(said, _under(row, budgets))


def calls_of(row: Mapping[str, Any]) -> int:
    """How many calls a row stands for: the first of a call one, each result of a batch one, what is free none."""
    operation = row.get("operation")
    return int(operation == BATCHES_RESULT.name or (operation not in FREE and row["id"] == row["call_id"]))


def _under(row: Mapping[str, Any], budgets: Sequence[Budget]) -> list[Claim]:
    at = datetime.fromisoformat(row["started_at"]).timestamp()
    return [Claim(budget, key, window_of(budget.per, budget.timezone, at)) for budget, key in matching(budgets, row)]


def _rest_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    found = rest_of(row)
    return None if found is None else _rest(found)


def _rest(rest: Rest) -> dict[str, Any]:
    return {"row": rest.row_id, "at": int(rest.at), "usd": rest.picousd}
