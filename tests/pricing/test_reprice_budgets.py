"""`claudetrace reprice` corrects what budgets have spent, each change once."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal

import anthropic
import pytest

import claudetrace
from claudetrace import Budget
from claudetrace._demo import _answers as answers
from claudetrace._demo import _wire as wire

from ._ledgers import later_rates, run

ASK = {"model": wire.MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello?"}]}
HELLO = wire.message("Hello.", wire.usage(1_000, 50))
BUDGETS = [
    Budget("alerts", usd=100, per="day"),
    Budget("stops", usd=100, per="total", on_exceeded="block"),
    Budget("rolls", usd=100, per="rolling:24h"),
    Budget("each", usd=100, per="month", tags={"user": "*"}, on_exceeded="block"),
    Budget("nothing", usd=100, per="day", tags={"user": "nobody"}),
]
DIES = """
import os, signal, sys
from pathlib import Path
from claudetrace._budgets._budgets import Budgets
from claudetrace._guard import Guard
from claudetrace._ledger import _reprice

db, where = Path(sys.argv[1]), sys.argv[2]
budgets = Budgets((), Path(f"{db}.budgets"), guard=Guard())

def correct(changes):
    if where == "after the store":
        budgets.correct(changes)
    os.kill(os.getpid(), signal.SIGKILL)

_reprice.reprice(db, everything=True, apply=True, correct=correct)
"""


@pytest.fixture
def ledger_with_budgets(client: anthropic.Anthropic, server, start, db, monkeypatch, tmp_path):
    """Four calls of two users, priced by rates that are mended afterwards."""
    server.add(answers.answer(HELLO, times=None))
    with later_rates(monkeypatch, tmp_path, twice):
        start(budgets=BUDGETS)
        for user in ("a", "a", "b", None):
            with claudetrace.tag(user=user):
                client.messages.create(**ASK)
        assert claudetrace.flush(timeout_s=30)
        right = Decimal(claudetrace.price(HELLO).usd or 0)
    assert right == 2 * Decimal(claudetrace.price(HELLO).usd or 0)
    return db


def twice(data):
    """All that tokens of the model cost is twice what it is."""
    for model in data["models"]:
        if model["id"] == wire.MODEL or wire.MODEL in model["aliases"]:
            for period in model["periods"]:
                for name in ("input", "output"):
                    period[name] = str(2 * Decimal(period[name]))


def spent(db) -> dict[str, list[Decimal]]:
    """What each budget has spent, as the command line says."""
    told = json.loads(run("budgets", "--json", "--db", db).stdout)["budgets"]
    return {each["name"]: sorted(Decimal(state["spent_usd"]) for state in each["states"]) for each in told}


def test_every_open_window_is_corrected(ledger_with_budgets):
    """After rates were mended each budget has spent what the ledger says, by whatever it had counted the calls."""
    cost = Decimal(claudetrace.price(HELLO).usd or 0)
    db = ledger_with_budgets
    assert spent(db)["stops"] == [8 * cost]
    for _ in range(2):
        assert run("reprice", "--all", "--yes", "--db", db).exit_code == 0

    right = {"alerts": [4 * cost], "stops": [4 * cost], "rolls": [4 * cost], "each": [cost, 2 * cost], "nothing": [0]}
    assert spent(db) == right
    assert [(each.budget.name, each.spent_calls) for each in claudetrace.budgets()] == [
        ("alerts", 4),
        ("stops", 4),
        ("rolls", 4),
        ("each", 2),
        ("each", 1),
        ("nothing", 0),
    ]


@pytest.mark.parametrize("where", ["before the store", "after the store"])
def test_a_killed_run_corrects_once(where, ledger_with_budgets):
    """Killed between the ledger and the store, or after both, the next run leaves what one run would have left."""
    db, cost = ledger_with_budgets, Decimal(claudetrace.price(HELLO).usd or 0)
    killed = subprocess.run([sys.executable, "-c", DIES, db, where], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL

    assert run("reprice", "--all", "--yes", "--db", db).exit_code == 0
    assert spent(db)["stops"] == spent(db)["alerts"] == [4 * cost]
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM respent").fetchone() == (0,)


def test_a_store_made_anew_in_between_has_it_once(ledger_with_budgets, start):
    """What a killed run has not told yet is not in the sums that a new store begins with."""
    db, cost = ledger_with_budgets, Decimal(claudetrace.price(HELLO).usd or 0)
    subprocess.run([sys.executable, "-c", DIES, db, "before the store"], check=False, timeout=60)
    claudetrace.uninstrument()
    for suffix in ("", "-wal", "-shm"):
        db.with_name(f"{db.name}.budgets{suffix}").unlink(missing_ok=True)
    start(budgets=BUDGETS)
    run("reprice", "--all", "--yes", "--db", db)

    assert spent(db)["stops"] == spent(db)["alerts"] == [4 * cost]


def test_a_call_whose_price_was_unknown_counts_by_its_price(client, server, start, db, monkeypatch, tmp_path):
    """What was charged by an estimate, or not at all, is what it costs once it can be priced."""

    def forget(data):
        data["models"] = [each for each in data["models"] if wire.MODEL not in (each["id"], *each["aliases"])]

    server.add(answers.answer(HELLO, times=None))
    with later_rates(monkeypatch, tmp_path, forget):
        start(budgets=BUDGETS)
        client.messages.create(**ASK)
        assert claudetrace.flush(timeout_s=30)
    run("reprice", "--yes", "--db", db)

    cost = Decimal(claudetrace.price(HELLO).usd or 0)
    assert spent(db)["stops"] == spent(db)["alerts"] == [cost]
    assert run("reprice", "--yes", "--dry-run", "--db", db).exit_code == 0


@pytest.mark.parametrize("was", ["dearer", "unknown"])
def test_the_rest_of_a_cut_stream_is_held_at_the_mended_rates(client, server, start, db, monkeypatch, tmp_path, was):
    """Its row's own rates, and the rates of `max_tokens` beyond it, are those of the last price; what is spent with
    what is held is a whole answer's cost. What was released meanwhile is not held again."""

    def mend(data):
        if was == "dearer":
            return twice(data)
        data["models"] = [each for each in data["models"] if wire.MODEL not in (each["id"], *each["aliases"])]
        return None

    whole = claudetrace.price(wire.message("Hello.", wire.usage(1_000, 100))).usd
    seen = claudetrace.price(wire.message("Hello.", wire.usage(1_000, 1))).usd
    server.add(answers.stream(HELLO, pieces=40, pause_s=0.02, times=None))
    budgets = [
        Budget(name, usd=100, per="total", on_exceeded=then, cut_streams="bound")
        for name, then in (("stops", "block"), ("alerts", "alert"), ("released", "block"))
    ]
    with later_rates(monkeypatch, tmp_path, mend):
        start(budgets=budgets)
        with client.messages.create(**ASK, stream=True) as stream:
            next(iter(stream))
        assert claudetrace.flush(timeout_s=30)
    run("budgets", "release", "released", "--db", db)
    for _ in range(2):
        assert run("reprice", "--all", "--yes", "--db", db).exit_code == 0

    held = {each.budget.name: (each.spent_usd, each.held_usd) for each in claudetrace.budgets()}
    assert held.pop("released") == ((seen, 0) if was == "dearer" else (seen, whole - seen))
    assert held == {"stops": (seen, whole - seen), "alerts": (seen, whole - seen)}
