"""`Spend`: what was spent, in exact sums, and the rows of an answer in their order."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._call import exact_usd
from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._measures import MEASURE_NAMES
from claudetrace._ledger._question import CALENDAR
from claudetrace._ledger._rollups import OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from decimal import Decimal


class Others(Enum):
    """The value of all values of a tag that came after the thousandth of their day: no text, which a tag may have."""

    ALL = OTHER


Key: TypeAlias = "tuple[str | Others | None, ...]"
Totals: TypeAlias = dict[Key, list[int]]

SUMMED = MEASURE_NAMES
"""The measures that a `Spend` has. The last two are what writing to the cache cost, which is slow to read from calls:
where that is not asked for, sums end before it."""
NOTHING = [0] * len(SUMMED)
WHOLE, REST = SUMMED.index("spend_microusd"), SUMMED.index("spend_rest_picousd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """One row of `Ledger.spend`: the sums of the calls with the same values of its dimensions.

    Read a dimension as `row.customer` or `row["customer"]`; it is `None` for calls without a value. `calls` counts
    invocations of SDK methods, all other counts are of responses: a batch is one call with many of them.
    """

    dimensions: Mapping[str, str | None] = field(hash=False)
    rest: int = 0
    """The number of rows that were summed in this one because of `top`."""
    others: bool = False
    """Whether this row is the sum of all values of a tag after the first 1,000 in a day."""
    too_low: bool = False
    """Whether some calls of this value may be in the row with `others`."""
    calls: int
    responses: int
    errors: int
    unpriced_calls: int
    lower_bound_calls: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    thinking_tokens: int
    web_search_requests: int
    tool_calls: int
    retries: int
    duration_ms: int
    spend_picousd: int
    cache_saved_picousd: int
    blocked_calls: int
    cache_write_picousd: int | None = None
    """What writing to the cache cost, part of the spend; `None` where the question was not `with_writes`."""

    @property
    def key(self) -> str | None:
        """The value of the first dimension."""
        return next(iter(self.dimensions.values()), None)

    @property
    def cost_usd(self) -> Decimal:
        """What was spent in US dollars, exact. A lower bound if `is_bound`."""
        return exact_usd(self.spend_picousd)

    @property
    def cache_saved_usd(self) -> Decimal:
        """What cache reads saved, minus what cache writes cost extra, in US dollars."""
        return exact_usd(self.cache_saved_picousd)

    @property
    def cache_write_tokens(self) -> int:
        """Tokens written to the cache, for five minutes or an hour."""
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens

    @property
    def tokens(self) -> int:
        """All tokens of prompts and answers."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.output_tokens

    @property
    def per_call_usd(self) -> Decimal | None:
        """The average cost of a call in US dollars; `None` if the calls of these responses are in another row."""
        return exact_usd(round(Fraction(self.spend_picousd, self.calls))) if self.calls else None

    @property
    def is_bound(self) -> bool:
        """Whether the real cost is higher, or may be: streams were cut, or calls have no price."""
        return bool(self.lower_bound_calls or self.unpriced_calls or self.too_low)

    def __getitem__(self, dimension: str) -> str | None:
        return self.dimensions[dimension]

    def __getattr__(self, name: str) -> str | None:
        try:
            return self.dimensions[name]
        except KeyError:
            raise AttributeError(name) from None

    def plain(self) -> dict[str, Any]:
        """The row as JSON has it: whole counts, and exact dollars as text."""
        counts = {name: getattr(self, name) for name in ("rest", "others", "too_low", *_COUNTS)}
        dollars = {name: f"{getattr(self, name):f}" for name in ("cost_usd", "cache_saved_usd")}
        return {"key": self.key, **self.dimensions, **counts, **dollars}


class Spends(list[Spend]):
    """What `Ledger.spend` returns: a list of `Spend` rows, with their `total`.

    `answered_from` says whether stored `sums`, the `calls` themselves, or both were read. `pruned_before` is the day
    before which calls that the answer needs were pruned, so that older ones are missing; `None` if there is none.
    """

    def __init__(
        self, rows: Iterable[Spend], total: Spend, answered_from: str, pruned_before: str | None = None
    ) -> None:
        super().__init__(rows)
        self.total = total
        self.answered_from = answered_from
        self.pruned_before = pruned_before


def _most(name: str) -> Callable[[Spend], int]:
    return lambda row: -getattr(row, name)


ORDERS: Mapping[str, Callable[[Spend], Any]] = {
    "cost": lambda row: -row.spend_picousd,
    "per-call": lambda row: -(row.per_call_usd or 0),
    "saved": lambda row: -row.cache_saved_picousd,
    "name": lambda row: [(value is None, value or "") for value in row.dimensions.values()],
    "blocked": _most("blocked_calls"),
    "unpriced": lambda row: -row.unpriced_calls - row.lower_bound_calls,
    **{
        name.removesuffix("_tokens").replace("_", "-"): _most(name)
        for name in (
            *("calls", "responses", "errors", "retries", "tool_calls", "tokens", "input_tokens"),
            *("output_tokens", "cache_read_tokens", "cache_write_tokens"),
        )
    },
}
"""What rows can be put in order by, most first."""


def check_order(sort: str | None) -> None:
    """Raises `ClaudetraceError` where nothing can be put in that order."""
    if sort is not None and sort not in ORDERS:
        raise ClaudetraceError(f"sort={sort!r} is none of {', '.join(ORDERS)}")


def in_order(
    totals: Totals, by: tuple[str, ...], are_named: Callable[[list[Key]], list[bool]], top: int | None, sort: str | None
) -> tuple[list[Spend], Spend]:
    """The rows of `totals`, the most expensive first, or in the order of time where that is the first dimension; and
    their sum.

    `are_named` tells of each key whether every day with others names it. With `top`, all beyond so many are one row.
    """
    found = [each for each in totals.items() if each[1][0] or not by]
    found.sort(key=_most_expensive_first)
    if sort not in (None, "cost"):
        found.sort(key=lambda each: ORDERS[sort](_spend(by, *each)))
    # A row that stands for one other says less than that one.
    most = len(found) if top is None or len(found) <= top + 1 else top
    has_others = any(Others.ALL in key for key, _ in found)
    named = are_named([key for key, _ in found[:most]]) if has_others else [True] * most
    rows = [_spend(by, *each, too_low=not is_named) for each, is_named in zip(found[:most], named, strict=True)]
    if sort is None and by and by[0] in CALENDAR:
        rows.sort(key=lambda row: (row.key or "", -row.spend_picousd))
    if rest := [amounts for _, amounts in found[most:]]:
        too_low = has_others and any(row.others for row in rows)
        rows.append(replace(_sum(rest), dimensions=dict.fromkeys(by), rest=len(rest), too_low=too_low))
    return rows, _sum([amounts for _, amounts in found])


def _most_expensive_first(found: tuple[Key, list[int]]) -> tuple[Any, ...]:
    """Sorts sums without making a `Spend` of each, which takes longer than to read them."""
    key, amounts = found
    names = [(value is None, value.value if isinstance(value, Others) else value or "") for value in key]
    return -amounts[WHOLE] * 10**6 - amounts[REST], -amounts[0], names


def _sum(amounts: list[list[int]]) -> Spend:
    return _spend((), (), [sum(each) for each in zip(*amounts, strict=True)] if amounts else NOTHING)


def total(rows: list[Spend]) -> Spend:
    """The sum of `rows`."""
    sums = {name: sum(getattr(row, name) for row in rows) for name in _COUNTS}
    return Spend(dimensions={}, **sums)


def less(one: Spend, two: Spend) -> Spend:
    """What is left of `one` without `two`."""
    return Spend(dimensions={}, **{name: getattr(one, name) - getattr(two, name) for name in _COUNTS})


_NO_COUNTS = {"dimensions", "rest", "others", "too_low", "cache_write_picousd"}
_COUNTS = tuple(each.name for each in fields(Spend) if each.name not in _NO_COUNTS)


def _spend(by: tuple[str, ...], key: Key, amounts: list[int], *, too_low: bool = False) -> Spend:
    named: dict[str, Any] = dict(zip(SUMMED, amounts, strict=False))
    for name in ("spend", "cache_saved", "cache_write"):
        if f"{name}_microusd" not in named:
            continue
        whole, rest = named.pop(f"{name}_microusd"), named.pop(f"{name}_rest_picousd")
        named[f"{name}_picousd"] = whole * 10**6 + rest
    others = Others.ALL in key
    values = (OTHER if value is Others.ALL else value for value in key)
    return Spend(dimensions=dict(zip(by, values, strict=True)), others=others, too_low=too_low, **named)
