"""What `claudetrace report` shows with --at-model, --batch and --no-cache."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from claudetrace._ledger._times import EVER, span
from claudetrace._ledger._what_if import read_what_if, total
from claudetrace._sqlite import limit_time
from claudetrace.cli._tables import NONE, count_text, plain, table, usd_digits, usd_text
from claudetrace.cli._trace import no_such_trace

if TYPE_CHECKING:
    from claudetrace._ledger._read import Ledger
    from claudetrace._ledger._what_if import WhatIf
    from claudetrace._pricing._otherwise import Otherwise

ESTIMATE = (
    "An estimate: the same usage priced otherwise. Another model's tokenizer counts the same text differently, and "
    "its answers would not be the same."
)
ESTIMATE_OF_USE = "An estimate: the same usage priced otherwise."


def what_if_report(
    ledger: Ledger,
    by: str,
    since: str | None,
    until: str | None,
    what: Otherwise,
    *,
    trace: str | None = None,
    as_json: bool = False,
) -> str:
    """What the responses cost and would cost, by `by` with its total, as a table or as JSON."""
    meant = span(since, until) if trace is None else EVER
    with ledger:
        limit_time(ledger.db.conn, ledger.path)
        rows = read_what_if(ledger.db.conn, what, by, meant, None if trace is None else trace.lower())
    if trace is not None and not rows:
        raise no_such_trace(ledger, trace)
    if as_json:
        return _as_json(by, what, rows)
    head = f"What if {_title(what)}, by {by}"
    if trace is not None:
        head += f", of the trace {plain(trace)}"
    elif since is not None:
        head += f", from {meant.since:%Y-%m-%d %H:%M} UTC"
    if not rows:
        return f"{head}\n\nNo calls in that time."
    return "\n".join([head, "", _table(by, what, rows), "", *_notes(what, total(rows)), "", f"Ledger: {ledger.path}"])


def _title(what: Otherwise) -> str:
    told = [f"at {what.model}"] if what.model else []
    told += ["in batches"] if what.batch else []
    told += ["without caching"] if what.no_cache else []
    return " ".join(told)


def _table(by: str, what: Otherwise, rows: list[WhatIf]) -> str:
    digits = usd_digits([*(row.cost_usd for row in rows), *(row.otherwise_usd for row in rows)])
    uncompared = any(row.unpriced_responses for row in rows)
    heads = [by, "responses", "cost (USD)", f"{_title(what)} (estimate)", "difference", *(["unpriced"] * uncompared)]

    def cells(name: str, row: WhatIf) -> list[str]:
        share = f" {100 * row.difference_usd * 10**12 / row.compared_picousd:+.1f} %" if row.compared_picousd else ""
        bound = "≥" if row.inexact_responses else ""
        money = [bound + usd_text(row.cost_usd, digits), bound + usd_text(row.otherwise_usd, digits)]
        difference = usd_text(row.difference_usd, digits) + share
        unpriced = [count_text(row.unpriced_responses)] if uncompared else []
        return [name, count_text(row.responses), *money, difference, *unpriced]

    lines = [cells(NONE if row.key is None else plain(row.key), row) for row in rows]
    return table(heads, [*lines, cells("total", total(rows))], last_is_total=True)


def _notes(what: Otherwise, whole: WhatIf) -> list[str]:
    notes = [ESTIMATE if what.model else ESTIMATE_OF_USE]
    if whole.inexact_responses:
        notes.append(f"≥ {whole.inexact_responses:,} of {whole.responses:,} responses cost more than is known.")
    if whole.unpriced_responses:
        notes.append(
            f"{whole.unpriced_responses:,} of {whole.responses:,} responses have no known cost one way or the other: "
            "the estimate and the difference leave them out."
        )
    if whole.too_long_responses:
        notes.append(f"{whole.too_long_responses:,} prompts are longer than {what.model} takes.")
    return notes


def _as_json(by: str, what: Otherwise, rows: list[WhatIf]) -> str:
    told = {
        "by": by,
        "what_if": {"at_model": what.model, "batch": what.batch, "no_cache": what.no_cache},
        "estimate": True,
        "note": ESTIMATE if what.model else ESTIMATE_OF_USE,
        "rows": [_plain(row) for row in rows],
        "total": _plain(total(rows)),
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def _plain(row: WhatIf) -> dict[str, Any]:
    dollars = {name: f"{getattr(row, name):f}" for name in ("cost_usd", "otherwise_usd", "difference_usd")}
    return {**asdict(row), **dollars}
