"""What was spent, in exact sums: whole hours and days from the rollups, the edges from the calls."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from operator import add, sub
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._call import RESERVED_TAGS, exact_usd
from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._measures import MEASURE_NAMES, TAG_COLUMNS
from claudetrace._ledger._rollups import OTHER
from claudetrace._ledger._times import DAY, HOUR, Span

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping
    from decimal import Decimal

Where: TypeAlias = "Mapping[str, str | None]"


class Others(Enum):
    """The key of a tag's values that came after the thousandth of their day: no text, which a tag may have."""

    ALL = OTHER


Key: TypeAlias = "str | Others | None"
Sums: TypeAlias = "tuple[Key, list[int]]"

COLUMNS = {
    "model": "model",
    "platform": "platform",
    "feature": "feature",
    "operation": "operation",
    "outcome": "outcome",
    "stop_reason": "reason",
    "user": "user_id",
    "session": "session_id",
    "customer": "customer",
    "prompt": "prompt",
    "service": "service",
    "environment": "environment",
}
"""What `where` may name, and its column in `measured_calls`; beside it, any free tag as `tag:KEY`."""
GROUPS = ("model", "day", "user", "session", "feature", "customer", "prompt", "operation", "stop_reason")
IN_HOURS = frozenset(("model", "platform", "feature", "operation", "outcome", "stop_reason", "day"))
IN_TAG_DAYS = frozenset(("model", "platform", "feature", "day"))
FREE_TAG = "tag:"
VALUE_OF_FREE_TAG = "(SELECT free.value FROM json_each(tags) AS free WHERE free.key = ?)"
NOTHING = [0] * len(MEASURE_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """The sums of the calls with one `key`, which is `None` for those that have none.

    A call is one invocation of an SDK method, also where many responses came of it, as from a batch. `calls` counts
    those; `responses` and all other counts are of responses.
    """

    key: str | None
    others: bool = False
    """Whether it stands for all values of a tag that came after the thousandth of their day."""
    too_low: bool = False
    """Whether some of its calls may be among those."""
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
    cache_write_picousd: int

    @property
    def cost_usd(self) -> Decimal:
        """`spend_picousd` in dollars, exact."""
        return exact_usd(self.spend_picousd)

    @property
    def cache_saved_usd(self) -> Decimal:
        """What cache reads saved less what cache writes cost extra, exact."""
        return exact_usd(self.cache_saved_picousd)


def read_spend(connection: sqlite3.Connection, by: str | None, span: Span, where: Where) -> list[Spend]:
    """The spend in `span` for each value of `by`, dearest first, or day by day."""
    check(by, where)
    by, where = plain_name(by), {plain_name(name) or "": value for name, value in where.items()}
    totals: dict[Key, list[int]] = {} if by else {None: NOTHING}
    for key, amounts in _sums(connection, by, span, where):
        totals[key] = list(map(add, totals.get(key, NOTHING), amounts))
    named = _Named(connection, by, span) if Others.ALL in totals else None
    spends = [_spend(key, amounts, named) for key, amounts in totals.items() if by is None or amounts[0]]
    if by == "day":
        return sorted(spends, key=lambda spend: spend.key or "")
    return sorted(spends, key=lambda spend: (-spend.spend_picousd, -spend.responses, spend.key or ""))


def check(by: str | None, where: Iterable[str]) -> None:
    """Raises `ClaudetraceError` for a name that cannot be grouped or filtered by."""
    if by is not None and by not in GROUPS and not _is_free_tag(by):
        raise ClaudetraceError(f"by={by!r} is none of {', '.join(GROUPS)} and tag:KEY")
    for name in where:
        if name not in COLUMNS and not _is_free_tag(name):
            raise ClaudetraceError(f"{name!r} in where is none of {', '.join(COLUMNS)} and tag:KEY")


def plain_name(name: str | None) -> str | None:
    """`name`, with `tag:user` and its like as the reserved tags that they are."""
    tag = (name or "").removeprefix(FREE_TAG)
    return tag if tag in RESERVED_TAGS else name


def _is_free_tag(name: str) -> bool:
    return name.startswith(FREE_TAG) and len(name) > len(FREE_TAG)


def _rolled_up_tag(name: str) -> str | None:
    """The tag in `rollup_tag_days` that `name` means."""
    if _is_free_tag(name):
        return name.removeprefix(FREE_TAG)
    return name if name in TAG_COLUMNS else None


def _sums(connection: sqlite3.Connection, by: str | None, span: Span, where: Where) -> Iterator[Sums]:
    """The sums from the smallest source that can answer exactly. A key may come more than once."""
    names = {name for name in (by, *where) if name is not None}
    if names <= IN_HOURS:
        yield from _from_hours(connection, by, span, where)
        return
    tagged = [name for name in names if _rolled_up_tag(name) is not None]
    if len(tagged) == 1 and names - {*tagged} <= IN_TAG_DAYS and where.get(tagged[0], OTHER) is not None:
        yield from _from_tag_days(connection, by, tagged[0], span, where)
    else:
        yield from _from_calls(connection, by, span, where)


def _from_hours(connection: sqlite3.Connection, by: str | None, span: Span, where: Where) -> Iterator[Sums]:
    whole = span.whole(HOUR)
    if whole is None:
        yield from _from_calls(connection, by, span, where)
        return
    key = "NULL" if by is None else "SUBSTR(hour, 1, 10)" if by == "day" else COLUMNS[by]
    since, until = (end[:13] for end in whole.stamps())
    asked = [*_conditions(where), ("hour >= ?", [since]), ("hour < ?", [until])]
    yield from _query(connection, "rollup_hours", key, [], asked)
    for edge in span.around(whole):
        yield from _from_calls(connection, by, edge, where)


def _from_tag_days(
    connection: sqlite3.Connection, by: str | None, tagged: str, span: Span, where: Where
) -> Iterator[Sums]:
    """Sums by the tag that `tagged` names, or of one value of it."""
    whole = span.whole(DAY)
    if whole is None:
        yield from _from_calls(connection, by, span, where)
        return
    since, until = (end[:10] for end in whole.stamps())
    tag = _rolled_up_tag(tagged) or ""
    days = [("tag = ?", [tag]), ("day >= ?", [since]), ("day < ?", [until])]
    if tagged in where and _has_others(connection, days):
        # The value that is asked for may be among the others of a day.
        yield from _from_calls(connection, by, span, where)
        return
    asked = [*_conditions({name: value for name, value in where.items() if name != tagged}), *days]
    if tagged in where:
        asked.append(("value = ? AND NOT others", [where[tagged] or ""]))
    key = "NULL" if by is None else "value" if by == tagged else "day" if by == "day" else COLUMNS[by]
    sums = list(_query(connection, "rollup_tag_days", key, [], asked, others="others" if by == tagged else "0"))
    yield from sums
    if by == tagged and tagged not in where:
        yield from _untagged(connection, whole, where, sums)
    for edge in span.around(whole):
        yield from _from_calls(connection, by, edge, where)


def _untagged(connection: sqlite3.Connection, whole: Span, where: Where, tagged: list[Sums]) -> Iterator[Sums]:
    """What calls without the tag add up to: all calls less those that have it."""
    left = NOTHING
    for _, amounts in _sums(connection, None, whole, where):
        left = list(map(add, left, amounts))
    for _, amounts in tagged:
        left = list(map(sub, left, amounts))
    yield None, left


def _has_others(connection: sqlite3.Connection, days: list[tuple[str, list[str]]]) -> bool:
    conditions = " AND ".join(condition for condition, _ in days)
    sql = f"SELECT 1 FROM rollup_tag_days WHERE {conditions} AND value = ? AND others LIMIT 1"  # noqa: S608 - conditions of ours
    values = [value for _, each in days for value in each]
    return connection.execute(sql, (*values, OTHER)).fetchone() is not None


class _Named:
    """On which days of `span` a tag has others, and which values it names on them."""

    def __init__(self, connection: sqlite3.Connection, by: str | None, span: Span) -> None:
        self._connection = connection
        self._tag = _rolled_up_tag(by or "")
        whole = span.whole(DAY) or span
        since, until = (end[:10] for end in whole.stamps())
        sql = "SELECT DISTINCT day FROM rollup_tag_days WHERE tag = ? AND day >= ? AND day < ? AND value = ? AND others"
        self.days = [day for (day,) in connection.execute(sql, (self._tag, since, until, OTHER))]

    def everywhere(self, value: str) -> bool:
        """Whether `value` has a sum of its own on each of these days."""
        sql = "SELECT 1 FROM rollup_tag_days WHERE tag = ? AND day = ? AND value = ? AND NOT others LIMIT 1"
        return all(self._connection.execute(sql, (self._tag, day, value)).fetchone() for day in self.days)


def _from_calls(connection: sqlite3.Connection, by: str | None, span: Span, where: Where) -> Iterator[Sums]:
    since, until = span.stamps()
    asked = [*_conditions(where), ("started_at >= ?", [since]), ("started_at < ?", [until])]
    if by is not None and _is_free_tag(by):
        return _query(connection, "measured_calls", VALUE_OF_FREE_TAG, [by.removeprefix(FREE_TAG)], asked)
    key = "NULL" if by is None else "day" if by == "day" else COLUMNS[by]
    return _query(connection, "measured_calls", key, [], asked)


def _conditions(where: Where) -> list[tuple[str, list[str]]]:
    """What `where` asks, each as a condition in SQL with its parameters. `None` asks for what has none."""
    conditions = []
    for name, value in where.items():
        column = VALUE_OF_FREE_TAG if _is_free_tag(name) else COLUMNS[name]
        values = [name.removeprefix(FREE_TAG)] if _is_free_tag(name) else []
        if value is None:
            conditions.append((f"COALESCE({column}, '') = ''", values))
        else:
            conditions.append((f"{column} = ?", [*values, str(value)]))
    return conditions


def _query(
    connection: sqlite3.Connection,
    source: str,
    key: str,
    key_values: list[str],
    asked: list[tuple[str, list[str]]],
    others: str = "0",
) -> Iterator[Sums]:
    sums = ", ".join(f"SUM({name})" for name in MEASURE_NAMES)
    conditions = " AND ".join(condition for condition, _ in asked)
    values = [value for _, each in asked for value in each]
    # The names and conditions are of this module; all that comes from outside is a parameter.
    sql = f"SELECT {key} AS spend_key, {others} AS of_others, {sums} FROM {source} WHERE {conditions} GROUP BY 1, 2"  # noqa: S608
    for found, of_others, *amounts in connection.execute(sql, (*key_values, *values)):
        if amounts[0] is not None:
            yield Others.ALL if of_others else found or None, amounts


def matching_ids(where: Where, span: Span) -> tuple[str, list[str]]:
    """A query for the ids of the calls in `span` that `where` asks for, newest first, and its parameters."""
    check(None, where)
    since, until = span.stamps()
    named = {plain_name(name) or "": value for name, value in where.items()}
    asked = [*_conditions(named), ("started_at >= ?", [since]), ("started_at < ?", [until])]
    conditions = " AND ".join(condition for condition, _ in asked)
    values = [value for _, each in asked for value in each]
    return f"SELECT id FROM measured_calls WHERE {conditions}", values  # noqa: S608 - conditions of ours


def _spend(key: Key, amounts: list[int], names: _Named | None = None) -> Spend:
    named: dict[str, Any] = dict(zip(MEASURE_NAMES, amounts, strict=True))
    for name in ("spend", "cache_saved", "cache_write"):
        whole, rest = named.pop(f"{name}_microusd"), named.pop(f"{name}_rest_picousd")
        named[f"{name}_picousd"] = whole * 10**6 + rest
    if isinstance(key, Others):
        return Spend(key=key.value, others=True, **named)
    too_low = names is not None and key is not None and not names.everywhere(key)
    return Spend(key=key, too_low=too_low, **named)
