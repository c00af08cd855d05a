"""`Budget(per="run")` blocks that end elsewhere than they began."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _asking import ASK, COST_USD, HELLO

import claudetrace
from claudetrace._demo import _answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from claudetrace._demo._server import PlayServer

ONE_CALL = claudetrace.Budget(max_calls=1, per="run")


@pytest.fixture(autouse=True)
def meter(start: Any, server: PlayServer) -> None:
    start()
    server.add(_answers.answer(HELLO, times=None))


async def test_a_run_of_a_generator_left_by_break_stops_no_later_call(async_client: anthropic.AsyncAnthropic) -> None:
    """Calls after the generator's end are in no run; a task that began inside is in it and is stopped by it."""
    runs: list[Any] = []

    async def lines() -> AsyncIterator[int]:
        with ONE_CALL as run:
            runs.append(run)
            await async_client.messages.create(**ASK)
            yield 1

    async def background() -> None:
        await asyncio.sleep(0.02)
        await async_client.messages.create(**ASK)

    async for _ in lines():
        task = asyncio.create_task(background())
        break
    await asyncio.sleep(0.01)
    await async_client.messages.create(**ASK)
    with pytest.raises(claudetrace.BudgetExceeded):
        await task

    assert [(run.calls, run.spent_usd) for run in runs] == [(1, COST_USD)]


def test_a_run_of_a_generator_closed_in_another_thread_is_over(client: anthropic.Anthropic) -> None:
    """Its run takes no call of the thread that began it, and a new run of the same budget begins at nothing."""

    def lines() -> Iterator[int]:
        with ONE_CALL:
            client.messages.create(**ASK)
            yield 1

    first = lines()
    next(first)
    thread = threading.Thread(target=first.close)
    thread.start()
    thread.join()
    client.messages.create(**ASK)
    with ONE_CALL as run:
        client.messages.create(**ASK)

    assert (run.calls, run.spent_usd, run.left_usd) == (1, COST_USD, None)


def test_each_entry_of_one_budget_is_a_run_of_its_own(client: anthropic.Anthropic) -> None:
    """Inside a block of the same budget, the end of a generator takes its own run and leaves the block's."""
    budget = claudetrace.Budget(usd=1, per="run")
    runs: list[Any] = []

    def lines() -> Iterator[int]:
        with budget as run:
            runs.append(run)
            yield 1

    generator = lines()
    next(generator)
    with budget as block:
        client.messages.create(**ASK)
        generator.close()
        client.messages.create(**ASK)
    client.messages.create(**ASK)

    assert (runs[0].spent_usd, block.spent_usd) == (COST_USD, 2 * Decimal(COST_USD or 0))
