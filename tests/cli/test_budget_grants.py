"""`claudetrace budgets grant` and `revoke`: the limit of one window, raised and put back while programs run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claudetrace._budgets._budget import Budget
from claudetrace._errors import BudgetExceeded
from claudetrace._guard import Guard
from tests.budgets._asking import until
from tests.budgets._keeping import Demand, Kept

from .conftest import run

USD = 10**12


class Clock:
    def __init__(self) -> None:
        import time

        self.ahead_s = 0.0
        self.time = time.time

    def __call__(self) -> float:
        return self.time() + self.ahead_s


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(db: Path, clock: Clock) -> Iterator[Kept]:
    """A program with $5 a day for each customer, and ten calls a day for all."""
    said: dict[str, Any] = {"per": "day", "forecast": False, "on_exceeded": "block", "wait_s": 30}
    budgets = [Budget("customer", usd=5, tags={"customer": "*"}, **said), Budget("all", max_calls=10, **said)]
    made = Kept(budgets, Path(f"{db}.budgets"), guard=Guard(), clock=clock)
    made.open()
    yield made
    made.close()


def spend(kept: Kept, name: str, usd: int, customer: str = "acme") -> None:
    reservation = kept.ask(Demand(name, {"customer": customer}, usd * USD))
    assert reservation is not None
    kept.end(reservation, usd * USD)
    kept.flush(10)


def grant(db: Path, *words: object) -> Any:
    return run("budgets", "grant", *words, "--db", db)


ACME = ("customer", "--key", "acme")
WHY = ("--why", "their launch")


def state(db: Path, key: str | None = "acme") -> dict[str, Any]:
    told = json.loads(run("budgets", "--json", "--db", db).stdout)
    return next(each for budget in told["budgets"] for each in budget["states"] if each["key"] == key)


def test_a_grant_holds_at_once_in_a_program_that_runs(kept: Kept, db: Path) -> None:
    """A call that was stopped is let through after it, one that needs more is not, and other customers have no more."""
    spend(kept, "a", 5)
    with pytest.raises(BudgetExceeded):
        spend(kept, "b", 4)
    said = grant(db, *ACME, "--usd", 5, *WHY)
    spend(kept, "c", 4)

    assert said.exit_code == 0
    assert said.stdout == (
        "Budget 'customer' for 'acme' may spend $5.00 more, of $10.00.\n"
        "To take it back: claudetrace budgets revoke customer --key acme\n"
    )
    with pytest.raises(BudgetExceeded, match=r"\$9.00 of \$10.00 spent") as caught:
        spend(kept, "d", 2)
    assert caught.value.limit_usd == 10
    spend(kept, "e", 5, "globex")
    with pytest.raises(BudgetExceeded):
        spend(kept, "f", 1, "globex")


def test_a_call_that_waits_is_let_through(kept: Kept, db: Path) -> None:
    """Whoever waits for room has it as soon as it is granted."""
    kept.ask(Demand("a", {"customer": "acme"}, 5 * USD))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(kept.ask, Demand("b", {"customer": "acme"}, 4 * USD))
        until(lambda: kept._admission.queues._queues)  # type: ignore[union-attr]
        grant(db, *ACME, "--usd", "4.00", *WHY)
        assert waiting.result(30) is not None


def test_revoking_puts_the_limit_back(kept: Kept, db: Path) -> None:
    """What is spent above it stays spent; a second time there is nothing to take back."""
    spend(kept, "a", 5)
    grant(db, *ACME, "--usd", 2, *WHY)
    grant(db, *ACME, "--usd", "0.50", "--why", "and a bit")
    spend(kept, "b", 2)
    said = run("budgets", "revoke", *ACME, "--db", db)
    again = run("budgets", "revoke", *ACME, "--db", db)
    with pytest.raises(BudgetExceeded, match=r"\$7.00 of \$5.00 spent"):
        spend(kept, "c", 1)

    assert [line.partition("  ")[2].partition(" by ")[0] for line in said.stdout.splitlines()] == [
        "customer for acme: $2.00",
        "customer for acme: $0.50",
    ]
    assert again.stdout == "Budget 'customer' for 'acme' was granted nothing in this window.\n"
    assert (state(db)["granted_usd"], state(db)["left_usd"]) == ("0.000000000000", "0.000000000000")


def test_who_granted_what_and_when_is_shown_and_stays(kept: Kept, db: Path, monkeypatch: Any) -> None:
    """While it holds, and after it was taken back: the amount, whose, by whom, why; in JSON too."""
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.setattr("platform.node", lambda: "desk")
    spend(kept, "a", 5)
    grant(db, *ACME, "--usd", 5, *WHY)
    shown = run("budgets", "--db", db)
    assert "customer for acme: $5.00 by ada@desk: their launch" in shown.stdout
    assert [part for part in shown.stdout.split() if part.startswith("$")][:4] == [
        "$5.0000",
        "$0.0000",
        "$5.0000",
        "$10.0000",
    ]
    assert shown.exit_code == 0
    monkeypatch.setattr("getpass.getuser", lambda: "bob")
    run("budgets", "revoke", *ACME, "--db", db)
    told = json.loads(run("budgets", "--json", "--db", db).stdout)["grants"]

    assert "by bob@desk: their launch" in run("budgets", "--db", db).stdout
    assert [
        (each["budget"], each["key"], each["picousd"], each["made_by"], each["ended_by"], each["why"]) for each in told
    ] == [("customer", "acme", 5 * USD, "ada@desk", "bob@desk", "their launch")]


def test_it_ends_with_its_window_or_before(kept: Kept, db: Path, clock: Clock) -> None:
    """The next window has the old limit; `--until` ends it within the window."""
    grant(db, "all", "--calls", 5, *WHY)
    assert state(db, None)["left_calls"] == 15
    grant(db, "all", "--calls", 2, *WHY, "--until", "1m")
    assert state(db, None)["left_calls"] == 17
    clock.ahead_s = 61
    kept.keep_house()
    assert state(db, None)["left_calls"] == 15
    clock.ahead_s = 86_400
    found = kept.status()
    assert [each.left_calls for each in found if each.key is None] == [10]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nope", "--usd", 5, *WHY), "there is no budget 'nope' in "),
        (("customer", "--usd", 5, *WHY), "say whose, with --key"),
        (("all", "--key", "acme", "--calls", 5, *WHY), "leave out --key"),
        (("all", "--usd", 5, *WHY), "the budget has no limit that --usd could raise"),
        ((*ACME, "--calls", 5, *WHY), "the budget has no limit that --calls could raise"),
        ((*ACME, *WHY), "say --usd or --calls"),
        ((*ACME, "--usd", 0, *WHY), "give dollars above 0"),
        ((*ACME, "--usd", "five", *WHY), "give dollars above 0"),
        ((*ACME, "--usd", "nan", *WHY), "give dollars above 0"),
        ((*ACME, "--usd", 10**9, *WHY), "no limit is above 1,000,000,000"),
        ((*ACME, "--usd", 5, "--why", " "), "say --why"),
        ((*ACME, "--usd", 5), "Missing option '--why'"),
        ((*ACME, "--usd", 5, *WHY, "--until", "2020-01-01"), "2020-01-01 00:00 UTC is over"),
        ((*ACME, "--usd", 5, *WHY, "--until", "2d"), "a grant is for one window, and this one ends at "),
        ((*ACME, "--usd", 5, *WHY, "--until", "soon"), "is no time"),
        ((*ACME, "--usd", 2, *WHY), "$2.00 more make no room: what is spent is $2.00 above the limit"),
    ],
)
def test_a_grant_that_cannot_be_is_refused(words: tuple[object, ...], said: str, kept: Kept, db: Path) -> None:
    """The error says the way out, ends with 2, and nothing is granted."""
    kept.put([row_of(7)])
    result = grant(db, *words)

    assert (result.exit_code, said in result.output) == (2, True), result.output
    with closing(sqlite3.connect(f"{db}.budgets")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM grants").fetchone() == (0,)


def row_of(usd: int) -> dict[str, Any]:
    from tests.cli.test_budgets import row

    return row(usd, customer="acme")


def test_a_threshold_is_of_the_limit_with_the_grant(kept: Kept, db: Path) -> None:
    """After a grant the same spend is a smaller part, and each threshold of the new limit is told once."""
    spend(kept, "a", 4)
    grant(db, *ACME, "--usd", 5, *WHY)
    spend(kept, "b", 1)
    spend(kept, "c", 4)
    told = json.loads(run("budgets", "--json", "--db", db).stdout)["alerts"]

    assert [(each["threshold"], each["limit_usd"]) for each in told][::-1] == [
        (0.8, "5"),
        (0.5, "10"),
        (0.8, "10"),
    ]
