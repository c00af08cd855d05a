"""`tag(...)` as a block and as a decorator."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import pytest

import claudetrace
from claudetrace._tags import current_tags

from ._api import say, say_async
from .conftest import Tags


@pytest.fixture(autouse=True)
def meter(start: Callable[..., claudetrace.Instrumentation]) -> claudetrace.Instrumentation:
    return start()


def test_a_block_tags_its_calls_and_no_others(client: anthropic.Anthropic, tags: Tags) -> None:
    """Calls in the block carry its tags, those before and after carry none."""
    say(client)
    with claudetrace.tag(user="u1", session="s1", feature="rerank", customer="acme", prompt="p@1", team="search"):
        say(client)
    say(client)

    inside = {"user": "u1", "session": "s1", "feature": "rerank", "customer": "acme", "prompt": "p@1", "team": "search"}
    assert tags() == [{}, inside, {}]


def test_blocks_nest_and_the_inner_value_wins(client: anthropic.Anthropic, tags: Tags) -> None:
    """An inner block adds its tags and replaces those of the same name, until it is left."""
    with claudetrace.tag(user="outer", team="search"):
        with claudetrace.tag(user="inner", feature="rerank"):
            say(client)
        say(client)

    assert tags() == [
        {"user": "inner", "team": "search", "feature": "rerank"},
        {"user": "outer", "team": "search"},
    ]


def test_a_block_left_by_an_exception_is_left(client: anthropic.Anthropic, tags: Tags) -> None:
    """An exception passes through the block unchanged, and its tags end."""
    error = RuntimeError("the user's own")
    with pytest.raises(RuntimeError) as caught, claudetrace.tag(user="u"):
        raise error
    say(client)

    assert (caught.value, tags()) == (error, [{}])


def test_a_decorated_function_is_a_block_each_time(client: anthropic.Anthropic, tags: Tags) -> None:
    """A decorated function keeps its name, arguments and result, and each call of it is tagged."""

    @claudetrace.tag(feature="summary")
    def summarise(text: str, *, times: int) -> str:
        """Says it."""
        for _ in range(times):
            say(client)
        return text

    results = [summarise("a", times=1), summarise("b", times=2)]
    say(client)

    assert (summarise.__name__, summarise.__doc__, results) == ("summarise", "Says it.", ["a", "b"])
    assert tags() == [{"feature": "summary"}] * 3 + [{}]


async def test_a_decorated_coroutine_is_a_block_while_it_runs(
    async_client: anthropic.AsyncAnthropic, tags: Tags
) -> None:
    """An async function stays one, and its tags hold over each of its awaits."""

    @claudetrace.tag(feature="summary")
    async def summarise() -> str:
        await asyncio.sleep(0)
        return (await say_async(async_client)).id

    assert asyncio.iscoroutinefunction(summarise)
    assert await summarise() == "msg_demo_1"
    await say_async(async_client)
    assert tags() == [{"feature": "summary"}, {}]


def _generator() -> Iterator[int]:
    yield 1


async def _async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("generator", [_generator, _async_generator, functools.partial(_generator)])
def test_a_generator_is_refused_with_the_way_out(generator: Any) -> None:
    """Decorating a generator raises at once: its body would run without the tags."""
    with pytest.raises(claudetrace.ClaudetraceError, match=r"cannot decorate the generator .*tagged\(client"):
        claudetrace.tag(user="u")(generator)


async def test_tasks_in_one_decorated_coroutine_leave_their_own_block(
    async_client: anthropic.AsyncAnthropic, tags: Tags
) -> None:
    """Tasks that are in the same decorated function at once each lose its tags when they leave it."""
    entered = asyncio.Barrier(2)

    @claudetrace.tag(feature="decorated")
    async def decorated() -> None:
        await entered.wait()

    async def work() -> None:
        await decorated()
        await say_async(async_client)

    await asyncio.gather(work(), work())

    assert tags() == [{}, {}]


def test_threads_in_one_decorated_function_leave_their_own_block(client: anthropic.Anthropic, tags: Tags) -> None:
    """Threads that are in the same decorated function at once each lose its tags when they leave it."""
    entered = threading.Barrier(4)

    @claudetrace.tag(feature="decorated")
    def decorated() -> None:
        entered.wait()

    def work(_: int) -> None:
        decorated()
        say(client)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    assert tags() == [{}] * 4


def test_a_recursive_decorated_function_counts_each_call_once(client: anthropic.Anthropic) -> None:
    """A block that is entered in itself counts a call once, and is gone when the outermost is left."""
    scope = claudetrace.tag(feature="tree")

    @scope
    def walk(depth: int) -> None:
        say(client)
        if depth:
            walk(depth - 1)

    walk(3)

    assert (scope.calls, current_tags().scopes) == (4, ())


def test_leaving_in_another_context_never_raises(client: anthropic.Anthropic, tags: Tags) -> None:
    """A generator's block that is finished in another context is simply not there."""

    def tagged_lines() -> Iterator[str]:
        with claudetrace.tag(user="generator"):
            say(client)
            yield "a"
            yield "b"

    lines = tagged_lines()
    seen = [contextvars.copy_context().run(next, lines), contextvars.copy_context().run(list, lines)]
    say(client)

    assert (seen, tags()) == (["a", ["b"]], [{"user": "generator"}, {}])


def test_a_generators_block_left_late_takes_only_its_own_tags(client: anthropic.Anthropic, tags: Tags) -> None:
    """A block that ends inside another leaves the other's tags in force."""

    def tagged_lines() -> Iterator[str]:
        with claudetrace.tag(user="generator", team="generator"):
            yield "a"

    lines = tagged_lines()
    next(lines)
    with claudetrace.tag(user="block"):
        list(lines)
        say(client)
    say(client)

    assert tags() == [{"user": "block"}, {}]


def test_leaving_what_was_not_entered_never_raises() -> None:
    """An exit without an entry, or a second one, does nothing."""
    scope = claudetrace.tag(user="u")
    scope.__exit__(None, None, None)
    with scope:
        pass
    scope.__exit__(None, None, None)

    assert current_tags().tags == {}


def test_a_block_without_a_meter_does_nothing(client: anthropic.Anthropic) -> None:
    """Where nothing records, blocks and tagged clients work and count nothing."""
    claudetrace.uninstrument()
    with claudetrace.tag(user="u") as scope:
        answer = say(claudetrace.tagged(client, customer="acme"))

    assert (answer.id, scope.calls, scope.cost_usd) == ("msg_demo_1", 0, 0)
