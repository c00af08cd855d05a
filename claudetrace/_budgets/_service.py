"""`BudgetService`: all that runs behind `budgets=` and `alert_to=`."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any

from claudetrace._alerts._rules import Rules
from claudetrace._alerts._sender import EXIT_S, Sender
from claudetrace._budgets._aside import Aside
from claudetrace._budgets._gate import Gate
from claudetrace._budgets._keeper import Keeper
from claudetrace._budgets._observing import Observed
from claudetrace._exit import exit_left_s
from claudetrace._forks import is_before_forks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from claudetrace._alerts._alert import Alert
    from claudetrace._alerts._channels import Channel
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._states import BudgetState
    from claudetrace._budgets._windows import Window
    from claudetrace._call import Row
    from claudetrace._guard import Guard

REPLACED_S = 12.0
"""How long a meter that is replaced waits with its last rows for a store that is just made: counted later, they would
be in what the store begins with and beside it."""
COUNT_S = 0.05
"""How long the ledger waits for new rows to be counted. A store that takes longer counts them while it goes on."""


class BudgetService:
    """The keeper of the store, the rules of alerts and their sender. Made before the loader, started with it."""

    def __init__(
        self,
        budgets: Sequence[Budget],
        store: Path | None,
        channels: Sequence[Channel],
        *,
        guard: Guard,
        service: str,
        spent_before: Callable[[Budget, Window], Mapping[str, tuple[int, int]]] | None,
    ) -> None:
        self._guard = guard
        self._closed = False
        self._aside = Aside(guard)
        self.keeper: Keeper | None = None
        if store is not None:
            self.keeper = Keeper(budgets, store, guard=guard, spent_before=spent_before, on_alert=self._send)
        outbox = None if self.keeper is None else self.keeper.outbox
        self.sender = Sender(channels, guard=guard, service=service, outbox=outbox)
        self.rules = Rules(
            budgets,
            raise_alert=self.sender.raise_alert,
            guard=guard,
            spent=None if self.keeper is None else self.keeper.spent,
        )
        self.gate = Gate(self.keeper, self.rules)
        self.observed = Observed(budgets, store, guard)
        # Before the loader's own, so that it runs after: what the last rows say is still counted.
        atexit.register(self._close_at_exit)

    def start(self) -> None:
        """Opens the store, so that what is wrong with it is told now and not at a call. Never raises."""
        if is_before_forks():
            # Each worker opens it for itself.
            return
        if self.keeper is not None:
            with self._guard(f"open the budgets' store {self.keeper.path}"):
                self.keeper.open()
        with self._guard("start the sender of alerts"):
            self.sender.start()

    def count(self, rows: list[Row]) -> None:
        """Takes new rows of the ledger into account, before they are committed there: each is offered until it is.
        Whatever the store does, this takes moments."""
        if (keeper := self.keeper) is None:
            return
        number, was_behind = keeper.number_offer(), self._aside.behind
        counted = self._aside.do(lambda: keeper.offer(rows, number))
        counted.wait(0.0 if was_behind else COUNT_S)
        keeper.number_offer()

    def count_aside(self, rows: list[Row]) -> None:
        """As `count`, for rows of the meter that this one replaces, on that one's thread."""
        if (keeper := self.keeper) is not None and not self._closed:
            self._aside.do(lambda: keeper.offer_aside(rows)).wait(REPLACED_S)

    def look(self, rows: list[Row]) -> None:
        """Looks for what to alert of in rows that are in the ledger."""
        self._aside.do(lambda: self.rules.rows(rows))

    def tick(self, lost: int) -> None:
        """To be called every second or so, on the loader's thread."""
        if not self._aside.behind:
            self._aside.do(lambda: self._look_after(lost))

    def _look_after(self, lost: int) -> None:
        if self.keeper is not None:
            self.keeper.tend()
        self.rules.tick(lost)

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was handed over before is looked at. Blocks at most `timeout_s`."""
        return self._aside.wait(timeout_s)

    def status(self) -> list[BudgetState]:
        """Each budget now."""
        return [] if self.keeper is None else self.keeper.status()

    def close(self, timeout_s: float = EXIT_S) -> None:
        """Ends the sender, after `timeout_s` at the latest, and lets go of the store."""
        self._closed = True
        atexit.unregister(self._close_at_exit)
        self._aside.wait(timeout_s)
        self.sender.close(timeout_s)
        if self.keeper is not None:
            self.keeper.close()

    def _close_at_exit(self) -> None:
        self.close(min(EXIT_S, exit_left_s()))

    def _send(self, alert: Alert, stored_as: str | None) -> None:
        self.sender.send(alert, stored_as)


def before_of(read: Callable[..., dict[str, tuple[int, int]]], ledger: Path) -> Callable[[Budget, Window], Any]:
    """What asks the ledger, by its function `read`, for a budget's spend in a window."""
    from claudetrace._budgets._budget import EACH

    def spent(budget: Budget, window: Window) -> Any:
        return read(
            ledger, start_s=window.start, end_s=window.end, model=budget.model, tags=budget.tags or {}, each=EACH
        )

    return spent
