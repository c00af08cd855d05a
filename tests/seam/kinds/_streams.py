"""Calls whose answer is a stream that is read to its end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from claudetrace._demo._server import PlayServer

from ._kit import ASK, Both, Kind, Steps, each, entered, is_async, left, seen
from ._plays import PACKERS, packed, streamed
from ._rows import STREAMED
from ._whole import can_decode


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


KINDS = [
    *(
        Kind(name=name, call=call, plays=lambda: [streamed()], rows=[STREAMED])
        for name, call in (
            ("stream", read),
            ("beta stream", read_beta),
            ("stream by a copy", read_by_copy),
            ("stream in a block", read_in_a_block),
            (".stream(), texts and message", helper_text),
            (".stream(), events", helper_events),
            (".stream(), message", helper_final),
            ("beta.stream()", helper_beta),
            ("stream, with_raw_response", raw),
            ("stream, with_streaming_response", streaming_response),
            ("stream, with_streaming_response, iter_lines", streaming_lines),
            ("stream, client.post", post),
            ("stream read in another thread or task", read_elsewhere),
        )
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
