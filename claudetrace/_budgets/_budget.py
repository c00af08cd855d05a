"""`Budget`: what may be spent, by whom, in which window."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import orjson

from claudetrace._budgets._windows import CALENDAR, ROLLING, Window, rolling_s, window_of
from claudetrace._call import Dollars, exact_usd
from claudetrace._entries import caller
from claudetrace._errors import ClaudetraceError
from claudetrace._switch import check_watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from claudetrace._budgets._run import Run
    from claudetrace._budgets._totals import Totals

MOST_USD = 10**9
MOST_CALLS = 10**15
MOST_THRESHOLD = 100
LONGEST_WAIT_S = 86_400
EACH = "*"
_EXACT = Context(prec=60)
_WORDS = {
    "on_exceeded": ("alert", "block"),
    "unpriced": ("alert", "block", "ignore"),
    "unbounded": ("alert", "block"),
    "on_store_error": ("open", "closed"),
    "cut_streams": ("seen", "bound"),
    "untagged": ("alert", "block", "ignore"),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what calls may cost, in US dollars, in number, or both.

    claudetrace.instrument(budgets=[
        claudetrace.Budget("all", usd=50, per="day", on_exceeded="block"),
        claudetrace.Budget("each customer", usd="2.50", tags={"customer": "*"}),
    ])

    name: what alerts and reports call it.
    usd: the limit in US dollars, as a number or text. Example: `"2.50"`.
    max_calls: the limit in calls. Give this, `usd`, or both.
    per: the window in which it holds: `"hour"`, `"day"`, `"week"`, `"month"`, `"total"`, `"rolling:24h"`, or `"run"`
        for a `with` block in this process, which needs no name. Default: `"month"`.
    tags: only calls with all of these tags. With `"*"` each value of the tag has a budget of its own.
        Example: `{"customer": "*"}`. Default: all calls.
    model: only calls of this model. Example: `"claude-opus-5-5"`. Default: all models.
    thresholds: the parts of the limit at which an alert is sent. Default: `(0.5, 0.8, 1.0)`.
    forecast: whether to send an alert when the limit will be passed at the current pace. Default: `True`.
    spike: sends an alert when spend in a few minutes is this many times what is usual. Example: `5`. Default: never.
    on_exceeded: `"block"` raises `BudgetExceeded` before a call that could pass the limit is sent. Default: `"alert"`.
    unpriced: what to do with a call whose price is not known: `"alert"`, `"block"` or `"ignore"`. Default: `"alert"`.
    unbounded: what to do with a call whose highest possible cost is not known: `"alert"` or `"block"`.
        Default: `"alert"`.
    on_store_error: `"closed"` stops calls while the store cannot be reached. Default: `"open"`, which goes on limiting
        with the last known sums.
    timezone: where days, weeks and months begin. Example: `"Europe/Berlin"`. Default: `"UTC"`.
    cut_streams: `"bound"` holds the most that an interrupted stream can cost. Default: `"seen"`, the usage received.
    wait_s: how long a call waits for running ones to make room, in seconds. Default: `0`.
    untagged: what to do with a call that lacks the tag with `"*"`: `"alert"`, `"block"` or `"ignore"`.
        Default: `"alert"`.

    Raises `ClaudetraceError` for a value that cannot be used.
    """

    name: str | None = None
    usd: Decimal | None = None
    max_calls: int | None = None
    per: str = "month"
    tags: Mapping[str, str] | None = None
    model: str | None = None
    thresholds: tuple[float, ...] = (0.5, 0.8, 1.0)
    forecast: bool = True
    spike: float | None = None
    on_exceeded: Literal["alert", "block"] = "alert"
    unpriced: Literal["alert", "block", "ignore"] = "alert"
    unbounded: Literal["alert", "block"] = "alert"
    on_store_error: Literal["open", "closed"] = "open"
    timezone: str = "UTC"
    cut_streams: Literal["seen", "bound"] = "seen"
    wait_s: float = 0.0
    untagged: Literal["alert", "block", "ignore"] = "alert"

    if TYPE_CHECKING:
        # Dollars may be given as any number or text; kept is what they are exactly.
        def __init__(
            self,
            name: str | None = None,
            usd: Decimal | float | str | None = None,
            max_calls: int | None = None,
            per: str = "month",
            tags: Mapping[str, str] | None = None,
            model: str | None = None,
            thresholds: Iterable[float] = (0.5, 0.8, 1.0),
            forecast: bool = True,
            spike: float | None = None,
            on_exceeded: Literal["alert", "block"] = "alert",
            unpriced: Literal["alert", "block", "ignore"] = "alert",
            unbounded: Literal["alert", "block"] = "alert",
            on_store_error: Literal["open", "closed"] = "open",
            timezone: str = "UTC",
            cut_streams: Literal["seen", "bound"] = "seen",
            wait_s: float = 0.0,
            untagged: Literal["alert", "block", "ignore"] = "alert",
        ) -> None: ...

    def __post_init__(self) -> None:
        _check_name(self)
        _check_window(self)
        for name, (checked, way_out) in _CHECKS.items():
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                if (found := checked(value)) is None:
                    _refuse(self, name, value, way_out)
                object.__setattr__(self, name, found)
        if list((self.tags or {}).values()).count(EACH) > 1:
            _refuse(self, "tags", self.tags, 'only one tag may be "*"')
        if self.wait_s and self.per == "run":
            _refuse(self, "wait_s", self.wait_s, "the calls of a run do not wait; leave it out")
        if self.usd is None and self.max_calls is None:
            _refuse(self, "usd", None, "give usd=, max_calls= or both")
        if self.untagged == "block" and not (self.blocks and self.each_tag):
            _refuse(self, "untagged", "block", 'it goes with on_exceeded="block" and a tag that is "*"')

    @property
    def blocks(self) -> bool:
        """Whether it stops calls; a budget of a run always does."""
        return self.on_exceeded == "block" or self.per == "run"

    def raised(self, totals: Totals) -> Budget:
        """The same with what was granted on top of its limits."""
        picousd, calls = totals.granted_picousd, totals.granted_calls
        if not (picousd or calls):
            return self
        return replace(
            self,
            usd=None if self.usd is None else _EXACT.normalize(_EXACT.add(self.usd, exact_usd(picousd))),
            max_calls=None if self.max_calls is None else self.max_calls + calls,
        )

    def window(self, at: float) -> Window:
        """Its window at a moment, in seconds since 1970."""
        return window_of(self.per, self.timezone, at)

    @property
    def each_tag(self) -> str | None:
        """The tag of which each value has a budget of its own."""
        return next((tag for tag, value in (self.tags or {}).items() if value == EACH), None)

    @property
    def limit_picousd(self) -> int | None:
        """The limit in whole picodollars, never more than was said."""
        return None if self.usd is None else _picousd(self.usd)

    def __enter__(self) -> Run:
        """What the block has spent and has left. Raises `ClaudetraceError` unless `per="run"`, and where nothing
        watches calls, so that it would limit nothing."""
        from claudetrace._budgets._run import Run, runs

        if self.per != "run":
            _refuse(self, "per", self.per, 'a `with` block takes a Budget(per="run")')
        check_watching('with Budget(per="run")')
        run = Run(self)
        runs.enter(self, run, caller())
        return run

    def __exit__(self, *_error: object) -> None:
        from claudetrace._budgets._run import runs

        runs.leave(self, caller())


@lru_cache(maxsize=1000)
def _picousd(usd: Decimal) -> int:
    return int(_EXACT.scaleb(usd, 12).to_integral_value(rounding=ROUND_FLOOR))


def budgets_from(given: object) -> tuple[Budget, ...]:
    """The budgets of a list of `Budget` or of tables of `claudetrace.toml`. Raises `ClaudetraceError`."""
    if not isinstance(given, (list, tuple)):
        raise ClaudetraceError(
            f"budgets={given!r:.200} cannot be used: give Budget objects in a list, or [[budgets]] in claudetrace.toml"
        )
    budgets = tuple(each if isinstance(each, Budget) else _from_table(each) for each in given)
    names: set[str | None] = set()
    for budget in budgets:
        if budget.per == "run":
            _refuse(budget, "per", "run", "use it as `with Budget(...):` around the calls that it is for")
        if budget.name in names:
            raise ClaudetraceError(f"two budgets have the name {budget.name!r}: give each its own")
        names.add(budget.name)
    return budgets


def _from_table(table: object) -> Budget:
    if not isinstance(table, dict):
        raise ClaudetraceError(f"budgets has {table!r:.200}, which is no Budget: write Budget(name, usd=…, per=…)")
    known = [each.name for each in fields(Budget)]
    if unknown := {str(name) for name in table} - set(known):
        raise ClaudetraceError(
            f"unknown in the budget {table.get('name')!r}: {', '.join(sorted(unknown))}; known are {', '.join(known)}"
        )
    return Budget(**table)


SHAPE = ("per", "timezone", "tags", "model")
"""What makes a budget another: the rest may change, and what was spent stays."""
_FIELDS = frozenset(each.name for each in fields(Budget))


def shape_of(budget: Budget) -> str:
    """What two budgets of one name share if they are the same."""
    return _json({name: getattr(budget, name) for name in SHAPE})


def definition_of(budget: Budget) -> str:
    """The budget as the store holds it."""
    return _json({**asdict(budget), "usd": None if budget.usd is None else str(budget.usd)})


def budget_from(definition: str) -> Budget:
    """The budget of `definition_of`, of this version or another: what it does not know of it is left out. Raises
    `ClaudetraceError` where it cannot be used here, as with a time zone that this system does not have."""
    try:
        said: dict[str, Any] = orjson.loads(definition)
        return Budget(**{name: value for name, value in said.items() if name in _FIELDS})
    except ClaudetraceError:
        raise
    except Exception as error:
        raise ClaudetraceError(f"its definition cannot be read ({type(error).__name__}: {error})") from error


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _refuse(budget: Budget, name: str, value: object, way_out: str) -> NoReturn:
    whose = f"of budget {budget.name!r} " if isinstance(budget.name, str) else "of a budget "
    raise ClaudetraceError(f"{name}={value!r:.200} {whose}cannot be used: {way_out}")


def _check_name(budget: Budget) -> None:
    if budget.name is None and budget.per == "run":
        object.__setattr__(budget, "name", "run")
    elif not isinstance(budget.name, str) or not budget.name.strip() or len(budget.name) > 256:
        _refuse(budget, "name", budget.name, "give a name of at most 256 characters")


def _check_window(budget: Budget) -> None:
    per = budget.per
    if isinstance(per, str) and per.startswith(ROLLING):
        rolling_s(per)
    elif per not in (*CALENDAR, "run"):
        _refuse(budget, "per", per, f"it is one of run, {', '.join(CALENDAR)}, or rolling:24h")
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(budget.timezone)
    except Exception as error:  # noqa: BLE001 - what a wrong name raises depends on the system's files
        _refuse(budget, "timezone", budget.timezone, f'name one as "Europe/Berlin" ({type(error).__name__})')


def _usd(value: Any) -> Decimal | None:
    try:
        # By its text: 0.1 is what was written, not the binary fraction next to it.
        usd = None if isinstance(value, bool) else Decimal(value if isinstance(value, Decimal) else str(value))
    except (InvalidOperation, ValueError):
        return None
    return Dollars(usd) if usd is not None and usd.is_finite() and Decimal("1E-12") <= usd <= MOST_USD else None


def _tags(value: Any) -> dict[str, str] | None:
    is_map = hasattr(value, "items") and value
    fine = is_map and all(isinstance(text, str) and text for pair in value.items() for text in pair)
    return dict(value) if fine else None


def _thresholds(value: Any) -> tuple[float, ...] | None:
    try:
        numbers = tuple(value)
    except TypeError:
        return None
    fine = all(_is_number(each) and 0 < each <= MOST_THRESHOLD for each in numbers)
    return tuple(map(float, numbers)) if fine and all(a < b for a, b in pairwise(numbers)) else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _if(fits: Callable[[Any], bool], kind: Callable[[Any], Any] = lambda value: value) -> Callable[[Any], Any]:
    return lambda value: kind(value) if fits(value) else None


_CHECKS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "usd": (_usd, f"give dollars above 0, at most {MOST_USD}"),
    "max_calls": (
        _if(lambda value: isinstance(value, int) and _is_number(value) and 0 < value <= MOST_CALLS),
        "give a whole number of calls above 0",
    ),
    "tags": (_tags, 'give tags and their values, as {"customer": "acme"} or {"user": "*"}'),
    "model": (
        _if(lambda value: isinstance(value, str) and bool(value)),
        'give a model\'s id, as "claude-opus-4-8", or leave it out',
    ),
    "thresholds": (_thresholds, f"give parts of the limit above 0 and at most {MOST_THRESHOLD}, each larger"),
    "forecast": (_if(lambda value: isinstance(value, bool)), "it is True or False"),
    "spike": (
        _if(lambda value: _is_number(value) and 1 < value <= 10**6, float),
        "give how many times the usual is too much, above 1, as 5",
    ),
    "wait_s": (
        _if(lambda value: _is_number(value) and 0 <= value <= LONGEST_WAIT_S, float),
        f"give seconds from 0 to {LONGEST_WAIT_S:,}",
    ),
    **{name: (_if(words.__contains__), f"it is one of {', '.join(words)}") for name, words in _WORDS.items()},
}
"""What becomes of each value, `None` where it cannot be used, and the way out."""
_OPTIONAL = ("usd", "max_calls", "tags", "model", "spike")
