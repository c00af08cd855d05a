"""An app for gunicorn and uvicorn: each request is one call, tagged with the request's number.

The meter starts where the module is imported, and one call is made there, as an app's warm-up would: under
`--preload` that is before the workers are forked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import anthropic

import claudetrace

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}

claudetrace.instrument(db=os.environ["APP_DB"])


@cache
def client_of(_pid: int) -> anthropic.Anthropic:
    """A client for each process: connections do not survive a fork."""
    return anthropic.Anthropic(api_key="k", base_url=os.environ["APP_API"], max_retries=0)


def call(number: str) -> None:
    with claudetrace.tag(number=number):
        client_of(os.getpid()).messages.create(**ASK)


call("warm-up")


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    call(environ["QUERY_STRING"])
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"done"]


@cache
def async_client() -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="k", base_url=os.environ["APP_API"], max_retries=0)


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    assert scope["type"] == "http"
    with claudetrace.tag(number=scope["query_string"].decode()):
        await async_client().messages.create(**ASK)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
