"""A store that programs of several versions share: what one does not know of another's budgets harms no other."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _asking import ASK, COST_USD, HELLO, block, state, states
from click.testing import CliRunner

import claudetrace
from claudetrace._demo import _answers
from claudetrace.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._demo._server import PlayServer

UNKNOWN = {
    "a field": {"name": "new", "usd": "5", "per": "day", "wait_h": 3, "cut": {"streams": "seen"}},
    "a time zone": {"name": "new", "usd": "5", "per": "day", "timezone": "Moon/Tycho"},
    "a window": {"name": "new", "usd": "5", "per": "quarter"},
    "a word": {"name": "new", "usd": "5", "per": "day", "on_exceeded": "ask"},
    "a kind of money": {"name": "new", "usd": {"eur": 5}, "per": "day"},
    "another shape": ["new", 5],
}


def put(db: Path, definition: str, *, name: str = "new") -> None:
    """A budget that a program of another version has set just now."""
    with closing(sqlite3.connect(f"{db}.budgets")) as store:
        store.execute("DELETE FROM budgets WHERE name = ?", (name,))
        columns = "name, shape, definition, since, used_at"
        sql = f"INSERT INTO budgets ({columns}) SELECT ?, '{{}}', ?, since, used_at FROM budgets"
        store.execute(sql, (name, definition))
        store.commit()


@pytest.fixture
def talk(client: anthropic.Anthropic, server: PlayServer) -> Any:
    server.add(_answers.answer(HELLO, times=None))
    return lambda: client.messages.create(**ASK)


@pytest.mark.parametrize("definition", [*map(json.dumps, UNKNOWN.values()), "{", "", "\x00", "null"])
def test_a_budget_that_cannot_be_read_stops_no_counting(
    definition: str, talk: Any, start: Any, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """This program's own budgets go on to count and to be shown, whatever another version's definition holds."""
    start(budgets=[claudetrace.Budget("mine", usd=1000, per="total", thresholds=(1e-6,), forecast=False)])
    talk()
    assert state().spent_usd == COST_USD
    put(db, definition)
    talk()
    assert [(each.budget.name, each.spent_calls) for each in states()] == [("mine", 2)]

    ran = CliRunner().invoke(main, ["budgets", "--json", "--db", str(db)])
    told = json.loads(ran.stdout)
    shown = {each["name"] for each in told["budgets"]} | set(told["unusable"])
    assert (ran.exit_code, shown) == (0, {"mine", "new"})
    assert ("of another program" in caplog.text) == bool(told["unusable"])


def test_unknown_fields_are_skipped_and_the_budget_is_counted(talk: Any, start: Any, db: Path) -> None:
    """A later version's budget counts what this version's programs spend."""
    start(budgets=[block("mine")])
    talk()
    states()
    put(db, json.dumps(UNKNOWN["a field"]))
    talk()
    states()

    ran = CliRunner().invoke(main, ["budgets", "--json", "--db", str(db)])
    spent = {each["name"]: each["states"][0]["spent_calls"] for each in json.loads(ran.stdout)["budgets"]}
    assert spent == {"mine": 2, "new": 1}


def test_doctor_and_budgets_name_what_they_leave_out(talk: Any, start: Any, db: Path) -> None:
    """Each says which budget cannot be used here, and why."""
    start(budgets=[block("mine")])
    talk()
    states()
    put(db, json.dumps(UNKNOWN["a time zone"]))

    for command in ("budgets", "doctor"):
        told = CliRunner().invoke(main, [command, "--db", str(db)]).output
        assert "new" in told
        assert "Moon/Tycho" in told


def test_a_store_of_a_version_before_the_first_release_is_kept_and_named(
    talk: Any, start: Any, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what to do with it, calls go on, and the file stays as it is."""
    store = db.with_name(f"{db.name}.budgets")
    with closing(sqlite3.connect(store)) as old:
        old.executescript("CREATE TABLE settled (x); PRAGMA application_id = 1668052066; PRAGMA user_version = 1;")
    before = store.read_bytes()
    with caplog.at_level("WARNING", "claudetrace"):
        start(budgets=[claudetrace.Budget("mine", usd=1000, per="total")])
        talk()

    assert "a version before claudetrace's first release; move it away" in caplog.text
    assert store.read_bytes() == before
