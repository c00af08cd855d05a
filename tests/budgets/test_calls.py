"""Calls of the SDK under budgets that stop them: before they leave, and what they are charged."""

from __future__ import annotations

import gc
import pickle
import socket
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _asking import ASK, COST_USD, HELLO, MODEL, block, state, states

import claudetrace
from claudetrace._demo import _answers, _wire

if TYPE_CHECKING:
    from claudetrace._demo._server import PlayServer

BATCH = [{"custom_id": f"c{number}", "params": ASK} for number in range(4)]


def test_the_error_says_all_and_can_be_pickled(client: anthropic.Anthropic, server: PlayServer, start: Any) -> None:
    """Budget, limit, spent, reserved, needed and the time of reset, also in another process."""
    start(budgets=[block("day", per="day", usd="0.00106")])
    server.add(_answers.answer(HELLO))
    with pytest.raises(claudetrace.BudgetExceeded) as stopped:
        client.messages.create(**ASK, system="x" * 1000)
    error = stopped.value
    copy = pickle.loads(pickle.dumps(error))

    assert (copy.budget, copy.limit_usd, copy.spent_usd, copy.reserved_usd) == ("day", Decimal("0.00106"), 0, 0)
    assert copy.needed_usd == error.needed_usd > Decimal("0.00106")
    assert copy.resets_at == error.resets_at > datetime.now(UTC)
    assert str(copy) == str(error)
    assert (type(copy), server.requests) == (claudetrace.BudgetExceeded, [])


@pytest.mark.parametrize("said", [{"unpriced": "block"}, {"unbounded": "block"}, {"on_store_error": "closed"}])
def test_whatever_a_call_is_stopped_for_it_leaves_the_same_row(
    said: dict[str, str], client: anthropic.Anthropic, server: PlayServer, start: Any, ledger: Any, tmp_path: Any
) -> None:
    """One row with the error `BudgetExceeded` that costs nothing, is no call of the budget's, and has no span."""
    folder = tmp_path / "x.budgets"
    if "on_store_error" in said:
        folder.mkdir()
    start(budgets=[block(**said)], budget_store=folder)
    ask = {
        **ASK,
        "model": "claude-unheard-of-9" if "unpriced" in said else MODEL,
        "messages": [{"role": "user", "content": [_image()]}] if "unbounded" in said else ASK["messages"],
    }
    with pytest.raises(claudetrace.BudgetExceeded) as stopped:
        client.messages.create(**ask)
    copy = pickle.loads(pickle.dumps(stopped.value))

    (row,) = ledger()
    assert (row.outcome, row.error_type, row.cost_usd, row.span_id) == ("error", "BudgetExceeded", 0, None)
    assert server.requests == []
    assert (copy.budget, copy.limit_usd, str(copy)) == ("cap", 1000, str(stopped.value))
    if "on_store_error" not in said:
        assert (state().spent_calls, state().spent_usd) == (0, 0)


def _image() -> dict[str, Any]:
    return {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}


def test_a_client_from_before_and_a_tagged_one_are_stopped(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """A client that was made before `instrument()` and one bound to tags are under the budgets of their calls."""
    bound = claudetrace.tagged(client, customer="acme")
    start(budgets=[block("acme", max_calls=1, tags={"customer": "acme"}), block("all", max_calls=2)])
    server.add(_answers.answer(HELLO, times=None))

    bound.messages.create(**ASK)
    with pytest.raises(claudetrace.BudgetExceeded, match="acme"):
        bound.messages.create(**ASK)
    client.messages.create(**ASK)
    with pytest.raises(claudetrace.BudgetExceeded, match="all"):
        client.messages.create(**ASK)

    assert len(server.requests) == 2
    assert [(each.budget.name, each.spent_calls, each.spent_usd) for each in states()] == [
        ("acme", 1, COST_USD),
        ("all", 2, 2 * COST_USD),
    ]


@pytest.mark.parametrize("per", ["hour", "day", "week", "month", "total", "rolling:24h"])
def test_each_window_stops_when_it_is_full(
    per: str, client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """Two calls are let through where a third could cost more than what is left."""
    start(budgets=[block(per=per, usd="0.0026")])
    server.add(_answers.answer(HELLO, times=None))
    client.messages.create(**ASK)
    client.messages.create(**ASK)
    with pytest.raises(claudetrace.BudgetExceeded) as stopped:
        client.messages.create(**ASK)
    assert stopped.value.spent_usd == 2 * COST_USD
    assert (stopped.value.resets_at is None) == (per == "total")


def test_each_value_of_a_tag_has_its_own_and_a_model_its_own(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """Each user may make one call, whoever has none is under no such budget, and another model is under another."""
    start(
        budgets=[
            block("user", max_calls=1, tags={"user": "*"}),
            block("opus", max_calls=1, model="claude-opus-4-8"),
            block("both", max_calls=2, usd=10, tags={"team": "x", "customer": "*"}),
        ]
    )
    server.add(_answers.answer(HELLO, times=None))
    for user in ("a", "b"):
        with claudetrace.tag(user=user):
            client.messages.create(**ASK)
            with pytest.raises(claudetrace.BudgetExceeded, match="user"):
                client.messages.create(**ASK)
    client.messages.create(**{**ASK, "model": "claude-opus-4-8"})
    with pytest.raises(claudetrace.BudgetExceeded, match="opus"):
        client.messages.create(**{**ASK, "model": "claude-opus-4-8"})
    with claudetrace.tag(team="x", customer="acme"):
        client.messages.create(**ASK)
        client.messages.create(**ASK)
        with pytest.raises(claudetrace.BudgetExceeded, match="both"):
            client.messages.create(**ASK)

    assert [(each.budget.name, each.key, each.spent_calls, each.reserved_calls) for each in states()] == [
        ("user", "a", 1, 0),
        ("user", "b", 1, 0),
        ("opus", None, 1, 0),
        ("both", "acme", 2, 0),
    ]


def test_a_changed_limit_keeps_what_was_spent_and_a_removed_budget_its_history(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """Raised, the limit lets more through; a budget that was away counts what was spent under it before."""
    server.add(_answers.answer(HELLO, times=None))
    start(budgets=[block(usd="0.002")])
    client.messages.create(**ASK)
    with pytest.raises(claudetrace.BudgetExceeded):
        client.messages.create(**ASK)
    start(budgets=[block(usd="0.003")])
    client.messages.create(**ASK)
    start(budgets=[block("other")])
    client.messages.create(**ASK)
    assert state().spent_usd == 3 * COST_USD, "a new budget begins with what the ledger says"
    start(budgets=[block(usd="0.003")])
    with pytest.raises(claudetrace.BudgetExceeded) as stopped:
        client.messages.create(**ASK)

    assert stopped.value.spent_usd >= 2 * COST_USD


def test_a_run_stops_its_calls_without_a_setting(
    client: anthropic.Anthropic, server: PlayServer, start: Any, ledger: Any
) -> None:
    """`with Budget(per="run")` needs no budgets of `instrument()`, counts exactly, and ends with its block."""
    start()
    server.add(_answers.answer(HELLO, times=None))
    with claudetrace.Budget(usd="0.004", per="run") as run:
        client.messages.create(**ASK)
        client.messages.create(**ASK)
        assert (run.spent_usd, run.calls, run.reserved_usd) == (2 * COST_USD, 2, 0)
        with pytest.raises(claudetrace.BudgetExceeded, match="run"):
            client.messages.create(**ASK, system="x" * 4000)
    client.messages.create(**ASK)

    # Calls of one millisecond have no order.
    assert sorted(str(row.error_type) for row in ledger()) == ["BudgetExceeded", "None", "None", "None"]


def test_a_run_within_a_budget_of_the_store_leaves_nothing_where_either_stops(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """What the one lets through and the other stops is set aside in neither."""
    start(budgets=[block(max_calls=1)])
    server.add(_answers.answer(HELLO, times=None))
    with claudetrace.Budget(usd=1, per="run") as run:
        client.messages.create(**ASK)
        with pytest.raises(claudetrace.BudgetExceeded, match="cap"):
            client.messages.create(**ASK)
        assert (run.reserved_usd, run.calls, run.spent_usd) == (0, 1, COST_USD)
    with claudetrace.Budget(usd="0.000001", per="run"), pytest.raises(claudetrace.BudgetExceeded, match="run"):
        client.messages.create(**ASK)
    assert (state().spent_calls, state().reserved_calls) == (1, 0)


def test_what_fails_is_charged_what_is_known_of_it(client: anthropic.Anthropic, server: PlayServer, start: Any) -> None:
    """An error of the API and a refused connection cost nothing; what timed out is charged at its estimate."""
    start(budgets=[block()])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = client.with_options(base_url=f"http://127.0.0.1:{free.getsockname()[1]}")
    for status, kind in ((400, "invalid_request_error"), (429, "rate_limit_error"), (500, "api_error")):
        server.add(_answers.failure(status, kind))
        with pytest.raises(anthropic.APIStatusError):
            client.messages.create(**ASK)
    with pytest.raises(anthropic.APIConnectionError):
        nowhere.messages.create(**ASK)
    assert (state().spent_usd, state().reserved_usd) == (0, 0)

    server.add(_answers.answer(HELLO, delay_s=5))
    with pytest.raises(anthropic.APITimeoutError):
        client.with_options(timeout=0.2).messages.create(**ASK)
    assert state().spent_usd > COST_USD
    assert state().reserved_usd == 0


def test_streams_settle_at_what_they_cost_wherever_they_end(
    client: anthropic.Anthropic, server: PlayServer, start: Any, ledger: Any
) -> None:
    """Read, left, dropped and cut: while it is read it is reserved, afterwards spent is the ledger's spend."""
    start(budgets=[block()])
    long = _wire.message("word " * 50, _wire.usage(100, 50), model=MODEL)
    for exchange in ({}, {"pause_s": 0.02}, {"pause_s": 0.02}, {"cut_after": 900}):
        server.add(_answers.stream(long, pieces=40, **exchange))
    read = client.messages.create(**ASK, stream=True)
    assert state().reserved_calls == 1
    list(read)
    with client.messages.stream(**ASK) as left:
        next(iter(left))
    dropped = client.messages.create(**ASK, stream=True)
    next(iter(dropped))
    del dropped
    gc.collect()
    with pytest.raises(Exception, match=r"peer closed|incomplete|closed"):
        list(client.messages.create(**ASK, stream=True))

    rows = ledger()
    assert [row.outcome for row in rows] == ["ok", "cancelled", "cancelled", "incomplete"]
    assert (state().spent_usd, state().reserved_usd) == (sum(row.cost_usd for row in rows), 0)


def test_retries_are_one_call(client: anthropic.Anthropic, server: PlayServer, start: Any) -> None:
    """A call that is answered at its third attempt has one reservation and one price."""
    start(budgets=[block(max_calls=1)])
    overloaded = {"headers": {"retry-after-ms": "1"}}
    server.add(_answers.failure(529, "overloaded_error", times=2, **overloaded), _answers.answer(HELLO))
    client.with_options(max_retries=3).messages.create(**ASK)
    assert (state().spent_usd, state().spent_calls, len(server.requests)) == (COST_USD, 1, 3)


def test_a_batch_reserves_until_its_results_are_read(
    client: anthropic.Anthropic, server: PlayServer, start: Any, ledger: Any
) -> None:
    """The sum of its items is set aside; each result that is read takes its share, once, however often it is read."""
    start(budgets=[block()])
    server.add(*_answers.batch("batch_1", {f"c{number}": HELLO for number in range(4)}))
    client.messages.batches.create(requests=BATCH)
    held = state()
    assert (held.spent_usd, held.reserved_calls) == (0, 4)
    assert held.reserved_usd >= 4 * claudetrace.price(HELLO, batch=True).usd

    for _ in range(2):
        list(client.messages.batches.results("batch_1"))
        now = state()
        assert (now.spent_usd, now.spent_calls, now.reserved_usd, now.reserved_calls) == (2 * COST_USD, 4, 0, 0)
    assert sum(row.cost_usd for row in ledger()) == 2 * COST_USD


def test_counting_tokens_is_free_and_never_stopped(client: anthropic.Anthropic, server: PlayServer, start: Any) -> None:
    """Also where more is spent than the limit allows."""
    server.add(_answers.answer(HELLO, times=None), _answers.answer({"input_tokens": 9}, path="*/count_tokens"))
    start()
    client.messages.create(**ASK)
    claudetrace.flush()
    start(budgets=[block(usd="0.0001", max_calls=1)])

    assert client.messages.count_tokens(model=MODEL, messages=ASK["messages"]).input_tokens == 9
    with pytest.raises(claudetrace.BudgetExceeded):
        client.messages.create(**ASK)
    assert (state().spent_usd, state().spent_calls) == (COST_USD, 1)


def test_a_budget_that_only_alerts_counts_and_stops_nothing(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """Each threshold is told once; of those that one call has passed, the highest alone."""
    told: list[claudetrace.Alert] = []
    start(budgets=[claudetrace.Budget("soft", usd=COST_USD * 2, per="total", forecast=False)], alert_to=[told.append])
    server.add(_answers.answer(HELLO, times=None))
    for _ in range(4):
        client.messages.create(**ASK)
    assert (state().spent_usd, state().spent_calls) == (4 * COST_USD, 4)
    claudetrace.uninstrument()
    assert [(alert.kind, alert.budget, alert.threshold) for alert in told] == [
        ("threshold", "soft", threshold) for threshold in (0.5, 1.0)
    ]
