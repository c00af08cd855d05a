"""What changed, how long answers took, and what another way would cost, as `claudetrace report` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._call import exact_usd
from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._answer import read_spend
from claudetrace._ledger._compare import CAUSES, Change, changes
from claudetrace._ledger._latencies import Latencies, read_latencies
from claudetrace._ledger._question import CALENDAR
from claudetrace._ledger._rollups import pruned_before
from claudetrace._ledger._times import EVER
from claudetrace._ledger._what_if import WhatIf, read_what_if, total
from claudetrace._pricing._list import use_rates_of
from claudetrace._pricing._otherwise import Otherwise
from claudetrace.cli._calls import no_such_trace
from claudetrace.cli._report_asked import Asked, Report, key_columns, pruned_notes, with_rest
from claudetrace.cli._report_spend import count_column
from claudetrace.cli._text import Column, count_text, plain, table, usd_digits, usd_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

    from claudetrace._ledger._read import Ledger

ESTIMATE = "An estimate: the same usage, priced another way."
OTHER_MODEL = " Another model counts other tokens for the same text, and would answer otherwise."
LATENCIES: Sequence[tuple[str, str, int, int]] = (
    ("p50", "duration_ms", 50, 3),
    ("p95", "duration_ms", 95, 0),
    ("p99", "duration_ms", 99, 4),
    ("first token p95", "time_to_first_token_ms", 95, 1),
    ("tokens/s p50", "output_tokens_per_s", 50, 0),
)
"""Each column with its measure, its percentile, and its turn to be left out."""


def change_report(ledger: Ledger, asked: Asked, compare: str, top: int | None) -> Report:
    """How the spend changed, split into causes."""
    if set(asked.by) & {*CALENDAR}:
        raise ClaudetraceError(f"--compare has no rows by time: leave out {', '.join(asked.by)} or --compare")
    then, question = asked.compared_with(compare), asked.question
    spans = (asked.span_until_now.utc(), then.utc())
    with ledger.reading() as connection:
        now, before = (read_spend(connection, question._replace(span=span)) for span in spans)
    rows, whole = changes(now, before, top)
    notes = pruned_notes(before.pruned_before or now.pruned_before)
    return Report(
        f"{asked.title('Change of spend')}\nagainst {then.since:%Y-%m-%d %H:%M} until {then.until:%Y-%m-%d %H:%M}",
        [with_rest(row.plain(), row.rest) for row in rows],
        {"compared_with": [end.isoformat() for end in then], "total": whole.plain()},
        (lambda width: _change_lines(rows, whole, asked.by, width, notes)) if rows else None,
    )


def _change_lines(
    rows: Sequence[Change], whole: Change, by: Sequence[str], width: int | None, notes: Iterable[str]
) -> list[str]:
    shown = [*rows, whole]
    largest = max(abs(row.usd(name)) for row in shown for name in ("change", *CAUSES))
    digits = usd_digits([largest])
    cents = 2 if largest >= 1 else digits

    def money(head: str, amounts: Iterable[Decimal], drop: int = 0, sign: str = "+") -> Column:
        known = list(amounts)
        exact, short = ([sign * (value > 0) + usd_text(value, each) for value in known] for each in (digits, cents))
        return Column(head, exact, short if cents < digits else None, drop)

    made = [
        *key_columns(by, rows),
        money("before", (row.before.cost_usd for row in shown), 6, ""),
        money("now", (row.now.cost_usd for row in shown), 5, ""),
        money("change", (row.usd("change") for row in shown)),
        Column("%", ["new" if row.percent is None else f"{row.percent:+.1f} %" for row in shown], drop=1),
        *(money(name, (row.usd(name) for row in shown)) for name in CAUSES),
    ]
    bound = ["≥ Some calls are unpriced or cut short: their costs are lower bounds."]
    return [
        table(made, width, total=True),
        "",
        "volume: more calls. tokens: longer ones. cache: what it saved less.",
        "price: all else, such as another model or rate.",
        *(bound if whole.now.is_bound or whole.before.is_bound else []),
        *wrapped(notes, width),
    ]


def latency_report(ledger: Ledger, asked: Asked, compare: str | None) -> Report:
    """How long answers took, beside what it was in another period where one is given."""
    head, question, before = asked.title("Latency"), asked.question, None
    with ledger.reading() as connection:
        found = read_latencies(connection, question)
        if compare is not None:
            then = asked.compared_with(compare)
            head += f"\nbefore: {then.since:%Y-%m-%d %H:%M} until {then.until:%Y-%m-%d %H:%M}"
            before = read_latencies(connection, question._replace(span=then.utc()))
    rows = [
        {
            **row.dimensions,
            "answers": row.responses,
            **{f"{kind}_p{at}": row.at(kind, at) for kind, at in row.percentiles},
        }
        for row in found.rows
    ]
    lines = (lambda width: _latency_lines(found, before, asked.by, width)) if found.total.responses else None
    return Report(head, rows, {}, lines)


def _latency_lines(found: Latencies, before: Latencies | None, by: Sequence[str], width: int | None) -> list[str]:
    shown = [*found.rows, found.total]
    earlier = {tuple(row.dimensions.values()): row for row in (*before.rows, before.total)} if before else {}
    then = [earlier.get(tuple(row.dimensions.values())) for row in shown]
    made = [*key_columns(by, found.rows), count_column("answers", [row.responses for row in shown], 2)]
    for head, kind, percent, drop in LATENCIES:
        made.append(Column(head, [_measured(kind, row.at(kind, percent)) for row in shown], drop=drop))
        if before and not drop:
            made.append(Column("before", [_measured(kind, row and row.at(kind, percent)) for row in then]))
    notes = wrapped(pruned_notes(found.pruned_before), width)
    return [table(made, width, total=True), "", "Answers without an error. Percentiles are within 2.2 %.", *notes]


def _measured(kind: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1000:.2f} s" if kind.endswith("_ms") else f"{value:.0f}"


def what_if_report(
    ledger: Ledger, asked: Asked, trace: str | None, *, at_model: str | None, batch: bool, no_cache: bool
) -> Report:
    """What the same usage would cost with another model, in batches or without caching."""
    use_rates_of(ledger.path)
    what = Otherwise(model=at_model, batch=batch, no_cache=no_cache)
    question = asked.question if trace is None else asked.question._replace(span=EVER)
    with ledger.reading() as connection:
        rows = read_what_if(connection, what, question, trace and trace.lower())
        pruned = None if trace else pruned_before(connection, question.span.since)
    if trace is not None and not rows:
        raise no_such_trace(ledger, trace)
    whole, way = total(rows), _way(what)
    title = asked.title(f"What if {way}")
    if trace is not None:
        title = f"What if {way} by {', '.join(asked.by)}, of the trace {plain(trace)}"

    def lines(width: int | None) -> list[str]:
        notes = wrapped([*_what_if_notes(what, whole), *pruned_notes(pruned)], width)
        return [_what_if_table(rows, whole, asked.by, way, width), "", *notes, "", f"Ledger: {ledger.path}"]

    more = {
        "what_if": {"at_model": at_model, "batch": batch, "no_cache": no_cache},
        "estimate": True,
        "note": _what_if_notes(what, whole)[0],
        "total": whole.plain(),
    }
    return Report(title, [row.plain() for row in rows], more, lines if rows else None)


def _way(what: Otherwise) -> str:
    told = [f"at {what.model}"] if what.model else []
    told += ["in batches"] if what.batch else []
    return " ".join([*told, *(["without caching"] if what.no_cache else [])])


def _what_if_table(rows: Sequence[WhatIf], whole: WhatIf, by: Sequence[str], way: str, width: int | None) -> str:
    shown = [*rows, whole]
    digits = usd_digits(exact_usd(each) for row in rows for each in (row.cost_picousd, row.otherwise_picousd))

    def money(picousd: Callable[[WhatIf], int], bound: str = "≥") -> list[str]:
        return [bound * bool(row.inexact_responses) + usd_text(exact_usd(picousd(row)), digits) for row in shown]

    shares = [
        f" {100 * row.difference_picousd / row.compared_picousd:+.1f} %" if row.compared_picousd else ""
        for row in shown
    ]
    differences = money(lambda row: row.difference_picousd, "")
    made = [
        *key_columns(by, rows),
        Column("responses", [count_text(row.responses) for row in shown], drop=2),
        Column("cost (USD)", money(lambda row: row.cost_picousd), drop=1),
        Column(f"{way} (estimate)", money(lambda row: row.otherwise_picousd)),
        Column("difference", [amount + share for amount, share in zip(differences, shares, strict=True)]),
    ]
    if whole.unpriced_responses:
        made.append(Column("unpriced", [count_text(row.unpriced_responses) for row in shown], drop=3))
    return table(made, width, total=True)


def _what_if_notes(what: Otherwise, whole: WhatIf) -> list[str]:
    notes = [ESTIMATE + (OTHER_MODEL if what.model else "")]
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
