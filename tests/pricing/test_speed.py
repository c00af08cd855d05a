"""What a price costs the caller's thread, in CPU time, the best of several rounds."""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING

import pytest

from claudetrace._pricing import Terms, price_response
from claudetrace._usage import usage_columns

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = {
    "input_tokens": 1000,
    "cache_creation_input_tokens": 5000,
    "cache_read_input_tokens": 4000,
    "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 3000},
    "output_tokens": 500,
    "service_tier": "standard",
    "inference_geo": "global",
}
TURN = {"input_tokens": 500, "output_tokens": 250, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
ITERATED = {
    **PLAIN,
    "iterations": [
        {**TURN, "type": "compaction"},
        {**TURN, "type": "message"},
        {**TURN, "type": "advisor_message", "model": "claude-fable-5-2"},
        {**TURN, "type": "message"},
    ],
}


def best_us(act: Callable[[], object]) -> float:
    """The microseconds of `act` in the best of 15 rounds: other work on the machine only slows rounds."""
    rounds = []
    for _ in range(15):
        start = process_time()
        for _ in range(500):
            act()
        rounds.append((process_time() - start) / 500 * 1e6)
    return min(rounds)


@pytest.mark.parametrize(("usage", "most_us"), [(PLAIN, 8), (ITERATED, 40)], ids=["plain", "iterations"])
def test_a_price_is_quick(usage, most_us):
    """A plain response is priced within 8 µs, one with iterations within 40 µs."""
    columns = usage_columns(usage)

    def act() -> object:
        return price_response(
            usage,
            columns,
            model="claude-opus-5-5",
            model_requested="claude-opus-5-5",
            stop_reason="end_turn",
            day="2026-11-20",
            terms=Terms(platform="anthropic"),
        )

    assert best_us(act) < most_us


def test_the_columns_of_a_price_are_quick():
    """The parts of a plain response are JSON within 3 µs."""
    found = price_response(PLAIN, usage_columns(PLAIN), model="claude-opus-5-5", day="2026-11-20", terms=Terms())

    assert best_us(found.parts_json) < 3
