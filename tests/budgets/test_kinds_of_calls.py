"""Every kind of call of the SDK under a budget: what it returns, what it is charged, and that it can be stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from _asking import block, state

import claudetrace
from tests.seam.kinds import KINDS
from tests.seam.test_kinds import played

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claudetrace._demo._server import PlayServer

pytestmark = pytest.mark.filterwarnings("ignore:The 'output_format' parameter is deprecated")
CASES = [
    pytest.param(kind, is_async, id=f"{kind.name}-{'async' if is_async else 'sync'}")
    for kind in KINDS
    for is_async in (False, True)
    if kind.only in (None, "async" if is_async else "sync") and kind.needs()
]
FREE = ("models", "batches.retrieve", "count_tokens", "batches.results")
"""Kinds that are never billed, so that no budget stops them."""
STOPPED = [case for case in CASES if "cancelled" not in case.values[0].name or "timeout" in case.values[0].name]
"""Without those that wait for their request before they cancel it."""


@pytest.mark.parametrize(("kind", "is_async"), CASES)
def test_a_budget_with_room_changes_nothing_and_is_charged_what_the_ledger_says(
    kind: Any, is_async: bool, server: PlayServer, start: Callable[..., Any], db: Path
) -> None:
    """The caller sees what it sees without a meter; nothing stays reserved; spent is the ledger's spend."""
    without = played(kind, server, is_async=is_async)
    meter = start(budgets=[block()])
    under = played(kind, server, is_async=is_async)

    now, costs = state(), costs_in(db)
    assert under == without
    if "batches.create" in kind.name:
        assert (now.spent_usd, now.spent_calls, now.reserved_calls) == (0, 0, 2)
    else:
        assert (now.reserved_usd, now.reserved_calls) == (0, 0)
    if kind.name == "no server":
        # Nothing left, so that nothing can be billed, though the ledger cannot tell.
        assert now.spent_usd == 0
    elif None in costs:
        # What nobody knows is charged at the estimate.
        assert now.spent_usd > sum(cost for cost in costs if cost is not None)
    else:
        assert now.spent_usd == sum(costs)
    assert dict(meter.health.failures) == kind.failures


@pytest.mark.parametrize(("kind", "is_async"), STOPPED)
def test_a_used_up_budget_stops_every_kind_before_its_request_leaves(
    kind: Any, is_async: bool, server: PlayServer, start: Callable[..., Any], ledger: Callable[[], list[Any]]
) -> None:
    """`BudgetExceeded` reaches the caller, the server sees no request, and there is one row that costs nothing."""
    start(budgets=[block(usd="0.000000000001", name="gone")])
    if kind.name.removeprefix("beta.").startswith(FREE):
        server.add(*kind.plays())
        kind.run(server, is_async=is_async)
        assert server.unplayed == []
        return

    server.add(*kind.plays())
    with pytest.raises(claudetrace.BudgetExceeded, match="gone") as stopped:
        kind.run(server, is_async=is_async)

    assert type(stopped.value) is claudetrace.BudgetExceeded
    assert server.requests == []
    (row,) = ledger()
    assert (row.outcome, row.error_type, row.cost_usd, row.usage_is_final) == ("error", "BudgetExceeded", 0, True)
    assert (row.http_status, row.response_ms, row.span_id, row.retries) == (None, None, None, 0)


def costs_in(db: Path) -> list[Any]:
    """The costs of all rows, also where there is no ledger since there were none."""
    if not db.exists():
        return []
    with claudetrace.Ledger(db) as opened:
        return [call.cost_usd for call in opened.calls(limit=1000)]
