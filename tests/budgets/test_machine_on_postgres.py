"""The store on a PostgreSQL server against the model that the one in a file is held to."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, ClassVar

from _serving import Served, ServerClock, at_once
from hypothesis import Phase, settings
from test_machine import LIMIT, MOST_CALLS, Budgets

from claudetrace._budgets._budget import Budget

if TYPE_CHECKING:
    import pytest
    from _postgres import Server


NUMBERS = count()
EXAMPLES = int(os.environ.get("EXAMPLES", "5"))


class OnServer(Budgets):
    """The same calls, deaths and rows."""

    server: ClassVar[Server]

    def __init__(self) -> None:
        self.url = self.server.url("claudetrace")
        self.server_clock = ServerClock(self.url)
        # What an earlier machine left is charged to its own budget.
        machine = next(NUMBERS)
        self.name = f"b{machine}"
        super().__init__()
        self.number = 1000 * machine

    def keeper(self) -> Served:
        budget = Budget(
            self.name, usd=LIMIT, max_calls=MOST_CALLS, per="day", on_exceeded="block", on_store_error="closed"
        )
        return Served([budget], self.url, guard=self.guard, clock=self.clock)

    def teardown(self) -> None:
        super().teardown()
        self.server_clock.close()


def test_sums_are_right_in_any_order_of_events(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a budget has spent and reserved is what its calls have."""
    at_once(monkeypatch)
    OnServer.server = postgres
    machine = OnServer.TestCase()
    machine.settings = settings(max_examples=EXAMPLES, stateful_step_count=20, deadline=None, phases=[Phase.generate])
    machine.runTest()
