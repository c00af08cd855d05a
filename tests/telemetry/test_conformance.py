"""Names, types, units and buckets of what is sent, against OpenTelemetry's own: `conventions.json` with its sources."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from opentelemetry import metrics as metrics_api
from opentelemetry import semconv, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer
from claudetrace._telemetry import _attributes

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("conventions.json").read_text(encoding="utf-8"))
THEIRS = re.compile(r"(gen_ai|error|server|user|session|http|operation|llm|tag)\.")
TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "double": lambda value: isinstance(value, float),
    "string[]": lambda value: isinstance(value, tuple) and all(isinstance(each, str) for each in value),
}
ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hi."}],
    "stop_sequences": ["END"],
    # Not all versions of the SDK have these as arguments of their own.
    "extra_body": {
        "temperature": 1,
        "top_p": 1,
        "top_k": 5,
        "output_config": {"effort": "low", "format": {"type": "x"}},
    },
}
COUNTS = _wire.usage(100, 50, cache_read=2_000, write_5m=200, write_1h=100)
TOOL = _wire.tool_use("weather", {"city": "Paris"})
Spans = Callable[[], list[dict[str, "AttributeValue"]]]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """The attributes of the spans that have ended, through the app's own provider."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    def ended() -> list[dict[str, AttributeValue]]:
        assert claudetrace.flush(timeout_s=30)
        return [dict(span.attributes or {}) for span in exporter.get_finished_spans()]

    return ended


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    """Reads what the app's own meter provider is told."""
    made = InMemoryMetricReader()
    monkeypatch.setattr(metrics_api._internal, "_METER_PROVIDER", MeterProvider([made]))
    return made


def called(server: PlayServer, *, native: bool) -> None:
    """A plain call, a stream, a count of tokens and a failure, tagged, with all that an answer may have."""
    whole = _wire.message([_wire.text("Hello."), TOOL], COUNTS, model="claude-sonnet-5")
    counted = _answers.answer({"input_tokens": 7}, path="/v1/messages/count_tokens")
    server.add(_answers.answer(whole), _answers.stream(whole), counted, _answers.failure(529, "overloaded_error"))
    options: dict[str, Any] = {} if native else {"open_telemetry": False}
    tags = {"user": "u1", "session": "s1", "feature": "greet", "team": "north"}
    with (
        anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0, **options) as client,
        claudetrace.tag(**tags),
    ):
        client.messages.create(**ASK)
        for _ in client.messages.create(**ASK, stream=True):
            pass
        client.messages.count_tokens(model=ASK["model"], messages=ASK["messages"])
        with pytest.raises(anthropic.APIStatusError):
            client.messages.create(**ASK)


def fault(name: str, value: AttributeValue, *, beside: bool) -> str | None:
    """Why this attribute is not as the conventions, or those beside them, have it."""
    known = {**TABLE["attributes"], **(TABLE["beside_the_conventions"] if beside else {})}
    if name not in known:
        return f"{name} is in no convention"
    kind = known[name]["type"]
    if not TYPES[kind](value):
        return f"{name} is {value!r}, and not of type {kind}"
    return None


def by_the_sdk(server: PlayServer, spans: Spans) -> set[str]:
    """The attributes that the SDK itself puts on its spans, right or wrong."""
    called(server, native=True)
    return {name for attributes in spans() for name in attributes}


@pytest.mark.parametrize("attributes", ["all", "standard"])
@pytest.mark.parametrize("native", [True, False])
def test_every_attribute_of_a_span_is_as_the_conventions_have_it(
    native: bool, attributes: str, server: PlayServer, start: Callable[..., object], spans: Spans
) -> None:
    """What begins with a name of others has their name and type; `standard` has the conventions' names alone."""
    if native and not hasattr(anthropic._base_client, "start_api_call_span"):
        pytest.skip("this SDK makes no spans of its own")
    of_the_sdk = by_the_sdk(server, spans) if native else set()
    before = len(spans())
    start(attributes=attributes)

    called(server, native=native)

    told = spans()[before:]
    ours = [(name, value) for span in told for name, value in span.items() if name not in of_the_sdk]
    faults = {fault(*each, beside=attributes == "all") for each in ours if THEIRS.match(each[0])}
    assert len(told) >= 3
    assert faults - {None} == set()
    assert {name for name, _ in ours if not THEIRS.match(name) and not name.startswith("claudetrace.")} == set()


def told(reader: InMemoryMetricReader) -> dict[str, Any]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def shape(metric: Any) -> dict[str, Any]:
    """A metric as the table describes one."""
    point = metric.data.data_points[0]
    kind = type(metric.data).__name__.lower()
    if kind == "sum":
        kind = "counter" if metric.data.is_monotonic else "updowncounter"
    found = {"instrument": kind, "unit": metric.unit}
    return {**found, "buckets": list(point.explicit_bounds)} if kind == "histogram" else found


@pytest.mark.parametrize("names", ["in_use", "to_come"])
def test_every_metric_is_as_the_conventions_have_it(
    names: str,
    server: PlayServer,
    start: Callable[..., object],
    reader: InMemoryMetricReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each metric is there, with the instrument, unit, buckets and attributes of the table, and no other is."""
    if names == "to_come":
        monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http, gen_ai_latest_experimental")
    start()
    called(server, native=False)
    # What the seam has learnt by the first row, that metrics are wanted, makes it time the chunks of the next stream.
    assert claudetrace.flush(timeout_s=30)
    called(server, native=False)
    assert claudetrace.flush(timeout_s=30)

    metrics = told(reader)
    wanted = {**TABLE["metrics"][names], **TABLE["metrics"]["proposed"], **TABLE["metrics"]["own"]}
    assert set(metrics) == set(wanted)
    for name, known in wanted.items():
        expected = {key: known[key] for key in ("instrument", "unit", "buckets") if key in known}
        assert {key: shape(metrics[name])[key] for key in expected} == expected, name
        used = {each for point in metrics[name].data.data_points for each in point.attributes}
        theirs = {each for each in used if THEIRS.match(each)}
        if "attributes" in known:
            assert theirs <= set(known["attributes"]), name
        for point in metrics[name].data.data_points:
            assert {fault(*each, beside=False) for each in point.attributes.items() if THEIRS.match(each[0])} <= {None}


def constants() -> Iterator[str]:
    """The names that the installed package of the conventions knows."""
    for folder in semconv.__path__:
        for path in Path(folder).rglob("*.py"):
            yield from re.findall(r'^[A-Z_]+: Final = \(?\s*"([a-z0-9_.]+)"', path.read_text("utf-8"), re.MULTILINE)


def test_the_table_agrees_with_the_installed_package() -> None:
    """A name whose source is the package is in it, and so are the metrics in use."""
    known = set(constants())
    of_the_package = {name for name, about in TABLE["attributes"].items() if about["source"] == "package"}
    assert of_the_package | set(TABLE["metrics"]["in_use"]) <= known


def test_each_entry_of_the_table_has_a_source() -> None:
    """Whoever doubts an entry finds the file that it is from."""
    groups = [TABLE["attributes"], TABLE["beside_the_conventions"]]
    groups += [TABLE["metrics"][kind] for kind in ("in_use", "to_come", "proposed")]
    assert {about["source"] for group in groups for about in group.values()} <= set(TABLE["sources"])


def test_the_words_for_operations_and_providers_are_well_known() -> None:
    """What the tables of attributes translate to are values that the conventions list."""
    assert set(_attributes.OPERATIONS.values()) <= set(TABLE["values"]["gen_ai.operation.name"])
    assert set(_attributes.PROVIDERS.values()) <= set(TABLE["values"]["gen_ai.provider.name"])
