"""A loopback API, clients of it, and a meter with a ledger of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo._server import PlayServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


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
