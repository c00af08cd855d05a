"""`claudetrace report`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._export import csv_text
from claudetrace.cli._asked import Asked, nothing
from claudetrace.cli._options import AS_JSON, DB, WHERE, WIDE, filters_of, progress_of, read_path
from claudetrace.cli._source_checks import IMPORTED
from claudetrace.cli._spend_table import change_table, latency_table, pruned_notes, spend_table
from claudetrace.cli._tables import terminal_width, usd_digits, usd_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._ledger._read import Ledger
    from claudetrace._ledger._spend import Spend
    from claudetrace._ledger._times import Span
    from claudetrace._reconcile._discount import Discount

BEFORE = "before"
MANY = 50
"""How many rows a person is shown who does not say how many."""
WHAT_IF = ("at_model", "batch", "no_cache")
UNUSED = {
    **dict.fromkeys(WHAT_IF, ("latency", "compare", "top", "sort", "billed")),
    "trace": ("since", "until", "latency", "compare", "top", "sort", "billed"),
    "latency": ("top", "sort", "billed"),
    "compare": ("sort", "billed"),
    "as_csv": ("as_json",),
}
"""What each option leaves no place for."""
UNUSED_BY_TRACE = ("by", "where", "timezone", "as_csv")
"""What `--trace` leaves no place for where nothing is priced otherwise."""


@click.command(short_help="Sum up what calls cost.")
@click.option(
    "--by",
    multiple=True,
    default=("model",),
    show_default="model",
    metavar="NAME[,NAME]",
    help="One row for each: model, feature, customer, user, session, prompt, tag:KEY, day, week, month and others; up "
    "to three.",
)
@WHERE
@click.option("--since", default="7d", show_default=True, help="7d, 2w, 1y, today, last month, 2026-11, a time, all.")
@click.option("--until", help="As --since; until just before it.")
@click.option("--timezone", default="UTC", show_default=True, help="Whose days and months: Europe/Berlin.")
@click.option("--top", type=click.IntRange(1), help=f"So many rows, and the rest as one. Default on a screen: {MANY}.")
@click.option("--sort", help="What comes first: cost, calls, tokens, per-call, errors, saved, name and others.")
@click.option(
    "--compare",
    is_flag=False,
    flag_value=BEFORE,
    metavar="[PERIOD]",
    help="What changed against the time before, or against PERIOD: last month, 2026-10, a day.",
)
@click.option("--latency", is_flag=True, help="How long answers took and how fast they came, instead of the cost.")
@click.option("--trace", metavar="ID", help="The calls of one trace, each with its cost.")
@click.option("--at-model", metavar="MODEL", help="Beside the cost: what the same usage would cost at this model.")
@click.option("--batch", is_flag=True, help="Beside the cost: what it would be in batches.")
@click.option("--no-cache", is_flag=True, help="Beside the cost: what it would be without caching.")
@click.option("--billed", is_flag=True, help="Beside the list price: what Anthropic bills, by the discount it gives.")
@click.option("--csv", "as_csv", is_flag=True, help="The rows as CSV: exact, and all of them unless --top.")
@AS_JSON
@WIDE
@DB
def report(
    by: tuple[str, ...],
    where: tuple[str, ...],
    since: str,
    until: str | None,
    timezone: str,
    **options: Any,
) -> None:
    """Sum up what calls cost, one row for each model, day, user or other tag, or for each combination of them.

    `docs/reports.md` has a command for each question.
    """
    from claudetrace._ledger._read import Ledger

    _refuse_unused(click.get_current_context())
    names = tuple(name.strip() for each in by for name in each.split(",") if name.strip())
    asked = Asked(names, None if since == "all" else since, until, filters_of(where), timezone)
    ledger = Ledger(read_path(options["db"]))
    asked.span  # noqa: B018 - raises for a time that is none
    if any(options[name] for name in WHAT_IF):
        from claudetrace.cli._what_if import what_if_report

        told = what_if_report(ledger, asked, options)
    elif options["trace"] is not None:
        from claudetrace.cli._find import trace_report

        told = trace_report(ledger, options["trace"], as_json=options["as_json"])
    elif options["latency"]:
        told = _latency_report(ledger, asked, options)
    elif options["compare"] is not None:
        told = _change_report(ledger, asked, options)
    else:
        told = spend_report(
            ledger,
            *_billed(ledger, asked, billed=options["billed"]),
            **{name: options[name] for name in ("top", "sort", "as_csv", "as_json")},
            width=terminal_width(wide=options["wide"]),
        )
        if not (options["as_csv"] or options["as_json"]):
            told += unknown_payer(ledger, asked)
    click.echo(told, nl=not options["as_csv"])


def _refuse_unused(context: click.Context) -> None:
    """Raises for an option that would say nothing beside another one."""
    options = {str(each.name): each.opts[0] for each in context.command.params}
    given = {
        name: option
        for name, option in options.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    for name, option in given.items():
        unused = UNUSED.get(name, ())
        unused += UNUSED_BY_TRACE if name == "trace" and not given.keys() & {*WHAT_IF} else ()
        for other in unused:
            if other in given:
                raise ClaudetraceError(f"{given[other]} says nothing beside {option}; leave one of them out")


def _billed(ledger: Ledger, asked: Asked, *, billed: bool) -> tuple[Asked, Discount | None]:
    """What is asked for, and the discount of what is `billed`: that of Anthropic, which bills not all platforms."""
    if not billed:
        return asked, None
    from claudetrace._reconcile._discount import known_discount

    if asked.where.get("platform", ["anthropic"]) != ["anthropic"]:
        raise ClaudetraceError("--billed is what Anthropic bills itself; leave out the filter by platform")
    return asked._replace(where={**asked.where, "platform": ["anthropic"]}), known_discount(ledger.db.conn)


def spend_report(
    ledger: Ledger,
    asked: Asked,
    discount: Discount | None = None,
    *,
    top: int | None = None,
    sort: str | None = None,
    as_csv: bool = False,
    as_json: bool = False,
    width: int | None = None,
    notes: bool = True,
) -> str:
    """The spend with its total, as CSV, as JSON or as a table, with `notes` on what it leaves out."""
    if top is None and width is not None and not (as_csv or as_json):
        top = MANY
    limits: dict[str, Any] = {"timezone": asked.timezone, "top": top, "sort": sort}
    with progress_of("reading") as progress:
        rows = ledger.spend(asked.by, asked.since, asked.until, asked.where, **limits, progress=progress)
    if as_csv:
        return csv_text(_marked(_plain(row, discount), row.rest) for row in rows)
    misses = ledger.cache_misses(asked.since, asked.until, asked.where, timezone=asked.timezone)
    if as_json:
        told = [_plain(row, discount) for row in rows]
        more = {"total": _plain(rows.total, discount), "cache_misses": [each.plain() for each in misses]}
        how = {"answered_from": rows.answered_from, "pruned_before": rows.pruned_before}
        return _as_json(asked, **how, rows=told, **more)
    if not rows.total.responses:
        return f"{asked.title()}\n\n{nothing(ledger, asked)}"
    text, *below = spend_table(rows, asked.by, sort=sort, width=width, misses=misses, discount=discount)
    told_below = [*below, "", f"Ledger: {ledger.path}, from the {rows.answered_from}"] if notes else []
    return "\n".join([asked.title(), "", text, *told_below])


def _change_report(ledger: Ledger, asked: Asked, options: Mapping[str, Any]) -> str:
    from claudetrace._ledger._compare import changes
    from claudetrace._ledger._dimensions import CALENDAR

    if set(asked.by) & {*CALENDAR}:
        raise ClaudetraceError(f"--compare has no rows by time: leave {', '.join(asked.by)} out, or --compare")
    then = _compared_with(asked, options["compare"])
    now, before = (ledger.spend(asked.by, *span, asked.where, timezone=asked.timezone) for span in (asked.span, then))
    rows, total = changes(now, before, options["top"])
    if options["as_csv"]:
        return csv_text(_marked(row.plain(), row.rest) for row in rows)
    if options["as_json"]:
        return _as_json(
            asked,
            compared_with=[end.isoformat() for end in then],
            rows=[row.plain() for row in rows],
            total=total.plain(),
        )
    head = f"{asked.title('Change of spend')}\nagainst {then.since:%Y-%m-%d %H:%M} until {then.until:%Y-%m-%d %H:%M}"
    if not rows:
        return f"{head}\n\n{nothing(ledger, asked)}"
    pruned = pruned_notes(before.pruned_before or now.pruned_before)
    return "\n".join([head, "", *change_table(rows, total, asked.by, terminal_width(wide=options["wide"]), pruned)])


def _latency_report(ledger: Ledger, asked: Asked, options: Mapping[str, Any]) -> str:
    rows = ledger.latencies(asked.by, asked.since, asked.until, asked.where, timezone=asked.timezone)
    before = {}
    head = asked.title("Latency")
    if options["compare"] is not None:
        then = _compared_with(asked, options["compare"])
        head += f"\nbefore: {then.since:%Y-%m-%d %H:%M} until {then.until:%Y-%m-%d %H:%M}"
        found = ledger.latencies(asked.by, *then, asked.where, timezone=asked.timezone)
        before = {tuple(row.dimensions.values()): row for row in found}
    if options["as_json"] or options["as_csv"]:
        told = [
            {
                **row.dimensions,
                "answers": row.responses,
                **{f"{kind}_p{at}": row.at(kind, at) for kind, at in row.percentiles},
            }
            for row in rows[:-1]
        ]
        return csv_text(told) if options["as_csv"] else _as_json(asked, rows=told)
    if not rows[-1].responses:
        return f"{head}\n\n{nothing(ledger, asked)}"
    width = terminal_width(wide=options["wide"])
    return "\n".join([head, "", *latency_table(rows, before, asked.by, width, _latency_notes(ledger, asked))])


def _latency_notes(ledger: Ledger, asked: Asked) -> list[str]:
    from claudetrace._ledger._latencies import has_sums
    from claudetrace._ledger._question import Question

    summed = has_sums(Question.of(asked.by, asked.since, asked.until, asked.where, asked.timezone))
    return [] if summed else pruned_notes(ledger.pruned_before(asked.since, timezone=asked.timezone))


def _compared_with(asked: Asked, said: str) -> Span:
    """The time that is compared with: the one before, or as `said`."""
    from claudetrace._ledger._times import Span, period, zone_of

    if asked.since is None:
        raise ClaudetraceError("--compare needs a --since: there is no time before all calls")
    if said != BEFORE:
        return period("--compare", said, zone_of(asked.timezone))
    meant = asked.span
    until = meant.until if asked.until is not None else _now(meant)
    return Span(meant.since, until).before(asked.since, asked.until)


def _now(meant: Span) -> Any:
    from datetime import datetime

    return datetime.now(meant.since.tzinfo)


def _plain(row: Spend, discount: Discount | None) -> dict[str, Any]:
    billed = {} if discount is None else {"billed_usd": f"{discount.billed_usd(row.spend_picousd):f}"}
    return {**row.plain(), **billed}


def _marked(row: dict[str, Any], rest: int) -> dict[str, Any]:
    """`row` as a file has it: what `--top` cut is called so."""
    return {name: "(rest)" if rest and value is None else value for name, value in row.items()}


def _as_json(asked: Asked, **told: Any) -> str:
    meant = asked.span
    head = {
        "by": [*asked.by],
        "where": {**asked.where},
        "since": meant.since.isoformat() if asked.since else None,
        "until": meant.until.isoformat() if asked.until else None,
        "timezone": asked.timezone,
    }
    return json.dumps({**head, **told}, indent=2, ensure_ascii=False)


def unknown_payer(ledger: Ledger, asked: Asked) -> str:
    """A line on what of the sum has no known payer, where Claude Code's sessions were imported; else nothing."""
    (imported,) = ledger.db.conn.execute(IMPORTED).fetchone()
    if not imported or any(name.startswith("billing") for name in asked.where):
        return ""
    where: dict[str, list[str | None]] = {**asked.where, "billing": ["unknown"]}
    total = ledger.spend(None, asked.since, asked.until, {**where}, timezone=asked.timezone).total
    if not total.responses:
        return ""
    usd = usd_text(total.cost_usd, usd_digits([total.cost_usd]))
    return f"\n{usd} of it is of Claude Code, and nobody said who pays: [agents] billing in claudetrace.toml does."
