"""`claudetrace forget`: afterwards the user is in no byte of any file of ours, and all sums are what they were."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anthropic
import pytest
from freezegun import freeze_time

import claudetrace
from claudetrace import Budget, Ledger
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

from .conftest import run

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
ADA, BOB = "ada@example.com", "bob@example.com"
ASK = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
EACH = Budget("each user", usd="0.0001", per="month", tags={"user": "*"}, forecast=False)
ALL = Budget("everything", usd=9, per="month", forecast=False)


@pytest.fixture
def server():
    with PlayServer() as playing:
        yield playing


@pytest.fixture
def path(tmp_path) -> Path:
    """Of a ledger in a folder of its own."""
    return tmp_path / "ours" / "ledger.db"


def ask(server, user, **tags):
    server.add(_answers.answer())
    with (
        claudetrace.tag(user=user, session=f"chat of {user}", **tags),
        anthropic.Anthropic(api_key="k", base_url=server.url) as client,
    ):
        return client.messages.create(**ASK)


@pytest.fixture
def spent(path, server):
    """What three calls of two users have left: a ledger, and a store in which both have passed their limits."""
    with claudetrace.instrument(db=path, budgets=[EACH, ALL], force=True):
        ask(server, ADA, email=ADA)
        ask(server, BOB)
        ask(server, ADA, email=ADA)
        claudetrace.flush(10)


def files_with(text: str, folder: Path) -> list[str]:
    """The files below `folder` with these bytes in them."""
    return sorted(each.name for each in folder.rglob("*") if each.is_file() and text.encode() in each.read_bytes())


def counters(path: Path) -> dict[tuple[str, str], tuple[int, int, int]]:
    """By budget and key: picodollars spent, calls, and what is reserved."""
    sql = """
        SELECT b.name, c.key, SUM(spent_usd * 1000000000000 + spent_picousd), SUM(spent_calls), SUM(reserved_picousd)
        FROM counters AS c JOIN budgets AS b ON b.id = c.budget_id
        GROUP BY 1, 2
    """
    with closing(sqlite3.connect(f"{path}.budgets")) as store:
        return {(name, key): tuple(sums) for name, key, *sums in store.execute(sql)}


def test_the_user_is_in_no_byte_of_any_file(spent, path):
    """Ledger, store, their logs and free pages: none has the address, and what was told of them has no name."""
    assert set(files_with(ADA, path.parent)) >= {"ledger.db", "ledger.db.budgets"}

    told = run("forget", "--yes", "--user", ADA, "--db", path)

    assert told.exit_code == 0, told.output
    assert files_with(ADA, path.parent) == []
    shown = run("budgets", "--db", path, "--top", 9, "--alerts", 99).output
    assert (ADA in shown, BOB in shown, "(forgotten " in shown) == (False, True, True)


def test_it_says_what_it_cannot_reach(spent, path):
    """What was sent elsewhere is named in words."""
    told = run("forget", "--yes", "--user", ADA, "--db", path).output

    assert "2 calls in" in told
    assert "Not reached: spans, metrics, records and alerts that were sent, logs of programs, copies" in told


def test_what_budgets_have_spent_stays(spent, path):
    """Each sum of the others and of everything is what it was, and theirs is under a name that tells nothing."""
    before = counters(path)

    run("forget", "--yes", "--user", ADA, "--db", path)

    after = counters(path)
    (theirs,) = [key for name, key in after if key.startswith("(forgotten ")]
    assert after.pop(("each user", theirs)) == before.pop(("each user", ADA))
    assert after == before


def test_a_call_that_runs_is_charged_to_nobody(path, server):
    """What a forgotten user's running call reserved is let go at its end, its cost is not under their name, and a
    threshold that was told is not told again."""
    terms = {"thresholds": (0.000001,), "on_exceeded": "block", "forecast": False}
    block = Budget("each user", usd=9, per="month", tags={"user": "*"}, **terms)
    with (
        claudetrace.instrument(db=path, budgets=[block], force=True),
        claudetrace.tag(user=ADA),
        anthropic.Anthropic(api_key="k", base_url=server.url) as client,
    ):
        ask(server, ADA)
        server.add(_answers.stream())
        stream = client.messages.create(**ASK, stream=True)
        next(iter(stream))
        assert counters(path)["each user", ADA][2] > 0

        assert run("forget", "--yes", "--user", ADA, "--db", path).exit_code == 0
        for _ in stream:
            pass
        claudetrace.flush(10)

        ((_, key),) = counters(path)
        picousd, calls, reserved = counters(path)["each user", key]
        assert (key.startswith("(forgotten "), picousd > 0, calls, reserved) == (True, True, 2, 0)
        with closing(sqlite3.connect(f"{path}.budgets")) as store:
            assert store.execute("SELECT COUNT(*) FROM alerts").fetchone() == (1,)


def test_a_program_that_runs_lets_go_of_its_journal(path, server):
    """The journal of a living process names them no more, and the calls that it makes afterwards are all there."""
    with claudetrace.instrument(db=path, force=True) as running:
        ask(server, ADA)
        claudetrace.flush(10)
        assert files_with(ADA, path.with_name("ledger.db.spool")) != []

        told = run("forget", "--yes", "--user", ADA, "--db", path)
        assert (told.exit_code, files_with(ADA, path.with_name("ledger.db.spool"))) == (0, []), told.output
        ask(server, BOB)
        claudetrace.flush(10)

        assert [call.user_id for call in Ledger(path).calls()] == [BOB, None]
        assert running.health.lost == 0


def test_what_could_not_be_read_or_stored_is_searched_too(spent, path):
    """Lines that are no rows and rows that were refused go if they name the user, however JSON spells them."""
    name = 'ada "the \\ first"'
    spool = path.with_name("ledger.db.spool")
    spool.mkdir(exist_ok=True)
    line = json.dumps({"found_at": "now", "segment": "1.jsonl", "line": json.dumps({"user_id": name}) + "{"})
    (spool / "unreadable.jsonl").write_text(f'{line}\n{{"line": "of another"}}\n')
    with closing(sqlite3.connect(path)) as ledger, ledger:
        sql = "INSERT INTO quarantine (quarantined_at, reason, line) VALUES ('now', 'CHECK failed', ?)"
        ledger.executemany(sql, [(json.dumps({"user_id": name}),), ('{"user_id": "bob"}',)])

    assert run("forget", "--yes", "--user", name, "--db", path).exit_code == 0

    assert [*files_with("ada ", path.parent), *files_with("first", spool)] == []
    assert (spool / "unreadable.jsonl").read_text() == '{"line": "of another"}\n'
    with closing(sqlite3.connect(path)) as ledger:
        assert ledger.execute("SELECT line FROM quarantine").fetchall() == [('{"user_id": "bob"}',)]


def test_what_was_set_aside_is_searched_too(spent, path):
    """A ledger and a store that were set aside name them no more, also where SQLite cannot read them."""
    for name, suffix in (("ledger.db", "overwritten-1"), ("ledger.db.budgets", "broken-1")):
        whole = path.with_name(name).read_bytes()
        path.with_name(f"{name}.{suffix}").write_bytes(whole)
        path.with_name(f"{name}.{suffix}0").write_bytes(b"no header" + whole[9:])

    told = run("forget", "--yes", "--user", ADA, "--db", path)

    assert (told.exit_code, files_with(ADA, path.parent)) == (0, []), told.output
    assert files_with(BOB, path.parent) != []


def test_records_that_wait_are_searched_too(spent, path):
    """The rows that programs without a ledger keep to be sent name them no more, nor what a receiver says of them."""
    waiting = path.with_name("records.db")
    waiting.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(waiting)) as records, records:
        records.execute("INSERT INTO unsent SELECT id, 'not for ' || user_id FROM calls")

    assert run("forget", "--yes", "--user", ADA, "--db", path).exit_code == 0

    assert files_with(ADA, path.parent) == []
    with closing(sqlite3.connect(waiting)) as records:
        assert records.execute("SELECT COUNT(*) FROM unsent WHERE refused LIKE 'not for bob%'").fetchone() == (1,)
        assert records.execute("SELECT COUNT(*) FROM unsent").fetchone() == (3,)


def test_sums_of_pruned_calls_are_searched_too(spent, path):
    """A free tag of a user whose calls are pruned, which is their name, goes with its sums; other sums stay."""
    with freeze_time(TOMORROW, tick=True):
        assert run("prune", "--yes", "--before", TOMORROW, "--db", path).exit_code == 0
        before = Ledger(path).spend(by="day", since=None)

        told = run("forget", "--yes", "--user", ADA, "--db", path)

        keys = {spend.key for tag in ("user", "tag:email") for spend in Ledger(path).spend(by=tag, since=None)}
        assert (told.exit_code, keys - {None}) == (0, {BOB}), told.output
        assert Ledger(path).spend(by="day", since=None) == before


def test_what_was_removed_before_is_searched_too(spent, path):
    """The free pages of a file from which all calls were removed name them no more."""
    with closing(sqlite3.connect(path)) as ledger, ledger:
        # As SQLite is where nobody has built it otherwise.
        ledger.execute("PRAGMA secure_delete = OFF")
        for table in ("calls", "rollup_sessions", "rollup_tag_days", "rollup_tag_weeks", "rollup_tag_months"):
            ledger.execute(f"DELETE FROM {table}")
    with closing(sqlite3.connect(f"{path}.budgets")) as store, store:
        store.execute("PRAGMA secure_delete = OFF")
        store.execute("DELETE FROM counters")
    assert files_with(ADA, path.parent) == ["ledger.db", "ledger.db.budgets"]

    run("forget", "--yes", "--user", ADA, "--db", path)

    assert files_with(ADA, path.parent) == []


def test_a_budget_that_names_them_is_told(path, server):
    """What a program's own code says of them is not changed: it is named, and the exit code is 1."""
    with claudetrace.instrument(db=path, budgets=[Budget("of ada", usd=9, tags={"user": ADA})], force=True):
        ask(server, ADA)
        claudetrace.flush(10)

    told = run("forget", "--yes", "--user", ADA, "--db", path)

    assert (told.exit_code, "Not reached: the budget 'of ada' is for them" in told.output) == (1, True)


def test_a_customer_of_that_name_stays(path, server):
    """Who is forgotten as a user is not a customer of the same name, whose budget goes on."""
    budget = Budget("each customer", usd=9, tags={"customer": "*"}, forecast=False)
    with claudetrace.instrument(db=path, budgets=[budget], force=True):
        ask(server, ADA, customer=ADA)
        claudetrace.flush(10)
    before = counters(path)

    assert run("forget", "--yes", "--user", ADA, "--db", path).exit_code == 0

    assert counters(path) == before
    assert [spend.key for spend in Ledger(path).spend(by="customer")] == [ADA]


def test_a_name_that_cannot_be_is_refused(spent, path):
    """An empty name is wrong usage, and changes nothing."""
    before = path.read_bytes()

    assert run("forget", "--yes", "--user", "", "--db", path).exit_code == 2
    assert path.read_bytes() == before
