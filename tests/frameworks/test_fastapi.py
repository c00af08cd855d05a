"""FastAPI: endpoints of both kinds, and streams that are iterated after the endpoint has returned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import anthropic
import pytest

import claudetrace
from claudetrace._demo._server import PlayServer

from ._api import ASK, HELLO, REASON, facts, seen

fastapi = pytest.importorskip("fastapi", reason=f"fastapi {REASON}")
responses = pytest.importorskip("fastapi.responses")
testclient = pytest.importorskip("fastapi.testclient")

Users = Callable[[], list[str | None]]
TEXT = HELLO["content"][0]["text"]


@pytest.fixture
def get(server: PlayServer) -> Iterator[Callable[[str], str]]:
    """Gets a path of the app."""
    sync = anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0)
    asynchronous = anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0)
    app = fastapi.FastAPI()
    _whole(app, sync, asynchronous)
    _blocks_around_streams(app, sync, asynchronous)
    _tagged_streams(app, sync, asynchronous)

    @app.get("/close")
    async def close() -> str:
        sync.close()
        await asynchronous.close()
        return "closed"

    with testclient.TestClient(app) as http:
        yield lambda path: http.get(path).text
        http.get("/close")


def _whole(app: fastapi.FastAPI, sync: anthropic.Anthropic, asynchronous: anthropic.AsyncAnthropic) -> None:
    @app.get("/sync/{user}")
    def whole_sync(user: str) -> str:
        with claudetrace.tag(user=user):
            return sync.messages.create(**ASK).content[0].text

    @app.get("/async/{user}")
    async def whole_async(user: str) -> str:
        with claudetrace.tag(user=user):
            return (await asynchronous.messages.create(**ASK)).content[0].text


def _blocks_around_streams(
    app: fastapi.FastAPI, sync: anthropic.Anthropic, asynchronous: anthropic.AsyncAnthropic
) -> None:
    @app.get("/opened-sync/{user}")
    def opened_sync(user: str) -> responses.StreamingResponse:
        with claudetrace.tag(user=user):
            stream = sync.messages.create(**ASK, stream=True)
        return responses.StreamingResponse(event.type for event in stream)

    @app.get("/opened-async/{user}")
    async def opened_async(user: str) -> responses.StreamingResponse:
        with claudetrace.tag(user=user):
            stream = await asynchronous.messages.create(**ASK, stream=True)

        async def lines() -> AsyncIterator[str]:
            async for event in stream:
                yield event.type

        return responses.StreamingResponse(lines())

    @app.get("/too-late/{user}")
    def too_late(user: str) -> responses.StreamingResponse:
        with claudetrace.tag(user=user):
            manager = sync.messages.stream(**ASK)

        def lines() -> Iterator[str]:
            with manager as stream:
                yield from stream.text_stream

        return responses.StreamingResponse(lines())

    @app.get("/inside-generator/{user}")
    def inside_generator(user: str) -> responses.StreamingResponse:
        def lines() -> Iterator[str]:
            with claudetrace.tag(user=user), sync.messages.stream(**ASK) as stream:
                yield from stream.text_stream

        return responses.StreamingResponse(lines())


def _tagged_streams(app: fastapi.FastAPI, sync: anthropic.Anthropic, asynchronous: anthropic.AsyncAnthropic) -> None:
    @app.get("/tagged-sync/{user}")
    def tagged_sync(user: str) -> responses.StreamingResponse:
        def lines() -> Iterator[str]:
            with claudetrace.tagged(sync, user=user).messages.stream(**ASK) as stream:
                yield from stream.text_stream

        return responses.StreamingResponse(lines())

    @app.get("/tagged-async/{user}")
    async def tagged_async(user: str) -> responses.StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            async with claudetrace.tagged(asynchronous, user=user).messages.stream(**ASK) as stream:
                async for text in stream.text_stream:
                    yield text

        return responses.StreamingResponse(lines())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_endpoint_tags_its_call(kind: str, get: Callable[[str], str], users: Users) -> None:
    """A block in an endpoint holds for its call, in the pool's thread and on the loop, and for no other request."""
    assert [get(f"/{kind}/u{number}") for number in range(3)] == [f'"{TEXT}"'] * 3
    assert users() == ["u0", "u1", "u2"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stream_opened_in_the_block_keeps_its_tags(kind: str, get: Callable[[str], str], users: Users) -> None:
    """A stream that the endpoint has opened is tagged, though it is read after the endpoint has returned."""
    assert get(f"/opened-{kind}/u1").startswith("message_start")
    assert users() == ["u1"]


def test_a_helper_entered_after_the_block_has_no_tags(get: Callable[[str], str], users: Users) -> None:
    """A `.stream()` manager makes its call when it is entered: a block that was left by then does not hold."""
    assert get("/too-late/u1") == TEXT
    assert users() == [None]


def test_a_block_inside_a_generator_harms_nothing(get: Callable[[str], str], users: Users) -> None:
    """A block in a generator that is iterated over several contexts tags its call and leaves none after it."""
    assert [get("/inside-generator/u1"), get("/too-late/u2")] == [TEXT, TEXT]
    assert users() == ["u1", None]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_tagged_client_is_the_answer_for_generators(
    kind: str, get: Callable[[str], str], ledger: Callable[[], list[claudetrace.Call]]
) -> None:
    """A tagged client knows whom it is for wherever its stream is opened and read."""
    assert get(f"/tagged-{kind}/u1") == TEXT
    assert [(call.user_id, facts(call)) for call in ledger()] == [("u1", seen(streamed=True))]
