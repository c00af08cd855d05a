"""What a row would have cost with another model, in a batch, or without the cache."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from claudetrace._call import PROMPT_TOKENS, prompt_tokens
from claudetrace._errors import ClaudetraceError
from claudetrace._operations import FREE
from claudetrace._pricing._engine import price_response, serving_model
from claudetrace._pricing._ids import find_listed, same_model, unknown_name
from claudetrace._pricing._row import kept_flags, terms_of, usage_of
from claudetrace._usage import usage_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._pricing._bill import Priced
    from claudetrace._pricing._terms import Terms

_CACHE_COUNTS = ("cache_read_input_tokens", "cache_creation_input_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Otherwise:
    """What to price differently. Raises `ClaudetraceError` for a model without rates."""

    model: str | None = None
    batch: bool = False
    no_cache: bool = False
    window_tokens: int | None = field(default=None, init=False)
    """How long a prompt the other model takes."""

    def __post_init__(self) -> None:
        if self.model is None:
            return
        if (listed := find_listed(self.model)) is None:
            raise ClaudetraceError(unknown_name(self.model))
        object.__setattr__(self, "window_tokens", listed["context_window"])

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether the other model takes a prompt as long as that of `row`, as the first model counts it."""
        return self.window_tokens is None or (prompt_tokens(row) or 0) <= self.window_tokens


def price_otherwise(row: Mapping[str, Any], what: Otherwise) -> tuple[int | None, tuple[str, ...]]:
    """The cost of `row` as `what` says, and its flags. A row that its usage does not price keeps its cost.

    Uses the rates of the row's day, or today's where the other model had none then.
    """
    usage = usage_of(row)
    if usage is None or row.get("operation") in FREE:
        return row.get("cost_picousd"), kept_flags(row)
    terms, day = terms_of(row)
    terms = replace(terms, batch=True) if what.batch else terms
    priced = _priced(row, usage, what, terms, day)
    if priced.picousd is None and what.model is not None:
        priced = _priced(row, usage, what, terms, datetime.now(UTC).date().isoformat())
    return priced.picousd, priced.flags


def _priced(row: Mapping[str, Any], usage: dict[str, Any], what: Otherwise, terms: Terms, day: str) -> Priced:
    iterations = usage.get("iterations")
    served = (serving_model(iterations) if isinstance(iterations, list) else None) or row.get("model")
    changed = _changed(usage, served or row.get("model_requested"), what)
    model = what.model or served
    for each in (changed, {**changed, "speed": "standard"}):
        priced = price_response(
            each,
            usage_columns(each),
            model=model,
            model_requested=row.get("model_requested"),
            stop_reason=row.get("stop_reason"),
            day=day,
            terms=terms,
            final=bool(row.get("usage_is_final")),
            any_size=True,
        )
        # A batch is never fast, nor is a model that has no fast rates.
        if priced.picousd is not None or changed.get("speed") != "fast":
            break
    return priced


def _changed(part: Any, served: str | None, what: Otherwise) -> Any:
    """A usage or one of its iterations, as `what` says. Advisors and declined attempts keep their models."""
    if not isinstance(part, dict):
        return part
    changed = _without_cache(part) if what.no_cache else dict(part)
    if what.model is not None and isinstance(model := part.get("model"), str) and same_model(model, served):
        changed["model"] = what.model
    if isinstance(iterations := part.get("iterations"), list):
        changed["iterations"] = [_changed(entry, served, what) for entry in iterations]
    return changed


def _without_cache(usage: dict[str, Any]) -> dict[str, Any]:
    """`usage` with the whole prompt as plain input."""
    columns = usage_columns(usage)
    if not any(columns.get(column) for column in PROMPT_TOKENS[1:]):
        return dict(usage)
    changed = {**usage, "input_tokens": prompt_tokens(columns), "cache_creation": None}
    return changed | {name: 0 for name in _CACHE_COUNTS if name in usage}
