"""The table `bill`: Anthropic's figures beside the ledger's, as they were compared last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._reconcile._figures import Cell
from claudetrace._reconcile._judge import CAUSES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from claudetrace._reconcile._fetch import Asked
    from claudetrace._reconcile._judge import Compared

COLUMNS = (
    *("scope", *Cell._fields, "our_quantity", "their_quantity", "our_picousd", "list_picousd", "billed_picousd"),
    *(f"{cause}_picousd" for cause in CAUSES),
    *("unbilled_quantity", "judged", "source", "reconciled_at"),
)
KEEP = f"INSERT INTO bill ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - names of ours


def keep(
    connection: sqlite3.Connection, asked: Asked, source: str, compared: Iterable[Compared], reconciled_at: str
) -> None:
    """Puts `compared` in the place of what was kept of the same days and scope. In a transaction."""
    span = (asked.scope, asked.since.isoformat(), asked.until.isoformat())
    connection.execute("DELETE FROM bill WHERE scope = ? AND day >= ? AND day < ?", span)
    quantities = ("our_quantity", "their_quantity", "our_picousd", "list_picousd", "billed_picousd")
    amounts = (*quantities, *(f"{cause}_picousd" for cause in CAUSES), "unbilled_quantity")
    connection.executemany(
        KEEP,
        (
            (asked.scope, *each.cell, *(getattr(each, name) for name in amounts), each.judged, source, reconciled_at)
            for each in compared
        ),
    )
