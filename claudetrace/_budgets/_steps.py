"""What a store is asked to do, as steps: plain values that a file's statements and a server's functions both take."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._budgets._match import claims_of
from claudetrace._budgets._records import Claim, Denied, Rest
from claudetrace._budgets._windows import ROLLING
from claudetrace._call import spend_of, tells_tokens
from claudetrace._operations import BATCHES_CREATE, BATCHES_RESULT, FREE
from claudetrace._pricing._row import rest_of_cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from claudetrace._budgets._budget import Budget

FOREVER = 10**12


class Step(NamedTuple):
    """One thing to do. The ids of its budgets are those of the store at hand when it is sent."""

    said: Mapping[str, Any]
    claims: Sequence[Claim] = ()

    def to_send(self, ids: Ids) -> dict[str, Any]:
        """As the store takes it."""
        said = dict(self.said)
        if said.get("rest") or said.get("rests"):
            said["bound"] = ids.bound
        if self.claims:
            rows = [ids.of(each.budget) for each in self.claims]
            claims = enumerate(zip(self.claims, rows, strict=True))
            said["claims"] = [_claim(place, each, row) for place, (each, row) in claims if row is not None]
        return said

    @property
    def call(self) -> str | None:
        """The call that it reserves for or settles."""
        return self.said.get("call") if self.said["do"] in ("reserve", "settle", "hold_batch") else None

    def again(self) -> Step:
        """The same reservation for a call that runs already: where there is no room, too."""
        needed = {"needed": self.said["usd"], "needed_calls": self.said["calls"]}
        return self._replace(said={**self.said, **needed})

    def at(self, now: float) -> Step:
        """The same in the windows of now."""
        return self._replace(claims=[each.at(now) for each in self.claims])


class Asked:
    """A step whose answer a store gives best once its group has ended: whoever asks for it before has it sent."""

    __slots__ = ("_send", "said", "step")

    def __init__(self, step: Step, send: Callable[[], None]) -> None:
        self.step, self._send = step, send
        self.said: Denied | None = None

    @property
    def answer(self) -> Denied | None:
        """Which budget had no room."""
        self._send()
        return self.said


def answer_of(given: Any) -> Any:
    """What was given, or the answer that is given later."""
    return given.answer if isinstance(given, Asked) else given


class Ids(dict[int, int]):
    """The rows of budgets in the store, by the identity of each object."""

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
        known = self.get(id(budget))
        return self._by_name.get(budget.name) if known is None else known


def _claim(place: int, claim: Claim, row: int) -> dict[str, Any]:
    budget, key, window = claim
    return {
        "o": place,
        "b": row,
        "k": key,
        "s": window.slot,
        "e": window.end,
        "since": window.since,
        "until": window.until,
        "lo": window.slot if window.rolls else window.start,
        "hi": window.slot + window.step_s if window.rolls else window.end or FOREVER,
        "usd": budget.limit_picousd,
        "most": budget.max_calls,
    }


def settling(
    call_id: str, picousd: int | None, calls: int | None, rests: Sequence[Rest], reserved: Step | None
) -> Step:
    """With what was `reserved`: should the server have lost that, the call is charged all the same."""
    said: dict[str, Any] = {"do": "settle", "call": call_id, "usd": picousd, "calls": calls}
    if reserved is not None:
        said |= {"needed": reserved.said["usd"], "needed_calls": reserved.said["calls"]}
    if rests:
        said["rests"] = [_said_of(each) for each in rests]
    return Step(said, () if reserved is None else reserved.claims)


def taking(row: Mapping[str, Any], budgets: Sequence[Budget]) -> Step:
    """One row of a ledger. Raises what a broken row does."""
    operation = row.get("operation")
    is_result = operation == BATCHES_RESULT.name and bool(row.get("batch_id"))
    is_create = operation == BATCHES_CREATE.name
    spend, rest = spend_of(row), rest_of(row)
    said = {
        "do": "take",
        "kind": "result" if is_result else "create" if is_create else "call",
        # However often a batch's results are read, they are of the batch, each once.
        "call": row["batch_id"] if is_result else row["call_id"],
        "of": row["call_id"],
        "item": (row.get("custom_id") if is_result else None) or row["id"],
        "batch": row.get("batch_id"),
        "usd": spend,
        # In place of what was set aside, where it tells.
        "told": spend if not is_create and tells_tokens(row.get("cost_flags") or "", row) else None,
        # The first row of a call is one call, each result of a batch is, what is free is none.
        "calls": int(operation == BATCHES_RESULT.name or (operation not in FREE and row["id"] == row["call_id"])),
        "rest": rest and _said_of(rest),
    }
    return Step(said, _under(row, budgets))


def correcting(mark: str, picousd: int, row: Mapping[str, Any], budgets: Sequence[Budget]) -> Step:
    rest = rest_of(row)
    said = {
        "do": "correct",
        "mark": mark,
        "call": row["call_id"],
        "id": row["id"],
        "batch": row.get("batch_id"),
        "usd": spend_of(row),
        "more": picousd,
        "rest": rest and _said_of(rest),
    }
    return Step(said, _under(row, budgets))


def rest_of(row: Mapping[str, Any]) -> Rest | None:
    """What can still be billed of a cut stream, held in budgets with `cut_streams="bound"`; `None` where nothing can,
    or where nothing was seen that tells."""
    picousd = rest_of_cut(row)
    return Rest(row["id"], datetime.fromisoformat(row["started_at"]).timestamp(), picousd) if picousd else None


def _under(row: Mapping[str, Any], budgets: Sequence[Budget]) -> list[Claim]:
    return claims_of(budgets, row, datetime.fromisoformat(row["started_at"]).timestamp())


def _said_of(rest: Rest) -> dict[str, Any]:
    return {"row": rest.row_id, "at": int(rest.at), "usd": rest.picousd}
