"""Which clients are seen, and that the SDK is left as it was."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer

from .kinds._kit import ASK
from .kinds._plays import answering_all, json_answer
from .kinds._rows import ANSWERED, BROKEN, COUNTS, MODEL, STREAMED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASES = (anthropic._base_client.SyncAPIClient, anthropic._base_client.AsyncAPIClient)
METHODS = ("request", "_process_response", "_sleep_for_retry")
MANY = 40


@pytest.fixture
def server() -> Iterator[PlayServer]:
    with answering_all() as running:
        yield running


def client_of(server: PlayServer, made: Any = anthropic.Anthropic, **options: Any) -> Any:
    return made(api_key="key", base_url=server.url, max_retries=0, **options)


def test_a_client_made_before_is_seen(server: PlayServer, start_meter: Any) -> None:
    """Clients and their copies that exist when the meter starts are seen like later ones."""
    claudetrace.uninstrument()
    with client_of(server) as client:
        copy = client.with_options(timeout=5)
        resource = client.messages
        meter = start_meter()
        client.messages.create(**ASK)
        copy.messages.create(**ASK)
        resource.create(**ASK)

    assert meter.rows() == [ANSWERED, {**ANSWERED, "call": 2}, {**ANSWERED, "call": 3}]


def test_a_client_of_ones_own_class_is_seen(server: PlayServer, meter: Any) -> None:
    """A subclass of a client is seen, on the platform of its base."""

    class Mine(anthropic.AnthropicBedrock):
        pass

    given = {"aws_access_key": "key", "aws_secret_key": "secret", "aws_region": "us-east-1"}
    server.add(json_answer(path="/model/*"))
    with Mine(base_url=server.url, **given) as client:
        client.messages.create(**{**ASK, "model": "us.anthropic.claude-sonnet-4-6"})

    assert [(row["platform"], row["outcome"]) for row in meter.rows()] == [("bedrock", "ok")]


def test_nothing_is_left_in_the_sdk() -> None:
    """After `uninstrument()` the SDK's classes have their own methods again, and no call is seen."""
    claudetrace.uninstrument()
    before = [vars(base).get(name) for base in BASES for name in METHODS]
    claudetrace.instrument().uninstrument()

    assert [vars(base).get(name) for base in BASES for name in METHODS] == before
    assert not any(hasattr(method, "__wrapped__") for method in before)


def test_a_stream_open_at_the_end_is_read_on(server: PlayServer, start_meter: Any) -> None:
    """A stream that is open when the meter stops gives its caller everything all the same."""
    meter = start_meter()
    with client_of(server) as client:
        stream = client.messages.create(**ASK, stream=True)
        first = next(iter(stream))
        meter.instrumentation.uninstrument()
        rest = list(stream)

    assert [event.type for event in (first, *rest)][-1] == "message_stop"


def test_one_call_is_one_row_however_often_it_is_started(server: PlayServer, meter: Any) -> None:
    """A second `instrument()` adds no second row."""
    claudetrace.instrument()
    claudetrace.instrument(db=meter.db)
    with client_of(server) as client:
        client.messages.create(**ASK)

    assert meter.rows() == [ANSWERED]


def test_a_wrapper_of_others_stays(server: PlayServer, meter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What someone put around the SDK after us is left there, and starting again makes no second row."""
    base, seen = BASES[0], []
    ours = base.request

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append("a call")
        return ours(self, *args, **kwargs)

    theirs.__wrapped__ = vars(base)["request"]
    monkeypatch.setattr(base, "request", theirs)
    meter.instrumentation.uninstrument()
    assert vars(base)["request"] is theirs
    with client_of(server) as client:
        client.messages.create(**ASK)
        with claudetrace.instrument(db=meter.db):
            client.messages.create(**ASK)
            assert meter.rows() == [ANSWERED]

    assert seen == ["a call", "a call"]


def test_the_body_keeps_its_kind(server: PlayServer, meter: Any) -> None:
    """The stream of a response stays of the HTTP client's own kinds, as its checks want."""
    with client_of(server) as client:
        stream = client.messages.create(**ASK, stream=True)
        http = sys.modules[type(stream.response).__module__.partition(".")[0]]
        kinds = (type(stream) is anthropic.Stream, isinstance(stream.response.stream, http.SyncByteStream))
        list(stream)

    assert kinds == (True, True)
    assert stream.response.elapsed.total_seconds() > 0


def test_an_interrupt_passes(server: PlayServer, meter: Any) -> None:
    """Ctrl-C while a stream is read leaves the block as it does without a meter, and the row says what had come."""

    def interrupted() -> None:
        with client_of(server) as client, client.messages.create(**ASK, stream=True) as stream:
            for _ in stream:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (row,) = meter.rows()
    assert row["outcome"] in (BROKEN["outcome"], STREAMED["outcome"])


def numbered(server: PlayServer) -> None:
    """Answers each call with as many output tokens as its `max_tokens` says."""

    def answer(request: Any) -> Any:
        asked = request.json
        told = _wire.message("x", {**COUNTS, "output_tokens": asked["max_tokens"]}, model=MODEL)
        return _wire.sse(_wire.stream_events(told)) if asked.get("stream") else _wire.json_bytes(told)

    for stream, content_type in ((True, "text/event-stream"), (False, "application/json")):
        server.add(
            Exchange(
                path="/v1/messages",
                times=None,
                body=answer,
                headers={"content-type": content_type},
                when=lambda body, stream=stream: bool(body.get("stream")) is stream,
            )
        )


def test_calls_in_many_threads_are_kept_apart(meter: Any) -> None:
    """Calls at once in many threads, whole and streamed, give a row each with its own counts."""
    with PlayServer() as server, client_of(server) as client, ThreadPoolExecutor(8) as pool:
        numbered(server)
        client.messages.create(**{**ASK, "max_tokens": MANY})

        def call(number: int) -> None:
            if number % 2:
                client.messages.create(**{**ASK, "max_tokens": number})
            else:
                list(client.messages.create(**{**ASK, "max_tokens": number}, stream=True))

        list(pool.map(call, range(1, MANY)))

    rows = meter.rows()
    assert sorted(row["output_tokens"] for row in rows) == list(range(1, MANY + 1))
    assert all(row["output_tokens"] == row["max_tokens"] for row in rows)
    meter.check()


def test_calls_in_many_tasks_are_kept_apart(meter: Any) -> None:
    """Calls at once in many tasks, whole and streamed, give a row each with its own counts."""

    async def call(client: Any, number: int) -> None:
        if number % 2:
            await client.messages.create(**{**ASK, "max_tokens": number})
        else:
            async for _ in await client.messages.create(**{**ASK, "max_tokens": number}, stream=True):
                await asyncio.sleep(0)

    async def run(server: PlayServer) -> None:
        async with client_of(server, anthropic.AsyncAnthropic) as client:
            await asyncio.gather(*(call(client, number) for number in range(1, MANY + 1)))

    with PlayServer() as server:
        numbered(server)
        asyncio.run(run(server))

    rows = meter.rows()
    assert sorted(row["output_tokens"] for row in rows) == list(range(1, MANY + 1))
    assert all(row["output_tokens"] == row["max_tokens"] for row in rows)
    meter.check()


SDK_LATER = """
import sys, claudetrace
with claudetrace.instrument(db=sys.argv[2]):
    assert "anthropic" not in sys.modules
    import anthropic
    client = anthropic.Anthropic(api_key="key", base_url=sys.argv[1], max_retries=0)
    client.messages.create(model="claude-sonnet-4-6", max_tokens=64, messages=[{"role": "user", "content": "hi"}])
"""


def test_the_sdk_may_be_imported_later(server: PlayServer, tmp_path: Path) -> None:
    """The meter can start before the SDK is imported."""
    db = tmp_path / "ledger.db"
    subprocess.run([sys.executable, "-c", SDK_LATER, server.url, str(db)], check=True)

    assert [(call.outcome, call.output_tokens) for call in claudetrace.Ledger(db).calls()] == [("ok", 17)]
