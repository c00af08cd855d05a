"""`tag_results` around `batches.create`: each item of a batch counts in the budget of whom it is for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anthropic
import pytest
from _asking import ASK, HELLO, states

import claudetrace
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

OWNERS = {f"r{number}": {"customer": customer} for number, customer in enumerate(["acme"] * 3 + ["globex"])}
REQUESTS: Any = [{"custom_id": custom_id, "params": ASK} for custom_id in [*OWNERS, "r4"]]
"""Three are for one customer, one for another, and the last for whom the batch is."""
ITEM_USD = claudetrace.price(HELLO, batch=True).usd


def budgets(usd: Any = 1) -> list[claudetrace.Budget]:
    said: dict[str, Any] = {"per": "total", "on_exceeded": "block", "forecast": False, "thresholds": ()}
    return [
        claudetrace.Budget("customer", usd=usd, tags={"customer": "*"}, **said),
        claudetrace.Budget("all", usd=1000, **said),
    ]


@pytest.fixture
def server() -> Any:
    with PlayServer(*_answers.batch("batch_1", {each["custom_id"]: HELLO for each in REQUESTS})) as playing:
        yield playing


def create(client: anthropic.Anthropic, by: Any = OWNERS) -> None:
    with claudetrace.tag(customer="own"), claudetrace.tag_results(by):
        client.messages.batches.create(requests=REQUESTS)


def calls() -> dict[str | None, tuple[int, int]]:
    """Of each key, how many calls are reserved and spent."""
    return {state.key: (state.reserved_calls, state.spent_calls) for state in states()}


HELD = {"acme": (3, 0), "globex": (1, 0), "own": (1, 0), None: (5, 0)}


def test_each_item_is_reserved_for_its_customer(client: anthropic.Anthropic, start: Any) -> None:
    """A budget for each customer holds what that one's items can cost, the one for all what all of them can."""
    start(budgets=budgets())
    create(client)
    held = {state.key: state.reserved_usd for state in states()}

    assert calls() == HELD
    assert held["acme"] == 3 * held["globex"] == 3 * held["own"]
    assert held[None] == held["acme"] + held["globex"] + held["own"]
    assert ITEM_USD is not None
    assert held["globex"] >= ITEM_USD


@pytest.mark.parametrize("by", [OWNERS, None], ids=["read with the owners", "read without"])
def test_results_take_what_was_reserved(by: Any, client: anthropic.Anthropic, start: Any) -> None:
    """Read with their tags, each takes its share of its customer's; read without, they count for the batch's customer
    as their rows do. Nothing stays reserved, and reading again changes nothing."""
    start(budgets=budgets())
    create(client)
    for _ in range(2):
        with claudetrace.tag_results(by or {}):
            list(client.messages.batches.results("batch_1"))

    if by is None:
        assert calls() == {"acme": (0, 0), "globex": (0, 0), "own": (0, 5), None: (0, 5)}
    else:
        assert calls() == {"acme": (0, 3), "globex": (0, 1), "own": (0, 1), None: (0, 5)}
    spent = {state.key: state.spent_usd for state in states()}
    assert ITEM_USD is not None
    assert spent[None] == sum(usd for key, usd in spent.items() if key is not None) == 5 * ITEM_USD


def test_results_are_for_whom_they_are_read(client: anthropic.Anthropic, start: Any) -> None:
    """Where only the reading says whose they are, they count for those, and nothing of the batch's stays reserved."""
    start(budgets=budgets())
    create(client, by={})
    assert calls() == {"own": (5, 0), None: (5, 0)}
    with claudetrace.tag_results(OWNERS):
        list(client.messages.batches.results("batch_1"))

    assert calls() == {"acme": (0, 3), "globex": (0, 1), "own": (0, 1), None: (0, 5)}


def test_a_customer_without_room_stops_the_batch(client: anthropic.Anthropic, server: PlayServer, start: Any) -> None:
    """The error names whose budget it is and what his items need; nothing has left, and nothing is set aside."""
    start(budgets=budgets(usd="0.0012"))
    with pytest.raises(claudetrace.BudgetExceeded) as caught:
        create(client)

    assert (caught.value.budget, caught.value.key, caught.value.limit_usd) == (
        "customer",
        "acme",
        budgets("0.0012")[0].usd,
    )
    assert (caught.value.needed_usd or 0) > caught.value.limit_usd
    assert server.requests == []
    assert set(calls().values()) <= {(0, 0)}


def test_a_batch_that_is_refused_gives_back_what_it_reserved(start: Any) -> None:
    """An error of the API bills nothing."""
    start(budgets=budgets())
    refused = _answers.failure(400, "invalid_request_error", path="/v1/messages/batches")
    with (
        PlayServer(refused) as api,
        anthropic.Anthropic(api_key="k", base_url=api.url, max_retries=0) as client,
        pytest.raises(anthropic.BadRequestError),
    ):
        create(client)

    assert {state.reserved_usd for state in states()} == {0}
    assert {state.spent_usd for state in states()} == {0}


def fails(_: str) -> dict[str, str]:
    raise LookupError("the database is away")


def test_a_callable_that_fails_reserves_for_the_batch(client: anthropic.Anthropic, start: Any, caplog: Any) -> None:
    """Its items are for whom the batch is; it is told once."""
    start(budgets=budgets())
    create(client, by=fails)

    assert calls() == {"own": (5, 0), None: (5, 0)}
    assert len([each for each in caplog.records if "tag an item of a batch" in each.message]) == 1


def test_a_process_that_dies_after_the_answer_leaves_it_reserved(server: PlayServer, start: Any, db: Path) -> None:
    """The batch goes on: by its row in the journal its items stay reserved until they are read."""
    program = f"""
import os, sys
import anthropic, claudetrace
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_batches_of_many as of
from claudetrace._budgets._budgets import Budgets

claudetrace.instrument(db={str(db)!r}, budgets=of.budgets())
Budgets.settle = lambda *_: os._exit(0)
of.create(anthropic.Anthropic(api_key="k", base_url={server.url!r}))
"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=kept)
    start(budgets=budgets())
    claudetrace.flush()

    assert calls() == HELD
