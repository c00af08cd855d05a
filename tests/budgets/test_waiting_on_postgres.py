"""Calls that wait for room, on a PostgreSQL server: the same tests as on a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import test_waiting
from _serving import Served, end_all
from test_waiting import waits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claudetrace._guard import Guard

ON_BOTH = (
    "test_a_call_waits_until_a_running_one_settles",
    "test_two_hundred_tasks_are_admitted_in_order",
    "test_two_hundred_cancelled_tasks_leave_nothing",
    "test_a_small_call_does_not_pass_a_large_one",
    "test_what_is_spent_is_not_waited_for",
)
globals().update({name: getattr(test_waiting, name) for name in ON_BOTH})


@pytest.fixture
def kept(database: str, guard: Guard) -> Iterator[Served]:
    made = Served([waits(), waits("user", usd=4, tags={"user": "*"})], database, guard=guard)
    yield made
    end_all([made])


@pytest.fixture
def brief(database: str, guard: Guard) -> Iterator[Served]:
    made = Served([waits(wait_s=1)], database, guard=guard)
    yield made
    end_all([made])
