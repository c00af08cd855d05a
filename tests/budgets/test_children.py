"""Processes that multiprocessing starts, and a batch whose results another process reads, under one budget."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _asking import ASK, COST_USD, HELLO, block, state, until

import claudetrace
from claudetrace._demo import _answers
from tests.processes._running import outside_pytest

if TYPE_CHECKING:
    import anthropic

    from claudetrace._demo._server import PlayServer


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_children_of_multiprocessing_share_the_budget(method: str, server: PlayServer, db: Path, start: Any) -> None:
    """One call of the parent and nine of its three children: seven are let through, and nothing stays reserved."""
    server.add(_answers.answer(HELLO, times=None))
    command = [sys.executable, str(Path(__file__).with_name("_children.py")), method, str(db), server.url]
    ran = subprocess.run(command, env=outside_pytest(), capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout.split() == ["3"]
    # Whichever child was stopped first says so.
    assert ran.stderr.count("\n") == ran.stderr.count('Budget "cap" has stopped') <= 1
    assert len(server.requests) == 7
    start(budgets=[block(max_calls=7)])
    until(lambda: (state().spent_usd, state().spent_calls, state().reserved_calls) == (7 * COST_USD, 7, 0))


READS = """
import sys
import anthropic, claudetrace
budget = claudetrace.Budget("cap", usd=1000, per="total", on_exceeded="block", forecast=False)
claudetrace.instrument(db=sys.argv[1], budgets=[budget])
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[2], max_retries=0)
print(len(list(client.messages.batches.results("batch_1"))))
"""


def test_a_batch_is_settled_by_the_process_that_reads_it(
    client: anthropic.Anthropic, server: PlayServer, db: Path, start: Any
) -> None:
    """Whoever made it holds what it may cost; its results, read elsewhere, take the place of that."""
    start(budgets=[block()])
    server.add(*_answers.batch("batch_1", {f"c{number}": HELLO for number in range(4)}))
    client.messages.batches.create(requests=[{"custom_id": f"c{number}", "params": ASK} for number in range(4)])
    assert (state().spent_calls, state().reserved_calls) == (0, 4)
    command = [sys.executable, "-c", READS, str(db), server.url]
    ran = subprocess.run(command, env=outside_pytest(), capture_output=True, text=True, timeout=60, check=True)
    assert (ran.stdout.split(), ran.stderr) == (["4"], "")

    now = state()
    assert (now.spent_usd, now.spent_calls, now.reserved_usd, now.reserved_calls) == (2 * COST_USD, 4, 0, 0)
    list(client.messages.batches.results("batch_1"))
    assert (state().spent_usd, state().spent_calls) == (2 * COST_USD, 4)
    with claudetrace.Ledger(db) as ledger:
        assert sum(call.cost_usd for call in ledger.calls()) == 2 * COST_USD
