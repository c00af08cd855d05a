"""What a budget may say, and which calls it is for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from claudetrace._budgets._budget import Budget, budgets_from
from claudetrace._budgets._match import matching
from claudetrace._errors import ClaudetraceError


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"usd": -1}, "usd=-1"),
        ({"usd": 0}, "usd=0"),
        ({"usd": 1e10}, "usd=10000000000.0"),
        ({"usd": float("nan")}, "usd=nan"),
        ({"usd": float("inf")}, "usd=inf"),
        ({"usd": "a lot"}, "usd='a lot'"),
        ({"usd": True}, "usd=True"),
        ({}, "usd=None"),
        ({"max_calls": 0}, "max_calls=0"),
        ({"max_calls": 1.5}, "max_calls=1.5"),
        ({"usd": 1, "per": "year"}, "per='year'"),
        ({"usd": 1, "per": "rolling:24"}, "per='rolling:24'"),
        ({"usd": 1, "timezone": "Mars/Base"}, "timezone='Mars/Base'"),
        ({"usd": 1, "thresholds": (0.8, 0.5)}, "thresholds="),
        ({"usd": 1, "thresholds": (0.5, 0.5)}, "thresholds="),
        ({"usd": 1, "thresholds": (0,)}, "thresholds="),
        ({"usd": 1, "thresholds": 0.5}, "thresholds=0.5"),
        ({"usd": 1, "on_exceeded": "stop"}, "on_exceeded='stop'"),
        ({"usd": 1, "unpriced": "maybe"}, "unpriced='maybe'"),
        ({"usd": 1, "unbounded": "ignore"}, "unbounded='ignore'"),
        ({"usd": 1, "on_store_error": "ajar"}, "on_store_error='ajar'"),
        ({"usd": 1, "tags": {"user": "*", "team": "*"}}, "tags="),
        ({"usd": 1, "tags": {}}, "tags="),
        ({"usd": 1, "model": ""}, "model=''"),
        ({"usd": 1, "spike": 1}, "spike=1"),
        ({"usd": 1, "forecast": "no"}, "forecast='no'"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_with_its_value(said: dict[str, Any], named: str) -> None:
    """The error names the setting and what it was."""
    with pytest.raises(ClaudetraceError, match="cannot be used") as caught:
        Budget("b", **said)

    assert named in str(caught.value)


def test_only_a_run_needs_no_name() -> None:
    """A budget in the store is known by its name."""
    assert Budget(usd=1, per="run").name == "run"
    with pytest.raises(ClaudetraceError, match="name=None"):
        Budget(usd=1)


def test_dollars_are_what_was_written() -> None:
    """A float is the decimal that its text says, and picodollars are whole."""
    assert Budget("b", usd=0.1).limit_picousd == 10**11
    assert Budget("b", usd="5.5").usd == Decimal("5.5")
    assert Budget("b", usd=Decimal("0.0000000000019")).limit_picousd == 1


def test_budgets_come_from_objects_and_from_tables() -> None:
    """`[[budgets]]` of claudetrace.toml has the same names."""
    table = {"name": "b", "usd": 5, "per": "day", "tags": {"user": "*"}, "thresholds": [0.5]}

    assert budgets_from([Budget("a", max_calls=3), table]) == (
        Budget("a", max_calls=3),
        Budget("b", usd=5, per="day", tags={"user": "*"}, thresholds=(0.5,)),
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([Budget("a", usd=1), {"name": "a", "usd": 2}], "two budgets have the name 'a'"),
        ([{"name": "a", "dollars": 2}], "unknown in the budget 'a': dollars"),
        ([Budget(usd=1, per="run")], "around the calls"),
        (["a"], "no Budget"),
        ("a", "in a list"),
    ],
)
def test_a_list_of_budgets_that_cannot_be_is_refused(given: object, words: str) -> None:
    """Doubles, unknown names, and what is no budget."""
    with pytest.raises(ClaudetraceError, match=words):
        budgets_from(given)


@pytest.mark.parametrize(
    ("budget", "keys"),
    [
        (Budget("b", usd=1), [""]),
        (Budget("b", usd=1, tags={"customer": "acme"}), [""]),
        (Budget("b", usd=1, tags={"customer": "other"}), []),
        (Budget("b", usd=1, tags={"user": "*"}), ["u1"]),
        (Budget("b", usd=1, tags={"user": "*", "team": "search"}), ["u1"]),
        (Budget("b", usd=1, tags={"team": "*"}), ["search"]),
        (Budget("b", usd=1, tags={"session": "*"}), []),
        (Budget("b", usd=1, model="claude-opus-4-8"), [""]),
        (Budget("b", usd=1, model="claude-haiku-4-5"), []),
    ],
)
def test_a_call_is_under_the_budgets_of_its_tags_and_model(budget: Budget, keys: list[str]) -> None:
    """A call without the tag is under no budget of that tag."""
    columns = {
        "user_id": "u1",
        "customer": "acme",
        "tags": '{"team":"search"}',
        "model_requested": "claude-opus-4-8",
    }

    assert [key for _, key in matching((budget,), columns)] == keys
