"""What all tests share: no setting of the user's environment, a loopback API, and a ledger of the test's own."""

from __future__ import annotations

import functools
import gc
import os
import ssl
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _postgres import MISSING, Server, programs

import claudetrace
from claudetrace._budgets._postgres._schema import init
from claudetrace._budgets._postgres._url import ServerUrl
from claudetrace._demo._server import PlayServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytest_plugins = ["pytester"]

for name in list(os.environ):
    if name.startswith(("ANTHROPIC_", "CLAUDETRACE_", "OTEL_")):
        del os.environ[name]


def pytest_collection_finish() -> None:
    """Takes all that is loaded by now out of garbage collections, and of the search for clients in `instrument()`.

    Both visit every object, which in a process full of tests takes longer than most tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_set_of_certificates() -> Iterator[None]:
    """Reads the certificates once: each new client would take 20 ms for it, and on loopback none is needed."""
    with pytest.MonkeyPatch.context() as patch:
        # By older and newer versions of the SDK.
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        if find_spec("httpcore2") is not None:
            httpcore = import_module("httpcore2")
            patch.setattr(httpcore, "default_ssl_context", functools.cache(httpcore.default_ssl_context))
        yield


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL of the tests' own, with the database `claudetrace` that has the budgets' schema."""
    if programs() is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    started = Server()
    try:
        started.execute("CREATE DATABASE claudetrace")
        init(ServerUrl(started.url("claudetrace")))
        yield started
    finally:
        started.close()


@pytest.fixture
def database(postgres: Server) -> str:
    """The URL of a database with the budgets' schema and nothing in it."""
    return postgres.emptied("claudetrace")
