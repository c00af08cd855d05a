"""Calls of the SDK whose cost nobody can know beforehand, under budgets that let them pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from _asking import ASK, COST_USD, HELLO, block, state, until

import claudetrace
from claudetrace._demo import _answers, _wire

if TYPE_CHECKING:
    import anthropic

    from claudetrace._demo._server import PlayServer

IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
UNBOUNDED = {**ASK, "messages": [{"role": "user", "content": [IMAGE]}]}
UNHEARD = "claude-unheard-of-9"
UNPRICED = {**ASK, "model": UNHEARD}


def test_a_call_without_a_bound_reserves_its_estimate_and_is_told_once(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """While it runs its best estimate is set aside; then its cost counts. The second is not told again."""
    told: list[claudetrace.Alert] = []
    start(budgets=[block(unbounded="alert")], alert_to=[told.append])
    server.add(_answers.stream(HELLO, times=None))
    for number in range(2):
        stream = client.messages.create(**UNBOUNDED, stream=True)
        assert (state().reserved_calls, state().spent_calls) == (1, number)
        assert state().reserved_usd > COST_USD
        list(stream)
        until(lambda: state().reserved_calls == 0)
    assert state().spent_usd == 2 * COST_USD
    claudetrace.uninstrument()

    assert [(alert.kind, alert.budget) for alert in told] == [("unbounded", "cap")]


@pytest.mark.parametrize(("unpriced", "kinds"), [("alert", ["unpriced"]), ("ignore", [])])
def test_a_model_without_a_price_passes_as_its_budget_says(
    unpriced: str, kinds: list[str], client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """It is told once or not at all, costs the budget no dollars and is one of its calls."""
    told: list[claudetrace.Alert] = []
    start(budgets=[block(unpriced=unpriced, usd=5, max_calls=3)], alert_to=[told.append])
    server.add(_answers.answer(_wire.message("Hello.", _wire.usage(100, 50), model=UNHEARD), times=None))
    for _ in range(3):
        client.messages.create(**UNPRICED)
    with pytest.raises(claudetrace.BudgetExceeded):
        client.messages.create(**UNPRICED)

    assert (state().spent_usd, state().spent_calls, state().reserved_calls) == (0, 3, 0)
    claudetrace.uninstrument()
    assert [alert.kind for alert in told if alert.kind not in ("threshold", "blocked")] == kinds
