"""What all tests share: no setting of the user's environment, a loopback API, and a ledger of the test's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo._server import PlayServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytest_plugins = ["pytester"]

for name in list(os.environ):
    if name.startswith(("ANTHROPIC_", "CLAUDETRACE_", "OTEL_")):
        del os.environ[name]


@pytest.fixture
def server() -> Iterator[PlayServer]:
    with PlayServer() as playing:
        yield playing


@pytest.fixture
def client(server: PlayServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as opened:
        yield opened


@pytest.fixture
async def async_client(server: PlayServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0) as opened:
        yield opened


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def start(db: Path) -> Iterator[Callable[..., claudetrace.Instrumentation]]:
    """Starts the meter with further settings; it ends with the test."""

    def started(**settings: Any) -> claudetrace.Instrumentation:
        return claudetrace.instrument(db=db, force=True, **settings)

    yield started
    claudetrace.uninstrument()


@pytest.fixture
def ledger(db: Path) -> Callable[[], list[claudetrace.Call]]:
    """The rows of the test, oldest first."""

    def calls() -> list[claudetrace.Call]:
        assert claudetrace.flush(timeout_s=30)
        with claudetrace.Ledger(db) as opened:
            return opened.calls(limit=100_000)[::-1]

    return calls
