"""What the ledger says of the days that Anthropic's figures are of."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

from claudetrace._operations import BATCHES_RESULT, FREE_SQL
from claudetrace._pricing._parts import SEARCHES
from claudetrace._reconcile._figures import REQUESTS, TOKEN_KINDS, Cell, Figure, cell_of
from claudetrace._usage import usage_columns

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence

Key: TypeAlias = tuple[Any, ...]

COUNTS = (*TOKEN_KINDS, SEARCHES)
LONGEST_READING_DAYS = 30
"""A batch's results can be read so long after the day of the batch, by whose rates they are priced."""
FREE, UNPRICED = "free", "unpriced"
"""In place of a rate: tokens of a refusal, which cost nothing; tokens whose cost is not known."""
# What Anthropic does not bill to this organization is not looked for in its figures.
HEAD = {
    "day": "COALESCE(CASE WHEN operation = :result THEN pricing_terms ->> 'day' END, SUBSTR(started_at, 1, 10))",
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
"""What the parts of one response share."""
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
    """What the calls of a cell add up to."""

    quantity: int = 0
    """What has a price."""
    picousd: int = 0
    rates: set[Fraction] = field(default_factory=set)
    unpriced: int = 0
    """Tokens of calls whose cost is not known."""
    free: int = 0
    """Tokens of refusals, which cost nothing."""
    own_rates: bool = False
    """Whether the user's own prices are in it, which are no list prices."""

    @property
    def seen(self) -> int:
        """All of it."""
        return self.quantity + self.unpriced + self.free

    def put(self, rate: int | str | None, quantity: int, picousd: int, own: bool) -> None:
        """Adds parts of calls that have one rate."""
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
    """Calls that were asked on one day and ended on the next."""

    calls: int = 0
    picousd: int = 0


class Ours:
    """The sums of the ledger, by cell."""

    def __init__(self, since: date, until: date) -> None:
        self.since, self.until = since, until
        self.cells: dict[Cell, Sum] = defaultdict(Sum)
        self.midnight = Midnight()
        self.by_end = False
        """Whether a call counts on the day when it ended: else on that when it was asked."""
        self.cut_short = 0
        self.without_workspace = 0
        self.by_workspace = True
        self._counted: dict[Key, dict[Key, list[int]]] = {}

    def read(self, connection: sqlite3.Connection, workspaces: Sequence[str]) -> None:
        """Counts the responses of the days, those of `workspaces` alone where some are named."""
        asked = {
            "result": BATCHES_RESULT.name,
            "day_before": (self.since - timedelta(days=1)).isoformat(),
            "until": self.until.isoformat(),
            "last_reading": (self.until + timedelta(days=LONGEST_READING_DAYS)).isoformat(),
        }
        counted, place = self._counted, len(HEAD)
        for row in connection.execute(RESPONSES, asked):
            head = row[:place]
            final, cost, parts, usage = row[place:]
            if head[2] is None:
                self.without_workspace += 1
            if workspaces and head[2] not in workspaces:
                continue
            if (sums := counted.get(head)) is None:
                sums = counted[head] = {(head[-1], REQUESTS, None): [0, 0]}
            sums[head[-1], REQUESTS, None][0] += 1
            if not final:
                self.cut_short += 1
            for part in orjson.loads(parts) if usage is None else _without_price(usage, cost):
                key = (part["model"] or head[-1], part["name"], part["rate_picousd"])
                if (sum_ := sums.get(key)) is None:
                    sums[key] = [part["quantity"], part["picousd"]]
                else:
                    sum_[0] += part["quantity"]
                    sum_[1] += part["picousd"]

    def attribute(self, theirs: Mapping[Cell, Figure]) -> None:
        """Counts each call on the day when it was asked, or on that when it ended, whichever fits `theirs`."""
        self.by_end = self._distance(theirs, by_end=True) < self._distance(theirs, by_end=False)
        self.cells = self._sums(by_end=self.by_end)
        for (day, end, *_), sums in self._counted.items():
            if end and end > day:
                calls = sum(quantity for (_, kind, _), (quantity, _) in sums.items() if kind == REQUESTS)
                picousd = sum(picousd for _, picousd in sums.values())
                self.midnight = Midnight(self.midnight.calls + calls, self.midnight.picousd + picousd)

    def _distance(self, theirs: Mapping[Cell, Figure], *, by_end: bool) -> int:
        sums = self._sums(by_end=by_end)
        return sum(abs((figure.quantity or 0) - sums[cell].seen) for cell, figure in theirs.items())

    def _sums(self, *, by_end: bool) -> dict[Cell, Sum]:
        cells: dict[Cell, Sum] = defaultdict(Sum)
        since, until = self.since.isoformat(), self.until.isoformat()
        for (day, end, workspace, tier, speed, geo, own, _), sums in self._counted.items():
            at = end if by_end and end else day
            if not since <= at < until:
                continue
            group = {"workspace_id": workspace if self.by_workspace else "", "service_tier": tier, "speed": speed}
            for (model, name, rate), (quantity, picousd) in sums.items():
                told = {**group, "inference_geo": geo, "model": model}
                cells[cell_of(at, told, name.rpartition(".")[2])].put(rate, quantity, picousd, bool(own))
        return cells


def _without_price(usage: str, cost: int | None) -> Iterator[dict[str, Any]]:
    """The counts of a response that has no parts, in their form."""
    columns = usage_columns(orjson.loads(usage))
    for name in COUNTS:
        if quantity := columns.get(name):
            rate = UNPRICED if cost is None else FREE
            yield {"name": name, "model": None, "quantity": quantity, "rate_picousd": rate, "picousd": 0}
