"""What a block says of its calls."""

from __future__ import annotations

import decimal
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import anthropic
import pytest

import claudetrace

from ._api import ASK, HELLO_USD, say, say_async


@pytest.fixture(autouse=True)
def meter(start: Callable[..., claudetrace.Instrumentation]) -> claudetrace.Instrumentation:
    return start()


def totals(scope: claudetrace._tags.TagScope) -> tuple[int, decimal.Decimal, int]:
    return scope.calls, scope.cost_usd, scope.unpriced_calls


def test_totals_are_known_as_soon_as_the_calls_have_returned(client: anthropic.Anthropic) -> None:
    """Without a flush, and inside the block, a scope says what its calls cost to the last digit."""
    with claudetrace.tag(user="u") as scope:
        before = totals(scope)
        say(client)
        during = totals(scope)
        say(client)
    say(client)

    assert (before, during, totals(scope)) == ((0, 0, 0), (1, HELLO_USD, 0), (2, 2 * HELLO_USD, 0))


def test_each_scope_counts_what_happens_in_it(client: anthropic.Anthropic) -> None:
    """A call in an inner block counts in the outer one too."""
    with claudetrace.tag(user="u") as outer:
        say(client)
        with claudetrace.tag(feature="f") as inner:
            say(client)

    assert (totals(outer), totals(inner)) == ((2, 2 * HELLO_USD, 0), (1, HELLO_USD, 0))


def test_a_call_without_a_price_is_counted_as_such(client: anthropic.Anthropic) -> None:
    """An unknown model adds nothing to the cost and says so; an error that the API refused costs nothing."""
    with claudetrace.tag(user="u") as scope:
        say(client)
        say(client, model="claude-unheard-of-9")
        with pytest.raises(anthropic.NotFoundError):
            say(client, model="missing")

    assert totals(scope) == (3, HELLO_USD, 1)


def test_a_stream_counts_when_it_is_read(client: anthropic.Anthropic) -> None:
    """A stream counts in the block that it was started in, when its end has come, though the block is left."""
    with claudetrace.tag(user="u") as scope:
        stream = client.messages.create(**ASK, stream=True)
        next(stream)
    opened = totals(scope)
    list(stream)

    assert (opened, totals(scope)) == ((0, 0, 0), (1, HELLO_USD, 0))


async def test_a_decorator_counts_over_all_its_calls(async_client: anthropic.AsyncAnthropic) -> None:
    """The scope of a decorator adds up what every call of the function caused."""
    scope = claudetrace.tag(feature="f")
    ask = scope(say_async)
    await ask(async_client)
    await ask(async_client)

    assert totals(scope) == (2, 2 * HELLO_USD, 0)


def test_many_threads_count_into_one_scope(client: anthropic.Anthropic) -> None:
    """Calls of threads that run in copies of the block's context are all counted."""
    with claudetrace.tag(user="u") as scope, ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(copy_context().run, say, client) for _ in range(40)]:
            done.result()

    assert totals(scope) == (40, 40 * HELLO_USD, 0)


def test_the_precision_of_the_users_decimals_changes_nothing(client: anthropic.Anthropic) -> None:
    """A cost is exact also where the program's decimal context would round, or raise for rounding."""
    with claudetrace.tag(user="u") as scope:
        say(client)
    with decimal.localcontext(prec=2) as context:
        context.traps[decimal.Inexact] = True
        cost = scope.cost_usd

    assert cost == HELLO_USD


def test_a_hundred_thousand_calls_grow_no_memory() -> None:
    """A scope that lives as long as the process stays small, and its totals stay exact."""
    scope = claudetrace.tag(user="u")
    for _ in range(2_000):
        scope.add(first=True, spend_picousd=3)
    tracemalloc.start()
    try:
        for _ in range(98_000):
            scope.add(first=True, spend_picousd=3)
        grown, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert totals(scope) == (100_000, decimal.Decimal("0.0000003"), 0)
    assert grown < 100_000
