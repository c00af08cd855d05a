"""Streams that are not read to their end: left, dropped, cancelled, or broken."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from claudetrace._demo import _wire
from claudetrace._demo._server import PlayServer

from ._kit import ASK, Both, Kind, Steps, caught, entered, is_async, left, seen, seen_error, some, until
from ._plays import holding_from, streamed
from ._rows import BROKEN, MESSAGE, STREAMED, UNREAD, without

EVENTS = _wire.stream_events(MESSAGE)
PAUSE_AT = 4
WORDS_BEFORE = 2


def helper_left(client: Any, server: PlayServer) -> Steps:
    manager = client.messages.stream(**ASK)
    stream = yield entered(manager)
    words = yield some(stream.text_stream, 1)
    yield left(manager)
    return words


def helper_unread(client: Any, server: PlayServer) -> Steps:
    manager = client.messages.stream(**ASK)
    yield entered(manager)
    yield left(manager)


def broken_off(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    events = yield some(stream, 2)
    yield stream.close()
    return seen(events), stream.response.is_closed


def left_block(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    yield entered(stream)
    events = yield some(stream, 3)
    yield left(stream)
    return seen(events)


def left_after_its_counts(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    events = yield some(stream, len(EVENTS) - 1)
    yield stream.close()
    return seen(events)


def dropped(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    events = yield some(stream, 2)
    del stream
    # Who sent it in holds it until the next step; older SDKs leave it to the garbage collector.
    yield None
    gc.collect()
    yield _a_moment(client)
    return seen(events)


def dropped_unread(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    del stream
    # Who sent it in holds it until the next step; older SDKs leave it to the garbage collector.
    yield None
    gc.collect()
    yield _a_moment(client)


def closed_unread(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    yield stream.close()
    return stream.response.is_closed


def read_until_it_fails(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    events: list[Any] = []

    def sync() -> None:
        with caught(events):
            events.extend(map(seen, stream))

    async def awaited() -> None:
        with caught(events):
            async for event in stream:
                events.append(seen(event))  # noqa: PERF401 - what came before the failure counts

    yield Both(sync, awaited)
    return events


def cancelled_while_reading(client: Any, server: PlayServer) -> Steps:
    events: list[Any] = []

    async def consume() -> None:
        async for event in await client.messages.create(**ASK, stream=True):
            events.append(seen(event))  # noqa: PERF401 - what came before the cancellation counts

    async def awaited() -> None:
        task = asyncio.create_task(consume())
        await until(lambda: len(events) == PAUSE_AT)
        task.cancel()
        with caught(events, asyncio.CancelledError):
            await task

    yield Both(lambda: None, awaited)
    return events


def cancelled_in_the_helper(client: Any, server: PlayServer) -> Steps:
    words: list[Any] = []

    async def consume() -> None:
        async with client.messages.stream(**ASK) as stream:
            async for word in stream.text_stream:
                words.append(word)  # noqa: PERF401 - what came before the cancellation counts

    async def awaited() -> None:
        task = asyncio.create_task(consume())
        await until(lambda: len(words) == WORDS_BEFORE)
        task.cancel()
        with caught(words, asyncio.CancelledError):
            await task

    yield Both(lambda: None, awaited)
    return words


def cancelled_before_headers(client: Any, server: PlayServer) -> Steps:
    async def awaited() -> Any:
        task = asyncio.create_task(client.messages.create(**ASK, stream=True))
        await until(lambda: server.requests)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError as error:
            return seen_error(error)

    return (yield Both(lambda: None, awaited))


def _a_moment(client: Any) -> Any:
    """In which the event loop closes what was dropped."""
    return asyncio.sleep(0.05) if is_async(client) else None


def paused() -> list[Any]:
    """A stream that stops after a few events, until the call is over."""
    return [streamed(before_chunk=holding_from(PAUSE_AT))]


def failing() -> list[Any]:
    return [streamed([*EVENTS[:4], {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}])]


FAILED = {**BROKEN, "outcome": "error", "error_type": "overloaded_error"}
ENDED_EARLY = {**BROKEN, "outcome": "incomplete"}
CUT = {**ENDED_EARLY, "error_type": "connection_error"}
CUT_AFTER = sum(map(len, _wire.sse(EVENTS[:4])))
NOT_ANSWERED = without(
    UNREAD,
    *("request_id", "organization_id", "workspace_id", "rate_limit", "rate_limit_headroom", "http_status"),
)
WITHOUT_STOP = {**STREAMED, "outcome": "incomplete"}

KINDS = [
    *(
        Kind(name=name, call=call, plays=lambda: [streamed()], rows=[row])
        for name, call, row in (
            ("stream left after its last counts", left_after_its_counts, STREAMED),
            ("stream closed unread", closed_unread, UNREAD),
            ("stream dropped unread", dropped_unread, UNREAD),
            (".stream() unread", helper_unread, UNREAD),
        )
    ),
    *(
        Kind(name=name, call=call, plays=paused, rows=[row])
        for name, call, row in (
            ("stream broken off", broken_off, BROKEN),
            ("stream left by a block", left_block, BROKEN),
            ("stream dropped", dropped, BROKEN),
            (".stream() left", helper_left, BROKEN),
        )
    ),
    Kind(
        name="stream cancelled while reading",
        call=cancelled_while_reading,
        plays=paused,
        rows=[BROKEN],
        only="async",
    ),
    Kind(name=".stream() cancelled", call=cancelled_in_the_helper, plays=paused, rows=[BROKEN], only="async"),
    Kind(
        name="stream cancelled before the headers",
        call=cancelled_before_headers,
        plays=lambda: [streamed(delay_s=3)],
        rows=[NOT_ANSWERED],
        only="async",
    ),
    Kind(name="stream with an error event", call=read_until_it_fails, plays=failing, rows=[FAILED]),
    Kind(
        name="stream whose connection is cut",
        call=read_until_it_fails,
        plays=lambda: [streamed(cut_after=CUT_AFTER)],
        rows=[CUT],
    ),
    Kind(
        name="stream that ends early",
        call=read_until_it_fails,
        plays=lambda: [streamed(EVENTS[:4])],
        rows=[ENDED_EARLY],
    ),
    Kind(
        name="stream without its last event",
        call=read_until_it_fails,
        plays=lambda: [streamed(EVENTS[:-1])],
        rows=[WITHOUT_STOP],
    ),
]
