"""`claudetrace prune` and `forget` change what they say, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anthropic
import pytest
from freezegun import freeze_time

import claudetrace
from claudetrace import Ledger
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

from .conftest import run

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()


@pytest.fixture
def a_day_later():
    """The demo's calls are of yesterday."""
    with freeze_time(TOMORROW, tick=True):
        yield


@pytest.fixture
def server():
    with PlayServer() as playing:
        yield playing


def test_prune_removes_calls_and_keeps_their_sums(db, a_day_later):
    """Calls of days before the given one go; the report by day stays the same."""
    before = Ledger(db).spend(by="day", since=None)
    told = run("prune", "--yes", "--before", TOMORROW, "--db", db)

    assert told.exit_code == 0
    assert "Removed 23 calls of days before" in told.output
    assert Ledger(db).calls() == []
    assert Ledger(db).spend(by="day", since="2026-01-01", until=TOMORROW) == before


def test_prune_all_removes_the_sums_too(db, a_day_later):
    """With --all nothing of those days is left."""
    run("prune", "--yes", "--before", TOMORROW, "--all", "--db", db)

    assert Ledger(db).spend(by="day", since=None) == []


def test_prune_leaves_newer_calls(db):
    """What is younger than the duration stays."""
    assert "Removed 0 calls" in run("prune", "--yes", "--before", "90d", "--db", db).output
    assert len(Ledger(db).calls(limit=None)) == 23


def test_prune_needs_to_be_told_when(db):
    """Without --before it does nothing, with status 2."""
    assert run("prune", "--yes", "--db", db).exit_code == 2
    told = run("prune", "--yes", "--before", "soon", "--db", db)

    assert (told.exit_code, "--before='soon' is no time" in told.output) == (2, True)


def test_forget_removes_the_user_and_keeps_the_cost(db):
    """No call names the user any more, and the total is what it was."""
    before = Ledger(db).spend(by=None)
    told = run("forget", "--yes", "--user", "ada", "--db", db)

    assert told.exit_code == 0
    assert "5 calls in" in told.output
    assert "ada" not in {spend.key for spend in Ledger(db).spend(by="user")}
    assert Ledger(db).spend(by=None) == before


def test_forget_tells_of_sums_of_pruned_calls(db, a_day_later):
    """Where only sums name the user, they go, with status 0 and the number of days."""
    run("prune", "--yes", "--before", TOMORROW, "--db", db)
    told = run("forget", "--yes", "--user", "ada", "--db", db)

    assert (told.exit_code, "0 calls and the sums of 1 day in" in told.output) == (0, True)
    assert "ada" not in {spend.key for spend in Ledger(db).spend(by="user")}


def test_forgetting_an_unknown_user_is_a_finding(db):
    """Status 1, so that a misspelt name is not taken for done."""
    assert run("forget", "--yes", "--user", "nobody", "--db", db).exit_code == 1


def test_forget_finds_a_hashed_user_by_the_ledgers_key(tmp_path, server):
    """A user whose tag is hashed is forgotten by the name that the application knows."""
    path = tmp_path / "hashed.db"
    server.add(_answers.answer())
    ask = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    with (
        claudetrace.instrument(db=path, hash_tags=("user",), force=True),
        claudetrace.tag(user="ada"),
        anthropic.Anthropic(api_key="k", base_url=server.url) as client,
    ):
        client.messages.create(**ask)
    assert Ledger(path).calls()[0].user_id not in (None, "ada")

    told = run("forget", "--yes", "--user", "ada", "--db", path)

    assert told.exit_code == 0, told.output
    assert Ledger(path).calls()[0].user_id is None
