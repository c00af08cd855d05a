"""`claudetrace find`, `tail` and `export`: calls one by one."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from claudetrace._call import RESERVED_TAGS, exact_usd, is_lower_bound
from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._calls import calls_after, calls_with_id, last_row, rows_asked
from claudetrace._ledger._export import as_csv, as_focus, as_json_lines
from claudetrace._ledger._question import Question
from claudetrace._ledger._read import Ledger
from claudetrace._ledger._rollups import pruned_before
from claudetrace._sqlite import limit_time
from claudetrace.cli._options import AS_JSON, DB, WHERE, WIDE, filters_of, progress_of, read_path
from claudetrace.cli._report_asked import pruned_notes
from claudetrace.cli._text import (
    Column,
    calls_text,
    columns,
    count_text,
    counted,
    plain,
    table,
    terminal_width,
    usd_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from claudetrace._call import Call

DIGITS = 6
MANY = 100
"""How many calls `find` lists; its sums are of all."""
POLL_S = 0.5
COUNT_EVERY = 1000
LONGEST_TAGS = 100
HEADS = {
    "time (UTC)": (0, 14),
    "outcome": (2, 12),
    "model": (1, 17),
    "input": (5, 6),
    "cached": (6, 6),
    "output": (4, 6),
    "cost (USD)": (0, 12),
    "took": (3, 7),
    "tags": (7, 0),
}
"""Each head, with its turn to be left out, and the width that lines up later lines with earlier ones."""
LEFT = (0, 1, 2, 8)


@click.command()
@click.argument("id_", metavar="ID")
@AS_JSON
@WIDE
@DB
def find(id_: str, as_json: bool, wide: bool, db: Path | None) -> None:
    """Find the calls that have ID, and show what they cost part by part.

    ID names a request, message, trace, span, session, user, batch or call. Exits 1 where no call has it.
    """
    ledger, id_ = Ledger(read_path(db)), id_.strip()
    with ledger.reading() as connection:
        found = calls_with_id(connection, id_)
    if not found:
        click.echo(f"No call of {ledger.path} has the id {plain(id_, 200)}.", err=True)
        raise SystemExit(1)
    click.echo(_as_json(found, {"id": id_}) if as_json else _as_text(found, terminal_width(wide=wide)))


@click.command()
@click.option("-n", "count", default=10, show_default=True, type=click.IntRange(0), help="How many to show at first.")
@click.option("--once", is_flag=True, help="Show those and end.")
@click.option("--since", default="all", show_default=True, help="7d, today, 2026-11, a time, all.")
@WHERE
@click.option("--json", "as_json", is_flag=True, help="Write a line of JSON for each call.")
@DB
def tail(count: int, once: bool, since: str, where: tuple[str, ...], as_json: bool, db: Path | None) -> None:
    """Show the newest calls, then each further one as soon as the ledger has it. Ctrl-C ends it.

    With --where or --since it shows the newest of those calls and ends.
    """
    with Ledger(read_path(db)) as ledger:
        limit_time(ledger.db.conn, ledger.path)
        last = last_row(ledger.db.conn)
        after = None if since == "all" else since
        newest = ledger.calls(after, count, where=filters_of(where))[::-1] if count else []
        if not as_json:
            click.echo(calls_table(newest))
        else:
            _show(newest, as_json=True)
        if once or where or after:
            return
        try:
            while True:
                time.sleep(POLL_S)
                calls, last = calls_after(ledger.db.conn, last)
                _show(calls, as_json=as_json)
        except KeyboardInterrupt:
            click.echo(err=True)


def _show(calls: Iterable[Call], *, as_json: bool) -> None:
    for call in calls:
        if as_json:
            click.echo(json.dumps(call_json(call), ensure_ascii=False, default=json_value))
        else:
            click.echo(calls_table([call]).splitlines()[1])


@click.command()
@click.option("--format", "kind", required=True, type=click.Choice(["csv", "jsonl", "focus"]), help="The format.")
@click.option("--since", default="all", show_default=True, help="7d, this month, 2026-11, a time, all.")
@click.option("--until", help="The same. Calls from that moment on are left out.")
@click.option("--timezone", default="UTC", show_default=True, help="The time zone of --since and --until.")
@WHERE
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file. Default: stdout.")
@DB
def export(
    kind: str,
    since: str,
    until: str | None,
    timezone: str,
    where: tuple[str, ...],
    output: Path | None,
    db: Path | None,
) -> None:
    """Write the calls, oldest first. Amounts are exact decimals, and add up to what `report` says.

    csv and jsonl have a row for each call. focus is a FOCUS 1.2 bill, with a row for each day, model, kind of token,
    workspace and set of tags except user and session. For sums as a file, use `claudetrace report --csv`.
    """
    ledger = Ledger(read_path(db))
    question = Question.of((), since, until, filters_of(where), timezone)
    made = {"csv": as_csv, "jsonl": as_json_lines, "focus": as_focus}[kind]
    with _opened(output) as file, ledger.reading() as connection:
        for piece in made(_with_progress(rows_asked(connection, question))):
            file.write(piece)
        pruned = pruned_before(connection, question.span.since)
    for note in pruned_notes(pruned):
        click.echo(note, err=True)


def _with_progress(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows, counted on a terminal."""
    done = 0
    with progress_of("writing") as progress:
        for done, row in enumerate(rows, 1):
            yield row
            if progress is not None and done % COUNT_EVERY == 0:
                progress(done)
    if progress is not None:
        click.echo(f"{counted(done, 'response')} written", err=True)


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """The output or the file, which appears once it is whole. A pipe or a device is written to as it is."""
    if output is None:
        yield sys.stdout
        return
    if output.exists() and not output.is_file():
        with output.open("w", encoding="utf-8", newline="") as opened:
            yield opened
        return
    if not output.parent.is_dir():
        raise ClaudetraceError(f"there is no folder {output.parent}; make it, or name another file with -o")
    part = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def trace_report(ledger: Ledger, trace_id: str, *, as_json: bool) -> str:
    """Each call of the trace with its cost, and their sum."""
    trace_id = trace_id.lower()
    found = ledger.calls(trace_id=trace_id, limit=None)[::-1]
    if not found:
        raise no_such_trace(ledger, trace_id)
    if as_json:
        return _as_json(found, {"trace_id": trace_id})
    return f"Trace {trace_id}\n\n{_as_text(found, terminal_width())}"


def no_such_trace(ledger: Ledger, trace_id: str) -> ClaudetraceError:
    """The error where the ledger has no call of the trace."""
    return ClaudetraceError(
        f"no call of {ledger.path} is of the trace {trace_id!r}; give the 32 hex digits that the trace has there"
    )


def calls_table(calls: Iterable[Call], *, width: int | None = None) -> str:
    """The calls, a line each, under heads."""
    made = columns({head: drop for head, (drop, _) in HEADS.items()}, map(_cells, calls), left=LEFT)
    if width is None:
        made = [each._replace(least=HEADS[each.head][1]) for each in made]
    return table(made, width)


def _cells(call: Call) -> list[str]:
    named = {tag: getattr(call, column) for tag, column in RESERVED_TAGS.items()}
    tags = " ".join(f"{key}={value}" for key, value in {**named, **call.tags}.items() if value is not None)
    return [
        f"{call.started_at:%m-%d %H:%M:%S}",
        plain(call.error_type or call.outcome) if call.outcome == "error" else call.outcome,
        plain(call.model or call.model_requested or call.operation),
        count_text(call.input_tokens),
        count_text(call.cache_read_tokens),
        count_text(call.output_tokens),
        "≥" * _has_lower_bound(call) + usd_text(call.cost_usd, DIGITS),
        "–" if call.duration_ms is None else f"{call.duration_ms / 1000:.2f} s",
        plain(tags, LONGEST_TAGS),
    ]


def _has_lower_bound(call: Call) -> bool:
    return call.cost_usd is not None and is_lower_bound(call.usage_is_final, call.cost_flags)


def _as_text(found: list[Call], width: int | None) -> str:
    """The calls, the parts of their cost, and the sum."""
    shown = _call_lines(found[0], width) if len(found) == 1 else calls_table(found[:MANY], width=width)
    more = f"\n… and {len(found) - MANY:,} more" if len(found) > MANY else ""
    spend_usd, unpriced, lower_bounds = _sums(found)
    calls = len({call.call_id for call in found})
    sums = f"{calls_text(calls)}, {'≥' if unpriced or lower_bounds else ''}{usd_text(spend_usd, DIGITS)}"
    sums += f", {unpriced} without a known cost" if unpriced else ""
    sums += f", {lower_bounds} with a lower bound" if lower_bounds else ""
    return f"{shown}{more}\n\n{_parts_table(found, width)}\n\n{sums}"


def _call_lines(call: Call, width: int | None) -> str:
    """The call, a line for each column that has a value."""
    told = {name: value for name, value in call_json(call).items() if name not in {"cost_parts", "usage"} and value}
    return "\n".join(
        f"{name:<27}{plain(value if isinstance(value, str) else json.dumps(value), (width or 227) - 27)}"
        for name, value in told.items()
    )


def _parts_table(found: list[Call], width: int | None) -> str:
    """The parts of the calls' costs, added up where name, model and rate are the same."""
    parts: dict[tuple[str, str, Fraction | int], list[int]] = {}
    for call in found:
        for part in call.cost_parts:
            sums = parts.setdefault((part.name, part.model or "", part.rate_picousd), [0, 0])
            sums[0] += part.quantity
            sums[1] += part.picousd
    if not parts:
        return "No part of them costs anything."
    made = [
        Column("part", [plain(name) for name, _, _ in parts], left=True),
        Column("model", [plain(model) for _, model, _ in parts], drop=2, left=True),
        Column("quantity", [count_text(quantity) for quantity, _ in parts.values()]),
        # Picodollars for one are microdollars for a million.
        Column("$ a million", [f"{float(rate) / 1e6:,.6g}" for _, _, rate in parts], drop=1),
        Column("cost (USD)", [usd_text(exact_usd(picousd), DIGITS) for _, picousd in parts.values()]),
    ]
    return table(made, width)


def _sums(found: list[Call]) -> tuple[Decimal, int, int]:
    """The spend, how many calls have no known cost, and how many a lower bound."""
    spend = exact_usd(sum(call.spend_picousd or 0 for call in found))
    return spend, sum(call.spend_picousd is None for call in found), sum(map(_has_lower_bound, found))


def _as_json(found: list[Call], head: Mapping[str, str]) -> str:
    spend, unpriced, lower_bounds = _sums(found)
    told: dict[str, Any] = {**head, "calls": [call_json(call) for call in found], "cost_usd": f"{spend:f}"}
    told |= {"unpriced": unpriced, "lower_bounds": lower_bounds}
    return json.dumps(told, indent=2, ensure_ascii=False, default=json_value)


def call_json(call: Call) -> dict[str, Any]:
    """The call's columns for JSON, with exact dollars as text."""
    return {name: json_value(value) for name, value in asdict(call).items() if value is not None}


def json_value(value: Any) -> Any:
    """`value` for JSON, and for `json.dumps` what is in it: times in ISO 8601, exact numbers as text."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value) if isinstance(value, Fraction) else value
