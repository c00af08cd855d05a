"""`claudetrace.middleware` in FastAPI, Starlette and Flask, and the traps of contexts that web apps have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper

import anthropic
import httpx
import pytest

import claudetrace
from claudetrace._demo._server import PlayServer
from claudetrace._tags import current_tags
from claudetrace.middleware import TagsASGI, TagsWSGI

from ._api import ASK, REASON

fastapi = pytest.importorskip("fastapi", reason=f"fastapi {REASON}")
flask = pytest.importorskip("flask", reason=f"flask {REASON}")
responses = pytest.importorskip("starlette.responses")
testclient = pytest.importorskip("starlette.testclient")

Users = Callable[[], list[str | None]]


def user_of(scope: Any) -> dict[str, object]:
    return {"user": dict(scope["headers"])[b"x-user"].decode()}


def user_of_environ(environ: dict[str, Any]) -> dict[str, object]:
    return {"user": environ["HTTP_X_USER"]}


@pytest.fixture
def async_client(server: PlayServer) -> anthropic.AsyncAnthropic:
    """Keeps no connection, which would be of the loop of one test client alone."""
    http = anthropic.DefaultAsyncHttpxClient(limits=httpx.Limits(max_keepalive_connections=0))
    return anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0, http_client=http)


# FastAPI reads the annotations of what it calls from the module.
Tasks = fastapi.BackgroundTasks
Request = fastapi.Request
Depends = fastapi.Depends


@pytest.fixture
def app(client: anthropic.Anthropic, async_client: anthropic.AsyncAnthropic) -> Any:
    """A FastAPI app whose paths each make their calls in another way."""
    app = fastapi.FastAPI()
    _endpoints(app, lambda: client.messages.create(**ASK).id, async_client)
    _streams(app, client, async_client)
    _traps(app, lambda: client.messages.create(**ASK).id)
    return app


def _endpoints(app: Any, ask: Callable[[], str], asynchronous: anthropic.AsyncAnthropic) -> None:
    async def ask_async() -> str:
        return (await asynchronous.messages.create(**ASK)).id

    @app.get("/sync")
    def sync() -> str:
        return ask()

    @app.get("/async")
    async def in_loop() -> str:
        return await ask_async()

    @app.get("/dependencies")
    def dependencies(one: str = Depends(ask), two: str = Depends(ask_async)) -> str:
        return one + two

    @app.get("/background")
    def background(tasks: Tasks) -> str:
        tasks.add_task(ask)
        tasks.add_task(ask_async)
        return "later"

    @app.get("/to-thread")
    async def to_thread() -> str:
        return await asyncio.to_thread(ask)


def _streams(app: Any, sync: anthropic.Anthropic, asynchronous: anthropic.AsyncAnthropic) -> None:
    @app.get("/stream")
    def streamed() -> Any:
        def lines() -> Iterator[str]:
            with sync.messages.stream(**ASK) as stream:
                yield from stream.text_stream

        return responses.StreamingResponse(lines())

    @app.get("/async-stream")
    async def streamed_async() -> Any:
        async def lines() -> AsyncIterator[str]:
            async with asynchronous.messages.stream(**ASK) as stream:
                async for text in stream.text_stream:
                    yield text

        return responses.StreamingResponse(lines())


def _traps(app: Any, ask: Callable[[], str]) -> None:
    def tag_here(request: Request) -> Iterator[None]:
        with claudetrace.tag(user=request.headers["x-user"]):
            yield

    async def tag_on_the_loop(request: Request) -> AsyncIterator[None]:
        with claudetrace.tag(user=request.headers["x-user"]):
            yield

    @app.get("/sync-yield", dependencies=[Depends(tag_here)])
    def after_sync_yield() -> str:
        return ask()

    @app.get("/async-yield", dependencies=[Depends(tag_on_the_loop)])
    def after_async_yield() -> str:
        return ask()

    @app.get("/executor")
    async def in_executor() -> str:
        return await asyncio.get_running_loop().run_in_executor(None, ask)

    @app.get("/executor-with-context")
    async def in_executor_with_context() -> str:
        return await asyncio.get_running_loop().run_in_executor(None, copy_context().run, ask)


def statuses(app: Any, path: str, *requests: str) -> list[int]:
    with testclient.TestClient(app) as http:
        return [http.get(path, headers={"x-user": user}).status_code for user in requests]


@pytest.mark.parametrize(
    ("path", "calls"),
    [("sync", 1), ("async", 1), ("dependencies", 2), ("stream", 1), ("async-stream", 1), ("background", 2)],
)
def test_all_of_a_request_is_tagged(path: str, calls: int, app: Any, users: Users) -> None:
    """Endpoints and dependencies of both kinds, streams that are opened while they are read, and background tasks
    carry the tags of their request."""
    assert statuses(TagsASGI(app, tags=user_of), f"/{path}", "u1", "u2") == [200, 200]
    assert users() == ["u1"] * calls + ["u2"] * calls


@pytest.mark.parametrize(("path", "reaches"), [("sync-yield", False), ("async-yield", True)])
def test_a_block_in_a_dependency_has_to_be_async(path: str, reaches: bool, app: Any, users: Users) -> None:
    """FastAPI runs a sync dependency in a thread with a copy of the context, so its block ends there; the block of an
    async one is around the endpoint, of whatever kind."""
    assert statuses(app, f"/{path}", "u1") == [200]
    assert users() == ["u1" if reaches else None]


@pytest.mark.parametrize(
    ("path", "reaches"), [("executor", False), ("executor-with-context", True), ("to-thread", True)]
)
def test_an_executor_has_to_be_given_the_context(path: str, reaches: bool, app: Any, users: Users) -> None:
    """`run_in_executor` leaves the context behind; `copy_context().run` and `asyncio.to_thread` take it along."""
    assert statuses(TagsASGI(app, tags=user_of), f"/{path}", "u1") == [200]
    assert users() == ["u1" if reaches else None]


def test_starlette_adds_it_as_a_middleware(async_client: anthropic.AsyncAnthropic, users: Users) -> None:
    """Starlette and FastAPI take the class as any middleware, also for a WebSocket; what is no request passes."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import Route, WebSocketRoute

    started: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        started.append("started")
        yield

    async def whole(_request: Any) -> Any:
        return responses.PlainTextResponse((await async_client.messages.create(**ASK)).id)

    async def talk(socket: Any) -> None:
        await socket.accept()
        await socket.send_text((await async_client.messages.create(**ASK)).id)
        await socket.close()

    routes = [Route("/", whole), WebSocketRoute("/talk", talk)]
    app = Starlette(routes=routes, middleware=[Middleware(TagsASGI, tags=user_of)], lifespan=lifespan)
    with testclient.TestClient(app) as http:
        http.get("/", headers={"x-user": "u1"})
        with http.websocket_connect("/talk", headers={"x-user": "u2"}) as socket:
            socket.receive_text()

    assert (users(), started) == (["u1", "u2"], ["started"])


@pytest.fixture
def flask_app(client: anthropic.Anthropic) -> Any:
    app = flask.Flask("claudetrace_test")

    @app.get("/whole")
    def whole() -> str:
        return client.messages.create(**ASK).id

    @app.get("/stream")
    def streamed() -> Any:
        def lines() -> Iterator[str]:
            with client.messages.stream(**ASK) as stream:
                yield from stream.text_stream

        return flask.Response(flask.stream_with_context(lines()))

    @app.get("/closing")
    def closing() -> Any:
        response = flask.Response("bye")
        response.call_on_close(lambda: client.messages.create(**ASK))
        return response

    app.wsgi_app = TagsWSGI(app.wsgi_app, tags=user_of_environ)
    return app


@pytest.mark.parametrize("path", ["whole", "stream", "closing"])
def test_flask_is_tagged(path: str, flask_app: Any, users: Users) -> None:
    """A view, a stream that is read after it, and what runs when the answer is closed carry the request's tags."""
    for user in ("u1", "u2"):
        with flask_app.test_client().get(f"/{path}", headers={"x-user": user}) as got:
            assert got.status_code == 200

    assert users() == ["u1", "u2"]
    assert current_tags().tags == {}


def test_two_streams_of_wsgi_do_not_mix(client: anthropic.Anthropic, users: Users) -> None:
    """Answers that one thread reads in turns keep their own tags, and none is left in the thread."""

    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for _ in range(2):
            yield client.messages.create(**ASK).id.encode()

    tagged = TagsWSGI(app, tags=user_of_environ)
    one, two = (iter(tagged({"HTTP_X_USER": user}, lambda *_: None)) for user in ("u1", "u2"))
    for body in (one, two, one, two):
        next(body)
    client.messages.create(**ASK)

    assert users() == ["u1", "u2", "u1", "u2", None]


def test_what_a_wsgi_server_sends_by_itself_stays(tmp_path: Path) -> None:
    """A list and the server's own file wrapper come back as they are, so that their length and `sendfile` work."""
    file = tmp_path / "file"
    file.write_bytes(b"content")
    with file.open("rb") as opened:
        bodies = iter(given := [[b"whole"], FileWrapper(opened)])
        app = TagsWSGI(lambda *_: next(bodies), tags=user_of_environ)
        environ = {"HTTP_X_USER": "u1", "wsgi.file_wrapper": FileWrapper}

        assert [app(environ, print), app(environ, print)] == given


async def gives_a_coroutine(_request: Any) -> dict[str, object]:
    return {}


@pytest.mark.parametrize(
    "tags",
    [lambda _: 1 / 0, lambda _: "u1", lambda _: ["user"], gives_a_coroutine],
    ids=["raises", "text", "list", "async"],
)
def test_a_callable_that_fails_harms_no_request(
    tags: Any, app: Any, flask_app: Any, users: Users, caplog: Any, meter: claudetrace.Instrumentation
) -> None:
    """Requests go on without tags; it is counted each time, and told once by each middleware."""
    before = meter.health.tag_faults.get("request", 0)
    assert statuses(TagsASGI(app, tags=tags), "/sync", "u1", "u1") == [200, 200]
    flask_app.wsgi_app = TagsWSGI(flask_app.wsgi_app.app, tags=tags)
    assert flask_app.test_client().get("/whole").status_code == 200

    assert users() == [None] * 3
    assert meter.health.tag_faults["request"] - before == 3
    assert len([each for each in caplog.records if "tag a request" in each.message]) == 2


def test_no_tags_are_none(app: Any, users: Users) -> None:
    """A request of which the callable says nothing has none, and that is no fault."""
    assert statuses(TagsASGI(app, tags=lambda _: None), "/sync", "u1") == [200]
    assert users() == [None]


@pytest.mark.parametrize("middleware", [TagsASGI, TagsWSGI])
def test_tags_have_to_be_callable(middleware: Any) -> None:
    """What cannot be called is refused where the app is made."""
    with pytest.raises(claudetrace.ClaudetraceError, match="give a callable from a request to its tags"):
        middleware(lambda: None, tags={"user": "u1"})
