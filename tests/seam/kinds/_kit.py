"""What a kind of call is, and how one text of it runs on a sync and on an async client."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

import anthropic
import pydantic

from claudetrace._demo._server import Exchange, PlayServer

from ._plays import let_go
from ._rows import MODEL

SDK = tuple(int(part) for part in anthropic.__version__.split(".")[:2])

ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello."}]}
"""What most kinds ask."""

Steps = Generator[Any, Any, Any]
"""A kind's text: it yields what an async client would have awaited, and gets it back done."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to call the API: what the server plays, what the caller does, and the rows that it leaves.

    `call` takes the client and the server, and returns what the caller saw. `rows` are whole: every column that
    is not of the clock, of the host or of the price, in the order of their being written.
    """

    name: str
    call: Callable[[Any, PlayServer], Steps]
    plays: Callable[[], Iterable[Exchange]]
    rows: list[Row]
    client: Callable[..., Any] | None = None
    """Makes the client of a base URL; `None` for `Anthropic` and `AsyncAnthropic`."""

    options: dict[str, Any] = field(default_factory=dict)
    """Of the client."""

    needs: Callable[[], bool] = lambda: True
    """Whether the installed SDK has it."""

    only: str | None = None
    """`sync` or `async`, where it is one of them alone."""

    failures: dict[str, int] = field(default_factory=dict)
    """What the meter counts as having failed: it says of each answer that it cannot read that it could not."""

    raises: str | None = None
    """The name of the exception that reaches the caller; `A or B` where that depends on the SDK."""

    def run(self, server: PlayServer, *, is_async: bool) -> Any:
        """What the caller sees: the value, or the exception that reached it."""
        try:
            return asyncio.run(self._run_async(server)) if is_async else self._run_sync(server)
        finally:
            let_go()

    def new_client(self, server: PlayServer, *, is_async: bool) -> Any:
        """A client of the server."""
        options = {"max_retries": 0, **self.options}
        if self.client is not None:
            return self.client(server.url, is_async, options)
        made = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
        return made(api_key="sk-ant-not-a-key", base_url=server.url, **options)

    def _run_sync(self, server: PlayServer) -> Any:
        with self.new_client(server, is_async=False) as client:
            try:
                return _drive(self.call(client, server))
            except Exception as error:
                return self._expected(error)

    async def _run_async(self, server: PlayServer) -> Any:
        async with self.new_client(server, is_async=True) as client:
            try:
                return await _drive_async(self.call(client, server))
            except (Exception, asyncio.CancelledError) as error:
                return self._expected(error)

    def _expected(self, error: BaseException) -> Any:
        if type(error).__name__ not in (self.raises or "").split(" or "):
            raise error
        return seen_error(error)


class Both:
    """A step that a sync and an async client do in different ways."""

    def __init__(self, sync: Callable[[], Any], awaited: Callable[[], Any]) -> None:
        self.sync = sync
        self.awaited = awaited


def _drive(steps: Steps) -> Any:
    # What is done is handed over, not kept: a stream that the caller drops must not live on here.
    told: list[Any] = [None]
    try:
        while True:
            told.append(_done(steps.send(told.pop())))
    except StopIteration as stop:
        return stop.value


def _done(step: Any) -> Any:
    return step.sync() if isinstance(step, Both) else step


async def _drive_async(steps: Steps) -> Any:
    told: list[Any] = [None]
    error: BaseException | None = None
    try:
        while True:
            step = [steps.send(told.pop()) if error is None else steps.throw(error)]
            error = None
            try:
                told.append(await _awaited(step.pop()))
            except (Exception, asyncio.CancelledError) as raised:
                error = raised
    except StopIteration as stop:
        return stop.value


async def _awaited(step: Any) -> Any:
    done = step.awaited() if isinstance(step, Both) else step
    return await done if inspect.isawaitable(done) else done


def each(stream: Any) -> Both:
    """Everything that comes from an iterator."""
    return some(stream, None)


def some(stream: Any, count: int | None) -> Both:
    """The first `count` things that come; the iterator stays open."""

    def sync() -> list[Any]:
        came: list[Any] = []
        iterator = iter(stream)
        while count is None or len(came) < count:
            try:
                came.append(next(iterator))
            except StopIteration:
                break
        return came

    async def awaited() -> list[Any]:
        came: list[Any] = []
        iterator = aiter(stream)
        while count is None or len(came) < count:
            try:
                came.append(await anext(iterator))
            except StopAsyncIteration:
                break
        return came

    return Both(sync, awaited)


def entered(manager: Any) -> Both:
    """What a context manager gives."""
    return Both(manager.__enter__ if hasattr(manager, "__enter__") else manager, lambda: manager.__aenter__())


def left(manager: Any) -> Both:
    """The end of a block that ended well."""
    return Both(lambda: manager.__exit__(None, None, None), lambda: manager.__aexit__(None, None, None))


def is_async(client: Any) -> bool:
    """Whether `client` is an async one."""
    return isinstance(client, anthropic._base_client.AsyncAPIClient)


async def until(condition: Callable[[], Any]) -> None:
    """Waits until something that another thread or task does has come about."""
    while not condition():  # noqa: ASYNC110 - a thread sets it, not a task
        await asyncio.sleep(0.001)


def seen(value: Any) -> Any:
    """`value` as something that can be compared: its exact type, what it says, and that it is nobody's proxy."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, pydantic.BaseModel):
        return (
            kind,
            value.__class__ is type(value),
            value.model_dump(warnings=False),
            getattr(value, "_request_id", None),
        )
    if isinstance(value, list | tuple):
        return kind, [seen(one) for one in value]
    if isinstance(value, dict | str | bytes | int | float | bool | None):
        return kind, value
    return kind, value.__class__ is type(value)


def seen_error(error: BaseException) -> Any:
    """An exception as something that can be compared."""
    cause = error.__cause__
    return (
        "raised",
        f"{type(error).__module__}.{type(error).__qualname__}",
        str(error),
        getattr(error, "body", None),
        getattr(error, "status_code", None),
        None if cause is None else f"{type(cause).__module__}.{type(cause).__qualname__}",
    )


@contextlib.contextmanager
def caught(came: list[Any], kind: type[BaseException] = Exception) -> Generator[None, None, None]:
    """Adds the exception of its block to what came."""
    try:
        yield
    except kind as error:
        came.append(seen_error(error))
