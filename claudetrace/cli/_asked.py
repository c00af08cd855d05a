"""`Asked`: what a report is of, as a person said it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._errors import ClaudetraceError
from claudetrace.cli._tables import plain, terminal_width, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._ledger._read import Ledger
    from claudetrace._ledger._times import Span


class Asked(NamedTuple):
    """What the report is of."""

    by: tuple[str, ...]
    since: str | None = None
    until: str | None = None
    where: Mapping[str, list[str | None]] = MappingProxyType({})
    timezone: str = "UTC"

    @property
    def span(self) -> Span:
        """Its time. Raises `ClaudetraceError` where that is none."""
        from claudetrace._ledger._times import span, zone_of

        meant = span(self.since, self.until, zone=zone_of(self.timezone))
        if self.until is not None and meant.until <= meant.since:
            raise ClaudetraceError(
                f"--until {self.until} is not after --since {self.since or 'all'}; give an earlier --since, or all for "
                "every call"
            )
        return meant

    def title(self, what: str = "Spend") -> str:
        """What is shown, of what and when, on a line."""
        meant = self.span
        head = f"{what} by {', '.join(self.by)}" if self.by else what
        filters = [f"{name}={value or ''}" for name, values in self.where.items() for value in values]
        head += f", where {plain(' and '.join(filters), 200)}" if filters else ""
        since = f"from {meant.since:%Y-%m-%d %H:%M}" if self.since else "from the first call"
        until = f"until {meant.until:%Y-%m-%d %H:%M}" if self.until else "until now"
        return "\n".join(wrapped([f"{head}, {since} {until} ({self.timezone})"], terminal_width()))


def nothing(ledger: Ledger, asked: Asked) -> str:
    """Why no row is shown, and the way out."""
    newest = ledger.calls(limit=1)
    if not newest:
        return f"The ledger {ledger.path} has no calls yet."
    if asked.where and ledger.spend((), asked.since, asked.until)[0].responses:
        return "No call in that time passes the filters: values are compared letter by letter."
    at = f"{newest[0].started_at:%Y-%m-%d %H:%M} UTC"
    way_out = "give a later --until" if asked.since is None else "try --since all"
    return f"No calls in that time. The newest call of {ledger.path} is of {at}: {way_out}."
