"""A loopback API that always answers, and a meter with a ledger of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import claudetrace
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

from ._api import HELLO


@pytest.fixture(scope="session")
def server() -> Iterator[PlayServer]:
    streamed = _answers.stream(HELLO, when=lambda body: bool(body.get("stream")), times=None)
    with PlayServer(streamed, _answers.answer(HELLO, times=None)) as playing:
        yield playing


@pytest.fixture(autouse=True)
def meter(db: Path) -> Iterator[claudetrace.Instrumentation]:
    with claudetrace.instrument(db=db, force=True) as running:
        yield running


@pytest.fixture
def ledger(db: Path) -> Callable[[], list[claudetrace.Call]]:
    """The rows of the test, oldest first."""

    def calls() -> list[claudetrace.Call]:
        assert claudetrace.flush(timeout_s=30)
        with claudetrace.Ledger(db) as opened:
            return opened.calls(limit=1_000)[::-1]

    return calls


@pytest.fixture
def users(ledger: Callable[[], list[claudetrace.Call]]) -> Callable[[], list[str | None]]:
    """The user of each row, oldest first."""
    return lambda: [call.user_id for call in ledger()]
