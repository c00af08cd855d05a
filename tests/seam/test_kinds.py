"""Every kind of call, on a sync and on an async client."""

from __future__ import annotations

from typing import Any

import pytest

from claudetrace._demo._server import PlayServer

from .kinds import KINDS, Kind

# The SDK's way before 2.0, and the only one that all versions have.
pytestmark = pytest.mark.filterwarnings("ignore:The 'output_format' parameter is deprecated")

CASES = [
    pytest.param(kind, is_async, id=f"{kind.name}-{'async' if is_async else 'sync'}")
    for kind in KINDS
    for is_async in (False, True)
    if kind.only in (None, "async" if is_async else "sync")
]


def played(kind: Kind, server: PlayServer, *, is_async: bool) -> Any:
    """What the caller sees."""
    server.requests.clear()
    server.add(*kind.plays())
    seen = kind.run(server, is_async=is_async)
    assert server.failures == []
    assert server.unplayed == []
    return seen


@pytest.mark.parametrize(("kind", "is_async"), CASES)
def test_a_call_is_recorded_whole_and_returns_what_it_returned(kind: Kind, is_async: bool, start_meter: Any) -> None:
    """A call leaves exactly the rows it should, and gives its caller exactly what it gives without a meter."""
    if not kind.needs():
        pytest.skip("not available: this version of the SDK has no such call")
    with PlayServer() as server:
        without_meter = played(kind, server, is_async=is_async)
        meter = start_meter()
        with_meter = played(kind, server, is_async=is_async)

    assert with_meter == without_meter
    assert meter.rows() == kind.rows
    meter.check(kind.failures)
