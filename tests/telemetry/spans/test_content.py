"""What is on a span and what never is: tools by name and id, dollars where they are known, and no content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest
from seam.kinds._kit import Steps, each
from seam.kinds._middleware import has_middleware, twice, twice_async, with_middleware
from seam.kinds._plays import failure, json_answer, streamed
from seam.kinds._rows import MODEL

import claudetrace
from claudetrace._demo import _wire
from claudetrace._demo._server import PlayServer
from telemetry.receiver import Receiver

from ._calls import new_client, run
from ._places import Place, Seen
from .conftest import COST_NAMES, options_for

Start = Callable[..., claudetrace.Instrumentation]

SECRET = "xyzzy"
"""In everything that somebody wrote: prompts, stop sequences, answers, arguments, errors."""

ASK: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 64,
    "stop_sequences": [f"{SECRET}:"],
    "system": f"Keep {SECRET} to yourself.",
    "messages": [
        {"role": "user", "content": f"What is {SECRET}?"},
        {"role": "assistant", "content": [_wire.tool_use("recall", {"of": SECRET}, call_id="toolu_0")]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_0", "content": SECRET}]},
    ],
    "tools": [
        {"name": name, "description": f"About {SECRET}.", "input_schema": {"type": "object", "title": SECRET}}
        for name in ("weather", "news")
    ],
}
COUNTS = _wire.usage(100, 50, cache_read=20)
WHOLE = _wire.message(
    [
        {"type": "thinking", "thinking": f"Hm, {SECRET}.", "signature": SECRET},
        _wire.text(f"It is {SECRET}."),
        _wire.tool_use("weather", {"city": SECRET}, call_id="toolu_1"),
        _wire.tool_use("news", {"about": {"deep": [SECRET]}}, call_id="toolu_2"),
    ],
    COUNTS,
    model=MODEL,
    stop_details={"explanation": SECRET},
)


def create(client: Any, _server: PlayServer) -> Steps:
    yield client.messages.create(**ASK)


def stream(client: Any, _server: PlayServer) -> Steps:
    yield each((yield client.messages.create(**ASK, stream=True)))


def failing(client: Any, _server: PlayServer) -> Steps:
    for _ in range(2):
        try:
            yield client.messages.create(**ASK)
        except anthropic.APIError:
            continue


def everything(client: Any, server: PlayServer) -> Steps:
    yield from create(client, server)
    yield from stream(client, server)
    yield from failing(client, server)


WAYS = {
    "JSON": (create, lambda: json_answer(WHOLE)),
    "streamed": (stream, lambda: streamed(_wire.stream_events(WHOLE))),
}


def the_call_s(place: Place) -> Seen:
    (span,) = place.spans()
    return span


@pytest.mark.parametrize("attributes", ["all", "standard"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("way", WAYS)
def test_tool_calls_by_name_and_id(
    way: str, is_async: bool, attributes: str, whose: str, play: PlayServer, app: Place, start: Start
) -> None:
    """The tools that an answer calls are on its span in their order, without what they are called with."""
    start(attributes=attributes)
    steps, plays = WAYS[way]
    play.add(plays())

    run(steps, new_client(play.url, None, is_async=is_async, **options_for(whose)), play)

    told = the_call_s(app).attributes
    assert told["claudetrace.tool.names"] == ("weather", "news")
    assert told["claudetrace.tool.call_ids"] == ("toolu_1", "toolu_2")
    assert told["gen_ai.response.finish_reasons"] == ("tool_use",)


def test_as_many_tools_as_a_span_can_name(
    play: PlayServer, app: Place, start: Start, ledger: Callable[[], list[claudetrace.Call]]
) -> None:
    """A thousand tool calls of an answer are named on its span, in their order; its row counts all."""
    start()
    blocks = [_wire.tool_use("find", {}, call_id=f"toolu_{number}") for number in range(1_500)]
    play.add(json_answer(_wire.message(blocks, model=ASK["model"], stop_reason="tool_use")))

    run(create, new_client(play.url, None, is_async=False), play)

    told = the_call_s(app).attributes
    assert told["claudetrace.tool.call_ids"] == tuple(f"toolu_{number}" for number in range(1_000))
    assert [call.tool_calls for call in ledger()] == [1_500]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_no_content_anywhere(
    is_async: bool,
    whose: str,
    play: PlayServer,
    collector: Receiver,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing that anybody wrote is in a span, a metric, a record or a file, also when a call fails saying it."""
    place = Place("collector", monkeypatch, collector)
    collector.metrics.clear()
    collector.logs.clear()
    refused = failure(400, "invalid_request_error")
    told = json.dumps(_wire.error("api_error", f"I dislike {SECRET}")).encode()
    play.add(*(plays() for _, plays in WAYS.values()), failure(400, "invalid_request_error"))
    play.add(type(refused)(status=500, body=told, headers=dict(refused.headers)))

    start(records="otlp", **place.settings)
    run(everything, new_client(play.url, None, is_async=is_async, **options_for(whose)), play)
    spans = place.spans()
    claudetrace.uninstrument()

    assert len(spans) == 4
    assert collector.wait_for(lambda arrived: arrived.metrics and len(arrived.logs) >= 4)
    assert SECRET not in repr((spans, collector.spans, collector.metrics, collector.logs))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [path.name for path in files if SECRET.encode() in path.read_bytes()] == []


def test_an_unpriced_call_has_no_cost_of_any_name(whose: str, play: PlayServer, app: Place, start: Start) -> None:
    """A model without a price leaves its status, its tokens, and nothing else about cost."""
    start()
    play.add(json_answer({**WHOLE, "model": "claude-unheard-of-9"}))

    run(create, new_client(play.url, None, is_async=False, **options_for(whose)), play)

    told = the_call_s(app).attributes
    assert {name: value for name, value in told.items() if "cost" in name} == {"claudetrace.cost.status": "unpriced"}
    assert told["gen_ai.usage.input_tokens"] == 120


def test_an_answer_that_the_caller_reads_has_its_tokens(whose: str, play: PlayServer, app: Place, start: Start) -> None:
    """The SDK puts nothing of an answer on its span that the caller reads without it: we do."""
    start()
    play.add(WAYS["streamed"][1]())

    def raw(client: Any, _server: PlayServer) -> Steps:
        with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
            assert SECRET.encode() in b"".join(response.iter_bytes())
        yield None

    run(raw, new_client(play.url, None, is_async=False, **options_for(whose)), play)

    told = the_call_s(app).attributes
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (120, 50)
    assert (told["gen_ai.response.model"], told["gen_ai.response.id"]) == (MODEL, "msg_demo_1")
    assert told["claudetrace.cost.status"] == "priced"


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("models", "status"),
    [
        ((MODEL, MODEL), "priced"),
        ((MODEL, "claude-unheard-of-9"), "partial"),
        (("claude-unheard-of-9", MODEL), "partial"),
        (("claude-unheard-of-9", "claude-unheard-of-9"), "unpriced"),
    ],
    ids=["both priced", "the first", "the second", "neither"],
)
def test_a_call_of_two_responses_has_the_sum_of_what_is_known(
    models: tuple[str, str], status: str, is_async: bool, whose: str, play: PlayServer, app: Place, start: Start
) -> None:
    """Both prices together; one where the other is not known, which is said to be partial; none where neither is."""
    if not has_middleware():
        pytest.skip("not available: this version of the SDK has no middleware")
    start()
    play.add(*(json_answer({**WHOLE, "model": model, "id": f"msg_{at}"}) for at, model in enumerate(models)))
    options = {"max_retries": 0, **options_for(whose)}
    one = float(claudetrace.price(WHOLE).usd or 0)

    run(create, with_middleware(twice, twice_async)(play.url, is_async, options), play)

    told = the_call_s(app).attributes
    assert told["claudetrace.cost.status"] == status
    cost = [pytest.approx(one * models.count(MODEL))] * len(COST_NAMES) if MODEL in models else []
    assert [told[name] for name in COST_NAMES if name in told] == cost
