"""Bodies that nobody would send: the caller sees what it sees without a meter, and the counts do not depend on luck."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import _bedrock
import anthropic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import claudetrace
from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer
from claudetrace._seam._readers import reader_for

from .kinds._clouds import AWS
from .kinds._kit import ASK, seen, seen_error
from .kinds._rows import COUNTS, MESSAGE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MANY = settings(max_examples=300, deadline=None)
OVER_HTTP = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
BODIES_AT_ONCE = 12
EVENTS = _wire.stream_events(MESSAGE, pieces=3)

odd = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from([*COUNTS, "iterations", "speed", "inference_geo", "unknown", "output_tokens_details"])
usages = st.dictionaries(names, odd | st.integers(0, 10**6), max_size=8) | odd
messages = st.fixed_dictionaries(
    {"type": st.just("message"), "role": st.just("assistant"), "usage": usages},
    optional=dict.fromkeys(("id", "model", "content", "stop_reason", "container"), odd),
)
json_bodies = (messages | odd).map(lambda value: json.dumps(value).encode())
bodies = json_bodies | st.binary(max_size=80)
events = st.fixed_dictionaries(
    {"type": st.sampled_from([*{event["type"] for event in EVENTS}, "error", "ping", "completion", "new_event"])},
    optional={
        "message": messages | odd,
        "usage": usages,
        "delta": odd | st.fixed_dictionaries({"stop_reason": odd}),
        "error": odd,
        "content_block": odd,
        "index": odd,
    },
)


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.deltas = 0

    def on_json(self, body: Any) -> None:
        self.events.append(body)

    def on_event(self, kind: str, event: Any) -> None:
        self.events.append((kind, event))

    def on_first_delta(self) -> None:
        self.deltas += 1

    def on_line(self, line: Any) -> None:
        self.events.append(line)


def heard(media_type: str, chunks: Iterable[bytes], *, lines: bool = False) -> tuple[Any, int]:
    """What a reader says of a body that comes in these chunks."""
    listener = Heard()
    reader = reader_for(media_type, listener, lines=lines)
    for chunk in chunks:
        reader.feed(chunk)
    reader.end()
    told = [event for event in listener.events if not (isinstance(event, tuple) and "delta" in event[0][:20])]
    counted = [event for event in listener.events if isinstance(event, tuple) and event[0] == "message_delta"]
    return (told, counted), listener.deltas


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """`body` in pieces that end at these places."""
    ends = sorted({place % (len(body) + 1) for place in places} | {0, len(body)})
    return [body[start:end] for start, end in pairwise(ends)]


places = st.lists(st.integers(0, 10**4), max_size=40)
ends = st.none() | st.integers(1, 3000)


@MANY
@given(places=places, ending=st.sampled_from([b"\n", b"\r\n", b"\r"]), named=st.booleans())
def test_a_stream_says_the_same_however_it_is_cut(places: list[int], ending: bytes, named: bool) -> None:
    """Server-sent events give the same counts in any chunks, with any line ends, with or without `event:` lines."""
    body = b"".join(_wire.sse([*EVENTS, {"type": "error", "error": {"type": "overloaded_error"}}]))
    if not named:
        body = b"".join(line for line in body.splitlines(keepends=True) if not line.startswith(b"event:"))
    whole = heard("text/event-stream", [b"".join(_wire.sse([*EVENTS, {"type": "error", "error": {}}]))])[1]

    told, deltas = heard("text/event-stream", cut(body.replace(b"\n", ending), places))

    assert (told, deltas) == heard("text/event-stream", [body])
    assert deltas == whole == 1


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=repr)
def test_a_border_may_be_anywhere_whatever_ends_a_line(ending: bytes) -> None:
    """A body in two parts says the same as in one, also where a line's end of two bytes is cut."""
    body = b"".join(_wire.sse([*EVENTS, {"type": "error", "error": {"type": "overloaded_error"}}]))
    sent = body.replace(b"\n", ending)

    told = {place: heard("text/event-stream", cut(sent, [place])) for place in range(len(sent))}

    assert [place for place, each in told.items() if each != heard("text/event-stream", [body])] == []


def test_a_border_next_to_a_delta_may_be_anywhere() -> None:
    """An event may begin in the chunk of the one before, and come at any place in two parts."""
    sent = _wire.sse(event for event in EVENTS if event["type"] != "content_block_stop")

    told = [
        heard("text/event-stream", [*sent[: at - 1], sent[at - 1] + event[:place], event[place:], *sent[at + 1 :]])
        for at, event in enumerate(sent[1:], 1)
        for place in range(len(event))
    ]

    assert [each for each in told if each != heard("text/event-stream", sent)] == []


@MANY
@given(places=places)
def test_an_event_stream_says_the_same_however_it_is_cut(places: list[int]) -> None:
    """Bedrock's frames give the same counts in any chunks."""
    frames = _bedrock.frames(EVENTS)

    assert heard(BEDROCK, cut(b"".join(frames), places)) == heard(BEDROCK, frames)


@MANY
@given(places=places)
def test_lines_say_the_same_however_they_are_cut(places: list[int]) -> None:
    """A batch's results give the same rows in any chunks."""
    lines = _wire.batch_results({"one": MESSAGE, "two": _wire.error(), "drei ü": MESSAGE})

    assert heard("application/x-jsonl", cut(b"".join(lines), places)) == heard("application/x-jsonl", lines)


BEDROCK = "application/vnd.amazon.eventstream"


@pytest.fixture(scope="module")
def server() -> Any:
    """Plays whatever it is given next."""
    with PlayServer() as running:
        yield running


def compared(server: PlayServer, db: Path, client: Any, exchanges: list[Exchange], *, stream: bool) -> int:
    """Plays the exchanges with and without a meter, to see that the caller sees the same; how many rows that left."""
    claudetrace.uninstrument()
    bare = _played(server, client, exchanges, stream=stream)
    with claudetrace.instrument(db=db, force=True) as meter:
        before = meter.health.recorded
        metered = _played(server, client, exchanges, stream=stream)
        assert meter.flush(10)
        assert (meter.health.lost, meter.health.pending) == (0, 0)
        rows = meter.health.recorded - before
    assert metered == bare
    return rows


def _played(server: PlayServer, client: Any, exchanges: list[Exchange], *, stream: bool) -> list[Any]:
    came: list[Any] = []
    for exchange in exchanges:
        server.add(exchange)
        try:
            result = client.messages.create(**ASK, stream=stream)
            came.append([repr(seen(event)) for event in result] if stream else repr(seen(result)))
        except Exception as error:
            came.append(repr(seen_error(error)))
    return came


@OVER_HTTP
@given(played=st.lists(st.tuples(bodies, st.sampled_from([200, 200, 400, 529])), max_size=BODIES_AT_ONCE))
def test_no_body_reaches_the_caller_as_anything_else(server: Any, tmp_path: Path, played: list[Any]) -> None:
    """Whatever comes as a body, the caller gets what it gets without a meter, and each call leaves one row."""
    headers = {"content-type": "application/json"}
    exchanges = [Exchange(body=body, status=status, headers=headers) for body, status in played]
    with anthropic.Anthropic(api_key="key", base_url=server.url, max_retries=0) as client:
        assert compared(server, tmp_path / "ledger.db", client, exchanges, stream=False) == len(played)


@OVER_HTTP
@given(
    played=st.lists(
        st.tuples(st.lists(events, max_size=6) | st.just(EVENTS), places, ends),
        max_size=BODIES_AT_ONCE,
    )
)
def test_no_stream_reaches_the_caller_as_anything_else(server: Any, tmp_path: Path, played: list[Any]) -> None:
    """Whatever events come, and wherever they are cut, the caller gets what it gets without a meter."""
    headers = {"content-type": "text/event-stream"}
    exchanges = [
        Exchange(body=cut(b"".join(_wire.sse(told)), at) or [b""], cut_after=end, headers=headers)
        for told, at, end in played
    ]
    with anthropic.Anthropic(api_key="key", base_url=server.url, max_retries=0) as client:
        assert compared(server, tmp_path / "ledger.db", client, exchanges, stream=True) == len(played)


@OVER_HTTP
@given(
    played=st.lists(
        st.tuples(
            st.lists(events, max_size=4) | st.just(EVENTS), places, st.none() | st.integers(1, 3000), st.binary()
        ),
        max_size=BODIES_AT_ONCE,
    )
)
def test_no_event_stream_reaches_the_caller_as_anything_else(server: Any, tmp_path: Path, played: list[Any]) -> None:
    """Whatever frames come, broken or cut anywhere, Bedrock's caller gets what it gets without a meter."""
    exchanges = [
        Exchange(
            path="*",
            body=cut(b"".join(_bedrock.frames(told)) + rest, at) or [b""],
            cut_after=end,
            headers={"content-type": BEDROCK},
        )
        for told, at, end, rest in played
    ]
    with anthropic.AnthropicBedrock(**AWS, base_url=server.url, max_retries=0) as client:
        assert compared(server, tmp_path / "ledger.db", client, exchanges, stream=True) == len(played)
