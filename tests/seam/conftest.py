"""What the seam's tests share: a ledger of their own, and its rows without what differs from run to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import claudetrace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OF_THE_RUN = {"id", "call_id", "started_at", "duration_ms", "response_ms", "time_to_first_token_ms", "request_bytes"}
OF_THE_HOST = {"service", "environment", "instance", "trace_id", "span_id"}
OF_THE_PRICE = {
    *("cost_picousd", "cost_usd", "cost_parts", "spend_picousd", "pricing_terms"),
    *("cache_saved_picousd", "rates_version"),
}
LEFT_OUT = OF_THE_RUN | OF_THE_HOST | OF_THE_PRICE


class Meter:
    """A running `instrument()` and what it has recorded."""

    def __init__(self, db: Path) -> None:
        self.db = db
        self.instrumentation = claudetrace.instrument(db=db)

    def calls(self) -> list[claudetrace.Call]:
        """What the ledger has, in the order of its being written."""
        assert claudetrace.flush(10)
        if not self.db.exists():
            # It is made with the first row.
            return []
        ledger = claudetrace.Ledger(self.db)
        written = [row["id"] for row in ledger.db.query("SELECT id FROM calls ORDER BY rowid")]
        return sorted(ledger.calls(limit=100_000), key=lambda call: written.index(call.id))

    def rows(self) -> list[dict[str, Any]]:
        """The calls as dicts of what is known, with calls numbered from 1."""
        numbers: dict[str, int] = {}
        calls = self.calls()
        for call in calls:
            numbers.setdefault(call.call_id, len(numbers) + 1)
        return [row_of(call) | {"call": numbers[call.call_id]} for call in calls]

    def check(self, failures: dict[str, int] | None = None) -> None:
        """Nothing of ours failed but these, nothing was lost, and each call has its first row."""
        health = self.instrumentation.health
        assert (dict(health.failures), health.lost, health.pending) == (failures or {}, 0, 0)
        calls = self.calls()
        assert {call.call_id for call in calls} == {call.id for call in calls if call.id == call.call_id}


def row_of(call: claudetrace.Call) -> dict[str, Any]:
    """What a call says that is not of the clock, the host or the price."""
    columns = {name: getattr(call, name) for name in call.__slots__ if name not in LEFT_OUT}
    return {name: value for name, value in columns.items() if value is not None and value != {}}


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    """A meter that runs for one test."""
    claudetrace.uninstrument()
    running = Meter(tmp_path / "ledger.db")
    with running.instrumentation:
        yield running


@pytest.fixture
def start_meter(tmp_path: Path) -> Iterator[Any]:
    """Starts the meter when the test wants it."""
    claudetrace.uninstrument()
    yield lambda: Meter(tmp_path / "ledger.db")
    claudetrace.uninstrument()
