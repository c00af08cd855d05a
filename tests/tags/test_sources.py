"""Where tags come from, which of them wins, and when they are read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import anthropic
import pytest
from opentelemetry import baggage, context

import claudetrace

from ._api import ASK, say, say_async
from .conftest import Tags

Start = Callable[..., claudetrace.Instrumentation]


def with_baggage(**values: object) -> object:
    here = context.get_current()
    for name, value in values.items():
        here = baggage.set_baggage(name, value, here)
    return context.attach(here)


def test_metadata_user_id_is_the_user_where_no_tag_says(client: anthropic.Anthropic, start: Start, tags: Tags) -> None:
    """The request's `metadata.user_id` is the user, unless a tag names one."""
    start()
    say(client, metadata={"user_id": "from the request"})
    with claudetrace.tag(user="tag"):
        say(client, metadata={"user_id": "from the request"})
    say(client, metadata={"user_id": None})
    say(client, metadata={})

    assert tags() == [{"user": "from the request"}, {"user": "tag"}, {}, {}]


def test_process_tags_are_on_every_call(client: anthropic.Anthropic, start: Start, tags: Tags) -> None:
    """`tags=` is on calls with and without a block, and the block wins."""
    start(tags={"team": "search", "user": "nobody", "build": 7})
    say(client)
    with claudetrace.tag(user="u"):
        say(client)

    assert tags() == [
        {"user": "nobody", "team": "search", "build": "7"},
        {"user": "u", "team": "search", "build": "7"},
    ]


def test_the_environment_gives_tags_and_the_keyword_wins(
    client: anthropic.Anthropic, start: Start, tags: Tags, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`CLAUDETRACE_TAGS` adds to `tags=`, which wins where both say something."""
    monkeypatch.setenv("CLAUDETRACE_TAGS", "team=environment, region = eu,formula=a=b")
    start(tags={"team": "keyword"})
    say(client)

    assert tags() == [{"team": "keyword", "region": "eu", "formula": "a=b"}]


def test_baggage_becomes_tags_where_it_is_named(client: anthropic.Anthropic, start: Start, tags: Tags) -> None:
    """Only the named keys of OpenTelemetry's baggage are tags."""
    start(baggage=("customer", "absent"))
    token = with_baggage(customer="acme", password="never", absent=None)
    try:
        say(client)
    finally:
        context.detach(token)
    say(client)

    assert tags() == [{"customer": "acme"}, {}]


def test_the_nearer_source_wins(client: anthropic.Anthropic, start: Start, tags: Tags) -> None:
    """Process, baggage, block, client: each wins over the one before; the request's user only over none."""
    start(tags=dict.fromkeys(("a", "b", "c", "d"), "process"), baggage=("b", "c", "d"))
    token = with_baggage(b="baggage", c="baggage", d="baggage")
    try:
        with claudetrace.tag(c="block", d="block"):
            say(claudetrace.tagged(client, d="client"), metadata={"user_id": "request"})
    finally:
        context.detach(token)

    assert tags() == [{"user": "request", "a": "process", "b": "baggage", "c": "block", "d": "client"}]


def test_a_sink_sees_the_tags(client: anthropic.Anthropic, start: Start) -> None:
    """A sink gets a call with its reserved tags in their fields and the others in `tags`."""
    seen: list[claudetrace.Call] = []

    class Keep:
        def write(self, calls: list[claudetrace.Call]) -> None:
            seen.extend(calls)

        def close(self) -> None: ...

    start(sinks=(Keep(),))
    with claudetrace.tag(user="u", team="t"):
        say(client)
    assert claudetrace.flush(timeout_s=30)

    assert [(call.user_id, call.tags) for call in seen] == [("u", {"team": "t"})]


def test_a_stream_read_after_the_block_keeps_its_tags(client: anthropic.Anthropic, start: Start, tags: Tags) -> None:
    """The tags are those of the call's start, though the stream is read in another block."""
    start()
    with claudetrace.tag(user="first"):
        stream = client.messages.create(**ASK, stream=True)
    with claudetrace.tag(user="second"):
        list(stream)

    assert tags() == [{"user": "first"}]


def test_a_stream_read_in_another_thread_keeps_its_tags(client: anthropic.Anthropic, start: Start, tags: Tags) -> None:
    """A stream that is handed to a thread without context keeps the tags of its start."""
    start()
    with claudetrace.tag(user="first"):
        stream = client.messages.create(**ASK, stream=True)
    reader = threading.Thread(target=list, args=(stream,))
    reader.start()
    reader.join()

    assert tags() == [{"user": "first"}]


async def test_a_stream_read_in_another_task_keeps_its_tags(
    async_client: anthropic.AsyncAnthropic, start: Start, tags: Tags
) -> None:
    """A stream that another task reads keeps the tags of its start."""
    start()

    async def read(stream: anthropic.AsyncStream[anthropic.types.RawMessageStreamEvent]) -> None:
        async for _ in stream:
            pass

    other = asyncio.get_running_loop().create_future()

    async def reader() -> None:
        await read(await other)

    task = asyncio.create_task(reader())
    with claudetrace.tag(user="first"):
        other.set_result(await async_client.messages.create(**ASK, stream=True))
    await task

    assert tags() == [{"user": "first"}]


async def test_a_task_keeps_the_tags_of_its_making(
    async_client: anthropic.AsyncAnthropic, start: Start, tags: Tags
) -> None:
    """A task made in a block carries its tags, though the block is left before it runs."""
    start()
    with claudetrace.tag(user="u"):
        task = asyncio.create_task(say_async(async_client))
    await say_async(async_client)
    await task

    assert sorted(tags(), key=len) == [{}, {"user": "u"}]
