"""What a call's span is the child of, what is the child of it, and what is never touched."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import anthropic
import pytest
from opentelemetry import context, trace
from seam.kinds._middleware import has_middleware
from seam.kinds._plays import holding_from, json_answer, let_go, streamed
from seam.kinds._tools import ASKS, double

from claudetrace._demo._server import PlayServer

from ._calls import ASK, Inside, new_client
from ._places import Place, Seen
from .conftest import options_for

pytestmark = pytest.mark.usefixtures("app", "meter")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Any:
    """Nothing is logged, such as of a context that is left where it was not entered."""
    yield
    logged = [each.getMessage() for each in caplog.get_records("call") if each.levelno >= logging.WARNING]
    assert logged == []


@pytest.fixture
def tracer(app: Place) -> trace.Tracer:
    """The app's own."""
    return trace.get_tracer("app")


def by_name(spans: list[Seen]) -> dict[str, Seen]:
    """The spans by their names; that of the call is `call`."""
    named = {span.name if span.of_the_app else "call": span for span in spans}
    assert len(named) == len(spans)
    return named


def untouched(*spans: Seen) -> bool:
    """Whether none of these has an attribute."""
    return all(span.attributes == {} for span in spans)


def test_a_stream_read_in_another_thread(whose: str, play: PlayServer, app: Place, tracer: trace.Tracer) -> None:
    """The span belongs to the block that made the call; the reader's span and context stay the reader's."""
    play.add(streamed())

    with new_client(play.url, None, is_async=False, **options_for(whose)) as client:
        with tracer.start_as_current_span("caller"):
            stream = client.messages.create(**ASK, stream=True)

        def read() -> bool:
            with tracer.start_as_current_span("reader") as reader:
                before = context.get_current()
                list(stream)
                return context.get_current() is before and trace.get_current_span() is reader

        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(read).result()

    spans = by_name(app.spans())
    assert spans["call"].parent_id == spans["caller"].span_id
    assert spans["call"].attributes["claudetrace.cost.status"] == "priced"
    assert untouched(spans["caller"], spans["reader"])


async def test_a_stream_read_in_another_task(whose: str, play: PlayServer, app: Place, tracer: trace.Tracer) -> None:
    """The span belongs to the task that made the call, also where another reads the stream and a third closes it."""
    play.add(streamed(before_chunk=holding_from(6)))
    async with new_client(play.url, None, is_async=True, **options_for(whose)) as client:

        async def call() -> Any:
            with tracer.start_as_current_span("caller"):
                return await client.messages.create(**ASK, stream=True)

        async def read(stream: Any) -> None:
            with tracer.start_as_current_span("reader"):
                await anext(stream)

        stream = await asyncio.create_task(call())
        await asyncio.create_task(read(stream))
        await asyncio.create_task(stream.close())
        let_go()

    spans = by_name(app.spans())
    assert spans["call"].parent_id == spans["caller"].span_id
    assert spans["call"].attributes["claudetrace.cost.status"] == "partial"
    assert untouched(spans["caller"], spans["reader"])


async def test_an_app_s_generator_that_is_dropped(whose: str, play: PlayServer, app: Place, tracer: Any) -> None:
    """An app's generator that holds a stream may end wherever the event loop closes it: the span ends with it."""
    play.add(streamed(before_chunk=holding_from(6)))
    async with new_client(play.url, None, is_async=True, **options_for(whose)) as client:

        async def words() -> Any:
            async with client.messages.stream(**ASK) as stream:
                async for word in stream.text_stream:
                    yield word

        async def taste() -> None:
            async for _ in words():
                break

        with tracer.start_as_current_span("caller"):
            await asyncio.create_task(taste())
            gc.collect()
            await asyncio.get_running_loop().shutdown_asyncgens()
            await asyncio.sleep(0)
            let_go()

    spans = by_name(app.spans())
    assert spans["call"].parent_id == spans["caller"].span_id
    assert spans["call"].attributes["claudetrace.cost.status"] == "partial"


def test_a_coroutine_that_ends_in_another_context(play: PlayServer, app: Place, tracer: trace.Tracer) -> None:
    """A call that is given up half-way and collected elsewhere leaves its span, and the context there as it was."""
    client = new_client(play.url, None, is_async=True, **options_for("own"))

    @types.coroutine
    def never(options: Any) -> Any:
        yield
        return options

    client._prepare_options = never
    client._platform = "Linux"  # Else the SDK asks a thread first.
    call = client.messages.create(**ASK)
    started = copy_context()
    started.run(call.send, None)
    with tracer.start_as_current_span("elsewhere") as current:
        call.close()
        assert trace.get_current_span() is current

    spans = by_name(app.spans())
    assert (spans["call"].parent_id, untouched(spans["elsewhere"])) == ("", True)


def test_calls_at_once_in_threads(whose: str, play: PlayServer, app: Place, tracer: trace.Tracer) -> None:
    """Each call's span is the child of its own thread's span, and alone there."""
    count = 8
    play.add(json_answer(times=count))
    together = threading.Barrier(count)
    with new_client(play.url, None, is_async=False, **options_for(whose)) as client:

        def request(_number: int) -> None:
            with tracer.start_as_current_span("request"):
                together.wait()
                client.messages.create(**ASK)

        with ThreadPoolExecutor(count) as pool:
            list(pool.map(request, range(count)))

    spans = app.spans()
    requests = {span.span_id for span in spans if span.of_the_app}
    assert sorted(span.parent_id for span in spans if not span.of_the_app) == sorted(requests)
    assert len(requests) == count


async def test_calls_at_once_in_tasks(whose: str, play: PlayServer, app: Place, tracer: trace.Tracer) -> None:
    """Calls gathered in one block are children of it and not of each other; what is inside is each one's own."""
    count = 8
    play.add(json_answer(times=count))
    inside = Inside()
    async with new_client(play.url, inside, is_async=True, **options_for(whose)) as client:
        with tracer.start_as_current_span("request") as request:
            await asyncio.gather(*(client.messages.create(**ASK) for _ in range(count)))

    spans = app.spans()
    calls = [span for span in spans if not span.of_the_app]
    assert {span.parent_id for span in calls} == {f"{request.get_span_context().span_id:016x}"}
    https = [span.parent_id for span in spans if span.name == "http"]
    assert sorted(https) == sorted(span.span_id for span in calls)
    assert len(set(https)) == count


def test_a_middleware_with_a_span_of_its_own(whose: str, play: PlayServer, app: Place, tracer: trace.Tracer) -> None:
    """The middleware's span is current when the answer comes, and yet gets nothing: the call's has it all."""
    if not has_middleware():
        pytest.skip("not available: this version of the SDK has no middleware")
    play.add(json_answer())
    inside = Inside()

    def traced(request: Any, call_next: Any) -> Any:
        with tracer.start_as_current_span("middleware"):
            return call_next(request)

    with new_client(play.url, inside, is_async=False, middleware=[traced], **options_for(whose)) as client:
        client.messages.create(**ASK)

    spans = by_name(app.spans())
    assert spans["middleware"].parent_id == spans["call"].span_id
    assert spans["http"].parent_id == spans["middleware"].span_id
    assert spans["call"].attributes["claudetrace.cost.usd"] > 0
    assert untouched(spans["middleware"], spans["http"])


def test_a_call_within_a_call(whose: str, play: PlayServer, app: Place, tracer: trace.Tracer) -> None:
    """A call that a middleware makes is a child of the call around it; each has its own cost."""
    if not has_middleware():
        pytest.skip("not available: this version of the SDK has no middleware")
    play.add(json_answer(), json_answer())
    with new_client(play.url, None, is_async=False, **options_for("own")) as other:

        def asking(request: Any, call_next: Any) -> Any:
            other.messages.create(**ASK)
            return call_next(request)

        with new_client(play.url, None, is_async=False, middleware=[asking], **options_for(whose)) as client:
            client.messages.create(**ASK)

    inner, outer = app.spans()
    assert (inner.parent_id, outer.parent_id) == (outer.span_id, "")
    assert inner.attributes["claudetrace.cost.usd"] == outer.attributes["claudetrace.cost.usd"]


def test_a_tool_runner_s_spans_are_left_alone(whose: str, play: PlayServer, app: Place, tracer: trace.Tracer) -> None:
    """Each call of a tool runner has its span; the runner's own and those of its tools get nothing of ours."""
    play.add(json_answer(ASKS), json_answer())

    client = new_client(play.url, None, is_async=False, **options_for(whose))
    with client, tracer.start_as_current_span("request"):
        client.beta.messages.tool_runner(**ASK, tools=[double]).until_done()

    spans = app.spans()
    calls = [span for span in spans if span.kind == "CLIENT"]
    others = [span for span in spans if span.kind != "CLIENT"]
    assert [span.attributes["claudetrace.cost.status"] for span in calls] == ["priced"] * 2
    assert {span.parent_id for span in calls} <= {span.span_id for span in others}
    assert others
    for span in others:
        assert [name for name in span.attributes if name.startswith("claudetrace.") or "cost" in name] == []


def test_a_call_under_a_span_that_is_sampled_out(whose: str, play: PlayServer, app: Place) -> None:
    """Where the app's span is not sampled, neither is the call's."""
    play.add(json_answer())
    unsampled = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(0)))

    with new_client(play.url, None, is_async=False, **options_for(whose)) as client, trace.use_span(unsampled):
        client.messages.create(**ASK)

    assert app.spans() == []


def test_a_call_under_a_span_of_another_service(whose: str, play: PlayServer, app: Place) -> None:
    """A context that came over the wire is the parent of the call's span."""
    play.add(json_answer())
    remote = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1)))

    with new_client(play.url, None, is_async=False, **options_for(whose)) as client, trace.use_span(remote):
        client.messages.create(**ASK)

    (span,) = app.spans()
    assert (span.trace_id, span.parent_id) == (f"{1:032x}", f"{2:016x}")


def test_retries_are_one_span(whose: str, play: PlayServer, app: Place) -> None:
    """A call that succeeds at the third attempt has one span, which is the parent of each attempt's."""
    refused = json_answer({"type": "error"}, status=529, times=2, headers={"retry-after-ms": "1"})
    play.add(refused, json_answer())
    inside = Inside()

    with new_client(play.url, inside, is_async=False, max_retries=2, **options_for(whose)) as client:
        client.messages.create(**ASK)

    spans = app.spans()
    (call,) = (span for span in spans if not span.of_the_app)
    assert [span.parent_id for span in spans if span.of_the_app] == [call.span_id] * 3
    assert (call.attributes["http.request.resend_count"], call.failed) == (2, False)
    assert call.attributes["claudetrace.cost.status"] == "priced"


def test_a_client_s_copy(whose: str, play: PlayServer, app: Place) -> None:
    """A copy made by `with_options` has its calls' spans as the client it was made of."""
    play.add(json_answer())

    with new_client(play.url, None, is_async=False, **options_for(whose)) as client:
        client.with_options(timeout=5).messages.create(**ASK)

    (span,) = app.spans()
    assert (span.is_native, span.is_ours) == (whose == "native", whose == "own")


def test_counting_tokens_has_a_span_without_cost(whose: str, play: PlayServer, app: Place) -> None:
    """Counting is free: its span has no cost, and no status of one."""
    play.add(json_answer({"input_tokens": 7}, path="/v1/messages/count_tokens"))

    with new_client(play.url, None, is_async=False, **options_for(whose)) as client:
        client.messages.count_tokens(model=ASK["model"], messages=ASK["messages"])

    (span,) = app.spans()
    assert [name for name in span.attributes if "cost" in name] == []


def test_what_uses_no_model_has_no_span_of_ours(whose: str, play: PlayServer, app: Place) -> None:
    """Listing models is no call of a model: we add neither a span nor an attribute."""
    play.add(json_answer({"data": [], "has_more": False}, method="GET", path="/v1/models"))

    with new_client(play.url, None, is_async=False, **options_for(whose)) as client:
        assert isinstance(client, anthropic.Anthropic)
        client.models.list()

    spans = app.spans()
    assert [span for span in spans if span.is_ours] == []
    assert [name for span in spans for name in span.attributes if name.startswith("claudetrace.")] == []
