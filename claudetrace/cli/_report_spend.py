"""What was spent, as `claudetrace report` shows it."""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, Any

from claudetrace._call import exact_usd
from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._answer import Miss, cache_misses, read_spend
from claudetrace._ledger._question import filters
from claudetrace._ledger._rollups import OTHER
from claudetrace._ledger._state import HAS_IMPORTED
from claudetrace.cli._options import progress_of
from claudetrace.cli._report_asked import Asked, Report, key_columns, pruned_notes, with_rest
from claudetrace.cli._text import (
    Column,
    count_text,
    counted,
    plain,
    short_count,
    table,
    terminal_width,
    usd_digits,
    usd_text,
    wrapped,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from decimal import Decimal

    from claudetrace._ledger._question import Question
    from claudetrace._ledger._read import Ledger
    from claudetrace._ledger._spend import Spend, Spends
    from claudetrace._reconcile._settings import Discount

MANY = 50
"""How many rows a screen shows without --top."""
COUNTS = {
    "calls": ("calls", 0),
    "responses": ("responses", 8),
    "errors": ("errors", 5),
    "blocked": ("blocked_calls", 0),
    "input": ("input_tokens", 4),
    "cache read": ("cache_read_tokens", 6),
    "cache write": ("cache_write_tokens", 7),
    "output": ("output_tokens", 3),
}
"""Each count with its field and its turn to be left out: the highest goes first."""
SOMETIMES: Mapping[str, Callable[[Spend], object]] = {
    "responses": lambda total: total.calls != total.responses,
    "blocked": lambda total: total.blocked_calls,
}
"""The counts that are shown only where they tell something."""
SORTED = {"retries": "retries", "tool calls": "tool_calls", "tokens": "tokens", "unpriced": "unpriced_calls"}
"""The counts that are shown only where the rows are sorted by them."""
FLAGS = {
    "unknown_model": "no rate is known for the model; run `claudetrace prices update` or give rates= of your own, then "
    "run `claudetrace reprice`",
    "no_usage": "the call failed or was dropped before the API told any usage; nothing can price it",
    "partial_usage": "the stream was cut; read streams to their end to know the rest",
    "retried_after_timeout": "an attempt timed out and may be billed too; a longer timeout= avoids it",
    "unpriced_component": "something was billed that the answer does not tell, such as code execution; the bill has it",
    "contradictory_usage": "the API told two usages that differ; the row has both",
}
"""What each flag that leaves a cost open means, and what to do about it."""


def spend_report(
    ledger: Ledger,
    asked: Asked,
    *,
    top: int | None = None,
    sort: str | None = None,
    billed: bool = False,
    as_csv: bool = False,
) -> Report:
    """What was spent, with the total."""
    asked, discount = _with_discount(ledger, asked) if billed else (asked, None)
    question = asked.question
    if top is None and not as_csv and terminal_width() is not None:
        top = MANY
    with progress_of("reading") as progress, ledger.reading() as connection:
        rows = read_spend(connection, question, top=top, sort=sort, progress=progress)
        misses = [] if as_csv else cache_misses(connection, question)
        unknown = [] if as_csv else _unknown_payer(connection, question)

    def told(row: Spend) -> dict[str, Any]:
        more = {} if discount is None else {"billed_usd": f"{discount.billed_usd(row.spend_picousd):f}"}
        return {**row.plain(), **more}

    def lines(width: int | None) -> list[str]:
        notes = [*_notes(rows), *_bill_notes(misses, discount)]
        text = _table(rows, asked.by, sort, width, discount)
        source = ["", f"Ledger: {ledger.path}, from the {rows.answered_from}"]
        return [text, *wrapped(notes, width), *source, *unknown]

    more = {
        "answered_from": rows.answered_from,
        "pruned_before": rows.pruned_before,
        "total": told(rows.total),
        "cache_misses": [each.plain() for each in misses],
    }
    found = [with_rest(told(row), row.rest) if as_csv else told(row) for row in rows]
    return Report(asked.title(), found, more, lines if rows.total.responses else None)


def _with_discount(ledger: Ledger, asked: Asked) -> tuple[Asked, Discount]:
    """What is asked, of Anthropic's own platform alone, and the discount that it gives."""
    from claudetrace._reconcile._settings import known_discount

    if asked.where.get("platform", ["anthropic"]) != ["anthropic"]:
        raise ClaudetraceError("--billed shows what Anthropic itself bills; leave out the filter by platform")
    return asked._replace(where={**asked.where, "platform": ["anthropic"]}), known_discount(ledger.db.conn)


def _unknown_payer(connection: sqlite3.Connection, question: Question) -> list[str]:
    """How much of the sum is of imported sessions for which nobody said who pays, in a sentence."""
    (has_imported,) = connection.execute(HAS_IMPORTED).fetchone()
    if not has_imported or any(each.name == "billing" for each in question.where):
        return []
    where = (*question.where, *filters({"billing": "unknown"}))
    total = read_spend(connection, question._replace(by=(), where=where)).total
    if not total.responses:
        return []
    usd = usd_text(total.cost_usd, usd_digits([total.cost_usd]))
    return [f"{usd} of it is of Claude Code, and nobody said who pays: set [agents] billing in claudetrace.toml."]


def _table(rows: Spends, by: Sequence[str], sort: str | None, width: int | None, discount: Discount | None) -> str:
    shown, digits = [*rows, rows.total], usd_digits([row.cost_usd for row in rows])
    sorted_by = (sort or "").replace("-", " ")
    made = key_columns(by, rows)

    def dollars(amounts: Iterable[Decimal | None], digits: int = digits) -> list[str]:
        return ["–" if amount is None else usd_text(amount, digits) for amount in amounts]

    for head, (name, drop) in COUNTS.items():
        if head not in SOMETIMES or SOMETIMES[head](rows.total) or head == sorted_by:
            made.append(count_column(head, [getattr(row, name) for row in shown], 0 if head == sorted_by else drop))
    if sorted_by in SORTED:
        made.append(count_column(sorted_by, [getattr(row, SORTED[sorted_by]) for row in shown]))
    bounds = ["≥" * row.is_bound for row in shown]
    costs = dollars(row.cost_usd for row in shown)
    made.append(Column("list (USD)" if discount else "cost (USD)", [*map(add, bounds, costs)]))
    if discount is not None:
        billed = dollars(discount.billed_usd(row.spend_picousd) for row in shown)
        made.append(Column("billed (USD)", [*map(add, bounds, billed)]))
    if sort == "per-call" or width is None:
        finer = usd_digits(filter(None, (row.per_call_usd for row in rows)))
        made.append(Column("a call", dollars((row.per_call_usd for row in shown), finer)))
    if sort == "saved":
        made.append(Column("saved", dollars(row.cache_saved_usd for row in shown)))
    return table(made, width, total=True)


def count_column(head: str, counts: Sequence[int], drop: int = 0) -> Column:
    """A column of counts, which are rounded where the screen is narrow."""
    return Column(head, [count_text(each) for each in counts], [short_count(each) for each in counts], drop)


def _notes(rows: Spends) -> list[str]:
    """What the sums leave out, in a sentence each."""
    total, notes = rows.total, pruned_notes(rows.pruned_before)
    noun = "call" if total.calls == total.responses else "response"
    if any(row.others for row in rows):
        notes.append(
            f"{OTHER}: on days with more than 1,000 values, all further values count together; a value with ≥ may have "
            "more calls among them."
        )
    if total.lower_bound_calls:
        was, has, its = ("was", "has", "its") if total.lower_bound_calls == 1 else ("were", "have", "their")
        notes.append(
            f"≥ {counted(total.lower_bound_calls, noun)} {was} cut short or retried after an abandoned attempt, or "
            f"{has} a part without a price: {its} cost is a lower bound."
        )
    if total.unpriced_calls:
        has, adds = ("has", "adds") if total.unpriced_calls == 1 else ("have", "add")
        notes.append(
            f"≥ {counted(total.unpriced_calls, noun)} {has} no known cost and {adds} nothing: "
            "--by flags,model --where cost_status=unpriced says why."
        )
    if total.cache_saved_picousd:
        saved = total.cache_saved_usd
        verb = "saved" if saved > 0 else "cost"
        notes.append(f"Caching {verb} {usd_text(abs(saved), usd_digits([saved]))} against plain input.")
    seen = {flag for row in rows for flag in (row.dimensions.get("flags") or "").split(", ")}
    notes += [f"{flag}: {meaning}." for flag, meaning in FLAGS.items() if flag in seen]
    return ["", *notes] if notes else []


def _bill_notes(misses: Sequence[Miss], discount: Discount | None) -> list[str]:
    """What missed the cache, by reason, and where the discount comes from."""
    notes = []
    if misses:
        digits = usd_digits([exact_usd(each.lost_picousd) for each in misses])
        told = ", ".join(
            f"{plain(each.reason).replace('_', ' ')} {usd_text(exact_usd(each.lost_picousd), digits)} "
            f"({counted(each.responses, 'response')})"
            for each in misses
        )
        notes.append(f"Lost to cache misses, by the reasons that Anthropic gives: {told}.")
    if discount is not None:
        notes.append(
            f"Billed: the list price of what Anthropic itself bills, less {float(100 * discount.share):.2f} %, "
            f"{discount.known_by}. Neither includes code execution and session time."
        )
    return notes
