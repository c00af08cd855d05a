"""Prices a row of the ledger from the row alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from claudetrace._call import spend_picousd, tells_tokens
from claudetrace._operations import BATCHES_RESULT, FREE
from claudetrace._pricing._bill import FLAGS
from claudetrace._pricing._engine import price_response
from claudetrace._pricing._terms import Terms
from claudetrace._text import from_json
from claudetrace._usage import row_columns, usage_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._call import Row
    from claudetrace._pricing._bill import Priced

FLAGS_OF_THE_CALL = frozenset(["retried_after_timeout", "agent_mismatch"])
"""Flags that only the running call can set. Later prices keep them."""


def price_row(row: Mapping[str, Any], batch_created_at: str | None = None) -> Row | None:
    """The `PRICE_COLUMNS` of `row` by the rates of its day, or `None` for a row that its usage does not price.

    The day of a batch's result is that of the batch, which the row's terms keep from then on.
    """
    if row.get("operation") in FREE or (usage := usage_of(row)) is None:
        return None
    return _columns(row, usage, usage_columns(usage), batch_created_at)


def _columns(row: Mapping[str, Any], usage: dict[str, Any], counts: Row, batch_created_at: str | None = None) -> Row:
    terms, day = terms_of(row, batch_created_at)
    priced = _priced(row, usage, counts, terms, day)
    return priced.columns(_terms_json(row, terms), row.get("cache_missed_input_tokens"))


def _priced(row: Mapping[str, Any], usage: dict[str, Any], counts: Row, terms: Terms, day: str) -> Priced:
    return price_response(
        usage,
        counts,
        model=row.get("model"),
        model_requested=row.get("model_requested"),
        stop_reason=row.get("stop_reason"),
        day=day,
        terms=terms,
        final=bool(row.get("usage_is_final", 1)),
        extra_flags=kept_flags(row),
    )


def rest_of_cut(row: Mapping[str, Any]) -> int | None:
    """In picodollars, how much more a cut response would cost with all its `max_tokens` than its usage costs. `None`
    where either is unknown."""
    most = row.get("max_tokens")
    if row.get("usage_is_final", 1) or most is None or row.get("operation") in FREE:
        return None
    if (usage := usage_of(row)) is None:
        return None
    seen, whole = (_spend(row, counts) for counts in (usage, {**usage, "output_tokens": most}))
    return None if seen is None or whole is None else max(0, whole - seen)


def _spend(row: Mapping[str, Any], usage: dict[str, Any]) -> int | None:
    counts = usage_columns(usage)
    priced = _priced(row, usage, counts, *terms_of(row))
    if not tells_tokens(priced.flags, counts):
        return None
    return spend_picousd(priced.picousd, priced.flags, row.get("billing"))


def with_price(row: Row) -> Row:
    """`row` with the columns of its usage and its price, unless the caller's thread filled them."""
    return {**row, **lacking_price(row)}


def lacking_price(row: Row) -> Row:
    """What `with_price` adds to `row`."""
    if "cost_flags" in row or (usage := usage_of(row)) is None:
        return {}
    counts = usage_columns(usage)
    priced = {} if row.get("operation") in FREE else _columns(row, usage, counts)
    return {**row_columns(counts), **priced}


def at_day_of_batch(row: Row, created_at: str) -> Row:
    """A batch's result at the rates of the day when the batch was created."""
    if row["started_at"][:10] == created_at[:10]:
        return row
    return {**row, **(price_row(row, created_at) or {})}


def as_replayed(row: Row, *, replayed: bool) -> Row:
    """`row` priced as a replay of a response that was billed before, or as none."""
    terms, _ = terms_of(row)
    if terms.replayed == replayed:
        return row
    row = {**row, "pricing_terms": replace(terms, replayed=replayed).text}
    return {**row, **(price_row(row) or {})}


def usage_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage object of `row`, or `None` where it has none that can be read."""
    text = row.get("usage")
    if not isinstance(text, str):
        return None
    try:
        usage = from_json(text)
    except ValueError:
        return None
    return usage if isinstance(usage, dict) else None


def terms_of(row: Mapping[str, Any], batch_created_at: str | None = None) -> tuple[Terms, str]:
    """The terms of `row`, and the day by which it is priced."""
    if isinstance(text := row.get("pricing_terms"), str):
        terms = Terms.from_json(text)
    else:
        batch = row.get("operation") == BATCHES_RESULT.name
        terms = Terms(platform=row.get("platform") or "anthropic", batch=batch)
    started_day = str(row["started_at"])[:10]
    day = batch_created_at[:10] if batch_created_at else terms.day or started_day
    kept_day = None if day == started_day else day
    return (terms if terms.day == kept_day else replace(terms, day=kept_day)), day


def _terms_json(row: Mapping[str, Any], terms: Terms) -> str:
    text = row.get("pricing_terms")
    if text == terms.text or not isinstance(text, str):
        return terms.text
    # Keep the text if it still holds: a newer version may have written more into it.
    return text if Terms.from_json(text).text == terms.text else terms.text


def kept_flags(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The flags of `row` that pricing does not set: those of the call, and those of newer versions."""
    if not (text := row.get("cost_flags")):
        return ()
    try:
        flags = orjson.loads(text)
    except ValueError:
        return ()
    return tuple(flag for flag in flags if flag in FLAGS_OF_THE_CALL or flag not in FLAGS)
