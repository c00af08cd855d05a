"""A tag with more values a day than the sums name: what is counted together says so, whatever the values are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rows import row

from claudetrace import Ledger
from claudetrace._guard import Guard
from claudetrace._ledger import _rollups
from claudetrace._ledger._forget import Whom, forget
from claudetrace._ledger._reprice import reprice
from claudetrace._ledger._rollups import rollup_differences
from claudetrace._ledger._store import Store
from claudetrace.cli import main

DAY = "2026-06-15"
NAMED = 3


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rollups, "MAX_VALUES_A_DAY", NAMED)


def of(customer: str, day: str = DAY, **more: Any) -> dict[str, Any]:
    return row(customer=customer, started_at=f"{day}T10:00:00.000Z", tags=None, user_id=None, **more)


def stored(tmp_path: Path, *batches: list[dict[str, Any]]) -> Path:
    """Each batch as a process of its own stores it."""
    path = tmp_path / "ledger.db"
    for batch in batches:
        store = Store(path, Guard())
        store.write(batch)
        store.close()
    return path


def spent(path: Path, **more: Any) -> dict[tuple[str | None, bool], tuple[int, bool]]:
    """The calls of each customer, and whether there may be more; the key says whether it is all the others."""
    return {
        (each.key, each.others): (each.calls, each.too_low)
        for each in Ledger(path).spend(by="customer", since=None, **more)
    }


def test_a_value_that_is_called_other_is_a_value(tmp_path: Path) -> None:
    """A tag's value `(other)` takes no other value in: those that fit after it have sums of their own."""
    path = stored(tmp_path, [of("(other)")], [of("a"), of("b"), of("b")])

    assert spent(path) == {("(other)", False): (1, False), ("a", False): (1, False), ("b", False): (2, False)}


def test_a_value_that_is_called_other_is_not_the_others(tmp_path: Path) -> None:
    """Where there are too many values too, both are shown, each with its own calls, and either can be asked for."""
    path = stored(tmp_path, [of("a"), of("(other)"), of("b")], [of("c"), of("d"), of("(other)")])

    assert spent(path)[("(other)", True)] == (2, False)
    assert spent(path)[("(other)", False)] == (2, False)
    (asked,) = Ledger(path).spend(by=None, since=None, where={"customer": "(other)"})
    assert asked.calls == 2


def test_a_value_that_is_called_other_may_come_too_late(tmp_path: Path) -> None:
    """After the named ones it is among the others like any value, and who asks for it alone gets its own calls."""
    path = stored(tmp_path, [of(each) for each in ("a", "b", "c", "d", "(other)")])

    assert spent(path)[("(other)", True)] == (2, False)
    assert ("(other)", False) not in spent(path)
    (asked,) = Ledger(path).spend(by=None, since=None, where={"customer": "(other)"})
    assert asked.calls == 1


def test_what_may_lack_calls_says_so(tmp_path: Path) -> None:
    """A value that is among the others on one of its days is too low and marked; one that never is, is exact."""
    first = [of(each) for each in "abcd"]
    second = [of(each, "2026-06-16") for each in "dcba"]
    path = stored(tmp_path, first, second)

    marked = {key: too_low for (key, others), (_, too_low) in spent(path).items() if not others}
    assert marked == {"a": True, "b": False, "c": False, "d": True}
    assert sum(calls for calls, _ in spent(path).values()) == 8
    one_day = {key: too_low for (key, _), (_, too_low) in spent(path, until="2026-06-16").items()}
    assert not any(one_day.values())


def test_one_value_is_exact_also_among_the_others(tmp_path: Path) -> None:
    """Who asks for a single value gets all of its calls."""
    path = stored(tmp_path, [of(each) for each in "abcd"], [of("d"), of("e")])

    (asked,) = Ledger(path).spend(by=None, since=None, where={"customer": "d"})
    assert asked.calls == 2


def _forgotten(path: Path) -> None:
    forget(path, Whom("user", "u"))


def _repriced(path: Path) -> None:
    assert any(each.changed_rows for each in reprice(path, everything=True, apply=True))


@pytest.mark.parametrize("change", [_repriced, _forgotten], ids=lambda change: change.__name__)
def test_changes_keep_the_others_apart(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Sums of rows that are priced again, and those that a user left, are those of the calls, others apart."""
    rows = [of("(other)"), of("a"), of("b"), of("c"), of("d"), {**of("(other)"), "user_id": "u"}]
    path = stored(tmp_path, rows)
    before = spent(path)
    change(path)

    with Ledger(path) as ledger:
        assert rollup_differences(ledger.db.conn) == []
    assert spent(path) == before


def test_the_report_says_what_it_counts_together(tmp_path: Path) -> None:
    """The report marks sums that are too low, says why, and puts a value in quotes that reads as the others."""
    path = stored(tmp_path, [of(each) for each in ("a", "(other)", "b", "c")], [of("c", "2026-06-16")])
    told = CliRunner().invoke(main, ["report", "--by", "customer", "--since", "all", "--db", str(path)]).output

    lines = {line.split()[0]: line for line in told.splitlines() if line}
    assert "≥" in lines["c"]
    assert "≥" not in lines["(other)"] + lines["'(other)'"] + lines["a"]
    assert "more than 1,000 values" in told
