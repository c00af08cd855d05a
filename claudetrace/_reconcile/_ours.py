"""Sums up the ledger's responses in the cells of Anthropic's figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

from claudetrace._operations import BATCHES_RESULT, FREE_SQL
from claudetrace._pricing._rates import SEARCHES
from claudetrace._reconcile._figures import REQUESTS, TOKEN_KINDS, Cell, Figure, cell_of
from claudetrace._usage import usage_columns

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence

Key: TypeAlias = tuple[Any, ...]

COUNTS = (*TOKEN_KINDS, SEARCHES)
LONGEST_READING_DAYS = 30
"""How long after a batch its results can be read. They are priced by the rates of the batch's day."""
FREE, UNPRICED = "free", "unpriced"
"""In place of a rate: for tokens of a refusal, which cost nothing, and for tokens whose cost is unknown."""
# The query leaves out what Anthropic does not bill to this organization.
HEAD = {
    "day": """COALESCE(
            CASE WHEN operation = :result THEN JSON_EXTRACT(pricing_terms, '$.day') END, SUBSTR(started_at, 1, 10)
        )""",
    "day_of_end": """CASE
            WHEN operation <> :result AND (SUBSTR(started_at, 12, 2) = '23' OR duration_ms > 3600000)
                THEN DATE(JULIANDAY(started_at) + COALESCE(duration_ms, 0) / 86400000.0)
        END""",
    "workspace_id": "workspace_id",
    "service_tier": """CASE
            WHEN operation = :result OR INSTR(pricing_terms, '"batch":true') > 0 THEN 'batch'
            ELSE service_tier
        END""",
    "speed": "speed",
    "inference_geo": "inference_geo",
    "has_own_rates": """COALESCE(cost_flags, '[]') <> '[]' AND INSTR(cost_flags, '"custom_rates"') > 0""",
    "model": "model",
}
"""What all parts of a response have in common."""
RESPONSES = f"""
    SELECT
        {", ".join(f"{sql} AS {name}" for name, sql in HEAD.items())},
        usage_is_final,
        cost_picousd,
        cost_parts,
        CASE WHEN cost_parts IS NULL OR cost_parts = '[]' THEN usage END AS usage
    FROM calls
    WHERE platform = 'anthropic'
        AND usage IS NOT NULL
        AND operation NOT IN ({FREE_SQL})
        AND COALESCE(billing, '') <> 'subscription'
        AND (
            COALESCE(cost_flags, '[]') = '[]'
            OR (
                INSTR(cost_flags, '"billed_to_user_profile"') = 0
                AND INSTR(cost_flags, '"free_host"') = 0
                AND INSTR(cost_flags, '"replayed"') = 0
            )
        )
        AND started_at >= :day_before
        AND (started_at < :until OR (operation = :result AND started_at < :last_reading))
"""  # noqa: S608 - names of ours


@dataclass(slots=True)
class Sum:
    """The sum of the calls in a cell."""

    quantity: int = 0
    """Tokens, searches or requests with a price."""
    picousd: int = 0
    rates: set[Fraction] = field(default_factory=set)
    unpriced: int = 0
    """Tokens of calls whose cost is unknown."""
    free: int = 0
    """Tokens of refusals, which cost nothing."""
    own_rates: bool = False
    """Whether it includes the user's own prices, which are no list prices."""

    @property
    def seen(self) -> int:
        """All of them."""
        return self.quantity + self.unpriced + self.free

    def put(self, rate: int | str | None, quantity: int, picousd: int, own: bool) -> None:
        """Adds parts of calls with one rate."""
        self.own_rates |= own
        if rate == UNPRICED:
            self.unpriced += quantity
        elif rate == FREE:
            self.free += quantity
        else:
            self.quantity += quantity
            self.picousd += picousd
            if rate is not None:
                self.rates.add(Fraction(rate))


class Midnight(NamedTuple):
    """Calls that began on one day and ended on the next."""

    calls: int = 0
    picousd: int = 0


class Ours:
    """The ledger's responses, summed by cell."""

    def __init__(self, since: date, until: date) -> None:
        self._since, self._until = since.isoformat(), until.isoformat()
        self.cells: dict[Cell, Sum] = {}
        self.by_end = False
        """Whether calls count on the day they ended, not the day they began."""
        self.midnight = Midnight()
        self.cut_short = self.without_workspace = 0
        self._counted: dict[Key, dict[Key, list[int]]] = {}
        self._cut: Counter[Key] = Counter()

    def read(self, connection: sqlite3.Connection) -> None:
        """Reads the responses of these days."""
        since, until = (date.fromisoformat(day) for day in (self._since, self._until))
        asked = {
            "result": BATCHES_RESULT.name,
            "day_before": (since - timedelta(days=1)).isoformat(),
            "until": self._until,
            "last_reading": (until + timedelta(days=LONGEST_READING_DAYS)).isoformat(),
        }
        counted, place = self._counted, len(HEAD)
        for row in connection.execute(RESPONSES, asked):
            head = row[:place]
            final, cost, parts, usage = row[place:]
            if (sums := counted.get(head)) is None:
                sums = counted[head] = {(head[-1], REQUESTS, None): [0, 0]}
            sums[head[-1], REQUESTS, None][0] += 1
            if not final:
                self._cut[head] += 1
            for part in orjson.loads(parts) if usage is None else _without_price(usage, cost):
                key = (part["model"] or head[-1], part["name"], part["rate_picousd"])
                if (sum_ := sums.get(key)) is None:
                    sums[key] = [part["quantity"], part["picousd"]]
                else:
                    sum_[0] += part["quantity"]
                    sum_[1] += part["picousd"]

    def names_workspaces(self) -> bool:
        """Whether every response of these days names a workspace."""
        return all(head[2] for head in self._counted if self._since <= head[0] < self._until)

    def attribute(self, theirs: Mapping[Cell, Figure], fold: Mapping[str, str], workspaces: Sequence[str]) -> None:
        """Sums up the responses, only those of `workspaces` if any are named, by the day they began or ended,
        whichever fits `theirs` better. `fold`: the fields to replace in every cell."""
        asked, ended = (self._sums(fold, workspaces, by_end=by_end) for by_end in (False, True))
        self.by_end = _distance(theirs, ended) < _distance(theirs, asked)
        self.cells = ended if self.by_end else asked
        for head, sums in self._counted.items():
            day, end, workspace = head[:3]
            calls = sums[head[-1], REQUESTS, None][0]
            if self._since <= day < self._until:
                self.without_workspace += 0 if workspace else calls
                self.cut_short += self._cut[head]
            if end and day < end and self._since <= end:
                picousd = sum(each for _, each in sums.values())
                self.midnight = Midnight(self.midnight.calls + calls, self.midnight.picousd + picousd)

    def _sums(self, fold: Mapping[str, str], workspaces: Sequence[str], *, by_end: bool) -> dict[Cell, Sum]:
        cells: dict[Cell, Sum] = defaultdict(Sum)
        for (day, end, workspace, tier, speed, geo, own, _), sums in self._counted.items():
            at = end if by_end and end else day
            if not self._since <= at < self._until or (workspaces and workspace not in workspaces):
                continue
            group = {"workspace_id": workspace, "service_tier": tier, "speed": speed, "inference_geo": geo}
            for (model, name, rate), (quantity, picousd) in sums.items():
                cell = cell_of(at, {**group, "model": model}, name.rpartition(".")[2])._replace(**fold)
                cells[cell].put(rate, quantity, picousd, bool(own))
        return cells


def _distance(theirs: Mapping[Cell, Figure], ours: Mapping[Cell, Sum]) -> tuple[int, int]:
    """How badly the two fit. What only ours has counts first, since no unseen call explains it."""
    more = [
        (ours[cell].seen if cell in ours else 0) - ((theirs[cell].quantity or 0) if cell in theirs else 0)
        for cell in {*theirs, *ours}
    ]
    return sum(max(0, each) for each in more), sum(map(abs, more))


def _without_price(usage: str, cost: int | None) -> Iterator[dict[str, Any]]:
    """The counts of a response without parts, in the form of parts."""
    columns = usage_columns(orjson.loads(usage))
    for name in COUNTS:
        if quantity := columns.get(name):
            rate = UNPRICED if cost is None else FREE
            yield {"name": name, "model": None, "quantity": quantity, "rate_picousd": rate, "picousd": 0}
