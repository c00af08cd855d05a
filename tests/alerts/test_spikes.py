"""Which minutes are a spike, and which are not."""

from __future__ import annotations

import pytest

from tests.alerts._watched import Watched, day_budget


def test_minutes_that_cost_many_times_the_usual_are_a_spike():
    """Five minutes at ten times the usual are told, once a day, with how many times it is."""
    watched = Watched(day_budget(forecast=False, spike=5))
    for _ in range(120):
        watched.call("0.05", after_s=30)
    for _ in range(200):
        watched.call("0.40", after_s=10)

    (alert,) = watched.alerts
    assert (alert.kind, alert.budget) == ("spike", "all")
    assert "spent within five minutes, " in alert.message
    assert "times the usual $0.5" in alert.message


@pytest.mark.parametrize(
    ("before", "then"),
    [
        pytest.param((0, "0", 1), (200, "0.40", 10), id="nothing before"),
        pytest.param((40, "0.0001", 30), (200, "0.40", 10), id="too little before"),
        pytest.param((120, "0.05", 30), (200, "0.10", 20), id="a little more"),
        pytest.param((120, "0.0001", 30), (100, "0.01", 10), id="many times nothing"),
        pytest.param((120, "0.05", 30), (1, "9", 10), id="one dear call"),
    ],
)
def test_what_is_no_spike(before, then):
    """Neither a start, nor a moderate rise, nor many times next to nothing, nor one dear call is a spike."""
    watched = Watched(day_budget(forecast=False, spike=5))
    for calls, usd, after_s in (before, then):
        for _ in range(calls):
            watched.call(usd, after_s=after_s)

    assert watched.kinds == []


def test_the_first_work_of_a_morning_is_no_spike():
    """After an idle night the day's work is compared with the work of the day before, not with the night."""
    watched = Watched(day_budget(usd=20, forecast=False, spike=3))
    for _ in range(2):
        for _ in range(240):
            watched.call("0.10", after_s=60)
        watched.now += 43_200

    assert watched.kinds == []


def test_no_spike_unless_asked_for():
    """Without `spike=` nothing is a spike; results of a batch, which come at once, never are."""
    silent, results = Watched(day_budget(forecast=False)), Watched(day_budget(forecast=False, spike=5))
    for watched, operation in ((silent, "messages.create"), (results, "messages.batches.result")):
        for _ in range(120):
            watched.call("0.05", after_s=30)
        for _ in range(100):
            watched.call("0.40", after_s=1, operation=operation)

        assert watched.kinds == []
