"""Async calls under budgets that stop them."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _asking import ASK, COST_USD, HELLO, block, locked, state, until

import claudetrace
from claudetrace._demo import _answers
from claudetrace._instrument import running

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._demo._server import PlayServer


async def test_a_call_cancelled_while_it_waits_leaves_nothing_reserved(
    async_client: anthropic.AsyncAnthropic, server: PlayServer, db: Path, start: Any, ledger: Any
) -> None:
    """It has one row, `cancelled`, that costs nothing, no request left, and it is no call of the budget's."""
    start(budgets=[block()])
    with locked(f"{db}.budgets"):
        asked = asyncio.create_task(async_client.messages.create(**ASK))
        await asyncio.sleep(0.1)
        assert not asked.done()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    (row,) = ledger()
    assert (row.outcome, row.error_type, row.cost_usd) == ("cancelled", None, 0)
    now = state()
    assert (now.reserved_usd, now.reserved_calls, now.spent_usd, now.spent_calls) == (0, 0, 0, 0)
    assert server.requests == []


async def test_of_many_at_once_as_many_go_as_there_is_room_for(
    async_client: anthropic.AsyncAnthropic, server: PlayServer, start: Any
) -> None:
    """Of 40 tasks on 10 calls, 10 are answered."""
    start(budgets=[block(max_calls=10)])
    server.add(_answers.answer(HELLO, times=None, delay_s=0.02))
    came = await asyncio.gather(*(async_client.messages.create(**ASK) for _ in range(40)), return_exceptions=True)

    assert sum(isinstance(one, claudetrace.BudgetExceeded) for one in came) == 30
    assert len(server.requests) == 10
    assert (state().spent_calls, state().spent_usd) == (10, 10 * COST_USD)


def test_an_async_client_on_another_event_loop_than_asyncios_is_admitted(
    server: PlayServer, start: Any, ledger: Any
) -> None:
    """Where no loop of asyncio runs, as under trio, the call is admitted and stopped all the same."""
    start(budgets=[block(max_calls=1)])
    client = anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0)
    from claudetrace._seam import _patch

    async def answered() -> str:
        return "an answer"

    async def ask() -> Any:
        return await client.messages.create(**ASK)

    def sent(*_: Any, **__: Any) -> Any:
        return answered()

    place = next(
        place
        for (owner, name), place in _patch._installed.items()
        if (owner.__name__, name) == ("AsyncAPIClient", "request")
    )
    place.ours.__wrapped__ = sent
    try:
        assert _driven(ask()) == "an answer"
        with pytest.raises(claudetrace.BudgetExceeded):
            _driven(ask())
    finally:
        place.ours.__wrapped__ = place.original


def _driven(coroutine: Any) -> Any:
    """What a coroutine gives that waits for nothing, without any event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited for an event loop")


async def test_a_fault_of_ours_while_a_call_is_admitted_reaches_nobody(
    client: anthropic.Anthropic,
    async_client: anthropic.AsyncAnthropic,
    server: PlayServer,
    start: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call goes on without a reservation, and the failure is counted."""
    meter = start(budgets=[block()])
    server.add(_answers.answer(HELLO, times=None))

    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(running()._parts.budgets._admission, "_prepare", fail)  # type: ignore[union-attr]
    await async_client.messages.create(**ASK)
    await asyncio.to_thread(client.messages.create, **ASK)

    assert sum(meter.health.failures.values()) == 2
    assert state().spent_usd == 2 * COST_USD


async def test_the_loop_goes_on_while_the_store_is_held(
    async_client: anthropic.AsyncAnthropic, server: PlayServer, db: Path, start: Any
) -> None:
    """Other tasks run while calls wait for their reservations."""
    start(budgets=[block()])
    server.add(_answers.answer(HELLO, times=None))
    with locked(f"{db}.budgets"):
        waiting = [asyncio.create_task(async_client.messages.create(**ASK)) for _ in range(64)]
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)
    assert state().spent_calls == 64


async def test_a_stream_that_ends_in_another_context_is_settled(
    async_client: anthropic.AsyncAnthropic, server: PlayServer, start: Any
) -> None:
    """Read by a task without its context, and closed in another thread's loop."""
    start(budgets=[block()])
    server.add(_answers.stream(HELLO))
    stream = await async_client.messages.create(**ASK, stream=True)

    async def read() -> int:
        return len([event async for event in stream])

    assert await asyncio.get_running_loop().create_task(read(), context=Context()) > 3
    await asyncio.to_thread(until, lambda: state().reserved_calls == 0)
    assert state().spent_usd == COST_USD
