"""Threads of a process that stream under one budget, and leave every third stream at its first event."""

from __future__ import annotations

import itertools
from typing import Any

import anthropic
from _callers import ASK, on_threads

import claudetrace

CAP_USD = "0.30"


def budget(cut_streams: Any) -> claudetrace.Budget:
    return claudetrace.Budget(
        "cap", usd=CAP_USD, per="total", on_exceeded="block", cut_streams=cut_streams, thresholds=(), forecast=False
    )


def run(db: str, url: str, cut_streams: str, callers: int) -> None:
    """Streams until the budget has no room for one more, whatever still runs."""
    claudetrace.instrument(db=db, budgets=[budget(cut_streams)], metrics=False, spans="off")
    client, numbers = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0), itertools.count()

    def call_on() -> None:
        while True:
            try:
                with client.messages.create(**ASK, stream=True) as stream:
                    if next(numbers) % 3:
                        list(stream)
                    else:
                        next(iter(stream))
            except claudetrace.BudgetExceeded as error:
                if not error.reserved_usd:
                    return

    on_threads(callers, call_on)
    claudetrace.uninstrument()
