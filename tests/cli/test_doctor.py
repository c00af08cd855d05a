"""`claudetrace doctor`: nothing to say about a sound ledger, a way out for each finding."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import UTC, datetime

import pytest

from .conftest import run

FAULTS = {
    "costs that are not their parts": "UPDATE calls SET cost_picousd = cost_picousd + 1 WHERE cost_picousd > 0",
    "rollups that are not their calls": "UPDATE rollup_hours SET calls = calls + 1",
    "quarantined rows": "INSERT INTO quarantine (quarantined_at, reason, line) VALUES ('2026', 'too odd', '{}')",
    "calls of models without a rate": """UPDATE calls
        SET cost_picousd = NULL, cost_parts = NULL, cost_flags = '["unknown_model"]'
        WHERE model = 'claude-opus-5-5'""",
}


@pytest.fixture(autouse=True)
def firm_ground(monkeypatch):
    """The file system of the tests is not what is tested here."""
    monkeypatch.setattr("claudetrace._files.fragile_filesystem", lambda path: None)


def test_a_sound_ledger_has_no_findings(db):
    """Status 0; the versions, the ledger, the journal and what is not seen are told."""
    told = run("doctor", "--db", db)

    assert told.exit_code == 0, told.output
    assert "No findings." in told.output
    for words in ("anthropic", "SQLite", "opentelemetry-api", str(db), "rows", "journal", "calls by boto3"):
        assert words in told.output


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_in_the_ledger_is_a_finding(db, what):
    """Status 1, named last with what to do."""
    connection = sqlite3.connect(db)
    connection.execute(FAULTS[what])
    connection.commit()
    connection.close()
    told = run("doctor", "--db", db)

    assert told.exit_code == 1
    assert f"  {what}: " in told.output.split("finding")[-1]


RECORDS = {
    "records waiting to be sent": "INSERT INTO unsent (id) SELECT id FROM calls",
    "records refused": "INSERT INTO unsent (id, refused) SELECT id, 'code: 400' FROM calls",
    "records lost": "INSERT INTO facts (name, value) VALUES ('records_lost', '3')",
}


@pytest.mark.parametrize("what", RECORDS)
def test_records_that_do_not_arrive_are_a_finding(db, what):
    """Those that wait for long, those that the receiver refuses and those that were pruned unsent are told."""
    connection = sqlite3.connect(db)
    connection.execute("UPDATE calls SET started_at = '2026-01-01T00:00:00.000Z'")
    connection.execute(RECORDS[what])
    connection.commit()
    connection.close()
    told = run("doctor", "--db", db)

    assert f"  {what}: " in told.output.split("finding")[-1]


def test_records_of_programs_without_a_ledger(db):
    """What waits in the outbox beside the ledger is told with its name."""
    shutil.copy(db, db.with_name("records.db"))
    connection = sqlite3.connect(db.with_name("records.db"))
    connection.execute(RECORDS["records refused"])
    connection.commit()
    connection.close()

    assert "records refused (records.db)" in run("doctor", "--db", db).output


def test_records_that_wait_for_moments_are_no_finding(db):
    """A record of a call that has just been made is only counted."""
    connection = sqlite3.connect(db)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    connection.execute("UPDATE calls SET started_at = ?", (now,))
    connection.execute("INSERT INTO unsent (id) SELECT MIN(id) FROM calls")
    connection.commit()
    connection.close()
    told = run("doctor", "--db", db)

    assert "  records waiting to be sent: " not in told.output
    assert "records waiting to be sent" in told.output


def test_lines_of_the_journal_that_are_no_rows_are_a_finding(db):
    """They are counted, with the file that keeps them."""
    spool = db.with_name(f"{db.name}.spool")
    spool.mkdir()
    (spool / "1-aa.jsonl").write_bytes(b"\nnot a row\n")
    told = run("doctor", "--db", db)

    assert told.exit_code == 1
    assert "unreadable.jsonl keeps lines of the journal" in told.output


def test_a_file_that_is_no_ledger_is_a_finding(tmp_path):
    """Status 1 and the reason."""
    (tmp_path / "text.db").write_text("no ledger at all, " * 100)
    told = run("doctor", "--db", tmp_path / "text.db")

    assert (told.exit_code, "is not a SQLite file" in told.output) == (1, True)


def test_no_ledger_is_a_finding(tmp_path):
    """Status 1 and how to make one."""
    told = run("doctor", "--db", tmp_path / "none.db")

    assert (told.exit_code, "call claudetrace.instrument()" in told.output) == (1, True)
    assert "! ledger  missing" in told.output


def test_a_fragile_file_system_is_a_finding(db, monkeypatch):
    """Status 1 and where to name another place."""
    monkeypatch.setattr("claudetrace._files.fragile_filesystem", lambda path: f"{path} is in memory")
    told = run("doctor", "--db", db)

    assert (told.exit_code, "name another place with CLAUDETRACE_DB" in told.output) == (1, True)


def test_the_kill_switch_is_a_finding(db, monkeypatch):
    """Status 1: nothing is recorded in such an environment."""
    monkeypatch.setenv("CLAUDETRACE_ENABLED", "false")
    told = run("doctor", "--db", db)

    assert (told.exit_code, "unset it to record" in told.output) == (1, True)


def test_another_instrumentation_of_the_sdk_is_a_finding(db, monkeypatch):
    """One that is there for nothing else is a finding with the way out; a tool for other things too is a line."""
    from claudetrace.cli import _doctor

    real = _doctor._version
    there = {"openinference-instrumentation-anthropic": "3.1.0", "ddtrace": "4.16.0", "sentry-sdk": None}
    monkeypatch.setattr(_doctor, "_version", lambda name: there[name] if name in there else real(name))
    told = run("doctor", "--db", db)
    findings = told.output.split("finding")[-1]

    assert told.exit_code == 1
    assert "openinference-instrumentation-anthropic: it makes a second span of each call; uninstall it" in findings
    assert ("ddtrace" in findings, "DD_TRACE_ANTHROPIC_ENABLED=false" in told.output) == (False, True)
