"""What users' own code around a call does to it: it neither loses its row nor gets an exception of ours."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from claudetrace._demo._server import Exchange, PlayServer
from claudetrace._guard import Guard
from claudetrace._seam._live import LiveCall
from claudetrace._seam._response import LiveResponse

from .kinds._kit import ASK
from .kinds._plays import json_answer, streamed
from .kinds._rows import ANSWERED, STREAMED

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHOUT_NATIVE = {"open_telemetry": False} if hasattr(anthropic._base_client, "start_api_call_span") else {}
http: Any = __import__("httpx2" if "httpx2" in anthropic.DefaultHttpxClient.__mro__[1].__module__ else "httpx")


class OwnResponse(http.Response):
    """A response of a class that a transport of the user's made."""


class OwnTransport(http.HTTPTransport):
    def handle_request(self, request: Any) -> Any:
        given = super().handle_request(request)
        return OwnResponse(given.status_code, headers=given.headers, stream=given.stream, extensions=given.extensions)


class RefusesToStart(SpanProcessor):
    """A processor of the user's that fails."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("the user's processor")


@pytest.fixture
def server() -> Iterator[PlayServer]:
    with PlayServer() as running:
        yield running


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """The app's own provider."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return provider


def client_of(server: PlayServer, made: Any = anthropic.Anthropic, **options: Any) -> Any:
    return made(api_key="key", base_url=server.url, max_retries=0, **options)


def test_a_response_of_ones_own_class_is_read(server: PlayServer, meter: Any) -> None:
    """A stream has its row also where a transport gives responses of a class of its own."""
    server.add(streamed())
    with client_of(server, http_client=http.Client(transport=OwnTransport())) as client:
        list(client.messages.create(**ASK, stream=True))

    assert meter.rows() == [STREAMED]
    meter.check()


@pytest.mark.parametrize("called", ["application/octet-stream", "text/plain", ""])
def test_a_stream_under_another_name_is_read(called: str, server: PlayServer, meter: Any) -> None:
    """A stream is counted also where a proxy has changed its content type, which the SDK does not look at."""
    server.add(streamed(headers={"content-type": called}))
    with client_of(server) as client:
        assert len(list(client.messages.create(**ASK, stream=True))) > 1

    assert meter.rows() == [STREAMED]
    meter.check()


def test_a_span_that_cannot_start_costs_no_row(server: PlayServer, provider: TracerProvider, meter: Any) -> None:
    """A call whose span fails to start has its row all the same."""
    provider.add_span_processor(RefusesToStart())
    server.add(json_answer())
    with client_of(server, **WITHOUT_NATIVE) as client:
        client.messages.create(**ASK)

    assert meter.rows() == [ANSWERED]
    meter.check({"start the span of a call: RuntimeError": 1})


def test_a_request_that_cannot_be_read_costs_no_row(server: PlayServer, meter: Any) -> None:
    """A request of a shape that we cannot count has its row, without the counts."""
    server.add(json_answer())
    blocks = [{"type": ["image"], "text": "hi"}]
    with client_of(server) as client:
        client.messages.create(**{**ASK, "messages": [{"role": "user", "content": blocks}]})

    (row,) = meter.rows()
    assert (row["outcome"], row["output_tokens"], "message_count" in row) == ("ok", ANSWERED["output_tokens"], False)


def test_a_log_that_fails_reaches_no_caller(server: PlayServer, meter: Any) -> None:
    """A filter of the user's log that raises is not heard in a call, and what failed is counted."""

    def failing(record: logging.LogRecord) -> bool:
        return bool(record.request_id)  # type: ignore[attr-defined]  # as filters do that expect a web request

    server.add(Exchange(path="/v1/messages", body=b"{not JSON", headers={"content-type": "text/plain"}))
    logging.getLogger("claudetrace").addFilter(failing)
    try:
        with client_of(server) as client:
            answer = client.messages.with_raw_response.create(**ASK)
    finally:
        logging.getLogger("claudetrace").removeFilter(failing)

    assert answer.http_response.text == "{not JSON"
    assert len(meter.rows()) == 1
    meter.check({"read the body of a response: JSONDecodeError": 1})


def test_an_error_without_words_is_counted() -> None:
    """An error whose text cannot be had is counted by its type."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    guard = Guard()
    guard.caught("ask", MuteError())

    assert (dict(guard.failures), guard.last_error) == ({"ask: MuteError": 1}, "ask: MuteError")


def test_a_log_is_not_waited_for_in_a_collection(server: PlayServer, meter: Any) -> None:
    """What fails while the collector ends a stream is logged elsewhere: the thread may hold a lock of the log's."""
    held = threading.Lock()

    def waits(_record: logging.LogRecord) -> bool:
        return held.acquire(timeout=5) and (held.release() or True)

    server.add(streamed())
    logging.getLogger("claudetrace").addFilter(waits)
    try:
        with client_of(server) as client:
            ring: list[Any] = [client.messages.create(**ASK, stream=True)]
            ring.append(ring)
            meter.instrumentation._parts.recorder._append = None
            with held:
                before = time.monotonic()
                del ring
                gc.collect()
                took_s = time.monotonic() - before
                # Another thread may be collecting it, and then the collection here ends at once.
                until = before + 10
                while not meter.instrumentation.health.failures and time.monotonic() < until:
                    time.sleep(0.01)
    finally:
        logging.getLogger("claudetrace").removeFilter(waits)

    assert took_s < 4
    meter.check({"record a response: TypeError": 1})


@pytest.mark.usefixtures("provider")
def test_a_coroutine_may_be_closed_anywhere(server: PlayServer, meter: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A call that is closed in another context than it began in ends there in silence, with its row."""
    said: list[type[BaseException] | None] = []

    class Waits(http.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            try:
                await asyncio.Event().wait()
            except BaseException as error:
                said.append(type(error))
                raise

    async def begin() -> Any:
        # The SDK's own span would say in the log that it ends elsewhere.
        waiting = {"http_client": http.AsyncClient(transport=Waits()), **WITHOUT_NATIVE}
        client = client_of(server, anthropic.AsyncAnthropic, **waiting)
        call = client.messages.create(**ASK)
        task = asyncio.get_running_loop().create_task(call)
        await asyncio.sleep(0.1)
        # What becomes of a task that is left behind when its loop is gone.
        call.close()
        task.cancel()
        with pytest.raises((asyncio.CancelledError, RuntimeError)):
            await task

    asyncio.run(begin())

    assert said == [GeneratorExit]
    assert [row["outcome"] for row in meter.rows()] == ["cancelled"]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    meter.check()


def test_a_fork_leaves_a_stream_to_its_reader(server: PlayServer, meter: Any) -> None:
    """A forked child that drops its copy of an open stream says nothing of the call that its parent reads on."""
    server.add(json_answer(), streamed())
    with client_of(server) as client:
        client.messages.create(**ASK)
        stream = client.messages.create(**ASK, stream=True)
        next(iter(stream))
        child = os.fork()
        if child == 0:
            stream.response.close()
            os._exit(meter.instrumentation.health.recorded)
        said_by_child = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        list(stream)

    assert said_by_child == 0
    assert [(row["outcome"], row["output_tokens"]) for row in meter.rows()] == [
        ("ok", ANSWERED["output_tokens"]),
        ("ok", STREAMED["output_tokens"]),
    ]


@pytest.mark.skipif(not WITHOUT_NATIVE, reason="streams of older SDKs wait for the collector themselves")
def test_a_stream_leaves_nothing_to_collect(server: PlayServer, meter: Any) -> None:
    """What is held while a stream passes is freed at its end, also where the garbage collector is off."""
    server.add(streamed(times=None))
    gc.collect()
    gc.disable()
    try:
        with client_of(server) as client:
            list(client.messages.create(**ASK, stream=True))
            next(iter(client.messages.create(**ASK, stream=True)))
            client.messages.create(**ASK, stream=True)
        left = [thing for thing in gc.get_objects() if type(thing) in (LiveCall, LiveResponse)]
    finally:
        gc.enable()

    assert left == []
    assert len(meter.rows()) == 3
