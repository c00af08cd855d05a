"""What the budgets' store promises, on a PostgreSQL server: the same tests as on a file."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import test_store
from _serving import Served, ServerClock, at_once, end_all
from test_store import (
    BLOCK,
    NOON,
    USD,
    all_waiting,
    ask,
    row,
    spent,
)

from claudetrace._budgets import _commands, _connect
from claudetrace._budgets._budget import Budget
from claudetrace._budgets._postgres._url import ServerUrl
from claudetrace._budgets._records import Claim, Grant
from claudetrace._budgets._windows import window_of
from claudetrace._errors import BudgetExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from claudetrace._guard import Guard

ON_BOTH = (
    "test_a_batch_is_held_until_its_results_are_read",
    "test_a_call_beyond_the_limit_is_stopped_and_says_why",
    "test_a_call_is_charged_to_the_window_of_its_start",
    "test_a_full_window_has_room_again_with_the_next",
    "test_a_mixed_failure_ends_each_job_once",
    "test_a_raised_limit_is_told_of_again",
    "test_a_rolling_window_forgets_no_sooner_than_it_may",
    "test_a_row_that_comes_while_the_call_runs_is_left_to_its_owner",
    "test_an_alert_waits_in_the_store_until_its_channel_has_it",
    "test_an_unknown_cost_is_the_estimate_until_a_row_says_more",
    "test_another_limit_keeps_what_was_spent_and_another_window_begins_anew",
    "test_calls_are_limited_beside_dollars",
    "test_each_value_of_a_tag_has_its_own",
    "test_money_beyond_64_bits_of_picodollars_is_exact",
    "test_rows_without_a_reservation_are_added_once",
    "test_settling_again_changes_nothing",
    "test_several_budgets_admit_together_or_not_at_all",
    "test_what_a_dead_process_had_open_is_settled",
    "test_what_cannot_be_known_is_stopped_where_the_budget_says_so",
)
globals().update({name: getattr(test_store, name) for name in ON_BOTH})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)


@pytest.fixture
def clock(database: str) -> Iterator[ServerClock]:
    set_clock = ServerClock(database)
    yield set_clock
    set_clock.close()


@pytest.fixture
def keep(database: str, guard: Guard, clock: ServerClock) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def make(*budgets: Budget, **given: Any) -> Served:
        kept = Served(budgets, database, guard=guard, clock=clock, **given)
        made.append(kept)
        return kept

    yield make
    end_all(made)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_connection_and_a_lease_of_its_own(
    keep: Callable[..., Served], clock: ServerClock
) -> None:
    """The parent's goes on; what the child leaves open is settled when its lease is over."""
    kept = keep(Budget("b", **BLOCK))
    mine = ask(kept, "parent", 1)
    child = os.fork()
    if child == 0:
        try:
            ask(kept, "child", 2)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(clock.query("SELECT DISTINCT owner FROM claudetrace.charges")) == 2
    clock.now += 50
    kept.tend()
    assert spent(kept) == [(None, 0, 3, 0)]
    clock.now += 20
    kept.tend()
    assert spent(kept) == [(None, 2, 1, 1)]
    kept.end(mine, USD)

    assert spent(kept) == [(None, 3, 0, 2)]


def test_each_threshold_is_told_once_over_all_hosts(keep: Callable[..., Served], clock: ServerClock) -> None:
    """By whoever first sees it passed, with what is spent by then; the alert is in the store, for every channel."""
    budget = Budget("b", usd=10, per="day")
    handed_on: list[Any] = []
    one, other = keep(budget), keep(budget)
    other.sender.send = lambda alert, stored_as: handed_on.append((alert, stored_as))  # type: ignore[method-assign, assignment]
    one.outbox.open_channel("log")
    one.put([row("a", 6)])
    other.put([row("b", 3), row("c", 0.5)])
    one.put([row("d", 2)])
    clock.now += 86_400
    one.put([row("e", 5, at=clock.now)])

    waiting = all_waiting(other, "log")
    told = [(each.alert.threshold, float(each.alert.spent_usd or 0)) for each in waiting]
    assert told == [(0.5, 6), (0.8, 9.5), (1, 11.5), (0.5, 5)]
    assert [alert for alert, _ in handed_on] == [waiting[1].alert]


def test_a_threshold_that_nobody_could_tell_of_is_told_by_the_next_look(
    keep: Callable[..., Served], clock: ServerClock
) -> None:
    """As where a process was killed between the charge and the alert."""
    kept = keep(Budget("b", usd=10, per="day"))
    kept.outbox.open_channel("log")
    clock.query(
        "INSERT INTO claudetrace.counters (budget_id, key, slot, spent) SELECT id, '', %s, %s FROM claudetrace.budgets",
        NOON // 86_400 * 86_400,
        9 * USD,
    )
    kept.tend()

    assert [each.alert.threshold for each in all_waiting(kept, "log")] == [0.8]


def test_a_grant_is_room_at_once_in_every_process_until_it_ends(
    keep: Callable[..., Served], database: str, clock: ServerClock
) -> None:
    """What was granted shows with who made it; taken back, or when its time is up, the limit holds again."""
    url, one, other = ServerUrl(database), keep(Budget("b", **BLOCK)), keep(Budget("b", **BLOCK))
    one.end(ask(one, "a", 10), 10 * USD)
    with _connect.view(url) as view:
        (stored,) = view.budgets()
    window = window_of("day", "UTC", NOON)
    at = datetime.fromtimestamp(NOON, UTC)
    given = Grant("b", "", 5 * USD, 2, at, "ada", "launch", at + timedelta(hours=1))
    _commands.give(url, stored, window, given)
    ask(other, "b", 4)
    with pytest.raises(BudgetExceeded):
        ask(other, "c", 2)
    with _connect.view(url) as view:
        assert (view.grants(5), view.totals(stored, "", window).granted_picousd) == ([given], 5 * USD)
    clock.now += 3601
    one.tend()
    with pytest.raises(BudgetExceeded):
        ask(one, "d", 1)
    _commands.give(url, stored, window, given._replace(until=None))
    ask(one, "e", 0.5)
    assert _commands.take_back(url, stored, "", window, at, "bob") == [given._replace(until=None)]
    with pytest.raises(BudgetExceeded):
        ask(one, "f", 0.1)
    with _connect.view(url) as view:
        assert [each.ended_by for each in view.grants(5)] == ["bob", None]


def test_stopped_calls_are_counted_over_all_hosts(
    keep: Callable[..., Served], database: str, clock: ServerClock
) -> None:
    """In their window, also of a key that has spent nothing; each is shown with its number."""
    budget = Budget("b", usd=10, per="day", on_exceeded="block", tags={"user": "*"})
    one, other = keep(budget), keep(budget)
    claim = Claim(budget, "ann", window_of("day", "UTC", clock.now))
    assert one.writer.do(lambda store: store.block(claim, 1)) == 1
    assert other.writer.do(lambda store: store.block(claim, 4)) == 5

    with _connect.view(ServerUrl(database)) as view:
        (each,) = view.budgets()
        spread = view.spread(each, claim.window)
    assert (spread.keys, spread.reached, spread.blocked_calls) == (1, 0, 5)
    assert [(state.key, state.blocked_calls) for state in one.status()] == [("ann", 5)]
