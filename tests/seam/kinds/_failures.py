"""Calls that fail, and calls that do so at first."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from claudetrace._demo._server import Exchange, PlayServer

from ._kit import ASK, Both, Kind, Steps, each, entered, left, seen, seen_error, until
from ._plays import HEADERS, failure, json_answer, streamed
from ._rows import ANSWERED, CALL, STREAMED, failed, without


def create(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.messages.create(**ASK)))


def create_with_a_false_count(client: Any, server: PlayServer) -> Steps:
    header = {"x-stainless-retry-count": "41"}
    return seen((yield client.messages.create(**ASK, extra_headers=header)))


def stream(client: Any, server: PlayServer) -> Steps:
    return seen((yield each((yield client.messages.create(**ASK, stream=True)))))


def helper(client: Any, server: PlayServer) -> Steps:
    manager = client.messages.stream(**ASK)
    opened = yield entered(manager)
    message = yield opened.get_final_message()
    yield left(manager)
    return seen(message)


def unsendable(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.messages.create(**ASK, stop_sequences=[object()])))


def unreachable(client: Any, server: PlayServer) -> Steps:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nowhere = client.with_options(base_url=f"http://127.0.0.1:{port}")
    return seen((yield nowhere.messages.create(**ASK)))


def cancelled(client: Any, server: PlayServer) -> Steps:
    async def awaited() -> Any:
        task = asyncio.create_task(client.messages.create(**ASK))
        await until(lambda: server.requests)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError as error:
            return seen_error(error)

    return (yield Both(lambda: None, awaited))


def cancelled_by_a_timeout(client: Any, server: PlayServer) -> Steps:
    async def awaited() -> Any:
        try:
            return await asyncio.wait_for(client.messages.create(**ASK), 0.2)
        except TimeoutError as error:
            return type(error)

    return (yield Both(lambda: None, awaited))


def refused(status: int, kind: str, raises: str, *, retries: int = 0) -> Kind:
    """A call that the API refuses for good."""
    return Kind(
        name=f"{status} {kind}, {retries} retries",
        call=create,
        options={"max_retries": retries},
        plays=lambda: [failure(status, kind, times=retries + 1)],
        rows=[failed(kind, status, retries=retries)],
        raises=raises,
    )


def not_json(content_type: str) -> list[Exchange]:
    headers = {**HEADERS, "content-type": content_type}
    return [Exchange(body=b"<html>a proxy's page</html>", headers=headers)]


NO_ANSWER = ("http_status", "request_id", "organization_id", "workspace_id", "rate_limit", "rate_limit_headroom")
UNREADABLE = {
    **{name: value for name, value in ANSWERED.items() if name in (*CALL, *NO_ANSWER)},
    "outcome": "ok",
    "usage_is_final": True,
    "cost_flags": ("no_usage",),
}
TIMED_OUT = failed("timeout_error", None)
RETRIED_TIMEOUT = {**ANSWERED, "retries": 1, "cost_flags": ("retried_after_timeout",)}
STREAMED_RETRIED = {**STREAMED, "retries": 1}

KINDS = [
    refused(400, "invalid_request_error", "BadRequestError"),
    refused(401, "authentication_error", "AuthenticationError"),
    refused(404, "not_found_error", "NotFoundError"),
    refused(429, "rate_limit_error", "RateLimitError", retries=2),
    refused(500, "api_error", "InternalServerError", retries=1),
    refused(529, "overloaded_error", "OverloadedError or InternalServerError"),
    *(
        Kind(
            name=f"{status}, then an answer",
            call=call,
            options={"max_retries": 2},
            plays=lambda status=status: [failure(status, "api_error", times=2), json_answer()],
            rows=[{**ANSWERED, "retries": 2}],
        )
        for status in (429, 500)
        for call in (create,)
    ),
    Kind(
        name="429, then a stream",
        call=stream,
        options={"max_retries": 1},
        plays=lambda: [failure(429, "rate_limit_error"), streamed()],
        rows=[STREAMED_RETRIED],
    ),
    Kind(
        name="429, then .stream()",
        call=helper,
        options={"max_retries": 1},
        plays=lambda: [failure(429, "rate_limit_error"), streamed()],
        rows=[STREAMED_RETRIED],
    ),
    Kind(
        name="a stream that is refused",
        call=stream,
        plays=lambda: [failure(400, "invalid_request_error")],
        rows=[failed("invalid_request_error", 400, streamed=True)],
        raises="BadRequestError",
    ),
    Kind(
        name="429 and a false header",
        call=create_with_a_false_count,
        options={"max_retries": 1},
        plays=lambda: [failure(429, "rate_limit_error"), json_answer()],
        rows=[{**ANSWERED, "retries": 1}],
    ),
    Kind(
        name="429 for good and a false header",
        call=create_with_a_false_count,
        options={"max_retries": 1},
        plays=lambda: [failure(429, "rate_limit_error", times=2)],
        rows=[failed("rate_limit_error", 429, retries=1)],
        raises="RateLimitError",
    ),
    Kind(
        name="timeout",
        call=create,
        # Long enough for the request to arrive also on a machine that has much else to do.
        options={"timeout": 0.6},
        plays=lambda: [json_answer(delay_s=3)],
        rows=[TIMED_OUT],
        raises="APITimeoutError",
    ),
    Kind(
        name="timeout, then an answer",
        call=create,
        options={"timeout": 0.8, "max_retries": 1},
        plays=lambda: [json_answer(delay_s=3), json_answer()],
        rows=[RETRIED_TIMEOUT],
    ),
    Kind(
        name="timeout twice",
        call=create,
        options={"timeout": 0.6, "max_retries": 1},
        plays=lambda: [json_answer(delay_s=3, times=2)],
        rows=[{**TIMED_OUT, "retries": 1, "cost_flags": ("no_usage", "retried_after_timeout")}],
        raises="APITimeoutError",
    ),
    Kind(
        name="no server",
        call=unreachable,
        plays=list,
        rows=[failed("connection_error", None)],
        raises="APIConnectionError",
    ),
    Kind(
        name="the server hangs up",
        call=create,
        plays=lambda: [json_answer(hang_up=True)],
        rows=[failed("connection_error", None)],
        raises="APIConnectionError",
    ),
    Kind(
        name="the server hangs up, then answers",
        call=create,
        options={"max_retries": 1},
        plays=lambda: [json_answer(hang_up=True), json_answer()],
        rows=[RETRIED_TIMEOUT],
    ),
    Kind(
        name="a body cut short",
        call=create,
        plays=lambda: [json_answer(cut_after=20)],
        rows=[failed("connection_error", None)],
        raises="APIConnectionError",
    ),
    Kind(
        name="a request that cannot be sent",
        call=unsendable,
        plays=list,
        rows=[failed("TypeError", None, usage_is_final=True, cost_flags=())],
        raises="TypeError",
    ),
    Kind(
        name="a page instead of JSON",
        call=create,
        plays=lambda: not_json("text/html"),
        rows=[UNREADABLE],
        failures={"read the body of a response: JSONDecodeError": 1},
    ),
    Kind(
        name="a page that says it is JSON",
        call=create,
        plays=lambda: not_json("application/json"),
        rows=[{**UNREADABLE, "outcome": "error", "error_type": "JSONDecodeError"}],
        raises="JSONDecodeError",
        failures={"read the body of a response: JSONDecodeError": 1},
    ),
    Kind(
        name="cancelled",
        call=cancelled,
        plays=lambda: [json_answer(delay_s=3)],
        rows=[without(failed("", None), "error_type", outcome="cancelled")],
        only="async",
    ),
    Kind(
        name="cancelled by a timeout of the caller's",
        call=cancelled_by_a_timeout,
        plays=lambda: [json_answer(delay_s=3)],
        rows=[without(failed("", None), "error_type", outcome="cancelled")],
        only="async",
    ),
]
