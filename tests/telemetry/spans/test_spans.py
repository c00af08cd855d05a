"""One span a call, whoever makes it, with model, tokens, stop reason and cost."""

from __future__ import annotations

import gc
from typing import Any

import anthropic
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

import claudetrace
from claudetrace._demo import _answers, _wire

from .conftest import has_native_spans

ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say hello."}],
}
COUNTS = _wire.usage(100, 50, cache_read=2_000, write_5m=200, write_1h=100)
HELLO = _wire.message("Hello.", COUNTS, model="claude-sonnet-5")
COST = {
    "claudetrace.cost.status": "priced",
    "gen_ai.usage.cost.currency": "USD",
    "gen_ai.usage.cost.source": "local",
}
COST_NAMES = (
    "claudetrace.cost.usd",
    "gen_ai.usage.cost.amount",
    "gen_ai.usage.cost",
    "operation.cost",
    "llm.cost.total",
)

pytestmark = pytest.mark.usefixtures("provider", "meter")


def create(client: anthropic.Anthropic) -> None:
    client.messages.create(**ASK)


def stream(client: anthropic.Anthropic) -> None:
    for _ in client.messages.create(**ASK, stream=True):
        pass


def helper(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ASK) as told:
        told.get_final_message()


def raw(client: anthropic.Anthropic) -> None:
    client.messages.with_raw_response.create(**ASK).parse()


@pytest.mark.parametrize("call", [create, stream, helper, raw])
def test_a_call_is_one_span_with_its_cost(call: Any, client: Any, server: Any, spans: Any, ledger: Any) -> None:
    """A call that succeeds leaves one CLIENT span, whose cost, tokens and ids are those of its row."""
    server.add(_answers.answer(HELLO) if call in (create, raw) else _answers.stream(HELLO))

    with claudetrace.tag(user="u1", session="s1", feature="greet", team="north"):
        call(client)

    (span,) = spans()
    (row,) = ledger()
    attributes = dict(span.attributes)
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is not StatusCode.ERROR
    assert (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") == (row.trace_id, row.span_id)
    assert {name: attributes[name] for name in COST} == COST
    assert [attributes[name] for name in COST_NAMES] == [float(row.cost_usd)] * len(COST_NAMES)
    assert attributes["gen_ai.usage.input_tokens"] == 2_400
    assert attributes["gen_ai.usage.output_tokens"] == 50
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 2_000
    assert attributes["gen_ai.usage.cache_write.input_tokens"] == 300
    assert attributes["gen_ai.usage.cache_creation.input_tokens"] == 300
    assert attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert attributes["gen_ai.response.model"] == "claude-sonnet-5"
    assert attributes["gen_ai.request.model"] == "claude-sonnet-5"
    assert (attributes["user.id"], attributes["session.id"], attributes["gen_ai.conversation.id"]) == ("u1", "s1", "s1")
    assert attributes["claudetrace.tag.feature"] == "greet"
    assert set(attributes["tag.tags"]) == {"feature:greet", "team:north"}


def test_a_failed_call_is_one_span_with_its_tags_and_no_cost(client: Any, server: Any, spans: Any) -> None:
    """An error leaves one span with its type and the tags, and no dollars."""
    server.add(_answers.failure(400, "invalid_request_error"))

    with claudetrace.tag(user="u1"), pytest.raises(anthropic.BadRequestError):
        create(client)

    (span,) = spans()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes["error.type"], span.attributes["user.id"]) == ("invalid_request_error", "u1")
    assert not set(COST_NAMES) & set(span.attributes)


def test_a_stream_left_early_is_one_span_with_a_lower_bound(client: Any, server: Any, spans: Any) -> None:
    """A stream dropped half-way leaves one span, whose cost is said to be partial."""
    server.add(_answers.stream(HELLO))

    told = client.messages.create(**ASK, stream=True)
    next(iter(told))
    told.close()
    del told
    gc.collect()

    (span,) = spans()
    assert span.attributes["claudetrace.cost.status"] == "partial"
    assert span.attributes["claudetrace.cost.usd"] > 0


def test_an_unknown_model_has_a_span_without_cost(client: Any, server: Any, spans: Any) -> None:
    """A model without a price leaves a span that says so, and no dollars."""
    server.add(_answers.answer({**HELLO, "model": "claude-unheard-of-9"}))

    create(client)

    (span,) = spans()
    assert span.attributes["claudetrace.cost.status"] == "unpriced"
    assert not set(COST_NAMES) & set(span.attributes)


def test_own_spans_are_current_during_the_call(server: Any, provider: TracerProvider, spans: Any) -> None:
    """What the app does inside a call, such as its HTTP client's spans, is a child of a span of ours."""
    options = {"open_telemetry": False} if has_native_spans() else {}
    client = anthropic.Anthropic(api_key="k", base_url=server.url, **options)
    server.add(_answers.answer(HELLO))
    tracer = provider.get_tracer("app")
    prepare = client._prepare_options
    client._prepare_options = lambda given: (tracer.start_span("http").end(), prepare(given))[1]

    with client, tracer.start_as_current_span("request"):
        create(client)

    http, own, request = spans()
    assert (http.parent.span_id, own.parent.span_id) == (own.context.span_id, request.context.span_id)
    assert (own.name, own.instrumentation_scope.name) == ("chat claude-sonnet-5", "claudetrace")
    assert not trace.get_current_span().is_recording()


def test_a_direct_post_has_a_span(client: Any, server: Any, spans: Any) -> None:
    """The SDK makes no span for `client.post`: ours stands in, once."""
    server.add(_answers.answer(HELLO))

    client.post("/v1/messages", body=ASK, cast_to=object)

    (span,) = spans()
    assert span.instrumentation_scope.name == "claudetrace"
    assert span.attributes["claudetrace.cost.usd"] > 0


def test_sampled_out_stays_sampled_out(
    client: Any, server: Any, exporter: Any, monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    """A sampler that takes nothing gets nothing, and the row is written all the same."""
    silent = TracerProvider(sampler=sampling.ALWAYS_OFF)
    silent.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", silent)
    server.add(_answers.answer(HELLO))

    create(client)

    assert (len(ledger()), exporter.get_finished_spans()) == (1, ())


def test_a_batch_download_is_one_span(client: Any, server: Any, spans: Any, ledger: Any) -> None:
    """Reading a batch's results is one span for the download, not one a result, beside those of its other calls."""
    server.add(*_answers.batch("batch_1", {"a": HELLO, "b": {**HELLO, "id": "msg_2"}}))

    list(client.messages.batches.results("batch_1"))

    results = [row for row in ledger() if row.operation == "messages.batches.result"]
    download = {row.span_id for row in results}
    assert (len(results), len(download)) == (2, 1)
    ended = [span for span in spans() if f"{span.context.span_id:016x}" in download]
    assert len(ended) == 1
    assert not set(COST_NAMES) & set(ended[0].attributes)


def test_standard_attributes_are_the_conventions_alone(client: Any, server: Any, spans: Any, tmp_path: Any) -> None:
    """`attributes="standard"` leaves out the names that backends read beside the conventions."""
    claudetrace.instrument(db=tmp_path / "standard.db", attributes="standard", force=True)
    server.add(_answers.answer(HELLO))

    create(client)

    (span,) = spans()
    assert span.attributes["claudetrace.cost.usd"] > 0
    assert not {*COST_NAMES[1:], "gen_ai.usage.cache_creation.input_tokens"} & set(span.attributes)


def test_spans_off_makes_and_touches_none(client: Any, server: Any, exporter: Any, tmp_path: Any) -> None:
    """`spans="off"` leaves the SDK's own span as it is."""
    claudetrace.instrument(db=tmp_path / "off.db", spans="off", force=True)
    server.add(_answers.answer(HELLO))

    create(client)

    assert all("claudetrace.cost.usd" not in span.attributes for span in exporter.get_finished_spans())
    assert all(span.instrumentation_scope.name != "claudetrace" for span in exporter.get_finished_spans())


def test_a_span_changes_no_flag(client: Any, server: Any, ledger: Any) -> None:
    """Code that ran in a stream that broke off is flagged, though its first count was priced before it ran."""
    ran = {"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_1", "content": {}}
    begun = {"type": "content_block_start", "index": 0, "content_block": ran}
    server.add(_answers.stream_of([_wire.stream_events(HELLO)[0], begun]))

    stream(client)

    (row,) = ledger()
    assert row.cost_flags == ("partial_usage", "unpriced_component")
