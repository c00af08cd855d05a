"""A body is read as what it is, whatever it is called, and an error in it is one, whatever its form."""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer

from .kinds._kit import ASK
from .kinds._rows import MESSAGE

EVENTS = _wire.sse(_wire.stream_events(MESSAGE))
WHOLE = json.dumps(MESSAGE).encode()
LABELS = (
    *("application/json", "application/json; charset=utf-8", "application/x-ndjson", "application/stream+json"),
    *("application/x-jsonl", "application/octet-stream", "application/vnd.amazon.eventstream", "text/event-stream"),
)
OVERLOADED = b'{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}'
ERRORS = {
    **dict.fromkeys((b"boom", b"<html>busy</html>", b"", b"[1]", b"3", b"null", b'"x"', b'{"error": "x"}'), "error"),
    OVERLOADED: "overloaded_error",
    b'{"type": "overloaded_error", "message": "x"}': "overloaded_error",
}


def read(client: Any) -> None:
    for _ in client.messages.create(**ASK, stream=True):
        continue


def read_raw(client: Any) -> None:
    for _ in client.messages.with_raw_response.create(**ASK, stream=True).parse():
        continue


def read_bytes(client: Any) -> None:
    with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        b"".join(response.iter_bytes())


def read_helper(client: Any) -> None:
    with client.messages.stream(**ASK) as stream:
        stream.until_done()


async def read_async(client: Any) -> None:
    async for _ in await client.messages.create(**ASK, stream=True):
        continue


async def read_helper_async(client: Any) -> None:
    async with client.messages.stream(**ASK) as stream:
        await stream.until_done()


WAYS: tuple[Callable[[Any], Any], ...] = (read, read_raw, read_bytes, read_helper, read_async, read_helper_async)


def ask(way: Callable[[Any], Any], label: str, body: Any) -> None:
    """What `way` does with such an answer; what the SDK says of it is no matter here."""

    async def awaited(url: str) -> None:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
            await way(client)

    with PlayServer(Exchange(body=body, headers={"content-type": label})) as server:
        try:
            if asyncio.iscoroutinefunction(way):
                asyncio.run(awaited(server.url))
            else:
                with anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client:
                    way(client)
        except (anthropic.APIError, AssertionError, ValueError):
            return


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_is_read_under_any_name(way: Any, meter: Any) -> None:
    """Server-sent events have their counts and their price, whatever their content type, and however they are cut."""
    split = [bytes([byte]) for byte in b"".join(EVENTS)[:40]] + [b"".join(EVENTS)[40:]]
    for label in LABELS:
        ask(way, label, EVENTS)
    ask(way, LABELS[0], split)
    ask(way, LABELS[0], [b"\n\n", *EVENTS])

    told = {(c.outcome, c.streamed, c.input_tokens, c.output_tokens, c.cost_flags) for c in meter.calls()}
    usage = MESSAGE["usage"]
    assert told == {("ok", True, usage["input_tokens"], usage["output_tokens"], ())}
    meter.check()


@pytest.mark.parametrize("way", [*WAYS, lambda client: client.messages.create(**ASK)])
def test_json_is_read_under_the_name_of_a_stream(way: Any, meter: Any) -> None:
    """A message that comes whole has its counts and its price where it is called a stream."""
    for label in LABELS:
        ask(way, label, WHOLE)
    ask(way, "application/json", codecs.BOM_UTF8 + WHOLE)

    told = {(call.streamed, call.input_tokens, call.cost_flags) for call in meter.calls()}
    assert told == {(False, MESSAGE["usage"]["input_tokens"], ())}
    meter.check()


@pytest.mark.parametrize("way", WAYS)
def test_an_error_event_is_an_error_whatever_it_says(way: Any, meter: Any) -> None:
    """A stream that ends in an error of any form is a failure with a type, and a lower bound."""
    for data in ERRORS:
        ask(way, "text/event-stream", [*EVENTS[:2], b"event: error\ndata: " + data + b"\n\n"])
    ask(way, "text/event-stream", [*EVENTS[:2], b"event: error\n\n"])

    told = [(call.outcome, call.error_type, "partial_usage" in call.cost_flags) for call in meter.calls()]
    assert told == [("error", kind, True) for kind in (*ERRORS.values(), "error")]
    meter.check()


@pytest.mark.parametrize("way", [*WAYS, lambda client: client.messages.create(**ASK)])
def test_an_envelope_of_an_error_is_one_under_http_200(way: Any, meter: Any) -> None:
    """An error that a gateway sends with status 200, whole or as lines, is not ok, and its cost is not known."""
    for label in LABELS[:-2]:
        for body in (OVERLOADED, OVERLOADED + b"\n", b'{"type": "ping"}\n' + OVERLOADED + b"\n"):
            ask(way, label, body)

    told = {(call.outcome, call.error_type, call.cost_usd, call.cost_flags) for call in meter.calls()}
    assert told == {("error", "overloaded_error", None, ("no_usage",))}
