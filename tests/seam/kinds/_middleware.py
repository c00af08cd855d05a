"""Clients whose middleware makes none, two or other responses of one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic

from claudetrace._demo import _wire
from claudetrace._demo._server import PlayServer

from ._kit import ASK, Kind, Steps, each, entered, left, seen
from ._plays import failure, json_answer, streamed
from ._rows import ANSWERED, CALL, MESSAGE, MODEL, STREAMED, TOLD, without

FALLBACK_MODEL = "claude-opus-4-6"


def create(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.messages.create(**ASK)))


def create_beta(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.beta.messages.create(**ASK)))


def stream(client: Any, server: PlayServer) -> Steps:
    opened = yield client.messages.create(**ASK, stream=True)
    return seen(opened), seen((yield each(opened)))


def stream_beta(client: Any, server: PlayServer) -> Steps:
    opened = yield client.beta.messages.create(**ASK, stream=True)
    return seen(opened), seen((yield each(opened)))


def helper_beta(client: Any, server: PlayServer) -> Steps:
    manager = client.beta.messages.stream(**ASK)
    opened = yield entered(manager)
    message = yield opened.get_final_message()
    yield left(manager)
    return seen(message)


def with_middleware(sync: Callable[..., Any], awaited: Callable[..., Any]) -> Callable[..., Any]:
    """What makes a client whose middleware is `sync`, or `awaited` for an async client."""

    def made(url: str, is_async: bool, options: dict[str, Any]) -> Any:
        kind = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
        entry = awaited if is_async else sync
        return kind(api_key="key", base_url=url, middleware=[entry], **options)

    return made


def twice(request: Any, call_next: Any) -> Any:
    call_next(request)
    return call_next(request)


async def twice_async(request: Any, call_next: Any) -> Any:
    await call_next(request)
    return await call_next(request)


def cached(request: Any, call_next: Any) -> Any:
    return anthropic.types.Message.model_validate(MESSAGE)


async def cached_async(request: Any, call_next: Any) -> Any:
    return anthropic.types.Message.model_validate(MESSAGE)


def raising(request: Any, call_next: Any) -> Any:
    call_next(request)
    raise LookupError("the middleware did not like the answer")


async def raising_async(request: Any, call_next: Any) -> Any:
    await call_next(request)
    raise LookupError("the middleware did not like the answer")


def retrying(request: Any, call_next: Any) -> Any:
    response = call_next(request)
    return response if response.http_response.is_success else call_next(request)


async def retrying_async(request: Any, call_next: Any) -> Any:
    response = await call_next(request)
    return response if response.http_response.is_success else await call_next(request)


def asking_elsewhere(url: str, is_async: bool, options: dict[str, Any]) -> Any:
    """A client whose middleware makes a call of its own before each call."""
    kind = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    other = kind(api_key="key", base_url=url, **options)
    question = {"model": MODEL, "messages": ASK["messages"]}

    def sync(request: Any, call_next: Any) -> Any:
        other.models.retrieve(MODEL)
        other.messages.count_tokens(**question)
        return call_next(request)

    async def awaited(request: Any, call_next: Any) -> Any:
        async with other:
            await other.models.retrieve(MODEL)
            await other.messages.count_tokens(**question)
        return await call_next(request)

    return kind(api_key="key", base_url=url, middleware=[awaited if is_async else sync], **options)


def counting_first(request: Any, call_next: Any) -> Any:
    """Sends what the call sends to another endpoint first, by the same way."""
    call_next(_count_of(request))
    return call_next(request)


async def counting_first_async(request: Any, call_next: Any) -> Any:
    await call_next(_count_of(request))
    return await call_next(request)


def _count_of(request: Any) -> Any:
    return request.copy(url="/v1/messages/count_tokens", body={"model": MODEL, "messages": ASK["messages"]})


def in_another_thread(request: Any, call_next: Any) -> Any:
    """Hedged requests and the like are made where no context reaches."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call_next, request).result()


async def in_another_task(request: Any, call_next: Any) -> Any:
    import asyncio
    from contextvars import Context

    return await asyncio.get_running_loop().create_task(call_next(request), context=Context())


def with_fallback(url: str, is_async: bool, options: dict[str, Any]) -> Any:
    """A client with the SDK's own middleware that asks another model where one refuses."""
    kind = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    fallback = anthropic.BetaRefusalFallbackMiddleware([{"model": FALLBACK_MODEL}])
    return kind(api_key="key", base_url=url, middleware=[fallback], **options)


def has_middleware() -> bool:
    return hasattr(anthropic, "Middleware")


def has_fallback() -> bool:
    return hasattr(anthropic, "BetaRefusalFallbackMiddleware")


SECOND = {**MESSAGE, "id": "msg_seam_2"}
SECOND_ROW = {"message_id": "msg_seam_2"}
REFUSED = {**MESSAGE, "stop_reason": "refusal", "content": [], "stop_details": {"type": "refusal", "category": "cyber"}}
SERVED = {**MESSAGE, "id": "msg_seam_2", "model": FALLBACK_MODEL}
REFUSED_ROW = {"stop_reason": "refusal", "cost_flags": ("unbilled_refusal",)}
SERVED_ROW = {"message_id": "msg_seam_2", "model": FALLBACK_MODEL}
INFO = {"id": MODEL, "type": "model", "display_name": "Sonnet", "created_at": "2025-09-29T00:00:00Z"}
COUNT = {
    **without(CALL, "max_tokens"),
    **TOLD,
    "operation": "messages.count_tokens",
    "outcome": "ok",
    "http_status": 200,
    "usage_is_final": True,
    "usage": {"input_tokens": 77},
    "cost_flags": (),
}


def refusing_stream() -> list[Any]:
    events = _wire.stream_events(REFUSED)
    events[-2]["delta"]["stop_details"] = REFUSED["stop_details"]
    return [streamed(events), streamed(_wire.stream_events(SERVED))]


def counted() -> Any:
    return json_answer({"input_tokens": 77}, path="/v1/messages/count_tokens")


def asked_elsewhere() -> list[Any]:
    return [json_answer(INFO, method="GET", path="/v1/models/*"), counted(), json_answer()]


KINDS = [
    Kind(
        name="middleware that asks twice",
        call=create,
        client=with_middleware(twice, twice_async),
        plays=lambda: [json_answer(), json_answer(SECOND)],
        rows=[ANSWERED, {**ANSWERED, **SECOND_ROW}],
        needs=has_middleware,
    ),
    Kind(
        name="middleware that asks twice, with streams",
        call=stream,
        client=with_middleware(retrying, retrying_async),
        plays=lambda: [failure(529, "overloaded_error"), streamed()],
        rows=[STREAMED],
        needs=has_middleware,
    ),
    Kind(
        name="middleware that answers itself",
        call=create,
        client=with_middleware(cached, cached_async),
        plays=list,
        rows=[],
        needs=has_middleware,
    ),
    Kind(
        name="middleware that raises after the answer",
        call=create,
        client=with_middleware(raising, raising_async),
        plays=lambda: [json_answer()],
        rows=[{**ANSWERED, "outcome": "error", "error_type": "LookupError"}],
        raises="LookupError",
        needs=has_middleware,
    ),
    Kind(
        name="middleware that calls other endpoints",
        call=create,
        client=asking_elsewhere,
        plays=asked_elsewhere,
        rows=[COUNT, {**ANSWERED, "call": 2}],
        needs=has_middleware,
    ),
    Kind(
        name="middleware that sends the call to another endpoint first",
        call=create,
        client=with_middleware(counting_first, counting_first_async),
        plays=lambda: [counted(), json_answer()],
        rows=[ANSWERED],
        needs=has_middleware,
    ),
    Kind(
        name="middleware that goes on in another context",
        call=create,
        client=with_middleware(in_another_thread, in_another_task),
        plays=lambda: [json_answer()],
        rows=[ANSWERED],
        needs=has_middleware,
    ),
    Kind(
        name="fallback after a refusal",
        call=create_beta,
        client=with_fallback,
        plays=lambda: [json_answer(REFUSED), json_answer(SERVED)],
        rows=[{**ANSWERED, **REFUSED_ROW}, {**ANSWERED, **SERVED_ROW}],
        needs=has_fallback,
    ),
    *(
        Kind(
            name=f"fallback after a refusal, {name}",
            call=call,
            client=with_fallback,
            plays=refusing_stream,
            rows=[{**STREAMED, **REFUSED_ROW}, {**STREAMED, **SERVED_ROW}],
            needs=has_fallback,
        )
        for name, call in {"streamed": stream_beta, "helper": helper_beta}.items()
    ),
]
