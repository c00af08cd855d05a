"""One reconciliation: compares the ledger's days with Anthropic's figures, stores the result, and reports it by a
metric and an alert."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from claudetrace._call import exact_usd
from claudetrace._errors import dollars
from claudetrace._guard import Guard
from claudetrace._ledger._rollups import exact_from_day
from claudetrace._ledger._schema import opened_ledger, transaction
from claudetrace._ledger._times import stamp
from claudetrace._places import resource
from claudetrace._reconcile._figures import Cell, Figure
from claudetrace._reconcile._judge import CAUSES, capture_ratio, compare, groups, with_list
from claudetrace._reconcile._ours import COUNTS, Ours
from claudetrace._sqlite import limit_time

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from claudetrace._alerts._channels import Tried
    from claudetrace._config import Settings
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
"""After this time the figures of a day are complete, those of Claude Enterprise included."""
UNSEEN = (
    "{seen} of what Anthropic lists for {scope} from {since} until {until} is of calls in the ledger, less than "
    "{at_least}: {missing} is of calls that nobody recorded. Look for programs without claudetrace in "
    "`claudetrace reconcile`."
)
GAUGE = "claudetrace.reconcile.capture_ratio"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
SENDING_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """The result of a comparison."""

    asked: Asked
    source: str
    cells: list[Compared]
    ours: Ours
    first_day: str
    """The first day whose calls are not pruned."""
    young_from: str
    """The first day that is too recent to judge."""
    keys: dict[str, Figure]
    """Anthropic's figures by key for the judged days, the most expensive first; empty if it did not tell them."""
    assumed_discount: Fraction | None
    """The discount behind the list prices, if the report tells only what is billed."""
    by_workspace: bool
    """Whether both sides name workspaces, which are then compared one by one."""

    @property
    def judged(self) -> list[Compared]:
        """The cells of days that are old enough."""
        return [each for each in self.cells if each.judged]

    @property
    def capture_ratio(self) -> Fraction | None:
        """The share of Anthropic's list price that is of calls in the ledger."""
        return capture_ratio(self.cells)

    @property
    def unseen(self) -> dict[Cell, int]:
        """The cost of calls that the ledger lacks, by model and terms, the most expensive first; below 0 for calls that
        it has and Anthropic does not bill."""
        found = groups(each for each in self.judged if each.is_shared)
        return dict(sorted(((cell, amount) for cell, amount in found.items() if amount), key=lambda each: -each[1]))

    @property
    def discount(self) -> Fraction | None:
        """The share of the list price that is not billed."""
        if self.assumed_discount is not None:
            return self.assumed_discount
        listed = sum(each.list_picousd or 0 for each in self.judged)
        return 1 - Fraction(sum(each.billed_picousd or 0 for each in self.judged), listed) if listed else None

    @property
    def has_cost(self) -> bool:
        """Whether a report of cost was read."""
        return any(each.list_picousd is not None for each in self.cells)

    def is_below(self, at_least: Fraction) -> bool:
        """Whether less than `at_least` was seen. A whole organization is never below: other programs share it."""
        return bool(self.asked.scope) and self.capture_ratio is not None and self.capture_ratio < at_least

    @property
    def misrated(self) -> list[Compared]:
        """The cells in which our rate differs from Anthropic's."""
        return [each for each in self.judged if each.their_rate is not None]


def reconcile(
    ledger: Ledger, asked: Asked, figures: Figures, discount: Fraction | None = None, now: datetime | None = None
) -> Reconciliation:
    """Explains each difference between the ledger and `figures`, and stores the result in the ledger."""
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
    """Replaces the rows of the table `bill` for these days and this scope by `cells`."""
    span = (asked.scope, asked.since.isoformat(), asked.until.isoformat())
    connection.execute("DELETE FROM bill WHERE scope = ? AND day >= ? AND day < ?", span)
    rows = (
        (asked.scope, source, reconciled_at, *each.cell, *(getattr(each, name) for name in MEASURES)) for each in cells
    )
    connection.executemany(KEEP, rows)


def tell_metrics(found: Reconciliation, settings: Settings) -> None:
    """Records the capture rate with the process's own meter provider, or sends it to the collector that the settings or
    the environment name. Never raises."""
    if found.capture_ratio is None or not settings.metrics:
        return
    from claudetrace._telemetry._providers import Providers

    guard = Guard()
    otlp = settings.otlp or any(os.environ.get(name) for name in ENDPOINTS)
    providers = Providers(otlp, guard, resource())
    with guard("record the capture rate"):
        if (provider := providers.meter_provider()) is not None:
            gauge = provider.get_meter("claudetrace").create_gauge(
                GAUGE, "1", "The share of Anthropic's list price that is of calls in the ledger."
            )
            scope = {"claudetrace.reconcile.scope": found.asked.scope} if found.asked.scope else {}
            gauge.set(float(found.capture_ratio), scope)
    providers.close(SENDING_S)


def alert_unseen(found: Reconciliation, at_least: Fraction, settings: Settings) -> list[Tried]:
    """Sends an alert of the kind `unseen` through the channels of the settings if less than `at_least` was seen, and
    returns the outcome by channel. Blocks for a few seconds at most."""
    if not found.is_below(at_least) or found.capture_ratio is None:
        return []
    from claudetrace._alerts._alert import Alert
    from claudetrace._alerts._channels import send_now
    from claudetrace._parse import alert_to

    since, until = (datetime.combine(day, time(), UTC) for day in (found.asked.since, found.asked.until))
    missing = sum(amount for amount in found.unseen.values() if amount > 0)
    message = UNSEEN.format(
        seen=f"{float(found.capture_ratio):.2%}",
        at_least=f"{float(at_least):.2%}",
        scope=found.asked.scope,
        since=found.asked.since,
        until=found.asked.until,
        missing=dollars(exact_usd(missing)),
    )
    alert = Alert(
        kind="unseen",
        threshold=float(at_least),
        window_start=since,
        window_end=until,
        key=found.asked.scope,
        at=datetime.now(UTC),
        message=message,
        service=resource()["service"],
    )
    return send_now(alert, settings.alert_to or alert_to("alert_to", None))
