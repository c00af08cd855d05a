"""A loopback API and a meter with a ledger of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import anthropic
import pytest

import claudetrace
from claudetrace._demo._server import PlayServer


@pytest.fixture
def client(server: PlayServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="sk-ant-secret-key", base_url=server.url, max_retries=0) as opened:
        yield opened


@pytest.fixture
def meter(db: Path) -> Iterator[claudetrace.Instrumentation]:
    with claudetrace.instrument(db=db, force=True) as running:
        yield running


@pytest.fixture
def ledger(db: Path, meter: claudetrace.Instrumentation) -> Callable[[], list[claudetrace.Call]]:
    """The rows of the test, newest first."""

    def calls() -> list[claudetrace.Call]:
        assert meter.flush()
        with claudetrace.Ledger(db) as opened:
            return opened.calls()

    return calls
