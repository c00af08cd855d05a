"""`claudetrace find`, and the calls of a trace: each with its cost, and what that is made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from claudetrace._call import exact_usd
from claudetrace._errors import ClaudetraceError
from claudetrace.cli._calls import DIGITS, call_json, call_lines, calls_table, has_lower_bound
from claudetrace.cli._options import AS_JSON, DB, WIDE, calls_text, read_path
from claudetrace.cli._tables import Column, count_text, fitted, plain, terminal_width, usd_text

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._call import Call
    from claudetrace._ledger._read import Ledger

MANY = 100
"""How many calls are listed; the sums are of all."""


@click.command(short_help="Find calls by any id, with what they cost part by part.")
@click.argument("id_", metavar="ID")
@AS_JSON
@WIDE
@DB
def find(id_: str, as_json: bool, wide: bool, db: Path | None) -> None:
    """Find the call or the calls that ID names, and what they cost part by part.

    ID is of a request, message, trace, span, session, user, batch or call. Exits 1 where there is none.
    """
    from claudetrace._ledger._read import Ledger

    ledger = Ledger(read_path(db))
    found = ledger.find(id_.strip())
    if not found:
        click.echo(f"No call of {ledger.path} has the id {plain(id_, 200)}.", err=True)
        raise SystemExit(1)
    head = {"id": id_.strip()}
    click.echo(_calls_json(found, head) if as_json else _calls_report(found, terminal_width(wide=wide)))


def trace_report(ledger: Ledger, trace_id: str, *, as_json: bool = False) -> str:
    """Each call of the trace with its cost, and their sum."""
    trace_id = trace_id.lower()
    found = ledger.calls(trace_id=trace_id, limit=None)[::-1]
    if not found:
        raise no_such_trace(ledger, trace_id)
    if as_json:
        return _calls_json(found, {"trace_id": trace_id})
    return f"Trace {trace_id}\n\n{_calls_report(found, terminal_width())}"


def no_such_trace(ledger: Ledger, trace_id: str) -> ClaudetraceError:
    """The error where the ledger has no call of the trace."""
    return ClaudetraceError(
        f"no call of {ledger.path} is of the trace {trace_id!r}; give the 32 hex digits that the trace has there"
    )


def _calls_report(found: list[Call], width: int | None) -> str:
    """The calls, what they cost part by part, and their sum."""
    shown = call_lines(found[0], width) if len(found) == 1 else calls_table(found[:MANY], width=width)
    more = f"\n… and {len(found) - MANY:,} more" if len(found) > MANY else ""
    return f"{shown}{more}\n\n{_parts_table(found, width)}\n\n{_sums(found)}"


def _parts_table(found: list[Call], width: int | None) -> str:
    """What the calls are charged for, added up where model and rate are the same."""
    parts: dict[tuple[str, str, object], list[int]] = {}
    for call in found:
        for part in call.cost_parts:
            sums = parts.setdefault((part.name, part.model or "", part.rate_picousd), [0, 0])
            sums[0] += part.quantity
            sums[1] += part.picousd
    if not parts:
        return "No part of them is charged for."
    # A rate is of a token or of what else is counted: a picodollar of it is a microdollar of a million.
    rates = [f"{float(rate) / 1e6:,.6g}" for _, _, rate in parts]  # type: ignore[arg-type]  # an int or a Fraction
    columns = [
        Column("part", [plain(name) for name, _, _ in parts], left=True),
        Column("model", [plain(model) for _, model, _ in parts], None, 2, left=True),
        Column("quantity", [count_text(quantity) for quantity, _ in parts.values()]),
        Column("$ a million", rates, None, 1),
        Column("cost (USD)", [usd_text(exact_usd(picousd), DIGITS) for _, picousd in parts.values()]),
    ]
    return fitted(columns, width)[0]


def _sums(found: list[Call]) -> str:
    unpriced, lower_bounds = _open(found)
    spend = exact_usd(sum(call.spend_picousd or 0 for call in found))
    calls = len({call.call_id for call in found})
    sums = f"{calls_text(calls)}, {'≥' if unpriced or lower_bounds else ''}{usd_text(spend, DIGITS)}"
    sums += f", {unpriced} without a known cost" if unpriced else ""
    return sums + (f", {lower_bounds} with a lower bound" if lower_bounds else "")


def _open(found: list[Call]) -> tuple[int, int]:
    """How many have no known cost, and how many a lower bound."""
    return sum(call.spend_picousd is None for call in found), sum(map(has_lower_bound, found))


def _calls_json(found: list[Call], head: dict[str, str]) -> str:
    unpriced, lower_bounds = _open(found)
    spend = exact_usd(sum(call.spend_picousd or 0 for call in found))
    told = {**head, "calls": [call_json(call) for call in found], "cost_usd": f"{spend:f}"}
    return json.dumps({**told, "unpriced": unpriced, "lower_bounds": lower_bounds}, indent=2, ensure_ascii=False)
