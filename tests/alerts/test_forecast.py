"""Which pace of spend raises an alert, and which does not."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from claudetrace._alerts._patterns import forecast
from claudetrace._budgets._budget import Budget
from claudetrace._budgets._windows import window_of
from tests.alerts._watched import DAY, USD, Watched, day_budget


def test_a_pace_that_passes_the_limit_is_told_once():
    """Spend that comes to twice the limit at its pace is told before half of the window is over, once in it."""
    watched = Watched(day_budget())
    for _ in range(200):
        watched.call("0.41", after_s=180)

    (alert,) = watched.alerts
    assert (alert.kind, alert.budget, alert.limit_usd) == ("forecast", "all", Decimal(100))
    assert alert.window_end == datetime(2026, 11, 17, tzinfo=UTC)
    assert alert.at - alert.window_start < timedelta(hours=12)
    assert Decimal(15) < alert.spent_usd < Decimal(100)
    assert 'Budget "all" has spent $' in alert.message
    assert "of $100.00, and at this pace it comes to $" in alert.message
    assert "by 2026-11-17 00:00 UTC: spend less, or raise its limit." in alert.message


def test_the_next_window_has_a_forecast_of_its_own():
    """Each day whose pace is too high is told."""
    watched = Watched(day_budget())
    for _ in range(2 * 480):
        watched.call("0.41", after_s=180)

    assert [alert.window_start.day for alert in watched.alerts] == [16, 17]


def test_the_first_calls_of_a_window_are_no_pace():
    """Dear calls at the start of a window are not taken for a pace, though they would come to many times the limit."""
    watched = Watched(day_budget())
    for _ in range(60):
        watched.call("0.50", after_s=20)

    assert watched.kinds == []


def test_a_burst_that_is_over_is_no_pace():
    """A third of the limit within the first half hour, and little after it, is not told."""
    watched = Watched(day_budget())
    for _ in range(60):
        watched.call("0.55", after_s=30)
    for _ in range(300):
        watched.call("0.01", after_s=240)

    assert watched.kinds == []


def test_few_calls_are_no_pace():
    """A handful of dear calls says nothing about the rest of the day."""
    watched = Watched(day_budget())
    for _ in range(12):
        watched.call("8", after_s=2400)

    assert watched.kinds == []


def test_a_pace_within_the_limit_is_never_told():
    """Calls at random whose pace comes to 70 % of the limit raise no forecast, on 30 days of 30."""
    rolls = random.Random(6)
    told = 0
    for _ in range(30):
        watched = Watched(day_budget())
        for _ in range(400):
            watched.call(f"{rolls.expovariate(1 / 0.175):.6f}", after_s=rolls.expovariate(1 / 214))
            if watched.now > DAY + 86_000:
                break
        told += len(watched.alerts)

    assert told == 0


def test_calls_have_a_forecast_too():
    """A budget of calls is on course to pass its limit, and says so in calls."""
    watched = Watched(Budget("calls", max_calls=300, per="day"))
    for _ in range(200):
        watched.call("0.01", after_s=150)

    (alert,) = watched.alerts
    assert "of 300 calls, and at this pace it comes to 5" in alert.message
    assert " calls by 2026-11-17" in alert.message


@pytest.mark.parametrize("per", ["total", "rolling:24h"])
def test_what_has_no_end_has_no_forecast(per):
    """A window that does not end at a moment has no forecast."""
    budget = Budget("all", usd=100, per=per)
    watched = Watched(budget)
    for _ in range(100):
        watched.call("0.9", after_s=600)

    assert forecast(budget, 10 * USD, window_of(per, "UTC", DAY), DAY) is None
    assert watched.kinds == []


def test_no_forecast_where_none_is_wanted():
    """`forecast=False` is heard."""
    watched = Watched(day_budget(forecast=False))
    for _ in range(200):
        watched.call("0.41", after_s=180)

    assert watched.kinds == []


def test_forecast_is_the_pace_since_the_start():
    """What a budget comes to is its spend by the part of the window that has passed, in whole numbers."""
    budget = day_budget()

    assert forecast(budget, 25 * USD + 1, window_of("day", "UTC", DAY + 21_600), DAY + 21_600) == 100 * USD + 4
    assert forecast(budget, 25 * USD, window_of("day", "UTC", DAY), DAY) is None
