"""One reconciliation: the ledger's days held against Anthropic's figures, and kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from claudetrace._ledger._proof import exact_from_day
from claudetrace._ledger._schema import opened_ledger, transaction
from claudetrace._ledger._times import stamp
from claudetrace._reconcile._figures import Cell, Figure
from claudetrace._reconcile._judge import CAUSES, capture_ratio, compare, groups, with_list
from claudetrace._reconcile._ours import COUNTS, Ours
from claudetrace._sqlite import limit_time

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from claudetrace._ledger._read import Ledger
    from claudetrace._reconcile._fetch import Asked
    from claudetrace._reconcile._figures import Figures
    from claudetrace._reconcile._judge import Compared

MEASURES = (
    *("our_quantity", "their_quantity", "our_picousd", "list_picousd", "billed_picousd"),
    *(f"{cause}_picousd" for cause in CAUSES),
    *("unbilled_quantity", "judged"),
)
COLUMNS = ("scope", "source", "reconciled_at", *Cell._fields, *MEASURES)
KEEP = f"INSERT INTO bill ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - names of ours
SETTLES = timedelta(hours=3)
"""After that the figures of a day are there, also those of Claude Enterprise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What a comparison found."""

    asked: Asked
    source: str
    cells: list[Compared]
    ours: Ours
    first_day: str
    """The first day whose calls are not pruned."""
    young_from: str
    """The first day that is too young to be judged."""
    keys: dict[str, Figure]
    """What Anthropic has of each key on the judged days, the most expensive first; empty where it did not say."""
    assumed_discount: Fraction | None
    """That by which list prices were worked out, where the report tells only what is billed."""
    by_workspace: bool
    """Whether both sides name their workspaces, so that they are compared one by one."""

    @property
    def judged(self) -> list[Compared]:
        """What is of days that are old enough."""
        return [each for each in self.cells if each.judged]

    @property
    def capture_ratio(self) -> Fraction | None:
        """The share of Anthropic's list price that is of calls in the ledger."""
        return capture_ratio(self.cells)

    @property
    def unseen(self) -> dict[Cell, int]:
        """What is of calls that the ledger does not have, by model and terms, the most expensive first; below 0 what
        it has and Anthropic does not bill."""
        found = groups(each for each in self.judged if each.is_shared)
        return dict(sorted(((cell, amount) for cell, amount in found.items() if amount), key=lambda each: -each[1]))

    @property
    def discount(self) -> Fraction | None:
        """What is billed less than the list price, as a share of it."""
        if self.assumed_discount is not None:
            return self.assumed_discount
        listed = sum(each.list_picousd or 0 for each in self.judged)
        return 1 - Fraction(sum(each.billed_picousd or 0 for each in self.judged), listed) if listed else None

    @property
    def has_cost(self) -> bool:
        """Whether a report of cost was read."""
        return any(each.list_picousd is not None for each in self.cells)

    def is_below(self, at_least: Fraction) -> bool:
        """Whether less than `at_least` was seen. Of a whole organization that says nothing: others share it."""
        return bool(self.asked.scope) and self.capture_ratio is not None and self.capture_ratio < at_least

    @property
    def misrated(self) -> list[Compared]:
        """The cells in which our rate is not Anthropic's."""
        return [each for each in self.judged if each.their_rate is not None]


def reconcile(
    ledger: Ledger, asked: Asked, figures: Figures, discount: Fraction | None = None, now: datetime | None = None
) -> Reconciliation:
    """What explains each difference between the ledger and `figures`; it is kept in the ledger too."""
    now = now or datetime.now(UTC)
    since, until = asked.since.isoformat(), asked.until.isoformat()
    ours = Ours(asked.since, asked.until)
    limit_time(ledger.db.conn, ledger.path)
    ours.read(ledger.db.conn)
    first_day = exact_from_day(ledger.db.conn)
    ledger.close()
    figures.cells = {cell: each for cell, each in figures.cells.items() if since <= cell.day < until}
    named = all(cell.workspace_id for cell in figures.cells if cell.kind in COUNTS)
    by_workspace = named and (bool(asked.workspace_ids) or ours.names_workspaces())
    ours.attribute(figures.cells, figures.fold(by_workspace=by_workspace), asked.workspace_ids)
    assumed = with_list(figures, ours.cells, discount)
    young_from = min(now - SETTLES, figures.refreshed_at or now).astimezone(UTC).date().isoformat()
    cells = compare(figures, ours.cells, (first_day, young_from))
    with opened_ledger(ledger.path) as connection, transaction(connection):
        _keep(connection, asked, figures.source, cells, stamp(now))
    return Reconciliation(
        asked=asked,
        source=figures.source,
        cells=cells,
        ours=ours,
        first_day=first_day,
        young_from=young_from,
        keys=_by_key(figures, first_day, young_from),
        assumed_discount=assumed,
        by_workspace=by_workspace,
    )


def _by_key(figures: Figures, first_day: str, young_from: str) -> dict[str, Figure]:
    keys: dict[str, Figure] = {}
    for (day, key), figure in figures.keys.items():
        if first_day <= day < young_from:
            keys.setdefault(key, Figure()).add(figure)
    return dict(sorted(keys.items(), key=lambda each: -(each[1].list_picousd or 0)))


def _keep(
    connection: sqlite3.Connection, asked: Asked, source: str, cells: Iterable[Compared], reconciled_at: str
) -> None:
    """Puts `cells` in the place of what the table `bill` has of the same days and scope."""
    span = (asked.scope, asked.since.isoformat(), asked.until.isoformat())
    connection.execute("DELETE FROM bill WHERE scope = ? AND day >= ? AND day < ?", span)
    rows = (
        (asked.scope, source, reconciled_at, *each.cell, *(getattr(each, name) for name in MEASURES)) for each in cells
    )
    connection.executemany(KEEP, rows)


def total(cells: Iterable[Compared], name: str) -> int:
    """The sum of what `name` is of each, where it is known."""
    return sum(getattr(each, name) or 0 for each in cells)
