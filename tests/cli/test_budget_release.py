"""`claudetrace budgets release`: what is held for cut streams is let go of, and said."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from claudetrace._budgets._budget import Budget
from claudetrace._guard import Guard
from claudetrace._ids import uuid7
from tests.budgets._keeping import Kept

from .conftest import run


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def kept(db: Path) -> Iterator[Kept]:
    """A program with a budget for each customer, whose two cut streams can be billed $0.00099 more each."""
    said: Any = {"per": "total", "cut_streams": "bound", "forecast": False, "on_exceeded": "block"}
    budgets = [Budget("for each", usd=1, tags={"customer": "*"}, **said), Budget("all", usd=1, **said)]
    keeper = Kept(budgets, Path(f"{db}.budgets"), guard=Guard())
    keeper.put([cut("acme"), cut("bolt")])
    yield keeper
    keeper.close()


def cut(customer: str) -> dict[str, Any]:
    made = uuid7(time.time_ns())
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fixed = {"id": made, "call_id": made, "operation": "messages.create", "started_at": at, "usage_is_final": 0}
    usage = '{"input_tokens":100,"output_tokens":1}'
    seen = {"model": "claude-sonnet-5", "max_tokens": 100, "usage": usage, "cost_picousd": 210_000_000}
    return {**fixed, **seen, "input_tokens": 100, "output_tokens": 1, "cost_flags": "[]", "customer": customer}


def held(db: Path) -> dict[tuple[str, str | None], str]:
    told = json.loads(run("budgets", "--json", "--db", db).stdout)["budgets"]
    return {(each["name"], state["key"]): state["held_usd"] for each in told for state in each["states"]}


def test_what_is_held_is_shown_apart_with_the_way_to_release_it(kept: Kept, db: Path) -> None:
    """It is neither spent nor reserved; a line for each budget, and each value of a tag, says how much it is."""
    said = run("budgets", "--db", db).stdout

    all_of_it = next(line.split() for line in said.splitlines() if line.startswith("all "))
    assert [word for word in all_of_it if "$" in word][:3] == ["$0.0004", "$0.0000", "$0.9976"]
    assert "all: $0.00198 held for cut streams; claudetrace budgets release all releases it." in said
    assert "claudetrace budgets release 'for each' --key acme releases it." in said


def test_a_release_lets_go_of_one_value_or_of_all(kept: Kept, db: Path) -> None:
    """It says what it let go of, asks nothing, leaves other budgets alone, and running programs have the room."""
    one = run("budgets", "release", "for each", "--key", "acme", "--db", db)
    assert (one.exit_code, one.stdout) == (
        0,
        "Released $0.00099 held for 1 cut stream in budget 'for each' for 'acme'.\n",
    )
    assert {key: float(usd) for key, usd in held(db).items()} == {
        ("for each", "acme"): 0,
        ("for each", "bolt"): 0.00099,
        ("all", None): 0.00198,
    }
    rest = run("budgets", "release", "all", "--db", db)
    assert rest.stdout == "Released $0.00198 held for 2 cut streams in budget 'all'.\n"
    assert {state.budget.name: state.left_usd for state in kept.status()}["all"] == 1 - kept.status()[-1].spent_usd
    again = run("budgets", "release", "all", "--db", db)
    assert (again.exit_code, again.stdout) == (0, "Nothing is held in budget 'all'.\n")


def test_a_release_needs_a_budget_of_that_name(kept: Kept, db: Path, tmp_path: Path) -> None:
    """Status 2, and the names that there are; so too where there is no store."""
    wrong = run("budgets", "release", "al", "--db", db)
    assert (wrong.exit_code, "'for each', 'all'" in wrong.output) == (2, True)
    assert run("budgets", "release", "all", "--db", tmp_path / "none.db").exit_code == 2
