"""What is told of calls that are not known, and that of many processes one tells it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from claudetrace._alerts._channels import channels
from claudetrace._alerts._sender import Sender
from claudetrace._budgets._budget import Budget
from claudetrace._guard import Guard
from tests.alerts._watched import Watched, day_budget
from tests.budgets._keeping import Kept


def test_an_answered_call_without_a_price_is_told_once():
    """Answered calls of a model without a price are told once in the window, with what to do."""
    watched = Watched(day_budget(forecast=False))
    watched.call(None, model="claude-next-1")
    watched.call(None, model="claude-next-1")
    watched.call(None, outcome="error")
    (alert,) = watched.alerts

    assert (alert.kind, alert.budget, alert.spent_usd) == ("unpriced", "all", Decimal(0))
    assert alert.message == (
        'Budget "all" has calls that have no price, of the model "claude-next-1", and does not count what they cost: '
        "upgrade claudetrace, or take a list that has it with claudetrace prices update, and run claudetrace reprice; "
        "rates= gives calls to come a price."
    )


def test_a_model_without_a_price_is_told_once_for_all_users():
    """Under a budget for each user, a model without a price is told once in the window and not for each of them."""
    watched = Watched(Budget("users", usd=5, per="day", tags={"user": "*"}))
    for user in range(50):
        watched.call(None, key=f"u{user}", user_id=f"u{user}")

    assert [(alert.kind, alert.key) for alert in watched.alerts] == [("unpriced", "u0")]


def test_what_was_not_answered_needs_no_price():
    """A failed call, and any under a budget that ignores it, raises nothing."""
    watched = Watched(day_budget(forecast=False, unpriced="ignore"))
    watched.call(None)
    other = Watched(day_budget(forecast=False))
    other.call(None, outcome="cancelled")

    assert watched.kinds + other.kinds == []


def test_without_a_budget_each_model_is_told_once():
    """With no budget set, unpriced calls are told once for each model in this process."""
    watched = Watched()
    for model in ("m1", "m2", "m1"):
        watched.call(None, model=model)

    assert [alert.message[:25] for alert in watched.alerts] == [
        'Calls of the model "m1" h',
        'Calls of the model "m2" h',
    ]


def test_a_call_without_a_bound_is_told_once_for_all_keys():
    """Of a hundred users' unbounded calls under one budget one is told, and not on the caller's thread."""
    budget = Budget("users", usd=5, per="day", tags={"user": "*"}, on_exceeded="block")
    watched = Watched(budget)
    for user in range(100):
        watched.rules.note_unbounded(budget, f"u{user}", "a URL source")
    assert watched.kinds == []
    watched.rules.tick()

    (alert,) = watched.alerts
    assert (alert.kind, alert.key) == ("unbounded", "u0")
    assert alert.message == (
        'Budget "users" of user "u0" let a call through whose highest cost cannot be known (a URL source), with the '
        'best estimate reserved: such calls may pass the limit; unbounded="block" stops them.'
    )


def test_lost_rows_are_told_once_an_hour():
    """Rows that are lost are told with their number; more of them again in the next hour, and not for none."""
    watched = Watched()
    for lost in (0, 2, 2, 5):
        watched.rules.tick(lost=lost)
    watched.now += 3600
    watched.rules.tick(lost=5)
    watched.rules.tick(lost=7)

    assert [alert.message[:14] for alert in watched.alerts] == ["2 calls of thi", "7 calls of thi"]


@pytest.mark.parametrize(("per", "hours"), [("rolling:24h", 24), ("rolling:6h", 6), ("day", 24), ("hour", 1)])
def test_what_is_told_once_in_a_window_is_told_again_after_its_length(per, hours):
    """Unpriced and unbounded calls are told of once in each span of the window's length, rolling or not."""
    watched = Watched(Budget("b", usd=10, per=per, forecast=False))
    for _ in range(4 * hours * 2):
        watched.rules.note_unbounded(watched.rules.budgets[0], "", "a URL source")
        watched.call(None, after_s=1800)

    assert sorted(watched.kinds) == ["unbounded"] * 5 + ["unpriced"] * 5


def test_of_two_processes_one_raises_it(tmp_path):
    """An alert that two processes of a store come to at the same time is raised by one of them."""
    budget, given = day_budget(forecast=False), []
    for _ in range(2):
        keeper = Kept([budget], tmp_path / "budgets", guard=Guard())
        sender = Sender(channels("alert_to", given.append), guard=Guard(), writer=keeper.writer)
        Watched(budget, sender=sender).call(None)
        sender.close()
        keeper.close()

    assert [alert.kind for alert in given] == ["unpriced"]


def test_a_store_at_fault_keeps_no_alert_back():
    """Where the store cannot be asked, this process raises the alert once by itself, and its fault is counted."""

    class Broken:
        def do(self, act):
            raise OSError("the disk is full")

    given, guard = [], Guard()
    sender = Sender(channels("alert_to", given.append), guard=guard, writer=Broken())
    watched = Watched(day_budget(forecast=False), sender=sender)
    watched.call(None)
    watched.call(None)
    sender.close()

    assert [alert.kind for alert in given] == ["unpriced"]
    assert guard.failures == {"put an alert into the budgets' store: OSError": 1}


def test_a_strange_row_raises_nothing():
    """A row that nothing can be made of is counted, and the next one is looked at."""
    watched = Watched(day_budget())
    strange = {"started_at": "yesterday", "session_id": "s", "message_count": 1}
    watched.rules.rows([strange, {"started_at": "2026-11-16T00:00:00.000Z", "outcome": "ok"}])

    assert [alert.kind for alert in watched.alerts] == ["unpriced"]
    assert list(watched.guard.failures) == ["look for what to alert of: ValueError"]
