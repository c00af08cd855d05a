"""Every Python snippet of the README and of `docs/` runs as it stands, against the API on loopback."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer

from ._pages import PAGES, Fence, fences

SNIPPETS = [(page, fence) for page in PAGES for fence in fences(page, "python")]
MODEL = "claude-haiku-5-5"
RESULTS = {f"row-{number}": _wire.message("billing", _wire.usage(310, 4), model=MODEL) for number in (1, 2)}
HELLO = [{"role": "user", "content": "Hello?"}]
REQUESTS = [{"custom_id": name, "params": {"model": MODEL, "max_tokens": 10, "messages": HELLO}} for name in RESULTS]
# What a fragment stands in: the indent of a call or a block that the page shows a part of.
FRAGMENTS = {"except ": "try:\n    raise claudetrace.BudgetExceeded('b', None, 0, 0, None, None)\n"}
NEEDS = {"claude_agent_sdk": "claude-agent-sdk", "fastapi": "fastapi", "django": "django"}
SLACK = "http://127.0.0.1:9/alerts"


@pytest.fixture(scope="module")
def api() -> Iterator[PlayServer]:
    """Answers whatever a snippet asks."""
    said = _wire.message("Hello there.", _wire.usage(24, 14), model=MODEL)
    with PlayServer(
        *(_answers.batch("msgbatch_docs", RESULTS) * 4),
        _answers.stream(said, when=lambda body: body.get("stream"), times=None),
        _answers.answer(said, times=None),
    ) as server:
        yield server


@pytest.fixture
def names(api: PlayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What a reader of any page has: the library, clients, messages, an app."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": api.url,
        "CLAUDETRACE_DB": str(tmp_path / "ledger.db"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "SLACK_URL": SLACK,
        "ALERT_SECRET": "whsec_c2VjcmV0",
        "DATABASE_URL": "postgresql://app:p@127.0.0.1:9/app",
    }.items():
        monkeypatch.setenv(name, value)
    claudetrace.instrument().unasked = True
    with anthropic.Anthropic(max_retries=0) as client:
        message = client.messages.create(model=MODEL, max_tokens=9, messages=HELLO)
        ask = {"model": MODEL, "max_tokens": 9, "messages": HELLO}
        yield {
            "__name__": "docs",
            "Any": Any,
            "anthropic": anthropic,
            "claudetrace": claudetrace,
            "Budget": claudetrace.Budget,
            "client": client,
            "message": message,
            "messages": HELLO,
            "requests": REQUESTS,
            "model": MODEL,
            "ask": ask,
            "headers": {"x-api-key": "k"},
            "url": f"{api.url}/v1/messages",
            "store": tmp_path / "shared.budgets",
            "answer_the_customer": lambda: client.messages.create(**ask),
            "agent": SimpleNamespace(work=lambda: client.messages.create(**ask)),
            "app": _App(),
            "get_asgi_application": lambda: None,
            "get_wsgi_application": lambda: None,
        }
    claudetrace.uninstrument()


class _App:
    """Stands for an app of FastAPI, Flask or Celery: registers what it is given."""

    wsgi_app = None

    def add_middleware(self, made: Any, **settings: Any) -> None:
        made(None, **settings)

    def task(self, function: Any) -> Any:
        return function

    def _decorate(self, *_: Any) -> Any:
        return lambda function: function

    get = exception_handler = _decorate


def _id(snippet: tuple[str, Fence]) -> str:
    return f"{snippet[0]}:{snippet[1].line}"


@pytest.mark.parametrize("snippet", SNIPPETS, ids=map(_id, SNIPPETS))
def test_a_snippet_runs(snippet: tuple[str, Fence], names: dict[str, Any], capsys: Any) -> None:
    """It raises nothing; what it defines is called where it is a test or a task."""
    text = snippet[1].text
    for module, package in NEEDS.items():
        if re.search(rf"\b{module}\b", text) and find_spec(module) is None:
            pytest.skip(f"{package} is not installed")
    _imported(text, names)
    for begins, before in FRAGMENTS.items():
        if text.startswith(begins):
            text = before + text
    code = compile(text, _id(snippet), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    done = eval(code, names)
    if inspect.isawaitable(done):
        asyncio.run(_awaited(done))
    _call_what_it_defines(names)


def _imported(text: str, names: dict[str, Any]) -> None:
    """Names of frameworks that a page's fragment takes for granted."""
    if "JSONResponse" in text and "JsonResponse" not in text and find_spec("fastapi"):
        exec(
            "from collections.abc import AsyncIterator\nfrom fastapi import Request\n"
            "from fastapi.responses import JSONResponse, StreamingResponse",
            names,
        )
    if "JsonResponse" in text and find_spec("django"):
        exec("from django.http import JsonResponse, StreamingHttpResponse", names)
    if "httpx." in text:
        exec("import httpx", names)


async def _awaited(done: Any) -> None:
    await done


def _call_what_it_defines(names: dict[str, Any]) -> None:
    for name, value in list(names.items()):
        if name.startswith("test_"):
            with claudetrace.testing.recorded() as calls:
                value(*([calls] if inspect.signature(value).parameters else []))
        if name == "answer" and callable(value):
            value("ada", "Hello?")
