"""`claudetrace.testing`, as users' tests use it."""

from __future__ import annotations

from decimal import Decimal

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers as answers
from claudetrace._demo._server import PlayServer
from claudetrace._demo._wire import message, usage
from claudetrace.testing import recorded

ASK = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello?"}]}
CENT = message("So.", usage(100_000, 0), model="claude-haiku-5-5")
NEW = message("So.", model="claude-of-tomorrow")
USERS_TESTS = """
import anthropic, pytest
from claudetrace._demo import _answers as answers
from claudetrace._demo._server import PlayServer
from claudetrace._demo._wire import message, usage

ASK = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello?"}]}

@pytest.fixture
def client():
    whole = message("So.", usage(100_000, 0), model="claude-haiku-5-5")
    with PlayServer(answers.answer(whole, times=None)) as server:
        with anthropic.Anthropic(base_url=server.url, api_key="demo") as client:
            yield client

def test_calls(client, claude_calls):
    client.messages.create(**ASK)
    assert [call.input_tokens for call in claude_calls.calls] == [100_000]

def test_no_calls_of_another_test(claude_calls):
    assert claude_calls.calls == []

@pytest.mark.claude_budget(usd=0.01)
def test_within(client):
    client.messages.create(**ASK)

@pytest.mark.claude_budget(usd=0.015)
def test_over(client, claude_calls):
    client.messages.create(**ASK)
    client.messages.create(**ASK)
    assert len(claude_calls.calls) == 2

@pytest.mark.claude_budget(usd="much")
def test_wrong():
    pass
"""


@pytest.fixture
def client():
    with (
        PlayServer(answers.answer(CENT), answers.answer(NEW), answers.answer(CENT, times=None)) as server,
        anthropic.Anthropic(base_url=server.url, api_key="demo") as client,
    ):
        yield client


def test_a_block_has_its_calls_and_their_cost(client):
    """The calls of the block, oldest first, stay readable after it; later calls are not among them."""
    with recorded() as calls:
        client.messages.create(**ASK)
        first = calls.calls
        client.messages.create(**ASK)
    client.messages.create(**ASK)

    assert [call.model for call in first] == ["claude-haiku-5-5"]
    assert [call.model for call in calls.calls] == ["claude-haiku-5-5", "claude-of-tomorrow"]
    assert calls.cost_usd == Decimal("0.01")
    assert [call.cost_flags for call in calls.unpriced_calls] == [("unknown_model",)]


def test_a_block_joins_what_records_already(client, tmp_path):
    """The ledger that is being written gets the calls, and the block has only its own."""
    with claudetrace.instrument(db=tmp_path / "ledger.db", force=True) as meter:
        client.messages.create(**ASK)
        with recorded() as calls:
            client.messages.create(**ASK)
        meter.flush()

        assert [call.model for call in calls.calls] == ["claude-of-tomorrow"]
        assert len(claudetrace.Ledger(tmp_path / "ledger.db").calls()) == 2


def test_a_block_needs_a_ledger(client):
    """Where calls are recorded without one, the way out is told."""
    with (
        claudetrace.instrument(db=False, force=True),
        pytest.raises(claudetrace.ClaudetraceError, match="uninstrument"),
        recorded(),
    ):
        pass


def test_the_plugin_gives_calls_and_holds_budgets(pytester):
    """The fixture has the calls of its test; the marker fails a test that cost more, and says by how much."""
    pytester.makepyfile(USERS_TESTS)
    told = pytester.runpytest_subprocess("-q", "--strict-markers", "-p", "no:cacheprovider")

    told.assert_outcomes(passed=3, failed=2)
    told.stdout.fnmatch_lines(
        [
            "*2 calls cost $0.020000000000, $0.005000 over the $0.015 allowed*",
            "*claude_budget takes one amount in dollars*",
        ]
    )


def test_a_budget_says_which_calls_it_could_not_hold(pytester):
    """A test whose calls have no known price passes its budget with a warning that names them."""
    pytester.makepyfile(USERS_TESTS.replace("claude-haiku-5-5", "claude-of-tomorrow"))
    told = pytester.runpytest_subprocess("-q", "-k", "within", "--strict-markers", "-p", "no:cacheprovider")

    told.assert_outcomes(passed=1, deselected=4, warnings=1)
    told.stdout.fnmatch_lines(["*claude_budget does not know all costs: messages.create claude-of-tomorrow*"])
