"""Django: a middleware that tags, views of both kinds, and a stream."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

import anthropic
import httpx
import pytest

import claudetrace

from ._api import ASK, HELLO, REASON, recipe_of

django = pytest.importorskip("django", reason=f"django {REASON}")

Users = Callable[[], list[str | None]]


class Tagging:
    """The middleware: each request's calls are for its user."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        with claudetrace.tag(user=request.headers["x-user"], feature=request.path):
            return self.get_response(request)


@pytest.fixture
def site(client: anthropic.Anthropic, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A site whose views make a call each."""
    from django.conf import settings
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path

    def whole(_request: Any) -> Any:
        return HttpResponse(client.messages.create(**ASK).id)

    def streamed(_request: Any) -> Any:
        stream = client.messages.create(**ASK, stream=True)
        return StreamingHttpResponse(event.type for event in stream)

    def tagged(request: Any) -> Any:
        bound = claudetrace.tagged(client, user=request.headers["x-user"])

        def lines() -> Iterator[str]:
            with bound.messages.stream(**ASK) as stream:
                yield from stream.text_stream

        return StreamingHttpResponse(lines())

    site = ModuleType("claudetrace_test_site")
    site.urlpatterns = [path("whole", whole), path("streamed", streamed), path("tagged", tagged)]  # type: ignore[attr-defined]
    site.Tagging = Tagging  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, site.__name__, site)
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=site.__name__,
            MIDDLEWARE=[f"{site.__name__}.Tagging"],
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="for tests",
        )
        django.setup()
    from django.urls import clear_url_caches

    clear_url_caches()
    return site


@pytest.fixture
def get(site: ModuleType) -> Callable[[str, str], str]:
    from django.test import Client

    def got(path: str, user: str) -> str:
        response = Client().get(f"/{path}", headers={"x-user": user})
        body = b"".join(response.streaming_content) if response.streaming else response.content
        return bytes(body).decode()

    return got


def test_a_middleware_tags_the_calls_of_its_request(
    get: Callable[[str, str], str], ledger: Callable[[], list[claudetrace.Call]]
) -> None:
    """Each view's call carries what the middleware said, and the next request's another."""
    assert [get("whole", "u1"), get("whole", "u2")] == ["msg_demo_1"] * 2
    assert [(call.user_id, call.feature) for call in ledger()] == [("u1", "/whole"), ("u2", "/whole")]


def test_a_stream_opened_in_the_view_keeps_the_tags(get: Callable[[str, str], str], users: Users) -> None:
    """A streaming response is read after the middleware has left its block, and its call is tagged all the same."""
    assert get("streamed", "u1").startswith("message_start")
    assert users() == ["u1"]


def test_a_stream_opened_in_the_generator_needs_a_tagged_client(get: Callable[[str, str], str], users: Users) -> None:
    """A generator that opens its stream after the view has returned is tagged by its client."""
    assert get("tagged", "u1").startswith("Hello there")
    assert users() == ["u1"]


async def test_an_async_view_under_the_sync_middleware_is_tagged(
    site: ModuleType, client: anthropic.Anthropic, async_client: anthropic.AsyncAnthropic, users: Users
) -> None:
    """Django runs the middleware in a thread and the view on the loop; the block's tags go along."""
    from django.http import HttpResponse
    from django.test import AsyncClient
    from django.urls import clear_url_caches, path

    async def whole(_request: Any) -> Any:
        return HttpResponse((await async_client.messages.create(**ASK)).id)

    view: Callable[[Any], Awaitable[Any]] = whole
    site.urlpatterns.append(path("async", view))
    clear_url_caches()
    response = await AsyncClient().get("/async", headers={"x-user": "u1"})

    assert (response.content, users()) == (b"msg_demo_1", ["u1"])


def customer(headers: Any) -> dict[str, object]:
    return {"customer": dict(headers).get(b"x-user", b"").decode()}


@pytest.mark.parametrize("path", ["whole", "late"])
def test_the_wsgi_middleware_tags_all_of_a_request(
    path: str, site: ModuleType, client: anthropic.Anthropic, ledger: Callable[[], list[claudetrace.Call]]
) -> None:
    """Around Django's WSGI application it tags views, and streams that are opened while the answer is read."""
    from django.core.wsgi import get_wsgi_application
    from werkzeug.test import Client

    from claudetrace.middleware import TagsWSGI

    def lines() -> Iterator[str]:
        with client.messages.stream(**ASK) as stream:
            yield from stream.text_stream

    add_late_stream(site, lines)
    app = TagsWSGI(get_wsgi_application(), tags=lambda environ: {"customer": environ["HTTP_X_USER"]})
    for user in ("u1", "u2"):
        assert Client(app).get(f"/{path}", headers={"x-user": user}).get_data()

    assert [call.customer for call in ledger()] == ["u1", "u2"]


@pytest.mark.parametrize("path", ["whole", "async", "late"])
async def test_the_asgi_middleware_tags_all_of_a_request(
    path: str,
    site: ModuleType,
    async_client: anthropic.AsyncAnthropic,
    ledger: Callable[[], list[claudetrace.Call]],
) -> None:
    """Around Django's ASGI application it tags views of both kinds, and streams that are opened later."""
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse
    from django.urls import path as at

    from claudetrace.middleware import TagsASGI

    async def whole(_request: Any) -> Any:
        return HttpResponse((await async_client.messages.create(**ASK)).id)

    async def lines() -> AsyncIterator[str]:
        async with async_client.messages.stream(**ASK) as stream:
            async for text in stream.text_stream:
                yield text

    site.urlpatterns.append(at("async", whole))
    add_late_stream(site, lines)
    app = TagsASGI(get_asgi_application(), tags=lambda scope: customer(scope["headers"]))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        for user in ("u1", "u2"):
            assert (await http.get(f"/{path}", headers={"x-user": user})).content

    assert [call.customer for call in ledger()] == ["u1", "u2"]


def add_late_stream(site: ModuleType, lines: Callable[[], Any]) -> None:
    """Adds a view whose stream is opened when its answer is read, after Django's own middleware has ended."""
    from django.http import StreamingHttpResponse
    from django.urls import clear_url_caches, path

    site.urlpatterns.append(path("late", lambda _request: StreamingHttpResponse(lines())))
    clear_url_caches()


def test_a_stream_is_refused_before_the_headers(
    site: ModuleType, client: anthropic.Anthropic, start: Callable[..., Any]
) -> None:
    """The view of docs/web.md answers whole, or with 429 where its budget has no room."""
    from django.http import JsonResponse, StreamingHttpResponse
    from django.test import Client
    from django.urls import clear_url_caches, path

    start(budgets=[claudetrace.Budget("day", max_calls=1, per="day", on_exceeded="block")])
    names: dict[str, Any] = {
        "__name__": "views",
        "claudetrace": claudetrace,
        "client": client,
        "JsonResponse": JsonResponse,
        "StreamingHttpResponse": StreamingHttpResponse,
    }
    exec(recipe_of("Django"), names)
    site.urlpatterns.append(path("chat", names["chat"]))
    clear_url_caches()
    first, second = (Client().get("/chat", headers={"x-user": "u1"}) for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 429)
    assert b"".join(first.streaming_content).decode() == HELLO["content"][0]["text"]
