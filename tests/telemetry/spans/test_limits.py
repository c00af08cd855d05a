"""The app's limits of spans, and tools that replace a method of OpenTelemetry's spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Span, SpanLimits, SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from seam.kinds._plays import json_answer, streamed

import claudetrace
from claudetrace._telemetry import _current

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi."}]}
TIMES = {"gen_ai.response.time_to_first_chunk"}

pytestmark = pytest.mark.usefixtures("meter")


@pytest.fixture(
    params=[{}, {"max_span_attributes": 12}, {"max_span_attributes": 0}, {"max_span_attribute_length": 6}], ids=str
)
def limited(request: pytest.FixtureRequest, exporter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app's own provider, with limits."""
    provider = TracerProvider(span_limits=SpanLimits(**request.param))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)


def told(client: Any, server: Any, spans: Any) -> list[tuple[list[tuple[str, object]], int]]:
    """What the spans of some calls have, in its order, and how many attributes they dropped."""
    before = len(spans())
    for play in (json_answer, json_answer, streamed, streamed):
        server.add(play())
        with claudetrace.tag(user="u1", team="north"):
            [*client.messages.create(**ASK, stream=play is streamed)]
    return [_attributes(span) for span in spans()[before:]]


def _attributes(span: ReadableSpan) -> tuple[list[tuple[str, object]], int]:
    attributes = (span.attributes or {}).items()
    return [each for each in attributes if each[0] not in TIMES], span.dropped_attributes


@pytest.mark.usefixtures("limited")
def test_a_span_has_what_opentelemetry_would_give_it(
    client: Any, server: Any, spans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same attributes in the same order, as many dropped and values cut alike, as where a tool has replaced
    `set_attributes`. That tool is told all."""
    as_it_is = told(client, server, spans)
    given: list[Mapping[str, Any]] = []
    own = Span.set_attributes

    def set_attributes(span: Span, attributes: Mapping[str, Any]) -> None:
        given.append(attributes)
        own(span, attributes)

    monkeypatch.setattr(Span, "set_attributes", set_attributes)
    with_tool = told(client, server, spans)

    assert [len(names) for names, _ in as_it_is] == [len(names) for names, _ in with_tool]
    assert as_it_is == with_tool
    assert sum("claudetrace.cost.usd" in each for each in given) >= len(with_tool) == 4


class Hiding(BoundedAttributes):
    """Keeps only the names of what it is given."""

    def _set_items(self, attributes: Any) -> None:
        for name in attributes:
            self[name] = ""

    def __setitem__(self, name: str, _value: object) -> None:
        super().__setitem__(name, "hidden")


class Hides(SpanProcessor):
    """A tool that lets no value come onto a span once it has started."""

    def on_start(self, span: Any, parent_context: object = None) -> None:
        span._attributes = Hiding(immutable=False)


@pytest.mark.usefixtures("provider")
def test_a_tool_that_keeps_the_attributes_itself_is_told_them(client: Any, server: Any, spans: Any) -> None:
    """What a tool has put in the place of a span's attributes gets each of ours, also after other spans."""
    told(client, server, spans)
    trace.get_tracer_provider().add_span_processor(Hides())  # type: ignore[attr-defined]  # it is the SDK's

    for attributes, _ in told(client, server, spans):
        assert "claudetrace.cost.usd" in dict(attributes)
        assert set(dict(attributes).values()) == {"hidden"}


@pytest.mark.usefixtures("provider")
def test_the_output_is_dropped_after_the_cache(whose: str, client: Any, server: Any, spans: Any) -> None:
    """A limit of attributes drops the first ones: on our span what was read from the cache comes before the output."""
    if whose == "native":
        pytest.skip("the SDK sets these itself")

    for attributes, _ in told(client, server, spans):
        names = [name for name, _ in attributes]
        assert names.index("gen_ai.usage.cache_read.input_tokens") < names.index("gen_ai.usage.output_tokens")


@pytest.mark.parametrize("part", ["_attributes", "_lock"])
@pytest.mark.usefixtures("provider")
def test_a_span_with_other_inner_parts(
    part: str, client: Any, server: Any, spans: Any, meter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version of OpenTelemetry whose spans name their parts otherwise gives the same spans, and no failure."""
    as_it_is = told(client, server, spans)
    monkeypatch.setattr(_current, "_known", None)
    monkeypatch.setattr(_current, "_put", lambda span, _attributes: getattr(span, f"_other{part}"))

    assert (told(client, server, spans), dict(meter.health.failures)) == (as_it_is, {})


class Looks(sampling.Sampler):
    """A sampler of the app's own."""

    def __init__(self) -> None:
        self.seen: list[Mapping[str, Any]] = []

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        self.seen.append(dict(attributes or {}))
        return sampling.ALWAYS_ON.should_sample(parent_context, trace_id, name, kind, attributes)

    def get_description(self) -> str:
        return "looks"


@pytest.mark.parametrize("who", ["sampler", "parent's sampler", "processor", "patched processor"])
def test_who_looks_at_a_span_that_starts_sees_its_attributes(
    whose: str, client: Any, server: Any, exporter: Any, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """An app's sampler or processor sees what is known when a span starts, also after spans that nobody looked at."""
    if whose == "native":
        pytest.skip("the SDK starts these itself")
    looks, seen = Looks(), []

    def on_start(span: Any, parent_context: Any = None) -> None:
        seen.append(dict(span.attributes))

    class Processor(SimpleSpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            on_start(span)

    blind = TracerProvider()
    blind.add_span_processor(SimpleSpanProcessor(exporter))
    root = sampling.ParentBased(looks) if who == "parent's sampler" else looks
    provider = TracerProvider(sampler=root if "sampler" in who else None)
    processor = (Processor if who == "processor" else SimpleSpanProcessor)(exporter)
    if who == "patched processor":
        processor.on_start = on_start  # type: ignore[method-assign]
    provider.add_span_processor(processor)
    for each in (blind, blind, provider, provider):
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", each)
        server.add(json_answer())
        client.messages.create(**ASK)

    for attributes in looks.seen or seen:
        assert attributes["gen_ai.request.model"] == ASK["model"]
    assert len(looks.seen or seen) == 2
    assert _current._starts_unseen(blind.get_tracer("any"))
