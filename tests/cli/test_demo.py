"""`claudetrace demo`: the main job, without a key and without a network."""

from __future__ import annotations

import os
import sqlite3
import stat
from datetime import UTC, datetime, timedelta

from freezegun import freeze_time

from claudetrace import Ledger, instrument

from .conftest import run


def test_the_demo_records_and_reports_every_kind_of_call(demo):
    """It exits 0; each call that it plays is in its ledger, and the report's total is the ledger's."""
    path, told = demo
    calls = Ledger(path).calls(limit=None)
    (total,) = Ledger(path).spend(by=None)

    assert told.exit_code == 0
    assert len(calls) == 23
    assert {call.outcome for call in calls} == {"ok", "error", "cancelled"}
    assert {call.operation for call in calls} == {
        "messages.create",
        "messages.batches.create",
        "messages.batches.result",
    }
    assert f"≥${total.cost_usd:.4f}" in told.output
    assert "1 response was cut short or retried" in told.output


def test_the_demo_costs_what_its_rates_say(demo):
    """The manual's calls cost what their tokens do, written to the cache once and read three times."""
    (manual,) = Ledger(demo[0]).spend(by="feature", where={"feature": "manual"})
    written = 18_240 * 2_500_000 + 64 * 2_000_000 + 118 * 10_000_000
    read = 18_240 * 100_000 + 64 * 2_000_000 + 118 * 10_000_000

    assert manual.spend_picousd == written + 3 * read


def test_a_second_demo_begins_anew(db):
    """It does not add to the first one's calls."""
    assert run("demo", "--no-serve", "--days", 0, "--db", db).exit_code == 0
    assert len(Ledger(db).calls(limit=None)) == 23


def test_the_demos_folders_are_its_owners(tmp_path):
    """Whatever the umask, the folders that it makes for its ledger are for their owner alone."""
    path, before = tmp_path / "a" / "b" / "demo.db", os.umask(0)
    try:
        assert run("demo", "--no-serve", "--days", 0, "--db", path).exit_code == 0
    finally:
        os.umask(before)

    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent.parent, path.parent)] == [0o700, 0o700]


def test_the_demo_has_ninety_days_to_look_at(tmp_path):
    """Beside the played calls there are made-up ones of ninety days, priced like any other, and each cost is proven."""
    path = tmp_path / "demo.db"
    told = run("demo", "--no-serve", "--db", path)

    with Ledger(path) as ledger:
        days = {spend.key: spend for spend in ledger.spend(by="day", since=None)}
        unproven = ledger.db.execute("SELECT COUNT(*) FROM unproven_calls").fetchall()
        quarantined = ledger.db.execute("SELECT COUNT(*) FROM quarantine").fetchall()
        (unpriced,) = ledger.db.execute(
            "SELECT COUNT(*) FROM calls WHERE cost_picousd IS NULL AND outcome = 'ok' AND model NOT LIKE '%lab%'"
        ).fetchone()
    assert told.exit_code == 0
    assert 85 <= len(days) <= 92
    assert sum(day.calls for day in days.values()) > 9_000
    assert (unproven, quarantined, unpriced) == ([(0,)], [(0,)], 0)


def test_the_demo_leaves_a_real_ledger_alone(tmp_path):
    """A ledger with other calls is refused with status 2, and stays as it is."""
    from anthropic import Anthropic

    from claudetrace._demo import _answers as answers
    from claudetrace._demo._server import PlayServer

    path = tmp_path / "real.db"
    with PlayServer(answers.answer()) as server, instrument(db=path, force=True) as meter:
        client = Anthropic(base_url=server.url, api_key="demo")
        client.messages.create(model="claude-haiku-5-5", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
        meter.flush()
    told = run("demo", "--no-serve", "--db", path)

    assert told.exit_code == 2
    assert "holds 1 call that are not the demo's" in told.output
    assert len(Ledger(path).calls()) == 1


def test_the_demo_leaves_sums_of_pruned_calls_alone(db):
    """A ledger whose calls are pruned still holds what they cost: it is refused with status 2."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    with freeze_time(tomorrow, tick=True):
        assert run("prune", "--yes", "--before", tomorrow, "--db", db).exit_code == 0
    before = Ledger(db).spend(by="day", since=None)
    told = run("demo", "--no-serve", "--db", db)

    assert told.exit_code == 2
    assert "holds sums of pruned calls" in told.output
    assert Ledger(db).spend(by="day", since=None) == before


def test_the_demo_leaves_other_files_alone(tmp_path):
    """A file that is no ledger is refused with status 2, and stays as it is."""
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    told = run("demo", "--no-serve", "--db", path)

    assert told.exit_code == 2
    assert "SQLite file of something else" in told.output
    assert path.read_bytes() == before


def test_the_demo_needs_the_switch_on(tmp_path, monkeypatch):
    """With the kill switch it says so instead of showing nothing."""
    monkeypatch.setenv("CLAUDETRACE_ENABLED", "false")
    told = run("demo", "--no-serve", "--db", tmp_path / "demo.db")

    assert (told.exit_code, "CLAUDETRACE_ENABLED is false" in told.output) == (2, True)
