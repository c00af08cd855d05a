"""Long streams: however one is cut, left or broken, its row has what it said until then, and the caller every byte."""

from __future__ import annotations

import gc
import gzip
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _wire

from .kinds._kit import ASK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

http: Any = __import__("httpx2" if "httpx2" in anthropic.DefaultHttpxClient.__mro__[1].__module__ else "httpx")

TOOL = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}}
START = {**_wire.message("", _wire.usage(1_000, 1)), "content": [], "stop_reason": None}
SENT = _wire.sse(
    [
        {"type": "message_start", "message": START},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " word"}}] * 600,
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": TOOL},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 700}},
        {"type": "message_stop"},
    ]
)
ERROR = _wire.sse([{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}])
BODY = b"".join(SENT)
WAYS: dict[str, tuple[dict[str, str], list[bytes]]] = {
    "an event a chunk": ({}, SENT),
    "five events a chunk": ({}, [b"".join(SENT[at : at + 5]) for at in range(0, len(SENT), 5)]),
    "pieces of 61 bytes": ({}, [BODY[at : at + 61] for at in range(0, len(BODY), 61)]),
    "with CRLF": ({}, [each.replace(b"\n", b"\r\n") for each in SENT]),
    "packed": ({"content-encoding": "gzip"}, [bytes([byte]) for byte in gzip.compress(BODY)]),
}


class Body(http.SyncByteStream, http.AsyncByteStream):
    """A body that comes in these chunks, and may then fail."""

    def __init__(self, chunks: Iterable[bytes], error: Exception | None) -> None:
        self._chunks, self._error = chunks, error

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def client(chunks: Iterable[bytes], headers: dict[str, str], error: Exception | None = None) -> anthropic.Anthropic:
    """A client to which each stream comes so."""
    told = {"content-type": "text/event-stream", **headers}
    transport = http.MockTransport(lambda _: http.Response(200, headers=told, stream=Body(chunks, error)))
    return anthropic.Anthropic(api_key="k", http_client=http.Client(transport=transport), max_retries=0)


def async_client(chunks: Iterable[bytes], headers: dict[str, str]) -> anthropic.AsyncAnthropic:
    """The same, async."""
    told = {"content-type": "text/event-stream", **headers}
    transport = http.MockTransport(lambda _: http.Response(200, headers=told, stream=Body(chunks, None)))
    return anthropic.AsyncAnthropic(api_key="k", http_client=http.AsyncClient(transport=transport), max_retries=0)


def told(ledger: Callable[[], list[claudetrace.Call]]) -> tuple[Any, ...]:
    """What the one row says of its answer."""
    (row,) = ledger()
    return row.outcome, row.error_type, row.stop_reason, row.usage_is_final, row.output_tokens, row.tool_calls


WHOLE = ("ok", None, "tool_use", True, 700, 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_long_stream_is_read_to_its_last_event(way: str, start: Any, ledger: Any) -> None:
    """However its chunks are cut, the row has the last event's counts, and the caller every event."""
    headers, chunks = WAYS[way]
    start()

    came = [event.type for event in client(chunks, headers).messages.create(**ASK, stream=True)]

    assert (came.count("content_block_delta"), told(ledger)) == (600, WHOLE)


@pytest.mark.parametrize("way", WAYS)
async def test_so_is_one_that_is_awaited(way: str, start: Any, ledger: Any) -> None:
    """The async client's row is the same."""
    headers, chunks = WAYS[way]
    start()

    stream = await async_client(chunks, headers).messages.create(**ASK, stream=True)
    came = [event.type async for event in stream]

    assert (came.count("content_block_delta"), told(ledger)) == (600, WHOLE)


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_one_that_is_left_after_its_last_counts_is_whole(leave: str, start: Any, ledger: Any) -> None:
    """A caller who has seen the last counts gets them on the row, however it leaves."""
    start()
    stream = client(SENT, {}).messages.create(**ASK, stream=True)

    for event in stream:
        if event.type == "message_delta":
            break
    if leave == "close":
        stream.close()
    del stream, event
    gc.collect()

    assert told(ledger) == WHOLE


def test_one_that_is_left_early_has_the_counts_of_its_start(start: Any, ledger: Any) -> None:
    """A stream that is closed among its deltas is cancelled, and its counts are a lower bound."""
    start()
    stream = client(SENT, {}).messages.create(**ASK, stream=True)

    for number, _ in enumerate(stream):
        if number == 400:
            break
    stream.close()

    assert told(ledger) == ("cancelled", None, None, False, 1, 0)


def test_an_error_after_many_deltas_is_on_the_row_when_the_caller_gets_it(start: Any, ledger: Any, db: Path) -> None:
    """The API's own error ends the row before the SDK's exception arrives."""
    running = start()
    stream = client([*SENT[:500], *ERROR], {}).messages.create(**ASK, stream=True)

    with pytest.raises(anthropic.APIStatusError):
        list(stream)

    assert running.health.recorded == 1
    assert told(ledger) == ("error", "overloaded_error", None, False, 1, 0)


def test_a_connection_that_breaks_after_many_deltas_is_told(start: Any, ledger: Any) -> None:
    """The row says how the body ended, with the counts until then."""
    start()
    stream = client(SENT[:500], {}, http.ReadError("gone")).messages.create(**ASK, stream=True)

    with pytest.raises((http.ReadError, anthropic.APIConnectionError)):
        list(stream)

    assert told(ledger) == ("incomplete", "connection_error", None, False, 1, 0)


def test_a_buffer_that_a_transport_uses_again_comes_once(start: Any) -> None:
    """A chunk that its transport has emptied since, when the body ends, is not given to the caller again."""
    start()
    buffer = bytearray()

    def filled() -> Iterator[bytes]:
        for sent in SENT[:100]:
            buffer[:] = sent
            yield buffer
        buffer[:] = b"something else"

    asked = client(filled(), {}).messages.with_streaming_response.create(**ASK, stream=True)
    with asked as response:
        came = [bytes(chunk) for chunk in response.http_response.iter_raw()]

    assert came == SENT[:100]
