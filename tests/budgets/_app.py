"""An app for gunicorn: each request is one call, tagged by its query; 429 where a budget is used up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import anthropic

import claudetrace

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
SMALL = 20
BUDGETS = [
    claudetrace.Budget(
        "small", max_calls=SMALL, per="total", tags={"kind": "small"}, on_exceeded="block", on_store_error="closed"
    ),
    claudetrace.Budget("all", usd=1000, per="total", on_exceeded="block", thresholds=(), forecast=False),
]

claudetrace.instrument(
    db=os.environ["APP_DB"],
    budgets=BUDGETS,
    alert_to=[os.environ["APP_HOOK"]],
    budget_store=os.environ.get("APP_STORE"),
)


@cache
def client_of(_pid: int) -> anthropic.Anthropic:
    """A client for each process: connections do not survive a fork."""
    return anthropic.Anthropic(api_key="k", base_url=os.environ["APP_API"], max_retries=0)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    try:
        with claudetrace.tag(kind=environ["QUERY_STRING"]):
            client_of(os.getpid()).messages.create(**ASK)
    except claudetrace.BudgetExceeded:
        start_response("429 Too Many Requests", [("content-type", "text/plain")])
        return [b"used up"]
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"done"]
