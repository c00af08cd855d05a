"""A wall clock that is set while a program runs deletes nothing; one that kept pace in sleep is as good as ever."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from freezegun import freeze_time
from rows import row

from claudetrace import _clock
from claudetrace._clock import WallClock
from claudetrace._guard import Guard
from claudetrace._ledger import _prune
from claudetrace._ledger._loader import LedgerWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Query = Callable[..., list[Any]]

DAY_S = 86_400.0


class Clocks:
    """A wall clock and a boot clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.boot = 1_700_000_000.0, 5_000.0
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(_clock, "_boot", lambda: self.boot)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_retention_does_not_believe_a_clock_that_jumps(
    db: Path, query: Query, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls of today are there after a minute in which the clock was 400 days ahead, and that is told."""
    monkeypatch.setattr(_prune, "HOUSEKEEPING_S", 0.0)
    writer = LedgerWriter(db, guard=guard, retention_days=90)
    writer.append(row(started_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.000Z"))
    assert writer.flush(10)
    with freeze_time(datetime.now(UTC) + timedelta(days=400), tick=True):
        deadline = _clock.monotonic() + 10
        while writer.health()["last_error"] is None and writer.health()["pruned"] == 0:
            assert _clock.monotonic() < deadline
            writer.flush(1)
        for _ in range(5):
            writer.append(row())
            writer.flush(1)
    writer.close()

    assert query("SELECT COUNT(*) FROM calls") == [(6,)]
    assert "the wall clock was set 34,5" in (writer.health()["last_error"] or "")


@pytest.mark.parametrize("jump_s", [40 * DAY_S, 90.0, -90.0, -40 * DAY_S])
def test_after_a_jump_the_clocks_have_to_agree_for_a_day(clocks: Clocks, guard: Guard, jump_s: float) -> None:
    """Whichever way the clock was set, deletion waits for a day in which it was right again."""
    wall_clock = WallClock(guard)
    before = wall_clock.may_delete()
    clocks.wall += jump_s
    during = wall_clock.may_delete()
    clocks.pass_by(3 * DAY_S)
    still = wall_clock.may_delete()
    clocks.wall -= jump_s
    found = [before, during, still]
    for seconds in (0, DAY_S - 1, 2):
        clocks.pass_by(seconds)
        found.append(wall_clock.may_delete())

    assert found == [True, False, False, False, False, True]
    assert ("forward" if jump_s > 0 else "back") in (guard.last_error or "")


@pytest.mark.parametrize("step_s", [0.0, 30.0, -30.0])
def test_a_machine_that_slept_has_not_jumped(clocks: Clocks, guard: Guard, step_s: float) -> None:
    """Months of sleep, and corrections of less than a minute, are no reason to keep what is old."""
    wall_clock = WallClock(guard)
    clocks.pass_by(60 * DAY_S)
    clocks.wall += step_s

    assert (wall_clock.may_delete(), guard.last_error) == (True, None)


def test_the_boot_clock_counts_sleep() -> None:
    """Where the system has a clock that goes on in sleep, that one is asked."""
    assert abs(_clock._boot() - time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))) < 60
