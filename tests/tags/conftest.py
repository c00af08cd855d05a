"""A loopback API that always answers, and a meter with a ledger of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

import claudetrace
from claudetrace._call import RESERVED_TAGS
from claudetrace._demo._server import PlayServer

from ._api import hello_exchanges

Tags = Callable[[], list[dict[str, str]]]


@pytest.fixture(scope="session")
def server() -> Iterator[PlayServer]:
    with PlayServer(*hello_exchanges()) as playing:
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


@pytest.fixture
def tags(ledger: Callable[[], list[claudetrace.Call]]) -> Tags:
    """All tags of each row, reserved and free, oldest first."""
    return lambda: [all_tags(call) for call in ledger()]


def all_tags(call: claudetrace.Call) -> dict[str, str]:
    reserved = {tag: getattr(call, column) for tag, column in RESERVED_TAGS.items()}
    return {**{tag: value for tag, value in reserved.items() if value is not None}, **call.tags}
