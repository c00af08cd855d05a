"""Calls whose answer is a stream, read and left in every way."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

from claudetrace._demo import _wire
from claudetrace._demo._server import PlayServer

from ._kit import ASK, Both, Kind, Steps, caught, each, entered, is_async, left, seen, seen_error, some, until
from ._plays import PACKERS, holding_from, packed, streamed
from ._rows import BROKEN, COUNTS, MESSAGE, STARTED, STREAMED, UNREAD, without
from ._whole import can_decode

EVENTS = _wire.stream_events(MESSAGE)
LEFT_AFTER_ITS_COUNTS = len(EVENTS) - 1


def read(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    return seen(stream), stream.response.status_code, seen((yield each(stream))), stream.response.is_closed


def read_beta(client: Any, server: PlayServer) -> Steps:
    stream = yield client.beta.messages.create(**ASK, stream=True)
    return seen(stream), seen((yield each(stream)))


def read_by_copy(client: Any, server: PlayServer) -> Steps:
    stream = yield client.with_options(max_retries=1).messages.create(**ASK, stream=True)
    return seen((yield each(stream)))


def read_in_a_block(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    inside = yield entered(stream)
    events = yield each(inside)
    yield left(stream)
    return inside is stream, seen(events)


def helper_text(client: Any, server: PlayServer) -> Steps:
    manager = client.messages.stream(**ASK)
    stream = yield entered(manager)
    words = yield each(stream.text_stream)
    message = yield stream.get_final_message()
    yield left(manager)
    return seen(manager), seen(stream), words, seen(message), stream.request_id


def helper_events(client: Any, server: PlayServer) -> Steps:
    manager = client.messages.stream(**ASK)
    stream = yield entered(manager)
    events = yield each(stream)
    yield left(manager)
    return seen(events)


def helper_final(client: Any, server: PlayServer) -> Steps:
    manager = client.messages.stream(**ASK)
    stream = yield entered(manager)
    message = yield stream.get_final_message()
    yield left(manager)
    return seen(message)


def helper_beta(client: Any, server: PlayServer) -> Steps:
    manager = client.beta.messages.stream(**ASK)
    stream = yield entered(manager)
    words = yield each(stream.text_stream)
    message = yield stream.get_final_message()
    yield left(manager)
    return seen(stream), words, seen(message)


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


def raw(client: Any, server: PlayServer) -> Steps:
    response = yield client.messages.with_raw_response.create(**ASK, stream=True)
    stream = yield response.parse()
    return seen(response), seen(stream), seen((yield each(stream)))


def streaming_response(client: Any, server: PlayServer) -> Steps:
    manager = client.messages.with_streaming_response.create(**ASK, stream=True)
    response = yield entered(manager)
    stream = yield response.parse()
    events = yield each(stream)
    yield left(manager)
    return seen(response), seen(stream), seen(events)


def streaming_lines(client: Any, server: PlayServer) -> Steps:
    manager = client.messages.with_streaming_response.create(**ASK, stream=True)
    response = yield entered(manager)
    lines = yield each(response.iter_lines())
    yield left(manager)
    return lines


def post(client: Any, server: PlayServer) -> Steps:
    import anthropic
    from anthropic.types import RawMessageStreamEvent

    cls = anthropic.AsyncStream if is_async(client) else anthropic.Stream
    stream = yield client.post(
        "/v1/messages",
        body={**ASK, "stream": True},
        cast_to=RawMessageStreamEvent,
        stream=True,
        stream_cls=cls[RawMessageStreamEvent],
    )
    return seen((yield each(stream)))


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
    events = yield some(stream, LEFT_AFTER_ITS_COUNTS)
    yield stream.close()
    return seen(events)


def dropped(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    events = yield some(stream, 2)
    del stream
    gc.collect()
    yield _a_moment(client)
    return seen(events)


def dropped_unread(client: Any, server: PlayServer) -> Steps:
    stream = yield client.messages.create(**ASK, stream=True)
    del stream
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


def read_elsewhere(client: Any, server: PlayServer) -> Steps:
    """In another thread, or in another task."""
    stream = yield client.messages.create(**ASK, stream=True)
    events: list[Any] = []

    def sync() -> None:
        thread = threading.Thread(target=lambda: events.extend(stream))
        thread.start()
        thread.join()

    async def awaited() -> None:
        async def consume() -> None:
            events.extend([event async for event in stream])

        await asyncio.create_task(consume())

    yield Both(sync, awaited)
    return seen(events)


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


PAUSE_AT = 4
WORDS_BEFORE = 2


def paused() -> list[Any]:
    """A stream that stops after a few events, until the call is over."""
    return [streamed(before_chunk=holding_from(PAUSE_AT))]


def failing() -> list[Any]:
    return [streamed([*EVENTS[:4], {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}])]


FAILED = {**BROKEN, "outcome": "error", "error_type": "overloaded_error"}
ENDED_EARLY = {**BROKEN, "outcome": "incomplete"}
CUT = {**ENDED_EARLY, "error_type": "connection_error"}
CUT_AFTER = sum(map(len, _wire.sse(EVENTS[:4])))
CANCELLED = {**without(UNREAD, "request_id", "organization_id", "workspace_id"), "outcome": "cancelled"}
NOT_ANSWERED = without(
    UNREAD,
    *("request_id", "organization_id", "workspace_id", "rate_limit", "rate_limit_headroom", "http_status"),
)
# The counts were final, though the stream's last event had not come.
COUNTED = {**STREAMED, "outcome": "ok"}
BEFORE_ANY_DELTA = {**BROKEN, **STARTED}
WITHOUT_STOP = {**STREAMED, "outcome": "incomplete"}

KINDS = [
    *(
        Kind(name=name, call=call, plays=lambda: [streamed()], rows=[row])
        for name, call, row in (
            ("stream", read, STREAMED),
            ("beta stream", read_beta, STREAMED),
            ("stream by a copy", read_by_copy, STREAMED),
            ("stream in a block", read_in_a_block, STREAMED),
            (".stream(), texts and message", helper_text, STREAMED),
            (".stream(), events", helper_events, STREAMED),
            (".stream(), message", helper_final, STREAMED),
            ("beta.stream()", helper_beta, STREAMED),
            ("stream, with_raw_response", raw, STREAMED),
            ("stream, with_streaming_response", streaming_response, STREAMED),
            ("stream, with_streaming_response, iter_lines", streaming_lines, STREAMED),
            ("stream, client.post", post, STREAMED),
            ("stream read in another thread or task", read_elsewhere, STREAMED),
            ("stream left after its last counts", left_after_its_counts, COUNTED),
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
    *(
        Kind(
            name=f"{call.__name__}, {encoding}",
            call=call,
            plays=lambda encoding=encoding: [packed(streamed, encoding)],
            rows=[STREAMED],
            needs=lambda encoding=encoding: can_decode(encoding),
        )
        for encoding in PACKERS
        for call in (read, helper_text)
    ),
]

assert COUNTS["output_tokens"] == STREAMED["output_tokens"]
