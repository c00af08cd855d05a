"""Batches of many customers under budgets in a PostgreSQL database: the same tests as on a file."""

from __future__ import annotations

import test_batches_of_many
from test_batches_of_many import server  # noqa: F401 - the fixture
from test_calls_on_postgres import start  # noqa: F401 - the fixture

ON_BOTH = (
    "test_each_item_is_reserved_for_its_customer",
    "test_results_take_what_was_reserved",
    "test_results_are_for_whom_they_are_read",
    "test_a_customer_without_room_stops_the_batch",
)
globals().update({name: getattr(test_batches_of_many, name) for name in ON_BOTH})
