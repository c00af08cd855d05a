"""What watches an event loop for blocking calls raises in the midst of our code: no row is lost to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from blockbuster import BlockBuster
from rows import row

from claudetrace._demo import _answers, _wire

if TYPE_CHECKING:
    from collections.abc import Callable

    import anthropic

    from claudetrace._demo._server import PlayServer
    from claudetrace._guard import Guard
    from claudetrace._ledger._loader import LedgerWriter

    Query = Callable[..., list[Any]]


async def test_calls_under_blockbuster_are_recorded(
    async_client: anthropic.AsyncAnthropic, server: PlayServer, start: Any, ledger: Callable[[], list[Any]]
) -> None:
    """Async calls where every blocking call on the loop's thread raises: each is in the ledger, and none is lost."""
    server.add(_answers.answer(_wire.message("Hello.", _wire.usage(10, 5)), times=None))
    running = start()
    await async_client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[])
    detector = BlockBuster()
    detector.activate()
    try:
        for _ in range(5):
            await async_client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[])
    finally:
        detector.deactivate()

    assert (len(ledger()), running.health.lost, running.health.pending) == (6, 0, 0)


@pytest.mark.parametrize("error", [RuntimeError("blocking"), ValueError("closed"), MemoryError()])
@pytest.mark.parametrize("where", ["open", "write", "fstat", "mkdir", "rename", "dup"])
def test_whatever_is_raised_the_row_is_kept(
    where: str, error: Exception, writer: LedgerWriter, query: Query, monkeypatch: pytest.MonkeyPatch, guard: Guard
) -> None:
    """Of each function of the system that the journal uses: the row reaches the ledger once the fault is over."""

    def fail(*_: object, **__: object) -> None:
        raise error

    if where == "fstat":
        writer.append(row())
        assert writer.flush(5)
    with monkeypatch.context() as patched:
        patched.setattr(os, where, fail)
        writer.journal.append(row())
    writer.append(row())

    assert (writer.flush(10), writer.health()["lost"]) == (True, 0)
    assert query("SELECT COUNT(*) FROM calls") == [(3 if where == "fstat" else 2,)]
