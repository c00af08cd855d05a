"""Threads and tasks of the standard library: what carries tags, and what `tagged()` is for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import anthropic

import claudetrace

from ._api import ASK

Users = Callable[[], list[str | None]]


def test_a_pool_knows_the_block_by_a_copy_of_its_context(client: anthropic.Anthropic, users: Users) -> None:
    """`copy_context().run` takes a block's tags into a pool's thread; a bare `submit` does not."""
    with ThreadPoolExecutor(4) as pool:
        for number in range(6):
            with claudetrace.tag(user=f"u{number}"):
                pool.submit(copy_context().run, lambda: client.messages.create(**ASK)).result()
        with claudetrace.tag(user="lost"):
            pool.submit(lambda: client.messages.create(**ASK)).result()

    assert users() == [f"u{number}" for number in range(6)] + [None]


def test_a_pool_knows_a_tagged_client(client: anthropic.Anthropic, users: Users) -> None:
    """A tagged client takes its tags into any thread, without a copy of the context."""

    def work(number: int) -> None:
        claudetrace.tagged(client, user=f"u{number}").messages.create(**ASK)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(20)))

    assert sorted(map(str, users())) == sorted(f"u{number}" for number in range(20))


async def test_gathered_tasks_keep_their_own_tags(async_client: anthropic.AsyncAnthropic, users: Users) -> None:
    """Fifty tasks at once, each with a block and a scope of its own, do not mix."""

    async def work(number: int) -> int:
        with claudetrace.tag(user=f"u{number}") as scope:
            await async_client.messages.create(**ASK)
            await asyncio.sleep(0)
            async for _ in await async_client.messages.create(**ASK, stream=True):
                pass
        return scope.calls

    with claudetrace.tag(feature="all") as every:
        calls = await asyncio.gather(*map(work, range(50)))

    assert (calls, every.calls) == ([2] * 50, 100)
    assert sorted(map(str, users())) == sorted(f"u{number}" for number in range(50) for _ in range(2))


async def test_to_thread_knows_the_block(client: anthropic.Anthropic, users: Users) -> None:
    """`asyncio.to_thread` copies the context itself."""
    with claudetrace.tag(user="u"):
        await asyncio.to_thread(client.messages.create, **ASK)

    assert users() == ["u"]
