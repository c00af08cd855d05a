"""Which sessions are a runaway loop, and which are not."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from tests.alerts._watched import Watched


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
    assert str(alert.command).startswith("claudetrace find 4bf92f3577b34da6")


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
