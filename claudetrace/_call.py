"""`Call`, `Usage`, `Cost` and `CostPart`: the records that the rest of the library is about.

The facts of a call travel as a `Row`, a dict of the ledger's columns in SQLite's types, which the journal writes and
the ledger stores. A `Call` is the same as a public object, and is made only when asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

Row: TypeAlias = dict[str, Any]
"""The columns of one row of the table `calls` that are not NULL, in SQLite's types. JSON columns are text."""

PICOUSD_PER_USD = 10**12
RESERVED_TAGS = {
    "user": "user_id",
    "session": "session_id",
    "feature": "feature",
    "customer": "customer",
    "prompt": "prompt",
}
"""Each reserved tag with its column."""

PROMPT_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
"""The columns of a prompt's tokens. `input_tokens` does not include those read from or written to the cache."""
JSON_COLUMNS = frozenset(("usage", "cost_parts", "cost_flags", "pricing_terms", "tags"))


class Dollars(Decimal):
    """A `Decimal` that prints plainly: `0.000000000005`, not `5E-12`. Arithmetic returns an ordinary `Decimal`."""

    __slots__ = ()

    def __str__(self) -> str:
        return Decimal.__format__(self, "f")

    def __format__(self, specifier: str, *context: Any) -> str:
        return Decimal.__format__(self, specifier if specifier[-1:] in _FORMATS else f"{specifier}f", *context)


_FORMATS = {*"eEfFgGn%"}


def exact_usd(picousd: int) -> Decimal:
    """`picousd` as dollars, exact: arithmetic on a `Decimal` would round to the application's own precision."""
    return Dollars(f"{picousd}E-12")


def usd(picousd: int | None) -> Decimal | None:
    """`picousd` as dollars, exact, or `None` as it is."""
    return None if picousd is None else exact_usd(picousd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one response used, as the API counted it; `None` for what the API did not report.

    No token is in two counts, except that `output_tokens` includes `thinking_tokens`.
    """

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    thinking_tokens: int | None = None
    web_search_requests: int | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPart:
    """One line of a cost: `quantity` × `rate_picousd` = `picousd`, rounded half to even.

    Amounts are whole picodollars: 10⁻¹² US dollars, so that no rounding adds up.
    """

    name: str
    """What was used, such as `output_tokens` or `web_search_requests`."""
    model: str | None
    quantity: int
    rate_picousd: int | Fraction
    """The price of one unit."""
    picousd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one response cost."""

    usd: Decimal | None
    """US dollars, exact; `None` if the cost is not known, with the reason among `flags`."""
    parts: tuple[CostPart, ...] = ()
    """The lines that add up to it."""
    flags: tuple[str, ...] = ()
    """What is unusual about it, such as `unknown_model` or `partial_usage`."""
    rates_version: str | None = None
    """The version of the price list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One row of the ledger: a billable response, or a call that failed.

    A unit ends each name: `_ms` milliseconds, `_tokens`, `_usd` US dollars, `_picousd` 10⁻¹² US dollars. `None` means
    that the API did not report a value, or that it does not apply. `cost_usd` is `None` if the cost is not known, and
    `cost_flags` says why. `usage_is_final` is false if a stream was cut, so that tokens and cost are a lower bound.
    `spend_picousd` is the part of the cost that you pay. Rows of the same `call_id` come from one SDK call.
    """

    id: str
    call_id: str
    started_at: datetime
    duration_ms: float | None = None
    response_ms: float | None = None
    time_to_first_token_ms: float | None = None
    budget_wait_ms: float | None = None
    source: str = "anthropic"
    operation: str
    platform: str
    server_address: str
    streamed: bool = False
    model_requested: str | None = None
    model: str | None = None
    outcome: str
    stop_reason: str | None = None
    error_type: str | None = None
    http_status: int | None = None
    retries: int | None = None
    max_tokens: int | None = None
    tool_calls: int | None = None
    message_count: int | None = None
    image_count: int | None = None
    document_count: int | None = None
    tools_offered: int | None = None
    request_bytes: int | None = None
    rate_limit_headroom: float | None = None
    rate_limit: str | None = None
    request_id: str | None = None
    message_id: str | None = None
    batch_id: str | None = None
    custom_id: str | None = None
    organization_id: str | None = None
    workspace_id: str | None = None
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    thinking_tokens: int | None = None
    web_search_requests: int | None = None
    cache_miss_reason: str | None = None
    cache_missed_input_tokens: int | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    usage: Mapping[str, Any] | None = None
    usage_is_final: bool
    billing: str | None = None
    cost_picousd: int | None = None
    cost_usd: Decimal | None = None
    cost_parts: tuple[CostPart, ...] = ()
    cost_flags: tuple[str, ...] = ()
    spend_picousd: int | None = None
    pricing_terms: Mapping[str, Any] | None = None
    cache_saved_picousd: int | None = None
    cache_lost_picousd: int | None = None
    rates_version: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    feature: str | None = None
    customer: str | None = None
    prompt: str | None = None
    agent: str | None = None
    project: str | None = None
    tags: Mapping[str, str]
    service: str | None = None
    environment: str | None = None
    instance: str | None = None
    trace_id: str | None = None
    span_id: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Call:
        """The call of a journal's or the ledger's row. Columns that a newer ledger added are left out."""
        known: dict[str, Any] = {name: row[name] for name in CALL_FIELDS if row.get(name) is not None}
        known["started_at"] = datetime.fromisoformat(row["started_at"]).astimezone(UTC)
        for name in ("streamed", "usage_is_final"):
            known[name] = bool(row.get(name))
        known["tags"] = json.loads(row.get("tags") or "{}")
        for name in ("usage", "pricing_terms"):
            if name in known:
                known[name] = json.loads(known[name])
        known["cost_parts"] = tuple(_part(part) for part in json.loads(row.get("cost_parts") or "[]"))
        known["cost_flags"] = tuple(json.loads(row.get("cost_flags") or "[]"))
        known["cost_usd"] = usd(row.get("cost_picousd"))
        known["spend_picousd"] = spend_of(row)
        return cls(**known)


CALL_FIELDS = tuple(field.name for field in fields(Call))


def prompt_tokens(columns: Mapping[str, Any]) -> int | None:
    """All tokens of the prompt, `None` where the API said nothing."""
    told = [*map(columns.get, PROMPT_TOKENS)]
    return None if told.count(None) == len(told) else sum(filter(None, told))


def is_lower_bound(usage_is_final: object, flags: Container[str]) -> bool:
    """Whether a cost leaves something out: the rest of a cut answer, an abandoned attempt, or a part without a price.

    Nothing is left out where everything is free. `flags` may be their JSON text.
    """
    cut = not usage_is_final and "free_host" not in flags and "replayed" not in flags
    return cut or "retried_after_timeout" in flags or "unpriced_component" in flags


def is_paid_elsewhere(flags: Container[str], billing: str | None = None) -> bool:
    """Whether another organization or a subscription pays. `flags` may be their JSON text."""
    return billing == "subscription" or "billed_to_user_profile" in flags


def spend_picousd(cost_picousd: int | None, flags: Container[str], billing: str | None = None) -> int | None:
    """What a cost adds to totals: all of it, or nothing where it is paid elsewhere."""
    return 0 if is_paid_elsewhere(flags, billing) else cost_picousd


def tells_tokens(flags: Container[str], columns: Mapping[str, Any]) -> bool:
    """Whether a cost with these flags covers all tokens of the response, so that a budget can use it."""
    told = columns.get("input_tokens") is not None and columns.get("output_tokens") is not None
    return told or "unpriced_component" not in flags


def spend_of(row: Mapping[str, Any]) -> int | None:
    """What a row adds to totals: the same as the generated column `spend_picousd`."""
    return spend_picousd(row.get("cost_picousd"), row.get("cost_flags") or "", row.get("billing"))


def _part(part: Mapping[str, Any]) -> CostPart:
    rate = part["rate_picousd"]
    return CostPart(**{**part, "rate_picousd": Fraction(rate) if isinstance(rate, str) else rate})
