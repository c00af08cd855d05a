"""`claudetrace report`: the ledger's own sums, for people and for programs."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from pricing._ledgers import unpriced_row, write

from claudetrace import Ledger
from claudetrace.cli._text import columns, plain, table, usd_digits, usd_text

from .conftest import run

NAMES = ["model", "day", "user", "session", "feature", "customer", "prompt", "operation", "stop_reason", "tag:workflow"]


@pytest.mark.parametrize("by", NAMES)
def test_the_report_is_what_the_ledger_says(db, by):
    """Each name gives the ledger's rows in its order and its exact total."""
    told = json.loads(run("report", "--by", by, "--json", "--db", db).output)
    rows = Ledger(db).spend(by=by)

    assert [(row["key"], Decimal(row["cost_usd"])) for row in told["rows"]] == [(r.key, r.cost_usd) for r in rows]
    assert told["total"]["spend_picousd"] == Ledger(db).spend(by=None)[0].spend_picousd


@pytest.mark.parametrize("by", NAMES)
def test_the_table_has_a_line_for_each_row_and_a_total(db, by):
    """For people the same rows stand between the heads and the total."""
    told = run("report", "--by", by, "--db", db).output
    body = told.split("\n\n")[1].splitlines()

    assert len(body) == 1 + len(Ledger(db).spend(by=by)) + 2
    assert body[-1].split()[0] == "total"
    assert "UTC" in told.splitlines()[0]


def test_an_unknown_name_is_refused(db):
    """Status 2, with the names that can be given."""
    told = run("report", "--by", "colour", "--db", db)

    assert told.exit_code == 2
    assert "did you mean tag:colour?" in told.output


def test_an_unknown_time_is_refused(db):
    """Status 2, with the times that can be given."""
    told = run("report", "--since", "yesterday-ish", "--db", db)

    assert (told.exit_code, "30m, 1h, 7d" in told.output) == (2, True)


def test_a_missing_ledger_is_told(tmp_path):
    """Status 2 and the way out; no file is made."""
    told = run("report", "--db", tmp_path / "none.db")

    assert (told.exit_code, "there is no ledger at" in told.output) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_time_without_calls_says_where_they_are(db):
    """It names the newest call instead of showing an empty table."""
    told = run("report", "--until", "2001-01-01", "--since", "2000-01-01", "--db", db)

    assert (told.exit_code, "No calls in that time. The newest call of" in told.output) == (0, True)
    assert "try --since all." in told.output
    assert "give a later --until." in run("report", "--until", "2001-01-01", "--since", "all", "--db", db).output


def test_an_end_before_the_start_is_refused(db):
    """Status 2, naming both, instead of a report of nothing."""
    told = run("report", "--since", "2026-01-02", "--until", "2026-01-01", "--db", db)

    assert (told.exit_code, "--until 2026-01-01 is not after --since 2026-01-02" in told.output) == (2, True)


def test_a_folder_is_no_ledger(tmp_path, monkeypatch):
    """Status 2, and it is called a folder, not a missing ledger."""
    monkeypatch.setenv("CLAUDETRACE_DB", str(tmp_path))
    told = run("report")

    assert (told.exit_code, f"{tmp_path} is a folder" in told.output) == (2, True)


def test_a_trace_gives_its_calls(db):
    """The calls of one trace stand with their sum; an unknown trace is refused."""
    call = next(call for call in Ledger(db).calls() if call.model == "claude-opus-5-5")
    ledger = Ledger(db)
    with ledger.db.conn:
        ledger.db.execute("UPDATE calls SET trace_id = ? WHERE id = ?", ["ab" * 16, call.id])
    ledger.close()
    told = json.loads(run("report", "--trace", "AB" * 16, "--json", "--db", db).output)

    assert [each["id"] for each in told["calls"]] == [call.id]
    assert Decimal(told["cost_usd"]) == call.cost_usd
    assert "1 call, $" in run("report", "--trace", "ab" * 16, "--db", db).output
    assert run("report", "--trace", "cd" * 16, "--db", db).exit_code == 2
    assert run("report", "--trace", "cd" * 16, "--batch", "--db", db).exit_code == 2


@pytest.mark.parametrize(
    ("flags", "final", "told"),
    [
        ('["retried_after_timeout"]', 1, "1 call, ≥$0.004200, 1 with a lower bound"),
        ('["unpriced_component"]', 1, "1 call, ≥$0.004200, 1 with a lower bound"),
        ('["partial_usage"]', 0, "1 call, ≥$0.004200, 1 with a lower bound"),
        ('["contradictory_usage"]', 1, "1 call, $0.004200"),
    ],
)
def test_sums_of_a_trace_and_of_what_if_say_that_they_are_lower_bounds(tmp_path, flags, final, told):
    """The sum of a trace, and what it cost and would have cost, have a ≥ where a call's cost leaves something out."""
    usage = {"input_tokens": 1000, "output_tokens": 10}
    row = unpriced_row(usage, cost_picousd=4_200_000_000, cost_flags=flags, usage_is_final=final, trace_id="ab" * 16)
    db = write(tmp_path / "bounds.db", [row])
    trace = ["report", "--trace", "ab" * 16, "--db", db]

    assert run(*trace).output.splitlines()[-1] == told
    assert json.loads(run(*trace, "--json").output)["lower_bounds"] == ("≥" in told)
    otherwise = run(*trace, "--batch").output
    assert (otherwise.count("≥$0.0042"), otherwise.count("≥ 1 of 1")) == ((2, 1) if "≥" in told else (0, 0))


@pytest.mark.parametrize(
    ("amount", "digits", "shown"),
    [
        (Decimal("0.104134"), 4, "$0.1041"),
        (Decimal("0.0000001"), 4, "<$0.0001"),
        (Decimal(0), 4, "$0.0000"),
        (Decimal("12345.678"), 2, "$12,345.68"),
        (Decimal("-0.5"), 4, "-$0.5000"),
        (Decimal("-0.00001"), 4, "-<$0.0001"),
        (Decimal("0.005"), 2, "<$0.01"),
        (None, 4, "unknown"),
    ],
)
def test_dollars_have_digits_that_tell(amount, digits, shown):
    """An amount is never shown as nothing when it is something, and unknown is no amount."""
    assert usd_text(amount, digits) == shown


def test_small_sums_have_more_digits():
    """The dearest amount decides how many digits a column has."""
    sums = (["0.000009"], ["0.02", "0.000009"], ["1500", "0.02"])

    assert [usd_digits(map(Decimal, each)) for each in sums] == [6, 4, 2]


def test_a_tag_cannot_steer_the_terminal():
    """Control characters are spelled out, long values cut, and wide letters counted as wide."""
    assert plain("a\x1b[31m\n\u202eb") == "a\\x1b[31m\\n\\u202eb"
    assert plain("x" * 100, 10) == "xxxxxxxxx…"
    rows = [["日本", "1"], ["abc", "22"]]
    assert table(columns(["k", "n"], rows)).splitlines()[1:] == ["日本   1", "abc   22"]
