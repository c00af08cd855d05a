"""What calls can be grouped and filtered by: each name, its SQL, and which sums have it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from claudetrace._call import RESERVED_TAGS
from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._measures import TAG_COLUMNS
from claudetrace._ledger._views import AS_THEY_ARE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

By: TypeAlias = "str | Iterable[str] | None"
Where: TypeAlias = "Mapping[str, str | Iterable[str | None] | None]"

MOST = 3
"""How many dimensions one question has."""
IN_SUMS = {name: name for name in ("model", "platform", "feature")}
IN_HOURS = {
    "operation": "operation",
    "outcome": "outcome",
    "stop_reason": "CASE WHEN outcome = 'ok' THEN reason END",
    "error_type": "CASE WHEN outcome <> 'ok' THEN reason END",
}
IN_CALLS = {
    "session": "session_id",
    "flags": "cost_flags",
    "cost_status": "cost_status",
    **{name.removesuffix("_id"): name for name in AS_THEY_ARE},
}
CALENDAR = ("hour", "day", "week", "month")
COLUMNS = {**IN_SUMS, **IN_HOURS, **TAG_COLUMNS, **IN_CALLS}
"""Each dimension that is no tag of the user's and no time, as SQL over `measured_calls` and the sums that have it."""
NAMES = (
    *("model", "model_requested", "feature", "customer", "user", "session", "prompt", "operation", "outcome"),
    *("stop_reason", "error_type", "platform", "service", "environment", "instance", "workspace", "organization"),
    *("source", "server_address", "project", "agent", "billing", "flags", "cost_status"),
    *CALENDAR,
)
FREE_TAG = "tag:"
VALUE_OF_FREE_TAG = "(SELECT free.value FROM json_each(tags) AS free WHERE free.key = ?)"


class Dimension(NamedTuple):
    """One name that calls are grouped or filtered by."""

    name: str

    @property
    def tag(self) -> str | None:
        """The tag of which there are sums by value, if it is one."""
        free = self.name.startswith(FREE_TAG)
        return self.name.removeprefix(FREE_TAG) if free else self.name if self.name in TAG_COLUMNS else None

    @property
    def is_calendar(self) -> bool:
        """Whether it is a unit of time."""
        return self.name in CALENDAR

    def sql(self) -> tuple[str, list[str]]:
        """Its value for a row of `measured_calls`, or of sums that have it, and the parameters of that."""
        if self.name.startswith(FREE_TAG):
            return VALUE_OF_FREE_TAG, [self.name.removeprefix(FREE_TAG)]
        return COLUMNS[self.name], []


class Filter(NamedTuple):
    """Which values of a dimension are asked for, or left out. Empty text stands for none."""

    dimension: Dimension
    values: tuple[str, ...]
    negated: bool

    def sql(self, value: str, parameters: list[str]) -> tuple[str, list[str]]:
        """The condition on `value`, which is SQL with these parameters, and all parameters of it."""
        places = ", ".join("?" * len(self.values))
        # A plain comparison where it can be, which an index answers.
        asked = f"COALESCE({value}, '')" if self.negated or "" in self.values else value
        return f"{asked} {'NOT ' * self.negated}IN ({places})", [*parameters, *self.values]


def dimensions(by: By) -> tuple[Dimension, ...]:
    """Those that `by` names: one, several, or none. Raises `ClaudetraceError`, with the nearest right name."""
    named = () if by is None else (by,) if isinstance(by, str) else tuple(by)
    found = tuple(dict.fromkeys(map(dimension, named)))
    if len(found) > MOST:
        raise ClaudetraceError(f"by names {len(found)} dimensions; give {MOST} at most, and filters for the others")
    return found


def filters(where: Where) -> tuple[Filter, ...]:
    """What `where` asks for: a name with a value, with several, or with `None` for what has none. A name that ends in
    `!` asks for all others. Raises `ClaudetraceError`."""
    found = []
    for said, value in where.items():
        negated = said.endswith("!")
        values = (value,) if value is None or isinstance(value, str) else tuple(value)
        named = dimension(said.removesuffix("!"))
        found.append(Filter(named, tuple("" if each is None else str(each) for each in values), negated))
    return tuple(found)


def dimension(name: str) -> Dimension:
    """The dimension of that name. Raises `ClaudetraceError`."""
    tag = name.removeprefix(FREE_TAG)
    if tag in RESERVED_TAGS:
        return Dimension(tag)
    if name in NAMES or (tag and tag != name):
        return Dimension(name)
    near = get_close_matches(name.strip().lower().replace(" ", "_").replace("-", "_"), NAMES, n=1, cutoff=0.75)
    if near:
        raise ClaudetraceError(f"{name}: did you mean {near[0]}? Tags of your own are tag:KEY, as tag:workflow")
    raise ClaudetraceError(f"{name!r} is none of {', '.join(NAMES)}; did you mean tag:{tag or 'workflow'}?")
