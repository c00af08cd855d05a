"""`claudetrace report`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from claudetrace._ledger._rollups import OTHER
from claudetrace.cli._options import DB, calls_text, responses_text
from claudetrace.cli._tables import NONE, count_text, plain, table, usd_digits, usd_text

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._ledger._read import Ledger, Spend

BY_HELP = "model, day, user, session, feature, customer, prompt, operation, stop_reason or tag:KEY"
COLUMNS = {
    "errors": "errors",
    "input": "input_tokens",
    "cache read": "cache_read_tokens",
    "cache write": "cache_write_tokens",
    "output": "output_tokens",
}


@click.command(short_help="Sum up what calls cost.")
@click.option("--by", default="model", show_default=True, metavar="NAME", help=f"One row for each: {BY_HELP}.")
@click.option("--since", default="7d", show_default=True, help="30m, 12h, 7d, 2w, a date, a time, or all.")
@click.option("--until", help="As --since; until just before it.")
@click.option("--trace", metavar="ID", help="The calls of one trace, each with its cost.")
@click.option("--at-model", metavar="MODEL", help="Beside the cost: what the same usage would cost at this model.")
@click.option("--batch", is_flag=True, help="Beside the cost: what it would be in batches.")
@click.option("--no-cache", is_flag=True, help="Beside the cost: what it would be without caching.")
@click.option("--json", "as_json", is_flag=True, help="For programs: whole counts, exact dollars as text.")
@DB
def report(
    by: str,
    since: str,
    until: str | None,
    trace: str | None,
    at_model: str | None,
    batch: bool,
    no_cache: bool,
    as_json: bool,
    db: Path | None,
) -> None:
    """Sum up what calls cost, one row for each model, day, user or other tag. Days and times are UTC."""
    from claudetrace._ledger._read import Ledger

    ledger = Ledger(db)
    _check_order(since, until)
    if at_model is not None or batch or no_cache:
        from claudetrace._pricing._list import use_rates_of
        from claudetrace._pricing._otherwise import Otherwise
        from claudetrace.cli._what_if import what_if_report

        use_rates_of(ledger.path)

        what = Otherwise(model=at_model, batch=batch, no_cache=no_cache)
        start = None if since == "all" else since
        click.echo(what_if_report(ledger, by, start, until, what, trace=trace, as_json=as_json))
        return
    if trace is not None:
        from claudetrace.cli._trace import trace_report

        click.echo(trace_report(ledger, trace, as_json=as_json))
        return
    click.echo(spend_report(ledger, by, since, until, as_json=as_json))


def _check_order(since: str, until: str | None) -> None:
    """Raises `ClaudetraceError` where no time lies between the two."""
    from claudetrace._errors import ClaudetraceError
    from claudetrace._ledger._times import span

    meant = span(None if since == "all" else since, until)
    if until is not None and meant.until <= meant.since:
        raise ClaudetraceError(
            f"--until {until} is not after --since {since}; give an earlier --since, or all for every call"
        )


def spend_report(
    ledger: Ledger, by: str, since: str, until: str | None, *, as_json: bool = False, notes: bool = True
) -> str:
    """The spend by `by` with its total, as JSON or as a table, with `notes` on what it leaves out."""
    start = None if since == "all" else since
    rows = ledger.spend(by=by, since=start, until=until)
    (total,) = ledger.spend(by=None, since=start, until=until)
    if as_json:
        return _as_json(by, start, until, rows, total)
    head = f"Spend by {by}, {_period(start, until)}"
    if not rows:
        return f"{head}\n\n{_nothing(ledger, everything=start is None)}"
    below = [*_notes(rows, total), "", f"Ledger: {ledger.path}"] if notes else []
    return "\n".join([head, "", _table(by, rows, total), *below])


def _table(by: str, rows: list[Spend], total: Spend) -> str:
    """The rows with their total. Responses have a column where a call had not exactly one."""
    responses = any(row.calls != row.responses for row in rows)
    digits = usd_digits([row.cost_usd for row in rows])
    heads = [by, "calls", *(["responses"] if responses else []), *COLUMNS, "cost (USD)"]

    def cells(name: str, row: Spend) -> list[str]:
        counts = {**asdict(row), "cache_write_tokens": row.cache_write_5m_tokens + row.cache_write_1h_tokens}
        shown = ["calls", *(["responses"] if responses else []), *COLUMNS.values()]
        mark = "≥" if row.lower_bound_calls or row.unpriced_calls or row.too_low else ""
        return [name, *(count_text(counts[column]) for column in shown), mark + usd_text(row.cost_usd, digits)]

    lines = [cells(_name(row), row) for row in rows]
    return table(heads, [*lines, cells("total", total)], last_is_total=True)


def _name(row: Spend) -> str:
    """The key; in quotes where it reads as what stands for none or for many."""
    if row.key is None:
        return NONE
    return repr(row.key) if row.key in (NONE, OTHER) and not row.others else plain(row.key)


def _notes(rows: list[Spend], total: Spend) -> list[str]:
    """What the sums leave out, in a sentence each."""
    notes = []
    counted = calls_text if total.calls == total.responses else responses_text
    if any(row.others for row in rows):
        notes.append(
            f"{OTHER}: on days with more than 1,000 values the further ones are counted together; a value marked ≥ may "
            "have calls among them."
        )
    if total.lower_bound_calls:
        one = total.lower_bound_calls == 1
        notes.append(
            f"≥ {counted(total.lower_bound_calls)} {'was' if one else 'were'} cut short or retried after an "
            f"abandoned attempt, or {'has' if one else 'have'} a part without a price: "
            f"{'its' if one else 'their'} cost is a lower bound."
        )
    if total.unpriced_calls:
        one = total.unpriced_calls == 1
        notes.append(
            f"≥ {counted(total.unpriced_calls)} {'has' if one else 'have'} no known cost and "
            f"{'adds' if one else 'add'} nothing; `claudetrace doctor` says why."
        )
    if total.cache_saved_picousd:
        saved = total.cache_saved_usd
        said = "saved" if saved > 0 else "cost"
        notes.append(f"Caching {said} {usd_text(abs(saved), usd_digits([saved]))} against plain input.")
    return ["", *notes] if notes else []


def _period(since: str | None, until: str | None) -> str:
    from claudetrace._ledger._times import span

    meant = span(since, until)
    parts = [f"from {meant.since:%Y-%m-%d %H:%M}" if since else "from the first call"]
    parts.append(f"until {meant.until:%Y-%m-%d %H:%M}" if until else "until now")
    return f"{' '.join(parts)} (UTC)"


def _nothing(ledger: Ledger, *, everything: bool) -> str:
    newest = ledger.calls(limit=1)
    if not newest:
        return f"The ledger {ledger.path} has no calls yet."
    at = f"{newest[0].started_at:%Y-%m-%d %H:%M} UTC"
    way_out = "give a later --until" if everything else "try --since all"
    return f"No calls in that time. The newest call of {ledger.path} is of {at}: {way_out}."


def _as_json(by: str, since: str | None, until: str | None, rows: list[Spend], total: Spend) -> str:
    from claudetrace._ledger._times import span

    meant = span(since, until)
    told = {
        "by": by,
        "since": meant.since.isoformat() if since else None,
        "until": meant.until.isoformat() if until else None,
        "rows": [_plain_spend(row) for row in rows],
        "total": _plain_spend(total),
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def _plain_spend(row: Spend) -> dict[str, Any]:
    return {**asdict(row), "cost_usd": f"{row.cost_usd:f}", "cache_saved_usd": f"{row.cache_saved_usd:f}"}
