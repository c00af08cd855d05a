"""What `claudetrace report` shows with --at-model, --batch and --no-cache."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from claudetrace._ledger._export import csv_text
from claudetrace._ledger._question import Question
from claudetrace._ledger._what_if import WhatIf, read_what_if, total
from claudetrace._pricing._list import use_rates_of
from claudetrace._pricing._otherwise import Otherwise
from claudetrace._sqlite import limit_time
from claudetrace.cli._asked import nothing
from claudetrace.cli._find import no_such_trace
from claudetrace.cli._spend_table import key_columns, pruned_notes
from claudetrace.cli._tables import Column, count_text, fitted, plain, terminal_width, usd_digits, usd_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claudetrace._ledger._read import Ledger
    from claudetrace.cli._asked import Asked

ESTIMATE = (
    "An estimate: the same usage priced otherwise. Another model's tokenizer counts the same text differently, and "
    "its answers would not be the same."
)
ESTIMATE_OF_USE = "An estimate: the same usage priced otherwise."


def what_if_report(ledger: Ledger, asked: Asked, options: Mapping[str, Any]) -> str:
    """What the responses cost and would cost, with their total, as a table or as JSON."""
    use_rates_of(ledger.path)
    what = Otherwise(model=options["at_model"], batch=options["batch"], no_cache=options["no_cache"])
    trace = options["trace"]
    times = (None, None) if trace is not None else (asked.since, asked.until)
    question = Question.of(asked.by, *times, asked.where, asked.timezone)
    with ledger:
        limit_time(ledger.db.conn, ledger.path)
        rows = read_what_if(ledger.db.conn, what, question, None if trace is None else trace.lower())
    if trace is not None and not rows:
        raise no_such_trace(ledger, trace)
    if options["as_csv"]:
        return csv_text(map(_plain, rows))
    if options["as_json"]:
        return _as_json(asked.by, what, rows)
    head = asked.title(f"What if {_title(what)}")
    if trace is not None:
        head = f"What if {_title(what)} by {', '.join(asked.by)}, of the trace {plain(trace)}"
    if not rows:
        return f"{head}\n\n{nothing(ledger, asked)}"
    width = terminal_width(wide=options["wide"])
    pruned = None if trace else ledger.pruned_before(asked.since, timezone=asked.timezone)
    notes = wrapped([*_notes(what, total(rows)), *pruned_notes(pruned)], width)
    return "\n".join([head, "", *_table(asked.by, what, rows, width), "", *notes, "", f"Ledger: {ledger.path}"])


def _title(what: Otherwise) -> str:
    told = [f"at {what.model}"] if what.model else []
    told += ["in batches"] if what.batch else []
    told += ["without caching"] if what.no_cache else []
    return " ".join(told)


def _table(by: Sequence[str], what: Otherwise, rows: list[WhatIf], width: int | None) -> list[str]:
    shown = [*rows, total(rows)]
    digits = usd_digits([amount for row in rows for amount in (row.cost_usd, row.otherwise_usd)])
    bounds = ["≥" if row.inexact_responses else "" for row in shown]

    def money(name: str) -> list[str]:
        return [bound + usd_text(getattr(row, name), digits) for bound, row in zip(bounds, shown, strict=True)]

    shares = [
        f" {100 * row.difference_usd * 10**12 / row.compared_picousd:+.1f} %" if row.compared_picousd else ""
        for row in shown
    ]
    differences = [usd_text(row.difference_usd, digits) + share for row, share in zip(shown, shares, strict=True)]
    columns = [
        *key_columns(by, [(row.dimensions, 0, False) for row in rows]),
        Column("responses", [count_text(row.responses) for row in shown], None, 2),
        Column("cost (USD)", money("cost_usd"), None, 1),
        Column(f"{_title(what)} (estimate)", money("otherwise_usd")),
        Column("difference", differences),
    ]
    if any(row.unpriced_responses for row in rows):
        columns.append(Column("unpriced", [count_text(row.unpriced_responses) for row in shown], None, 3))
    return [line for line in fitted(columns, width, last_is_total=True) if line]


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


def _as_json(by: Sequence[str], what: Otherwise, rows: list[WhatIf]) -> str:
    told = {
        "by": [*by],
        "what_if": {"at_model": what.model, "batch": what.batch, "no_cache": what.no_cache},
        "estimate": True,
        "note": ESTIMATE if what.model else ESTIMATE_OF_USE,
        "rows": [_plain(row) for row in rows],
        "total": _plain(total(rows)),
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def _plain(row: WhatIf) -> dict[str, Any]:
    counts = {name: getattr(row, name) for name in WhatIf.__slots__ if name != "dimensions"}
    dollars = {name: f"{getattr(row, name):f}" for name in ("cost_usd", "otherwise_usd", "difference_usd")}
    return {"key": row.key, **row.dimensions, **counts, **dollars}
