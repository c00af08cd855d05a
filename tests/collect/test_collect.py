"""`claudetrace collect`: what programs record on their hosts is in one ledger, once each, to the picodollar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import claudetrace
from claudetrace._demo import _answers

from .collecting import Collecting, ask, wait_for

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def test_each_call_is_in_the_central_ledger_as_it_is_on_its_host(
    collecting: Callable[..., Collecting], server: Any, client: Any, db: Path
) -> None:
    """A call recorded with `records="otlp"` is a row of the central ledger, equal in every column."""
    collector = collecting()
    server.add(_answers.answer(times=None))
    with claudetrace.instrument(db=db, records="otlp", otlp=collector.url, spans="off", metrics=False, force=True):
        with claudetrace.tag(customer="acme", workflow="refund"):
            for _ in range(3):
                client.messages.create(**ASK)
        assert claudetrace.flush(timeout_s=30)
        wait_for(lambda: len(collector.ids()) == 3)
        both = "SELECT * FROM calls ORDER BY id"
        assert ask(collector.db, both) == ask(db, both)
    assert collector.get("/readyz") == (200, "3 records taken, 0 rejected\n")
    collector.end()
    with claudetrace.Ledger(db) as one, claudetrace.Ledger(collector.db) as other:
        assert other.spend(by="customer") == one.spend(by="customer")
