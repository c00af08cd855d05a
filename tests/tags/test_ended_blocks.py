"""Blocks that end elsewhere than they began: out of force where they were entered, in force for who inherited them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import anthropic
import pytest

import claudetrace
from claudetrace._entries import Entry

from ._api import HELLO_USD, say, say_async
from .conftest import Tags

ACME = {"customer": "acme"}
SHARED = claudetrace.tag(customer="acme")


@pytest.fixture(autouse=True)
def meter(start: Callable[..., claudetrace.Instrumentation]) -> claudetrace.Instrumentation:
    return start()


def in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def plain() -> AsyncIterator[int]:
    with claudetrace.tag(customer="acme"):
        yield 1
        yield 2


async def shared() -> AsyncIterator[int]:
    with SHARED:
        yield 1
        yield 2


async def stacked() -> AsyncIterator[int]:
    with ExitStack() as stack:
        stack.enter_context(claudetrace.tag(customer="acme"))
        yield 1
        yield 2


async def managed() -> AsyncIterator[int]:
    @asynccontextmanager
    async def acme() -> AsyncIterator[None]:
        with claudetrace.tag(customer="acme"):
            yield

    async with acme():
        yield 1
        yield 2


KINDS = pytest.mark.parametrize("lines", [plain, shared, stacked, managed])


@KINDS
async def test_an_async_generator_left_by_break_leaves_no_tags(
    lines: Callable[[], AsyncIterator[int]], async_client: anthropic.AsyncAnthropic, tags: Tags
) -> None:
    """Once the loop has finalized it in a task of its own, its caller's calls bear none of its tags."""
    async for _ in lines():
        break
    await asyncio.sleep(0.01)
    await say_async(async_client)

    assert tags() == [{}]


@KINDS
async def test_what_begins_after_the_end_does_not_inherit_it(
    lines: Callable[[], AsyncIterator[int]],
    async_client: anthropic.AsyncAnthropic,
    client: anthropic.Anthropic,
    tags: Tags,
) -> None:
    """A task or a thread that the caller starts after the generator's end bears none of its tags."""
    async for _ in lines():
        break
    await asyncio.sleep(0.01)
    await asyncio.create_task(say_async(async_client))
    await asyncio.to_thread(say, client)

    assert tags() == [{}, {}]


@KINDS
async def test_a_task_that_was_started_inside_keeps_the_tags(
    lines: Callable[[], AsyncIterator[int]], async_client: anthropic.AsyncAnthropic, tags: Tags
) -> None:
    """Work that inherited the block while it was open is the block's, however its generator ends."""
    ended = asyncio.Event()

    async def background() -> None:
        await ended.wait()
        await say_async(async_client)
        await asyncio.create_task(say_async(async_client))

    async for _ in lines():
        task = asyncio.create_task(background())
        break
    await asyncio.sleep(0.01)
    ended.set()
    await task
    await say_async(async_client)

    assert tags() == [ACME, ACME, {}]


async def test_other_blocks_around_and_inside_stay_in_force(async_client: anthropic.AsyncAnthropic, tags: Tags) -> None:
    """The end of a generator takes its own tags alone, from among blocks that were entered before and after it."""
    with claudetrace.tag(user="outer", customer="globex") as outer:
        lines = plain()
        await anext(lines)
        with claudetrace.tag(feature="inner") as inner:
            await say_async(async_client)
            del lines
            await asyncio.sleep(0.01)
            await say_async(async_client)
        await say_async(async_client)
    await say_async(async_client)

    assert tags() == [
        {"user": "outer", "customer": "acme", "feature": "inner"},
        {"user": "outer", "customer": "globex", "feature": "inner"},
        {"user": "outer", "customer": "globex"},
        {},
    ]
    assert (outer.calls, inner.calls, outer.cost_usd) == (3, 2, 3 * HELLO_USD)


async def test_generators_of_one_scope_end_one_by_one(async_client: anthropic.AsyncAnthropic, tags: Tags) -> None:
    """Of many tasks inside one shared block, each loses the tags when its own generator ends, and no sooner."""

    async def work(leaves: bool) -> None:
        lines = shared()
        await anext(lines)
        if leaves:
            del lines
        await asyncio.sleep(0.01)
        await say_async(async_client)

    await asyncio.gather(*(work(number % 2 == 0) for number in range(4)))

    assert sorted(tags(), key=len) == [{}, {}, ACME, ACME]


def lines_of(scope: claudetrace._tags.TagScope) -> Iterator[int]:
    with scope:
        yield 1
        yield 2


@pytest.mark.parametrize("end", [lambda lines: lines.close(), lambda lines: list(lines)])
@pytest.mark.parametrize("where", [in_thread, lambda work: contextvars.copy_context().run(work)])
def test_a_generator_that_ends_in_another_thread_or_context_leaves_no_tags(
    end: Callable[[Any], object], where: Callable[[Any], object], client: anthropic.Anthropic, tags: Tags
) -> None:
    """Closed or read to its end elsewhere, its block is out of force where it was entered, and can be entered anew."""
    scope = claudetrace.tag(customer="acme")
    lines = lines_of(scope)
    next(lines)
    say(client)
    where(lambda: end(lines))
    say(client)
    with scope:
        say(client)
    say(client)

    assert tags() == [ACME, {}, ACME, {}]
    assert (scope.calls, scope.cost_usd) == (2, 2 * HELLO_USD)


def test_a_context_manager_that_exits_in_another_thread_leaves_no_tags(client: anthropic.Anthropic, tags: Tags) -> None:
    """A generator's context manager and an exit stack may be closed by another thread."""

    @contextmanager
    def acme() -> Iterator[None]:
        with claudetrace.tag(customer="acme"):
            yield

    stack = ExitStack()
    stack.enter_context(acme())
    stack.enter_context(claudetrace.tag(feature="f"))
    say(client)
    in_thread(stack.close)
    say(client)

    assert tags() == [{**ACME, "feature": "f"}, {}]


def test_a_thread_that_took_the_context_along_keeps_the_tags(client: anthropic.Anthropic, tags: Tags) -> None:
    """A thread that began with a copy of the context inside the block is the block's after its end too."""
    lines = lines_of(SHARED)
    next(lines)
    inside = contextvars.copy_context()
    in_thread(lines.close)
    in_thread(lambda: inside.run(say, client))
    say(client)

    assert tags() == [ACME, {}]


def test_a_generator_in_a_cycle_ends_where_the_collector_runs(client: anthropic.Anthropic, tags: Tags) -> None:
    """Collected in another thread, a generator that nobody closed leaves no tags."""
    ring: list[Any] = [lines_of(SHARED)]
    next(ring[0])
    ring.append(ring)
    del ring
    in_thread(gc.collect)
    say(client)

    assert tags() == [{}]


def test_entries_of_one_scope_that_end_out_of_order_end_by_themselves(client: anthropic.Anthropic, tags: Tags) -> None:
    """Two generators in one scope, closed in the order of their start, each take one entry."""
    first, second = lines_of(SHARED), lines_of(SHARED)
    next(first)
    next(second)
    first.close()
    say(client)
    second.close()
    say(client)

    assert tags() == [ACME, {}]


def test_threads_of_a_pool_do_not_keep_what_ended_in_another(client: anthropic.Anthropic, tags: Tags) -> None:
    """A generator that one thread of a pool began and another one closed leaves both without its tags."""
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        lines = lines_of(SHARED)
        one.submit(next, lines).result()
        other.submit(lines.close).result()
        one.submit(say, client).result()
        other.submit(say, client).result()

    assert tags() == [{}, {}]


def test_a_block_that_is_never_left_is_not_kept(client: anthropic.Anthropic) -> None:
    """What entered a block and forgot to leave it takes the block along when its context goes."""
    before = len(entries_of_shared())
    for _ in range(100):
        contextvars.copy_context().run(SHARED.__enter__)
    gc.collect()

    assert len(entries_of_shared()) == before


def entries_of_shared() -> list[Any]:
    # By its type alone: lazy objects of other libraries do much more when they are asked for their class.
    return [each for each in gc.get_objects() if type(each) is Entry and each.source is SHARED]
