"""Calls that end in every way, as one text for a sync and an async client, and what their spans are to say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import anthropic
from opentelemetry import context, trace
from seam.kinds._kit import Both, Steps, _drive, _drive_async, each, entered, left, some, until
from seam.kinds._left import CUT_AFTER
from seam.kinds._plays import failure, holding_from, json_answer, let_go, streamed
from seam.kinds._rows import MESSAGE, MODEL

from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer

ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello."}]}
APP_LOG = logging.getLogger("app.http")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A way to call, what the server plays to it, and its span's cost status and error type."""

    name: str
    steps: Callable[[Any, PlayServer], Steps]
    plays: Callable[[], Iterable[Exchange]]
    status: str | None = "priced"
    """`None`: there is no answer that could cost anything."""

    error_type: tuple[str, ...] = ()
    """`error.type` as either the SDK or we name it; empty where nothing failed."""


def create(client: Any, _server: PlayServer) -> Steps:
    yield client.messages.create(**ASK)


def stream(client: Any, _server: PlayServer) -> Steps:
    yield each((yield client.messages.create(**ASK, stream=True)))


def helper(client: Any, _server: PlayServer) -> Steps:
    manager = client.messages.stream(**ASK)
    opened = yield entered(manager)
    yield opened.get_final_message()
    yield left(manager)


def raw(client: Any, _server: PlayServer) -> Steps:
    response = yield client.messages.with_raw_response.create(**ASK)
    yield response.parse()


def raw_streamed(client: Any, _server: PlayServer) -> Steps:
    manager = client.messages.with_streaming_response.create(**ASK)
    response = yield entered(manager)
    yield response.read()
    yield left(manager)


def failing(client: Any, _server: PlayServer) -> Steps:
    try:
        yield client.messages.create(**ASK)
    except anthropic.APIStatusError:
        return
    raise AssertionError("the call did not fail")


def cancelled(client: Any, server: PlayServer) -> Steps:
    """A task that is cancelled, or Ctrl-C, while the server thinks."""

    def interrupt(_request: Any) -> None:
        raise KeyboardInterrupt

    def sync() -> None:
        client._client.event_hooks["request"].append(interrupt)
        try:
            client.messages.create(**ASK)
        except KeyboardInterrupt:
            # The exchange is not played then: what is not there cannot be left over for the next test.
            server.exchange_for(_received())
            return
        raise AssertionError("the call was not interrupted")

    async def awaited() -> None:
        before = len(server.requests)
        task = asyncio.create_task(client.messages.create(**ASK))
        await until(lambda: len(server.requests) > before)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    yield Both(sync, awaited)


def broken_off(client: Any, _server: PlayServer) -> Steps:
    opened = yield client.messages.create(**ASK, stream=True)
    yield some(opened, 2)
    yield opened.close()


def cut(client: Any, _server: PlayServer) -> Steps:
    opened = yield client.messages.create(**ASK, stream=True)

    def sync() -> None:
        try:
            for _ in opened:
                continue
        except Exception:
            return

    async def awaited() -> None:
        try:
            async for _ in opened:
                continue
        except Exception:
            return

    yield Both(sync, awaited)


def _received() -> Any:
    from claudetrace._demo._server import Received

    return Received(method="POST", path="/v1/messages", query="", headers={}, body=b"{}")


CALLS = [
    Call(name="create", steps=create, plays=lambda: [json_answer()]),
    Call(name="stream", steps=stream, plays=lambda: [streamed()]),
    Call(name="helper", steps=helper, plays=lambda: [streamed()]),
    Call(name="raw", steps=raw, plays=lambda: [json_answer()]),
    Call(name="raw, streamed", steps=raw_streamed, plays=lambda: [json_answer()]),
    Call(
        name="error",
        steps=failing,
        plays=lambda: [failure(429, "rate_limit_error")],
        status=None,
        error_type=("rate_limit_error",),
    ),
    Call(name="cancelled", steps=cancelled, plays=lambda: [json_answer(delay_s=1)], status=None),
    Call(name="broken off", steps=broken_off, plays=lambda: [streamed(before_chunk=holding_from(4))], status="partial"),
    Call(
        name="cut",
        steps=cut,
        plays=lambda: [streamed(cut_after=CUT_AFTER)],
        status="partial",
        # The SDK names the exception.
        error_type=("connection_error", "httpx2.RemoteProtocolError", "RemoteProtocolError"),
    ),
]
STREAM_EVENTS = _wire.stream_events(MESSAGE)


class Inside:
    """An HTTP client's instrumentation: a span, a log record and a look at the context for each request."""

    def __init__(self) -> None:
        self.current: list[trace.SpanContext] = []
        self.logged: list[str] = []

    def look(self, _request: Any) -> None:
        trace.get_tracer("app").start_span("http").end()
        span = trace.get_current_span().get_span_context()
        self.current.append(span)
        # As `opentelemetry-instrumentation-logging` puts it on a record.
        self.logged.append(f"{span.trace_id:032x}")

    async def look_async(self, request: Any) -> None:
        self.look(request)


def new_client(url: str, inside: Inside | None, *, is_async: bool, **options: Any) -> Any:
    """A client whose HTTP client tells `inside` of each request."""
    made = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    http = anthropic.DefaultAsyncHttpxClient if is_async else anthropic.DefaultHttpxClient
    if inside is not None:
        hooks = {"request": [inside.look_async if is_async else inside.look]}
        options["http_client"] = http(event_hooks=hooks)
    return made(api_key="key", base_url=url, **{"max_retries": 0, **options})


def run(call: Callable[[Any, PlayServer], Steps], client: Any, server: PlayServer) -> None:
    """Makes the call and closes the client. The caller's context is the same object afterwards."""
    try:
        if isinstance(client, anthropic.AsyncAnthropic):
            asyncio.run(_run_async(call, client, server))
        else:
            with client:
                before = context.get_current()
                _drive(call(client, server))
                assert context.get_current() is before
    finally:
        let_go()


async def _run_async(call: Callable[[Any, PlayServer], Steps], client: Any, server: PlayServer) -> None:
    async with client:
        before = context.get_current()
        await _drive_async(call(client, server))
        assert context.get_current() is before
