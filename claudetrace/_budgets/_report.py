"""What there is to say of a budgets' store: each budget as it stands, and the last alerts, grants and channels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from claudetrace._budgets import _connect
from claudetrace._budgets._status import BudgetState, states

if TYPE_CHECKING:
    from claudetrace._budgets._connect import StoreName, View
    from claudetrace._budgets._records import ChannelState, Grant, Raised, Spread, Stored

IDLE = timedelta(days=35)
"""A budget that no program has set for this long, and whose window is empty, is only counted."""
MOST_GRANTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A budget with its state, or with the states of the values of its tag that spent most."""

    stored: Stored
    states: list[BudgetState]
    spread: Spread | None

    @classmethod
    def read(cls, view: View, each: Stored, now: float, top: int) -> Self:
        """The budget in its current window."""
        spread = view.spread(each, each.budget.window(now)) if each.budget.each_tag else None
        return cls(stored=each, states=states(view, each, now, top), spread=spread)

    @property
    def reached(self) -> bool:
        """Whether all of it is spent, by at least one value of its tag."""
        return self.spread.reached > 0 if self.spread is not None else any(each.reached for each in self.states)

    @property
    def blocked_calls(self) -> int:
        """How many calls it has stopped in its window."""
        return self.spread.blocked_calls if self.spread is not None else sum(s.blocked_calls for s in self.states)

    def idle(self, now: datetime) -> bool:
        """Whether it was set long ago and its window is empty."""
        used = self.spread.keys > 0 if self.spread else any(s.spent_calls or s.reserved_calls for s in self.states)
        used |= self.blocked_calls > 0
        return not used and self.stored.used_at < now - IDLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A store at one moment."""

    store: StoreName
    now: datetime
    budgets: list[Shown]
    alerts: list[Raised]
    grants: list[Grant]
    channels: list[ChannelState]
    unusable: dict[str, str]
    """The budgets that cannot be shown, with the reasons."""

    @classmethod
    def read(cls, store: StoreName, now: float, *, top: int, alerts: int, grants: int = MOST_GRANTS) -> Self:
        """Raises `ClaudetraceError` if there is no store."""
        with _connect.view(store) as view:
            return cls(
                store=store,
                now=datetime.fromtimestamp(now, UTC),
                budgets=[Shown.read(view, each, now, top) for each in view.budgets()],
                alerts=view.alerts(alerts),
                grants=view.grants(grants),
                channels=view.channels(now),
                unusable=view.unusable(),
            )

    @property
    def needs_a_look(self) -> bool:
        """Whether all of some budget is spent, or a call was stopped."""
        return any(each.reached or each.blocked_calls for each in self.budgets)
