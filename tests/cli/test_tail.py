"""`claudetrace tail`: the newest calls, and each further one."""

from __future__ import annotations

import json
import subprocess
import sys

from claudetrace import Ledger

from .conftest import run


def test_the_newest_calls_are_shown_in_their_order(db):
    """`-n` of them, the newest last, under heads."""
    lines = run("tail", "--once", "-n", 3, "--db", db).output.splitlines()
    newest = Ledger(db).calls(limit=3)[::-1]

    assert len(lines) == 4
    assert [line.split()[1] for line in lines[1:]] == [f"{call.started_at:%H:%M:%S}" for call in newest]


def test_programs_get_a_line_of_json_for_each(db):
    """Each line is the call's columns, with exact dollars."""
    (line,) = run("tail", "--once", "-n", 1, "--json", "--db", db).output.splitlines()
    (call,) = Ledger(db).calls(limit=1)

    assert json.loads(line)["id"] == call.id
    assert json.loads(line)["cost_usd"] == f"{call.cost_usd:f}"


def test_a_call_that_comes_later_is_followed(db):
    """A row that another process adds is shown, though it started before those that were there."""
    command = [sys.executable, "-m", "claudetrace", "tail", "-n", "1", "--json", "--db", str(db)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        ledger = Ledger(db)
        with ledger.db.conn:
            ledger.db.execute(
                """INSERT INTO calls
                (id, call_id, started_at, source, operation, platform, server_address, streamed, outcome,
                    usage_is_final)
                VALUES ('late', 'late', '2026-01-01T00:00:00.000Z', 'anthropic', 'messages.create', 'anthropic', 'h',
                    0, 'ok', 1)"""
            )
        ledger.close()
        later = json.loads(following.stdout.readline())
        following.terminate()

    assert (first["id"] != "late", later["id"]) == (True, "late")
