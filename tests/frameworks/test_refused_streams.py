"""A streaming endpoint without room in its budget: what docs/web.md makes it answer, and what goes wrong without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anthropic
import httpx
import pytest

import claudetrace
from claudetrace._demo._server import PlayServer

from ._api import HELLO, REASON, recipe_of

fastapi = pytest.importorskip("fastapi", reason=f"fastapi {REASON}")
responses = pytest.importorskip("fastapi.responses")
testclient = pytest.importorskip("fastapi.testclient")

TEXT = HELLO["content"][0]["text"]


@pytest.fixture(autouse=True)
def meter(start: Callable[..., claudetrace.Instrumentation]) -> None:
    """There is room for one call."""
    start(budgets=[claudetrace.Budget("day", max_calls=1, per="day", on_exceeded="block")])


@pytest.fixture
def async_client(server: PlayServer) -> anthropic.AsyncAnthropic:
    http = anthropic.DefaultAsyncHttpxClient(limits=httpx.Limits(max_keepalive_connections=0))
    return anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0, http_client=http)


@pytest.fixture
def recipe(async_client: anthropic.AsyncAnthropic) -> dict[str, Any]:
    """What the code for FastAPI on the page has made."""
    names: dict[str, Any] = {
        "claudetrace": claudetrace,
        "client": async_client,
        "app": fastapi.FastAPI(),
        "AsyncIterator": AsyncIterator,
        "Request": fastapi.Request,
        "JSONResponse": responses.JSONResponse,
        "StreamingResponse": responses.StreamingResponse,
    }
    exec(recipe_of("FastAPI"), names)
    return names


def asked(app: Any) -> list[tuple[int, str]]:
    with testclient.TestClient(app, raise_server_exceptions=False) as http:
        return [(got.status_code, got.text) for got in (http.get("/chat?question=Hello") for _ in range(2))]


def test_fastapi_refuses_before_the_headers(recipe: dict[str, Any]) -> None:
    """A stream that is opened in the endpoint is answered whole, or refused with a status of its own."""
    (first, second) = asked(recipe["app"])

    assert first == (200, TEXT)
    assert (second[0], "BudgetExceeded" not in second[1], "day" in second[1]) == (429, True, True)


def test_starlette_refuses_before_the_headers(recipe: dict[str, Any]) -> None:
    """The same endpoint and handler do the same in Starlette."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    async def chat(request: Any) -> Any:
        return await recipe["chat"](request.query_params["question"])

    app = Starlette(routes=[Route("/chat", chat)], exception_handlers={claudetrace.BudgetExceeded: recipe["refuse"]})

    assert [status for status, _ in asked(app)] == [200, 429]


def test_a_generator_that_opens_its_stream_refuses_too_late(async_client: anthropic.AsyncAnthropic) -> None:
    """Where the call is made while the body is read, a refused client sees 200 and nothing."""
    app = fastapi.FastAPI()

    @app.get("/chat")
    async def chat() -> Any:
        async def words() -> AsyncIterator[str]:
            ask: Any = {"model": "claude-haiku-5-5", "max_tokens": 300, "messages": [{"role": "user", "content": "?"}]}
            async with async_client.messages.stream(**ask) as stream:
                async for text in stream.text_stream:
                    yield text

        return responses.StreamingResponse(words())

    assert asked(app) == [(200, TEXT), (200, "")]
