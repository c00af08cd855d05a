"""Spend, its changes and latencies as tables that fit the screen, with what they leave out in a sentence each."""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, Any

from claudetrace._call import exact_usd
from claudetrace._ledger._compare import CAUSES
from claudetrace._ledger._rollups import OTHER
from claudetrace.cli._options import calls_text, responses_text
from claudetrace.cli._tables import NONE, Column, count_text, fitted, plain, short_count, usd_digits, usd_text, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from claudetrace._ledger._compare import Change
    from claudetrace._ledger._latencies import Latency
    from claudetrace._ledger._misses import Miss
    from claudetrace._ledger._spend import Spend, Spends
    from claudetrace._reconcile._discount import Discount

REST = "(rest)"
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
"""Each count with its field, and how soon it is left out where the screen is narrow: the highest first."""
SOMETIMES: Mapping[str, Callable[[Spend], object]] = {
    "responses": lambda total: total.calls != total.responses,
    "blocked": lambda total: total.blocked_calls,
}
"""Which of them have a column only where it tells something."""
SORTED = {
    "retries": "retries",
    "tool calls": "tool_calls",
    "tokens": "tokens",
    "unpriced": "unpriced_calls",
}
"""What has a column only where it puts the rows in order."""
FLAGS = {
    "unknown_model": "no rate is known for the model; `claudetrace prices update` or rates= of your own, then "
    "`claudetrace reprice`",
    "no_usage": "the call failed or was left before the API told any usage; nothing can price it",
    "partial_usage": "the stream was cut; read streams to their end to know the rest",
    "retried_after_timeout": "an attempt was given up and may be billed too; a longer timeout= avoids it",
    "unpriced_component": "something was billed that the answer does not tell, as code execution; the bill has it",
    "contradictory_usage": "the API told two usages that differ; the row has both",
}
"""What each flag that leaves a cost open means, and what to do."""


def spend_table(
    rows: Spends,
    by: Sequence[str],
    *,
    sort: str | None = None,
    width: int | None = None,
    misses: Sequence[Miss] = (),
    discount: Discount | None = None,
) -> list[str]:
    """The table of the rows with their total, and the notes below it; with a `discount`, what is billed beside list."""
    total, digits = rows.total, usd_digits([row.cost_usd for row in rows])
    shown = [*rows, total]
    columns = [*key_columns(by, [(row.dimensions, row.rest, row.others) for row in rows])]
    sorted_by = (sort or "").replace("-", " ")
    for head, (name, drop) in COUNTS.items():
        if head not in SOMETIMES or SOMETIMES[head](total) or head == sorted_by:
            columns.append(_counts(head, [getattr(row, name) for row in shown], 0 if head == sorted_by else drop))
    if sorted_by in SORTED:
        columns.append(_counts(sorted_by, [getattr(row, SORTED[sorted_by]) for row in shown], 0))
    bounds = ["≥" * row.is_bound for row in shown]
    costs = [bound + usd_text(row.cost_usd, digits) for bound, row in zip(bounds, shown, strict=True)]
    columns.append(Column("list (USD)" if discount else "cost (USD)", costs, None, 0))
    if discount is not None:
        billed = [usd_text(discount.billed_usd(row.spend_picousd), digits) for row in shown]
        columns.append(Column("billed (USD)", [*map(add, bounds, billed)], None, 0))
    if sort == "per-call" or width is None:
        finer = usd_digits(filter(None, (row.per_call_usd for row in rows)))
        each = ["–" if row.per_call_usd is None else usd_text(row.per_call_usd, finer) for row in shown]
        columns.append(Column("a call", each, None, 0))
    if sort == "saved":
        columns.append(Column("saved", [usd_text(row.cache_saved_usd, digits) for row in shown], None, 0))
    text, note = fitted(columns, width, last_is_total=True)
    return [text, *wrapped([*([note] if note else []), *_notes(rows, total), *_bill_notes(misses, discount)], width)]


def change_table(
    rows: Sequence[Change], total: Change, by: Sequence[str], width: int | None, notes: Sequence[str] = ()
) -> list[str]:
    """The changes with their total, each split into its causes, and `notes`."""
    shown = [*rows, total]
    largest = max(abs(row.usd(name)) for row in shown for name in ("change", *CAUSES))
    digits = usd_digits([largest])
    cents = 2 if largest >= 1 else digits

    def money(head: str, values: Iterable[Any], drop: int = 0, sign: str = "+") -> Column:
        known = list(values)
        exact, short = ([sign * (value > 0) + usd_text(value, each) for value in known] for each in (digits, cents))
        return Column(head, exact, short if cents < digits else None, drop)

    percents = ["new" if each.percent is None else f"{each.percent:+.1f} %" for each in shown]
    columns = [
        *key_columns(by, [(row.dimensions, row.rest, bool(row.now and row.now.others)) for row in rows]),
        money("before", (_usd(row.before) for row in shown), 6, ""),
        money("now", (_usd(row.now) for row in shown), 5, ""),
        money("change", (row.usd("change") for row in shown)),
        Column("%", percents, None, 1),
        *(money(name, (row.usd(name) for row in shown)) for name in CAUSES),
    ]
    text, note = fitted(columns, width, last_is_total=True)
    return [
        text,
        *wrapped([note] if note else [], width),
        "",
        "volume: more calls. tokens: longer ones. cache: what it saved less.",
        "price: all else, as another model or rate.",
        *(["≥ Calls are unpriced or cut: some costs are lower bounds."] if _is_bound(total) else []),
        *wrapped(notes, width),
    ]


def latency_table(
    rows: Sequence[Latency],
    before: Mapping[Any, Latency],
    by: Sequence[str],
    width: int | None,
    notes: Sequence[str] = (),
) -> list[str]:
    """How long answers took, and how fast their tokens came; with `before`, what p95 was then; and `notes`."""
    columns = [
        *key_columns(by, [(row.dimensions, 0, False) for row in rows[:-1]]),
        _counts("answers", [row.responses for row in rows], 2),
    ]
    asked: list[tuple[str, str, int, Callable[[float | None], str], int]] = [
        ("p50", "duration_ms", 50, _seconds, 3),
        ("p95", "duration_ms", 95, _seconds, 0),
        ("p99", "duration_ms", 99, _seconds, 4),
        ("first token p95", "time_to_first_token_ms", 95, _seconds, 1),
        ("tokens/s p50", "output_tokens_per_s", 50, _speed, 0),
    ]
    for head, kind, percent, text_of, drop in asked:
        columns.append(Column(head, [text_of(row.at(kind, percent)) for row in rows], None, drop))
        if before and not drop:
            then = [before.get(tuple(row.dimensions.values())) for row in rows]
            columns.append(Column("before", [text_of(each and each.at(kind, percent)) for each in then], None, 0))
    text, note = fitted(columns, width, last_is_total=True)
    return [
        text,
        *wrapped([note] if note else [], width),
        "",
        "Answers without an error. Percentiles are within 2.2 %.",
        *wrapped(notes, width),
    ]


def key_columns(by: Sequence[str], rows: Iterable[tuple[Mapping[str, str | None], int, bool]]) -> list[Column]:
    """A column for each dimension, with `total` as the last line."""
    found = list(rows)
    if not by:
        return [Column("", ["total"], None, 0, left=True)]
    return [
        Column(name, [*(_name(row, name, number) for row in found), "" if number else "total"], None, 0, left=True)
        for number, name in enumerate(by)
    ]


def _name(row: tuple[Mapping[str, str | None], int, bool], dimension: str, number: int) -> str:
    """The value; in quotes where it reads as what stands for none or for many."""
    dimensions, rest, others = row
    value = dimensions[dimension]
    if rest:
        return "" if number else f"{REST[:-1]} of {rest:,})"
    if value is None:
        return NONE
    return repr(value) if value in (NONE, OTHER, REST) and not others else plain(value)


def _counts(head: str, counts: Sequence[int], drop: int) -> Column:
    return Column(head, [count_text(each) for each in counts], [short_count(each) for each in counts], drop)


def _notes(rows: Spends, total: Spend) -> list[str]:
    """What the sums leave out, in a sentence each."""
    notes = pruned_notes(rows.pruned_before)
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
            f"{'adds' if one else 'add'} nothing: --by flags,model --where cost_status=unpriced says why."
        )
    if total.cache_saved_picousd:
        saved = total.cache_saved_usd
        said = "saved" if saved > 0 else "cost"
        notes.append(f"Caching {said} {usd_text(abs(saved), usd_digits([saved]))} against plain input.")
    seen = {flag for row in rows for flag in (row.dimensions.get("flags") or "").split(", ")}
    notes += [f"{flag}: {FLAGS[flag]}." for flag in FLAGS if flag in seen]
    return ["", *notes] if notes else []


def pruned_notes(before: str | None) -> list[str]:
    """What cannot be in an answer from the calls, in a sentence."""
    if before is None:
        return []
    return [f"Calls before {before} (UTC) are pruned: what sums do not tell of them is missing here."]


def _bill_notes(misses: Sequence[Miss], discount: Discount | None) -> list[str]:
    """What missed the cache, by cause, and where the discount is from."""
    notes = []
    if misses:
        digits = usd_digits([exact_usd(each.lost_picousd) for each in misses])
        told = ", ".join(
            f"{plain(each.reason).replace('_', ' ')} {usd_text(exact_usd(each.lost_picousd), digits)} "
            f"({responses_text(each.responses)})"
            for each in misses
        )
        notes.append(f"Lost to misses of the cache, by Anthropic's own word: {told}.")
    if discount is not None:
        notes.append(
            f"Billed: the list price of what Anthropic bills itself, less {float(100 * discount.share):.2f} %, "
            f"{discount.known_by}. Code execution and session time are in neither."
        )
    return notes


def _is_bound(total: Change) -> bool:
    return any(row is not None and row.is_bound for row in (total.now, total.before))


def _usd(row: Spend | None) -> Any:
    return 0 if row is None else row.cost_usd


def _seconds(ms: float | None) -> str:
    return "–" if ms is None else f"{ms / 1000:.2f} s"


def _speed(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.0f}"
