"""Another instrumentation on the same client: one span of a call has its cost, and the row leads to it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.resources.messages import AsyncMessages, Messages
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from seam.kinds._plays import json_answer

import claudetrace
from claudetrace._demo._server import PlayServer

from ._calls import ASK, create, new_client, run
from .conftest import NO_NATIVE, has_native_spans, options_for

Patch = Callable[[Any, str], None]
COST = "claudetrace.cost.usd"


class Heeding(TracerProvider):
    """A provider that makes no span where they are suppressed, as Logfire's."""

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        tracer = super().get_tracer(*args, **kwargs)
        start = tracer.start_span

        def start_span(*args: Any, **kwargs: Any) -> trace.Span:
            if context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY):
                return trace.NonRecordingSpan(trace.get_current_span().get_span_context())
            return start(*args, **kwargs)

        tracer.start_span = start_span  # type: ignore[method-assign]
        return tracer


@contextmanager
def suppress_instrumentation() -> Iterator[None]:
    """No further instrumentation makes a span in the block, by the names that are in use for it."""
    suppressing = context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True)
    token = context.attach(context.set_value("suppress_instrumentation", True, suppressing))
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def their_span() -> Iterator[None]:
    """A span of the call, and no other within it."""
    with (
        trace.get_tracer("theirs").start_as_current_span("theirs", kind=trace.SpanKind.CLIENT),
        suppress_instrumentation(),
    ):
        yield


def around(original: Any, *, is_async: bool) -> Any:
    """A function that passes for the one that it wraps."""
    return functools.wraps(original)(around_untold(original, is_async=is_async))


def around_untold(original: Any, *, is_async: bool) -> Any:
    """A function that does not say what it wraps."""

    def patched(*args: Any, **kwargs: Any) -> Any:
        with their_span():
            return original(*args, **kwargs)

    async def patched_async(*args: Any, **kwargs: Any) -> Any:
        with their_span():
            return await original(*args, **kwargs)

    return patched_async if is_async else patched


class Kept:
    """A callable that keeps what it wraps as a field of its own."""

    def __init__(self, original: Any, *, is_async: bool) -> None:
        self.call = around_untold(original, is_async=is_async)

    def __get__(self, client: Any, _owner: Any = None) -> Any:
        return self if client is None else functools.partial(self.call, client)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)


def of_a_module(original: Any, *, is_async: bool) -> Any:
    """A function that finds what it wraps in its module."""
    source = "def patched(*args, **kwargs): return ORIGINAL(*args, **kwargs)"
    names: dict[str, Any] = {"ORIGINAL": original}
    exec(source, names)  # a line of this file
    return around(names["patched"], is_async=is_async)


WRAPPERS = {"told": around, "untold": around_untold, "of a module": of_a_module, "an object": Kept}


CASES = [
    *(("before", place, wrapper) for place in ("class", "client") for wrapper in WRAPPERS),
    ("before", "resource", "untold"),
    *(("after", place, "untold") for place in ("class", "client", "resource")),
]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """The context is as it was."""
    before = context.get_current()
    yield
    assert context.get_current() == before


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def opened(whose: str, play: PlayServer, is_async: bool) -> Any:
    play.add(json_answer())
    return new_client(play.url, None, is_async=is_async, **options_for(whose))


@pytest.fixture(params=[TracerProvider, Heeding], ids=["plain", "heeding"])
def provider(request: pytest.FixtureRequest, exporter: Any, monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider: TracerProvider = request.param()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return provider


def places(client: Any) -> dict[str, tuple[Any, str]]:
    """Where other instrumentations put themselves."""
    is_async = isinstance(client, anthropic.AsyncAnthropic)
    return {
        "class": (type(client), "request"),
        "client": (client, "request"),
        "resource": (AsyncMessages if is_async else Messages, "create"),
    }


def check(spans: list[ReadableSpan], rows: list[claudetrace.Call]) -> None:
    """One row, one span with a cost, that of the row and not theirs."""
    (row,) = rows
    (costly,) = [span for span in spans if COST in (span.attributes or {})]
    assert f"{costly.context.span_id:016x}" == row.span_id
    assert costly.attributes is not None
    assert costly.attributes[COST] == float(row.cost_usd or 0) > 0
    assert {name for span in spans if span.name == "theirs" for name in span.attributes or {}} == set()


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize(("when", "place", "wrapper"), CASES)
def test_one_span_has_the_cost(
    when: str,
    place: str,
    wrapper: str,
    is_async: bool,
    opened: Any,
    play: PlayServer,
    spans: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever another puts around a method, before or after us, and however it suppresses other spans."""
    owner, name = places(opened)[place]

    def patch() -> None:
        monkeypatch.setattr(owner, name, WRAPPERS[wrapper](getattr(owner, name), is_async=is_async), raising=False)

    if when == "before":
        patch()
    with claudetrace.instrument(db=tmp_path / "ledger.db", force=True) as meter:
        if when == "after":
            patch()
        run(create, opened, play)
        arrived = spans()
        assert (meter.flush(), dict(meter.health.failures)) == (True, {})
    with claudetrace.Ledger(tmp_path / "ledger.db") as ledger:
        check(arrived, ledger.calls())


@pytest.mark.skipif(not has_native_spans(), reason=NO_NATIVE)
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_sdk_s_span_taken_away(
    when: str,
    is_async: bool,
    play: PlayServer,
    provider: TracerProvider,
    spans: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where another has the SDK's module make no span, one of ours has the cost."""

    def patch() -> None:
        monkeypatch.setattr(anthropic._base_client, "start_api_call_span", lambda *args, **kwargs: None)

    play.add(json_answer())
    if when == "before":
        patch()
    with claudetrace.instrument(db=tmp_path / "ledger.db", force=True) as meter:
        if when == "after":
            patch()
        run(create, new_client(play.url, None, is_async=is_async), play)
        assert (meter.flush(), dict(meter.health.failures)) == (True, {})
    with claudetrace.Ledger(tmp_path / "ledger.db") as ledger:
        check(spans(), ledger.calls())


def test_a_client_is_left_as_another_made_it(play: PlayServer, tmp_path: Path) -> None:
    """After `uninstrument()` a client has the method that another put on it, and no call of it is seen."""
    play.add(json_answer(times=2))
    client = new_client(play.url, None, is_async=False)
    theirs = client.request = around(client.request, is_async=False)
    with claudetrace.instrument(db=tmp_path / "ledger.db", force=True):
        assert client.request is not theirs
        client.messages.create(**ASK)
        claudetrace.flush()
    assert client.request is theirs
    run(create, client, play)
    with claudetrace.Ledger(tmp_path / "ledger.db") as ledger:
        assert len(ledger.calls()) == 1


def test_suppressed_by_the_user_beside_another(
    whose: str, provider: TracerProvider, play: PlayServer, spans: Any, tmp_path: Path
) -> None:
    """What the user himself suppresses stays so: no span of ours, and the row is there."""
    play.add(json_answer())
    client = new_client(play.url, None, is_async=False, **options_for(whose))
    client.request = around(client.request, is_async=False)
    with (
        claudetrace.instrument(db=tmp_path / "ledger.db", force=True) as meter,
        trace.get_tracer("app").start_as_current_span("app"),
        suppress_instrumentation(),
    ):
        run(create, client, play)
        assert meter.flush()
    with claudetrace.Ledger(tmp_path / "ledger.db") as ledger:
        assert len(ledger.calls()) == 1
    assert [span for span in spans() if span.instrumentation_scope.name == "claudetrace"] == []
