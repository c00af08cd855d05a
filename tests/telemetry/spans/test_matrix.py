"""Every way to call × the SDK's own spans × where the spans go: one span, or none where that is right."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry import trace

import claudetrace
from claudetrace._demo._server import PlayServer
from telemetry.receiver import Receiver

from ._calls import CALLS, Call, Inside, new_client, run
from ._places import PLACES, Place, Seen
from .conftest import COST_NAMES, NO_NATIVE, Rows, has_native_spans

TAGS = {"user": "u1", "session": "s1", "team": "north"}


def expected(native: str, place: str) -> str | None:
    """Whose span the call is to have."""
    if place == "none" or native == "sampled out":
        return None
    return "native" if native == "on" and place in ("before", "after") else "own"


@pytest.mark.parametrize("call", CALLS, ids=[call.name for call in CALLS])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("when", PLACES)
@pytest.mark.parametrize("native", ["on", "off", "sampled out"])
def test_a_call_has_one_span_or_none(
    native: str,
    when: str,
    is_async: bool,
    call: Call,
    play: PlayServer,
    collector: Receiver,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The span is the app's span's child and the parent of what happens inside, has the row's cost, and is alone."""
    if native == "on" and not has_native_spans():
        pytest.skip(NO_NATIVE)
    place = Place(when, monkeypatch, collector, sampled_out=native == "sampled out")
    inside = Inside()
    place.begin()
    with claudetrace.instrument(db=False, sinks=[rows], force=True, **place.settings):
        options: dict[str, Any] = {"open_telemetry": False} if native == "off" and has_native_spans() else {}
        client = new_client(play.url, inside, is_async=is_async, **options)
        place.go_on()
        play.add(*call.plays())
        with claudetrace.tag(**TAGS), trace.get_tracer("app").start_as_current_span("request"):
            run(call.steps, client, play)
        spans = place.spans()

    assert play.unplayed == []
    (row,) = rows.calls
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    mine = [span for span in spans if not span.of_the_app]
    assert [("native" if span.is_native else "own") for span in mine] == [expected(native, when)] * len(mine)
    assert len(mine) == (expected(native, when) is not None)
    for span in mine:
        check(span, call, row)
        check_relations(span, spans, inside)
    for other in spans:
        if other.of_the_app:
            assert other.attributes == {}


def check(span: Seen, call: Call, row: claudetrace.Call) -> None:
    """The span says what the row says."""
    attributes = span.attributes
    assert (span.kind, span.trace_id, span.span_id) == ("CLIENT", row.trace_id, row.span_id)
    assert attributes.get("claudetrace.cost.status") == call.status
    cost = [] if call.status is None else [float(row.cost_usd)] * len(COST_NAMES)
    assert [attributes[name] for name in COST_NAMES if name in attributes] == cost
    assert all(value > 0 for value in cost)
    names = ("user.id", "session.id", "gen_ai.conversation.id", "claudetrace.tag.team", "tag.tags")
    assert [as_tuple(attributes[name]) for name in names] == ["u1", "s1", "s1", "north", ("team:north",)]
    assert attributes["gen_ai.request.model"] == row.model_requested
    if call.error_type:
        assert attributes["error.type"] in call.error_type
        assert span.failed
    elif call.name != "cancelled":
        assert ("error.type" in attributes, span.failed) == (False, False)
    if call.name == "cut":
        assert as_tuple(attributes["gen_ai.response.finish_reasons"]) == ("error",)
    elif call.status == "priced":
        assert as_tuple(attributes["gen_ai.response.finish_reasons"]) == (row.stop_reason,)
        assert attributes.get("gen_ai.usage.output_tokens") == row.output_tokens


def check_relations(span: Seen, spans: list[Seen], inside: Inside) -> None:
    """The span is the child of the app's span, and the parent of the HTTP client's; logs inside bear its trace."""
    assert [(f"{each.trace_id:032x}", f"{each.span_id:016x}") for each in inside.current] == [
        (span.trace_id, span.span_id)
    ]
    assert inside.logged == [span.trace_id]
    app = {each.name: each for each in spans if each.of_the_app}
    if app:
        assert (span.parent_id, span.trace_id) == (app["request"].span_id, app["request"].trace_id)
        assert (app["http"].parent_id, app["http"].trace_id) == (span.span_id, span.trace_id)


def as_tuple(value: Any) -> Any:
    """An attribute, whichever kind of sequence its exporter made of it."""
    return value if isinstance(value, str) else tuple(value)
