"""What a report is about, and what comes of it."""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._question import Question
from claudetrace._ledger._rollups import OTHER
from claudetrace._ledger._times import Span, period, span, zone_of
from claudetrace.cli._text import NONE, Column, plain, terminal_width, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

BEFORE = "before"
"""The period before, as `--compare` says it."""
REST = "(rest)"


class Report(NamedTuple):
    """An answer for people and for programs."""

    title: str
    rows: list[dict[str, Any]]
    """For CSV and JSON."""
    more: Mapping[str, Any]
    """What JSON has beside the rows."""
    lines: Callable[[int | None], list[str]] | None
    """The table and its notes on a screen of that width; `None` where there is nothing to show."""


class Asked(NamedTuple):
    """What the report is about, in the user's words."""

    by: tuple[str, ...]
    since: str | None = None
    until: str | None = None
    where: Mapping[str, list[str | None]] = MappingProxyType({})
    timezone: str = "UTC"

    @property
    def span(self) -> Span:
        """Its time. Raises `ClaudetraceError` for words that name none."""
        meant = span(self.since, self.until, zone=zone_of(self.timezone))
        if self.until is not None and meant.until <= meant.since:
            raise ClaudetraceError(
                f"--until {self.until} is not after --since {self.since or 'all'}; give an earlier --since, or all for "
                "every call"
            )
        return meant

    @property
    def span_until_now(self) -> Span:
        """The same, which ends now where no --until is given."""
        meant = self.span
        return meant if self.until is not None else meant._replace(until=datetime.now(meant.since.tzinfo))

    @property
    def question(self) -> Question:
        """The same for the ledger."""
        return Question.of(*self)

    def compared_with(self, said: str) -> Span:
        """The time to compare with: the period before, or the one that `said` names."""
        if self.since is None:
            raise ClaudetraceError("--compare needs a --since: there is no time before all calls")
        if said != BEFORE:
            return period("--compare", said, zone_of(self.timezone))
        return self.span_until_now.before(self.since, self.until)

    def title(self, what: str = "Spend") -> str:
        """What is shown, of which calls, in a sentence."""
        meant = self.span
        head = f"{what} by {', '.join(self.by)}" if self.by else what
        filters = [f"{name}={value or ''}" for name, values in self.where.items() for value in values]
        head += f", where {plain(' and '.join(filters), 200)}" if filters else ""
        since = f"from {meant.since:%Y-%m-%d %H:%M}" if self.since else "from the first call"
        until = f"until {meant.until:%Y-%m-%d %H:%M}" if self.until else "until now"
        return "\n".join(wrapped([f"{head}, {since} {until} ({self.timezone})"], terminal_width()))

    def plain(self) -> dict[str, Any]:
        """The same for JSON."""
        meant = self.span
        return {
            "by": [*self.by],
            "where": {**self.where},
            "since": meant.since.isoformat() if self.since else None,
            "until": meant.until.isoformat() if self.until else None,
            "timezone": self.timezone,
        }


def with_rest(row: dict[str, Any], rest: int) -> dict[str, Any]:
    """`row` for a file, where the rows that `--top` cut are called `(rest)`."""
    return {name: REST if rest and value is None else value for name, value in row.items()}


def key_columns(by: Iterable[str], rows: Iterable[Any]) -> list[Column]:
    """A column for each dimension of the rows, with `total` in the last line."""
    found = [*rows]
    made = [
        Column(name, [*(_name(row, name, number) for row in found), "" if number else "total"], left=True)
        for number, name in enumerate(by)
    ]
    return made or [Column("", ["total"], left=True)]


def _name(row: Any, name: str, number: int) -> str:
    """The value, in quotes where it looks like a word of ours that stands for none or for several."""
    value = row.dimensions[name]
    if rest := getattr(row, "rest", 0):
        return "" if number else f"{REST[:-1]} of {rest:,})"
    if value is None:
        return NONE
    return repr(value) if value in (NONE, OTHER, REST) and not getattr(row, "others", False) else plain(value)


def pruned_notes(before: str | None) -> list[str]:
    """What an answer from the calls lacks, in a sentence."""
    if before is None:
        return []
    return [f"Calls before {before} (UTC) are pruned: what only they could tell is missing here."]
