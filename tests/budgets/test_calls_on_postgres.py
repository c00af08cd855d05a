"""Calls of the SDK under budgets in a PostgreSQL database: the same tests as on a file."""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import test_calls
from _serving import at_once

import claudetrace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ON_BOTH = (
    "test_streams_settle_at_what_they_cost_wherever_they_end",
    "test_a_batch_reserves_until_its_results_are_read",
)
globals().update({name: getattr(test_calls, name) for name in ON_BOTH})


@pytest.fixture
def start(db: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    at_once(monkeypatch)
    yield partial(claudetrace.instrument, db=db, budget_store=database, force=True)
    gc.collect()
    claudetrace.uninstrument()
