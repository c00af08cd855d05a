"""A server that tests stop, crash and bring back, and hosts that use it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

BUDGETS = Path(__file__).resolve().parents[1] / "budgets"
sys.path.insert(0, str(BUDGETS))

from _postgres import Server  # noqa: E402 - beside what the path set above leads to
from _serving import Served, end_all  # noqa: E402

from claudetrace._budgets._postgres._schema import init  # noqa: E402
from claudetrace._budgets._postgres._url import ServerUrl  # noqa: E402
from claudetrace._guard import Guard  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Slow to write its log by itself, so that a crash loses something."""
    started = Server("fsync=on", "wal_writer_delay=10s", "wal_writer_flush_after=1GB", "wal_buffers=64MB")
    yield started
    started.close()


@pytest.fixture
def database(server: Server) -> str:
    """The URL of a new database with the budgets' schema."""
    url = server.url(server.database())
    init(ServerUrl(url))
    return url


@pytest.fixture
def host(database: str, guard: Guard) -> Iterator[Callable[..., Served]]:
    """A process on a host of its own with these budgets."""
    made: list[Served] = []

    def make(*budgets: Any, **given: Any) -> Served:
        made.append(Served(budgets, database, guard=guard, clock=time.time, **given))
        return made[-1]

    yield make
    end_all(made)
