"""What raises an alert besides thresholds, and what raises none."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext

import pytest

from claudetrace._alerts import _sentences
from claudetrace._alerts._channels import channels
from claudetrace._alerts._forecast import forecast
from claudetrace._alerts._rules import Rules
from claudetrace._alerts._sender import Sender
from claudetrace._budgets._budget import Budget
from claudetrace._budgets._keeper import Keeper
from claudetrace._budgets._windows import window_of
from claudetrace._guard import Guard
from claudetrace._ids import utc_text

USD = 10**12
DAY = datetime(2026, 11, 16, tzinfo=UTC).timestamp()


class Watched:
    """The rules with a clock of the test's, and a spend that adds up what they are shown, as the store does."""

    def __init__(self, *budgets, sender=None):
        self.now = DAY
        self.alerts = []
        self.guard = Guard()
        self.sums = {}
        self.rules = Rules(
            budgets,
            raise_alert=sender.raise_alert if sender else lambda alert, mark: self.alerts.append(alert),
            guard=self.guard,
            spent=self.spent,
            clock=lambda: self.now,
        )

    def spent(self, budget, key, window):
        rows = self.sums.get((budget.name, key), [])
        inside = [picousd for at, picousd in rows if window.start <= at]
        return sum(inside), len(inside)

    def call(self, usd="0.10", *, after_s=0.0, lasting_s=1.0, key="", **columns):
        self.now += after_s
        picousd = None if usd is None else int(Decimal(usd) * USD)
        row = {
            "id": "i",
            "call_id": "i",
            "operation": "messages.create",
            "started_at": utc_text(int((self.now - lasting_s) * 1e9)),
            "duration_ms": lasting_s * 1000,
            "outcome": "ok",
            "model": "claude-sonnet-5",
            "message_count": 1,
            "cost_flags": "[]",
            **columns,
        }
        if picousd is not None:
            row["cost_picousd"] = picousd
        for budget in self.rules._budgets:
            self.sums.setdefault((budget.name, key), []).append((self.now, picousd or 0))
        self.rules.rows([row])

    @property
    def kinds(self):
        assert self.guard.failures == {}
        return [alert.kind for alert in self.alerts]


def day_budget(usd=100, **more):
    return Budget("all", usd=usd, per="day", **more)


# Forecast.


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


# Spikes.


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


# Loops.


def agent(watched, calls, *, gap_s=2.0, session="s1", grows=2000, usd="0.05", start=0, **columns):
    """A session in which each call follows the last and takes its answer along."""
    for turn in range(start, start + calls):
        watched.call(
            usd,
            after_s=1.0 + gap_s,
            session_id=session,
            message_count=1 + 2 * turn,
            input_tokens=500,
            cache_read_tokens=grows * turn,
            stop_reason="tool_use",
            **columns,
        )


def test_a_session_that_calls_again_and_again_is_a_loop():
    """An agent that makes 60 calls in a row, each reading more, is told once, with its session and cost."""
    watched = Watched()
    agent(watched, 200)

    (alert,) = watched.alerts
    assert (alert.kind, alert.key, alert.budget, alert.spent_usd) == ("loop", "s1", None, Decimal("3.00"))
    assert alert.message.startswith('The session "s1" has made 60 calls one after the other since 2026-11-16 00:00 UTC')
    assert "for $3.00: if it is a loop, stop it" in alert.message


def test_where_there_is_no_session_the_trace_is_looked_at():
    """A loop without a session is told by its trace, with the command that shows it."""
    watched = Watched()
    agent(watched, 100, session=None, trace_id="4bf92f3577b34da6")

    (alert,) = watched.alerts
    assert alert.key == "4bf92f3577b34da6"
    assert "claudetrace report --trace 4bf92f3577b34da6" in alert.message


def test_two_programs_that_answer_each_other_are_a_loop():
    """Calls that end their turn are a loop too where the next one comes at once."""
    watched = Watched()
    for turn in range(100):
        watched.call("0.03", after_s=3, session_id="s", message_count=turn + 1, input_tokens=300 * turn)

    assert watched.kinds == ["loop"]


def test_a_long_conversation_is_no_loop():
    """A person who talks for 500 turns, thinking 11 to 60 seconds about each, is not told of."""
    watched, rolls = Watched(), random.Random(1)
    for turn in range(500):
        watched.call(
            "0.05",
            after_s=1 + rolls.uniform(11, 60),
            session_id="s",
            message_count=1 + 2 * turn,
            input_tokens=400 * turn,
        )

    assert watched.kinds == []


def test_a_person_and_an_agent_that_works_for_long_are_no_loop():
    """A conversation in which an agent makes up to 50 calls for each question is not told of."""
    watched, turn = Watched(), 0
    for question in range(20):
        agent(watched, 20 + question % 4 * 10, start=turn)
        turn += 20 + question % 4 * 10
        watched.now += 45

    assert watched.kinds == []


@pytest.mark.parametrize(
    ("between_s", "lasting_s", "columns"),
    [
        pytest.param(1, 0.5, {"message_count": 1, "input_tokens": 900}, id="the same for each of many things"),
        pytest.param(0.1, 8, {"message_count": 30, "input_tokens": 9000}, id="side by side"),
        pytest.param(1, 0.5, {"message_count": 5, "input_tokens": 9000}, id="a conversation that does not grow"),
    ],
)
def test_many_calls_of_one_session_are_no_loop(between_s, lasting_s, columns):
    """Neither a session that asks the same for each of many things nor one that does many at a time is a loop."""
    watched = Watched()
    for _ in range(1000):
        watched.call("0.05", after_s=between_s, lasting_s=lasting_s, session_id="s", **columns)

    assert watched.kinds == []


def test_calls_beside_each_other_are_no_loop():
    """Calls of a session that run at the same time are no loop, though the later ones read more."""
    watched = Watched()
    for turn in range(300):
        watched.call("0.05", after_s=1, lasting_s=9, session_id="s", message_count=turn + 1, input_tokens=500 * turn)

    assert watched.kinds == []


def test_interleaved_agents_of_one_session_are_no_loop():
    """Agents that take turns in one session, each with its own conversation, are not taken for one that grows."""
    watched = Watched()
    for turn in range(300):
        watched.call("0.05", after_s=2, session_id="s", message_count=1 + turn // 3 + turn % 3 * 50, input_tokens=turn)

    assert watched.kinds == []


def test_cents_are_no_loop():
    """A loop that has not cost a dollar together is not told of yet."""
    watched = Watched()
    agent(watched, 150, usd="0.005")

    assert watched.kinds == []


def test_an_application_tells_what_is_normal():
    """Where agents have ended by themselves after 55 calls, one is a loop from 110 on; what was one teaches nothing."""
    watched = Watched()
    agent(watched, 55, session="a")
    watched.now += 60
    agent(watched, 1, session="a", start=55)
    agent(watched, 109, session="b")
    assert watched.kinds == []

    agent(watched, 200, session="b", start=109)
    assert watched.kinds == ["loop"]
    watched.now += 60
    agent(watched, 1, session="b", start=400)
    agent(watched, 111, session="c")
    assert watched.kinds == ["loop", "loop"]


# Unpriced, unbounded, lost.


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


# Once over all processes.


def test_of_two_processes_one_raises_it(tmp_path):
    """An alert that two processes of a store come to at the same time is raised by one of them."""
    budget, given = day_budget(forecast=False), []
    for _ in range(2):
        keeper = Keeper([budget], tmp_path / "budgets", guard=Guard())
        sender = Sender(channels("alert_to", given.append), guard=Guard(), service="shop", outbox=keeper.outbox)
        Watched(budget, sender=sender).call(None)
        sender.close()
        keeper.close()

    assert [alert.kind for alert in given] == ["unpriced"]


def test_a_store_at_fault_keeps_no_alert_back():
    """Where the store cannot be asked, this process raises the alert once by itself, and its fault is counted."""

    class Broken:
        def raise_alert(self, alert, *, mark):
            raise OSError("the disk is full")

    given, guard = [], Guard()
    sender = Sender(channels("alert_to", given.append), guard=guard, service="shop", outbox=Broken())
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


# Sentences.


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        ("8", "$8.00"),
        ("1234567.895", "$1,234,567.90"),
        ("0", "$0.00"),
        ("0.01", "$0.01"),
        ("0.00123456", "$0.0012"),
        ("0.000000000001", "$0.000000000001"),
        ("1E+15", "$1,000,000,000,000,000.00"),
    ],
)
def test_money_is_readable(usd, text):
    """Dollars have cents, less than a cent has two digits, whatever precision the application has set."""
    with localcontext() as context:
        context.prec = 3
        assert _sentences.money(Decimal(usd)) == text


def test_a_threshold_says_what_happens():
    """A threshold's sentence tells what was spent of what, for whom, until when, and what to do."""
    end = datetime(2026, 12, 1, tzinfo=UTC)
    spent = {"spent_usd": Decimal(8), "calls": 90, "end": end}
    each = Budget("users", usd=10, max_calls=100, tags={"user": "*"})
    blocking = Budget("all", usd=8, on_exceeded="block")

    assert [
        _sentences.threshold(each, "u\n1", share=0.8, **spent),
        _sentences.threshold(blocking, None, share=1.0, **spent),
        _sentences.threshold(Budget("all", usd=8), None, share=1.0, **spent),
    ] == [
        (
            'Budget "users" of user "u 1" has reached 80 %, $8.00 of $10.00 and 90 of 100 calls until 2026-12-01 00:00 '
            "UTC: look at what is spending, or raise its limit."
        ),
        (
            'Budget "all" has reached 100 %, $8.00 of $8.00 until 2026-12-01 00:00 UTC: further calls are stopped: '
            "raise its limit, or wait."
        ),
        (
            'Budget "all" has reached 100 %, $8.00 of $8.00 until 2026-12-01 00:00 UTC: calls go on: make it '
            'on_exceeded="block" to stop them, or raise its limit.'
        ),
    ]


@pytest.mark.parametrize(("per", "hours"), [("rolling:24h", 24), ("rolling:6h", 6), ("day", 24), ("hour", 1)])
def test_what_is_told_once_in_a_window_is_told_again_after_its_length(per, hours):
    """Unpriced and unbounded calls are told of once in each span of the window's length, rolling or not."""
    watched = Watched(Budget("b", usd=10, per=per, forecast=False))
    for _ in range(4 * hours * 2):
        watched.rules.note_unbounded(watched.rules._budgets[0], "", "a URL source")
        watched.call(None, after_s=1800)

    assert sorted(watched.kinds) == ["unbounded"] * 5 + ["unpriced"] * 5
