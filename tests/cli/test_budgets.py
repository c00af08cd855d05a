"""`claudetrace budgets`: what a store holds, read by another process; and a test alert through the channels."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from claudetrace._alerts._alert import Alert
from claudetrace._budgets._budget import Budget
from claudetrace._guard import Guard
from claudetrace._ids import uuid7
from tests.budgets._keeping import Demand, Kept

from .conftest import run

USD = 10**12
BUDGETS_TESTS = Path(__file__).parents[1] / "budgets"
ALL = Budget("all", usd=10, max_calls=500, per="day", on_exceeded="block")
DAY = {"per": "day", "forecast": False}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db.budgets"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings and the file system of whoever runs the tests are not what is tested."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("claudetrace._files.fragile_filesystem", lambda path: None)


@pytest.fixture
def keep(store: Path) -> Iterator[Callable[..., Kept]]:
    """A program with these budgets on the store."""
    made: list[Kept] = []

    def keeper(*budgets: Budget) -> Kept:
        made.append(Kept(budgets, store, guard=Guard()))
        made[-1].open()
        return made[-1]

    yield keeper
    for each in made:
        each.close()


def row(usd: int, **columns: Any) -> dict[str, Any]:
    made = uuid7(time.time_ns())
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fixed = {"id": made, "call_id": made, "operation": "messages.create", "outcome": "ok", "started_at": at}
    return {**fixed, "cost_picousd": usd * USD, **columns}


def told(db: Path, *words: object) -> dict[str, Any]:
    result = run("budgets", "--db", db, "--json", *words)
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.output)


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in click.unstyle(text).splitlines()]


def test_a_budget_is_shown_with_all_its_figures(keep: Callable[..., Kept], db: Path) -> None:
    """Spent, reserved and left of each limit, when the window ends, and what happens at the limit; status 0."""
    kept = keep(ALL)
    kept.put([row(6)])
    kept.ask(Demand(uuid7(time.time_ns()), {}, 1 * USD))
    result = run("budgets", "--db", db)
    (state,) = told(db)["budgets"][0]["states"]
    end = datetime.fromisoformat(state["window_end"])

    assert result.exit_code == 0
    in_dollars, in_calls = lines(result.output)[3:5]
    bar, then = "██████░░░░", [*f"{end:%m-%d %H:%M}".split(), "stops", "calls"]
    assert in_dollars[:9] == ["all", "day", bar, "60", "%", "$6.0000", "$1.0000", "$3.0000", "$10.0000"]
    assert (in_dollars[9], in_dollars[11:]) == ("0", then)
    assert in_calls[:8] == ["░░░░░░░░░░", "<1", "%", "1", "1", "498", "500", "calls"]
    assert {name: state[name] for name in ("spent_usd", "reserved_usd", "left_usd", "limit_usd", "left_calls")} == {
        "spent_usd": "6.000000000000",
        "reserved_usd": "1.000000000000",
        "left_usd": "3.000000000000",
        "limit_usd": "10",
        "left_calls": 498,
    }
    assert float(state["forecast_usd"]) >= 6


def test_a_budget_that_is_spent_is_a_finding(keep: Callable[..., Kept], db: Path) -> None:
    """Status 1, in dollars or in calls, with and without --json."""
    keep(Budget("few", max_calls=2, **DAY)).put([row(0), row(0)])

    assert (run("budgets", "--db", db).exit_code, run("budgets", "--db", db, "--json").exit_code) == (1, 1)
    assert told(db)["budgets"][0]["reached"] is True


def test_of_a_budget_for_each_the_top_is_shown(keep: Callable[..., Kept], db: Path) -> None:
    """Those that spent most, and how many there are and are at the limit, beyond what is shown too."""
    spent = {f"u{number}": number for number in range(1, 8)}
    keep(Budget("user", usd=5, tags={"user": "*"}, **DAY)).put([row(usd, user_id=user) for user, usd in spent.items()])
    result = run("budgets", "--db", db, "--top", 2)

    assert result.exit_code == 1
    assert [line[0] for line in lines(result.output)[3:6]] == ["user", "u7", "u6"]
    assert "user: 7 values of the tag user, 3 at the limit; the 2 that spent most are shown." in result.output
    assert told(db, "--top", 0)["budgets"][0]["values"] == {"keys": 7, "reached": 3, "blocked_calls": 0}


def test_a_key_cannot_steer_the_terminal(keep: Callable[..., Kept], db: Path) -> None:
    """A tag's value is shown on one line, without control characters."""
    keep(Budget("user", usd=5, tags={"user": "*"}, **DAY)).put([row(1, user_id="a\x1b[31m\nb")])

    assert "a\\x1b[31m\\nb" in run("budgets", "--db", db).output


def test_what_was_set_last_counts_and_old_budgets_are_history(keep: Callable[..., Kept], db: Path, store: Path) -> None:
    """Another limit is the newest, another window another budget; one that nobody sets any more is only counted."""
    keep(Budget("a", usd=5, **DAY), Budget("gone", usd=5, **DAY)).put([])
    keep(Budget("a", usd=6, **DAY)).put([row(1)])
    keep(Budget("a", usd=7, per="hour"))
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE budgets SET used_at = used_at - 40 * 86400 WHERE name = 'gone'")
        connection.execute("DELETE FROM counters WHERE budget_id = (SELECT id FROM budgets WHERE name = 'gone')")
        connection.execute("UPDATE budgets SET used_at = used_at + 1 WHERE shape LIKE '%hour%'")
    result = run("budgets", "--db", db)

    assert [(line[0], line[1]) for line in lines(result.output)[3:4]] == [("a", "hour")]
    assert "$7.0000" in result.output
    assert "1 budget is not shown: set by no program for 35 days" in result.output
    assert {each["name"] for each in told(db)["budgets"]} == {"a", "gone"}


def test_alerts_and_channels_are_shown(keep: Callable[..., Kept], db: Path) -> None:
    """The newest alert first, with who has not had it, and why a channel fails."""
    kept = keep(ALL)
    kept.outbox.open_channel("https://a.example#1")
    kept.outbox.open_channel("https://b.example#2")
    at = datetime.now(UTC) + timedelta(seconds=1)
    first = kept.outbox.raise_alert(Alert(kind="spike", budget="all", at=at, message="First."), mark="1")
    kept.outbox.raise_alert(Alert(kind="lost", at=at + timedelta(seconds=1), message="Sec\nond."), mark="2")
    assert first is not None
    kept.outbox.mark_delivered(first, "https://a.example#1")
    until_2999 = datetime(2999, 1, 1, tzinfo=UTC) - datetime.now(UTC)
    kept.outbox.mark_failed(first, "https://b.example#2", wait_s=until_2999.total_seconds(), reason="HTTP 500")
    output = run("budgets", "--db", db).output
    alerts = [line for line in output.splitlines() if "First." in line or "Sec\\nond." in line]

    assert [line.split("  ", 3)[2:] for line in alerts] == [
        ["lost", "     Sec\\nond. (not delivered yet to 2 of 2 channels)"],
        ["spike", "    First. (not delivered yet to 1 of 2 channels)"],
    ]
    assert "https://b.example#2  fails: HTTP 500 (1 try, next from 00:00:00); nothing sent yet; 2 alerts wait" in output
    assert [(each["name"], each["waiting"], each["error"]) for each in told(db)["channels"]] == [
        ("https://a.example#1", 1, None),
        ("https://b.example#2", 2, "HTTP 500"),
    ]


def test_reading_changes_nothing(keep: Callable[..., Kept], db: Path, store: Path) -> None:
    """The store is the same file with the same content after it was shown, and may be read-only."""
    keep(ALL).close()
    before = store.read_bytes()
    run("budgets", "--db", db)
    run("doctor", "--db", db)

    assert store.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no budgets' store at"),
        (b"no store at all, " * 100, "is not a SQLite file"),
        (b"", "not a budg"),
    ],
)
def test_what_is_no_store_is_refused(db: Path, store: Path, content: bytes | None, said: str) -> None:
    """Status 2 and the way out."""
    if content is not None:
        store.write_bytes(content)
    result = run("budgets", "--db", db)

    assert (result.exit_code, said in result.output) == (2, True)


def test_the_store_is_found_where_the_settings_have_it(
    keep: Callable[..., Kept], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By --store, by budget_store in claudetrace.toml, or beside the ledger of CLAUDETRACE_DB."""
    keep(ALL)
    named = {"--store": ("budgets", "--json", "--store", store)}
    assert json.loads(run(*named["--store"]).output)["store"] == str(store)
    (tmp_path / "claudetrace.toml").write_text(f'budget_store = "{store}"')
    assert json.loads(run("budgets", "--json").output)["store"] == str(store)
    (tmp_path / "claudetrace.toml").unlink()
    monkeypatch.setenv("CLAUDETRACE_DB", str(tmp_path / "ledger.db"))
    assert json.loads(run("budgets", "--json").output)["store"] == str(store)


SETTINGS = """
alert_to = ["log", "env:HOOK"]
[[budgets]]
name = "toml"
usd = 3
"""


@pytest.mark.parametrize("name", ["all", "toml"])
def test_a_test_alert_reaches_the_channels_of_the_settings(
    keep: Callable[..., Kept], db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each channel is told with what came of it, 1 where one fails; of a budget in the store or in the settings."""
    keep(ALL).outbox.open_channel("https://code.example#3")
    (tmp_path / "claudetrace.toml").write_text(SETTINGS)
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/secret-path")
    result = run("budgets", "test", name, "--db", db)

    assert result.exit_code == 1
    channels = lines(result.output.split("claudetrace.toml:\n")[1])
    assert channels[0] == ["log", "delivered"]
    assert channels[1][1:] == ["failed:", "the", "connection", "was", "refused"]
    assert "the store knows https://code.example#3." in result.output
    assert "secret-path" not in result.output


def test_a_test_alert_that_arrives_is_fine(keep: Callable[..., Kept], db: Path, tmp_path: Path) -> None:
    """Status 0; the options may stand before `test` too."""
    keep(ALL)
    (tmp_path / "claudetrace.toml").write_text('alert_to = "log"')

    assert run("budgets", "--db", db, "test", "all").exit_code == 0


def test_a_test_needs_a_budget_and_a_channel(keep: Callable[..., Kept], db: Path, tmp_path: Path) -> None:
    """Status 2: an unknown name is told with those that there are, no channel with where to name one."""
    keep(ALL)
    unknown, nowhere = run("budgets", "test", "nix", "--db", db), run("budgets", "test", "all", "--db", db)

    assert (unknown.exit_code, "there is no budget 'nix'" in unknown.output, "'all'" in unknown.output) == (
        2,
        True,
        True,
    )
    assert (nowhere.exit_code, "write alert_to = " in nowhere.output) == (2, True)


# What doctor says of the store.

HOLDER = """
import sys, time
from pathlib import Path
from claudetrace._budgets._budget import Budget
from _keeping import Demand, Kept
from claudetrace._guard import Guard
from claudetrace._ids import uuid7
kept = Kept([Budget("all", usd=10, on_exceeded="block")], Path(sys.argv[1]), guard=Guard())
kept.ask(Demand(uuid7(time.time_ns() - int(sys.argv[2]) * 10**9), {}, 2 * 10**12))
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("age_s", "finding"), [(0, False), (3600, True)])
def test_doctor_finds_what_dead_processes_hold(demo: Any, store: Path, age_s: int, finding: bool) -> None:
    """What a killed process had reserved is a finding, once others would long have settled it."""
    command = [sys.executable, "-c", HOLDER, str(store), str(age_s)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(BUDGETS_TESTS)}
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        alive = run("doctor", "--db", demo[0], "--store", store).output
        holder.send_signal(signal.SIGKILL)
    dead = run("doctor", "--db", demo[0], "--store", store)

    assert ["reserved", "$2.00", "for", "1", "call"] in lines(alive)
    assert ("reserved by processes that are gone: the next program" in dead.output) is finding
    assert dead.exit_code == int(finding)


def test_doctor_tells_channels_that_fail_and_alerts_that_wait(
    demo: Any, keep: Callable[..., Kept], store: Path
) -> None:
    """A finding each; an alert of moments ago is none, and neither is one that is too old to be sent."""
    kept = keep(ALL)
    for name in ("fails", "silent", "fresh"):
        kept.outbox.open_channel(name)
    alert_id = kept.outbox.raise_alert(Alert(kind="lost", at=datetime.now(UTC), message="Lost."), mark="1")
    assert alert_id is not None
    kept.outbox.mark_failed(alert_id, "fails", wait_s=0, reason="HTTP 500")
    kept.outbox.mark_delivered(alert_id, "fresh")

    def findings(age_s: int) -> str:
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute("UPDATE alerts SET created_at = created_at - ?", (age_s * 1000,))
            connection.execute("UPDATE channels SET since = 0")
        return run("doctor", "--db", demo[0], "--store", store).output.split("finding")[-1]

    assert ("channel fails: HTTP 500" in findings(0), "channel silent" in findings(0)) == (True, False)
    assert "channel silent: no running program has this channel" in findings(600)
    assert "channel fresh" not in findings(0)
    assert "channel" not in findings(4 * 86_400)


def test_doctor_tells_a_store_that_may_not_last_or_is_broken(
    demo: Any, keep: Callable[..., Kept], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 1 and the way out; of a sound store status 0, and of none not a word."""
    assert "Budgets" not in run("doctor", "--db", demo[0]).output
    keep(ALL).close()
    sound = run("doctor", "--db", demo[0], "--store", store)
    assert (sound.exit_code, "1: all" in sound.output) == (0, True)
    fragile = lambda path: f"{path} is in memory" if str(path) == str(store) else None  # noqa: E731
    monkeypatch.setattr("claudetrace._files.fragile_filesystem", fragile)
    assert (
        "is in memory, and with it goes what was spent; set budget_store="
        in run("doctor", "--db", demo[0], "--store", store).output
    )
    store.write_text("no store at all, " * 100)
    assert "store: " in run("doctor", "--db", demo[0], "--store", store).output.split("finding")[-1]
