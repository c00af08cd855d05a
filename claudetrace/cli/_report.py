"""`claudetrace report`: sums of calls as a table, as JSON or as CSV."""

from __future__ import annotations

import json
from typing import Any

import click
from click.core import ParameterSource

from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._export import csv_text
from claudetrace._ledger._read import Ledger
from claudetrace.cli._calls import trace_report
from claudetrace.cli._options import AS_JSON, DB, WHERE, WIDE, filters_of, read_path
from claudetrace.cli._report_asked import BEFORE, Asked
from claudetrace.cli._report_others import change_report, latency_report, what_if_report
from claudetrace.cli._report_spend import MANY, spend_report
from claudetrace.cli._text import terminal_width

WHAT_IF = ("at_model", "batch", "no_cache")
UNUSED = {
    **dict.fromkeys(WHAT_IF, ("latency", "compare", "top", "sort", "billed")),
    "trace": ("since", "until", "latency", "compare", "top", "sort", "billed"),
    "latency": ("top", "sort", "billed"),
    "compare": ("sort", "billed"),
    "as_csv": ("as_json",),
}
"""The options that have no effect beside another one."""
UNUSED_BY_TRACE = ("by", "where", "timezone", "as_csv")
"""Those that have none beside `--trace`, unless it is priced another way."""


@click.command()
@click.option(
    "--by",
    multiple=True,
    default=("model",),
    show_default="model",
    metavar="NAME[,NAME]",
    help="A row for each value of up to three of: model, feature, customer, user, session, prompt, tag:KEY, day, week, "
    "month and others.",
)
@WHERE
@click.option("--since", default="7d", show_default=True, help="7d, 2w, 1y, today, last month, 2026-11, a time, all.")
@click.option("--until", help="The same. Calls from that moment on are left out.")
@click.option("--timezone", default="UTC", show_default=True, help="The time zone of days and months: Europe/Berlin.")
@click.option("--top", type=click.IntRange(1), help=f"Show N rows, and the rest as one. Default on a screen: {MANY}.")
@click.option("--sort", help="Sort by cost, calls, tokens, per-call, errors, saved, name and others.")
@click.option(
    "--compare",
    is_flag=False,
    flag_value=BEFORE,
    metavar="[PERIOD]",
    help="Show the change since the period before, or since PERIOD: last month, 2026-10, a day.",
)
@click.option("--latency", is_flag=True, help="Show how long answers took and how fast they came, not what they cost.")
@click.option("--trace", metavar="ID", help="Show the calls of one trace, each with its cost.")
@click.option("--at-model", metavar="MODEL", help="Show what the same usage would cost with this model.")
@click.option("--batch", is_flag=True, help="Show what it would cost in batches.")
@click.option("--no-cache", is_flag=True, help="Show what it would cost without caching.")
@click.option("--billed", is_flag=True, help="Show what Anthropic bills, after its discount, beside the list price.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV: exact amounts, and every row unless --top limits them.")
@AS_JSON
@WIDE
@DB
def report(
    by: tuple[str, ...], where: tuple[str, ...], since: str, until: str | None, timezone: str, **options: Any
) -> None:
    """Sum up what calls cost, with a row for each model, day, user or other tag, or for each combination of them.

    `docs/reports.md` has a command for each question.
    """
    _refuse_unused(click.get_current_context())
    names = tuple(name.strip() for each in by for name in each.split(",") if name.strip())
    asked = Asked(names, None if since == "all" else since, until, filters_of(where), timezone)
    asked.span  # noqa: B018 - raises for words that name no time
    ledger, trace, compare = Ledger(read_path(options["db"])), options["trace"], options["compare"]
    what_if = {name: options[name] for name in WHAT_IF}
    if any(what_if.values()):
        found = what_if_report(ledger, asked, trace, **what_if)
    elif trace is not None:
        click.echo(trace_report(ledger, trace, as_json=options["as_json"]))
        return
    elif options["latency"]:
        found = latency_report(ledger, asked, compare)
    elif compare is not None:
        found = change_report(ledger, asked, compare, options["top"])
    else:
        found = spend_report(ledger, asked, **{name: options[name] for name in ("top", "sort", "billed", "as_csv")})
    if options["as_csv"]:
        click.echo(csv_text(found.rows), nl=False)
    elif options["as_json"]:
        click.echo(json.dumps({**asked.plain(), **found.more, "rows": found.rows}, indent=2, ensure_ascii=False))
    else:
        lines = found.lines(terminal_width(wide=options["wide"])) if found.lines else [_nothing(ledger, asked)]
        click.echo("\n".join([found.title, "", *lines]))


def _refuse_unused(context: click.Context) -> None:
    """Raises for an option that has no effect beside another one."""
    given = {
        str(each.name): each.opts[0]
        for each in context.command.params
        if context.get_parameter_source(str(each.name)) is ParameterSource.COMMANDLINE
    }
    for name, option in given.items():
        unused = UNUSED.get(name, ())
        unused += UNUSED_BY_TRACE if name == "trace" and not given.keys() & {*WHAT_IF} else ()
        for other in unused:
            if other in given:
                raise ClaudetraceError(f"{given[other]} has no effect beside {option}; leave one of them out")


def _nothing(ledger: Ledger, asked: Asked) -> str:
    """Why no row is shown, and the way out."""
    newest = ledger.calls(limit=1)
    if not newest:
        return f"The ledger {ledger.path} has no calls yet."
    if asked.where and ledger.spend((), asked.since, asked.until)[0].responses:
        return "No call in that time passes the filters: values are compared letter by letter."
    way_out = "give a later --until" if asked.since is None else "try --since all"
    at = f"{newest[0].started_at:%Y-%m-%d %H:%M} UTC"
    return f"No calls in that time. The newest call of {ledger.path} is of {at}: {way_out}."
