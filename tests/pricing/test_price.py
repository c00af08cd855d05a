"""What `price` makes of messages, counts, batch results and sessions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from anthropic.types.beta import BetaManagedAgentsSession

from claudetrace._call import CostPart
from claudetrace._errors import ClaudetraceError
from claudetrace._pricing._price import price

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
THOUSAND = {"input_tokens": 1000, "output_tokens": 1000}
SESSION = {"type": "session", "model": "claude-opus-5", "usage": {**THOUSAND, "active_seconds": 90.1}}


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (SESSION, ("0.032002222222", ())),
        (
            {**SESSION, "usage": {**SESSION["usage"], "list_cost": {"amount": "71", "currency": "USD"}}},
            ("0.71", ("rounded_list_cost",)),
        ),
        (
            {**SESSION, "model": "new", "usage": {"list_cost": {"amount": "5", "currency": "USD"}}},
            ("0.05", ("rounded_list_cost",)),
        ),
        (
            {**SESSION, "usage": {**SESSION["usage"], "list_cost": {"amount": "7.1", "currency": "USD"}}},
            ("0.032002222222", ()),
        ),
        ({**SESSION, "usage": THOUSAND}, ("0.03", ("unpriced_component",))),
        ({**SESSION, "model": "new"}, (None, ("unknown_model",))),
        (
            {**SESSION, "model": None, "agent": {"model": {"id": "claude-opus-5", "speed": "fast"}}},
            ("0.062002222222", ()),
        ),
        (
            {
                **SESSION,
                "model": "claude-haiku-5-5",
                "usage": {"input_tokens": 10**6, "output_tokens": 0, "active_seconds": 0},
            },
            ("0.1", ("unpriced_component",)),
        ),
    ],
)
def test_a_session_costs_its_tokens_and_its_running_time(session, expected):
    """A session's own list cost is used where it has one; else tokens at model rates, searches and hours."""
    cost = price(session, at=AT)

    assert (cost.usd, cost.flags) == (None if expected[0] is None else Decimal(expected[0]), expected[1])


def test_running_time_is_a_line_of_its_own():
    """The hour's price is kept as an exact fraction of a nanosecond."""
    part = price(SESSION, at=AT).parts[-1]

    assert part == CostPart(
        name="running_ns", model=None, quantity=90_100_000_000, rate_picousd=Fraction(200, 9_000), picousd=2002222222
    )


def test_an_sdk_session_is_priced():
    """A session as the SDK types it costs what its dict does."""
    body = {"agent": {"model": {"id": "claude-opus-5"}}, "type": "session", "usage": SESSION["usage"]}

    assert price(BetaManagedAgentsSession.construct(**body), at=AT) == price(SESSION, at=AT)


@pytest.mark.parametrize(
    ("subject", "batch", "expected"),
    [
        ({"input_tokens": 2095}, False, (Decimal(0), ())),
        ({"custom_id": "a", "result": {"type": "errored", "error": {}}}, False, (Decimal(0), ("no_usage",))),
        (
            {"result": {"type": "succeeded", "message": {"model": "claude-opus-5-5", "usage": THOUSAND}}},
            False,
            (Decimal("0.012"), ()),
        ),
        ({"model": "claude-opus-5-5", "usage": None}, True, (Decimal(0), ("no_usage",))),
        ({"model": "claude-opus-5-5", "usage": None}, False, (None, ("no_usage",))),
        ("a message", False, (None, ("no_usage",))),
        (None, False, (None, ("no_usage",))),
    ],
)
def test_price_knows_what_it_is_given(subject, batch, expected):
    """A count is free, an item of a batch without a message too; what has no usage has no price."""
    cost = price(subject, at=AT, batch=batch)

    assert (cost.usd, cost.flags) == expected


RESULT = {"type": "bash_code_execution_tool_result"}


@pytest.mark.parametrize(
    ("content", "flags"),
    [
        ([RESULT], ("unpriced_component",)),
        (
            [RESULT, {"type": "server_tool_use", "name": "web_search", "caller": {"type": "direct"}}],
            ("unpriced_component",),
        ),
        (
            [RESULT, {"type": "server_tool_use", "name": "web_search", "caller": {"type": "code_execution_20260120"}}],
            (),
        ),
        ([{"type": "text"}, 7], ()),
    ],
)
def test_executed_code_is_flagged_unless_a_web_tool_ran_in_it(content, flags):
    """Container time is nowhere in a response, and free where a web tool is called from code."""
    message = {"model": "claude-opus-5-5", "usage": THOUSAND, "content": content, "stop_reason": "end_turn"}

    assert price(message, at=AT).flags == flags


@pytest.mark.parametrize(
    ("at", "usd"),
    [
        (datetime(2026, 10, 6, 23, 59, tzinfo=UTC), "0.2"),
        (datetime(2026, 10, 7, tzinfo=UTC), "0.1"),
        (datetime(2026, 10, 6, 20, tzinfo=timezone(timedelta(hours=-7))), "0.1"),
        (datetime(2026, 10, 7), "0.1"),
        (date(2026, 10, 6), "0.2"),
    ],
)
def test_a_price_changes_at_midnight_utc(at, usd):
    """The rates of a day are those of its UTC date."""
    usage = {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 10**6}

    assert price({"model": "claude-sonnet-5-5", "usage": usage}, at=at).usd == Decimal(usd)


@pytest.mark.parametrize(
    ("keyword", "word", "right"),
    [
        ("platform", "bedrok", '"anthropic" or "bedrock" or "vertex" or "foundry" or "aws" or "google_cloud"'),
        ("endpoint_scope", "Global", '"global" or "regional" or "us-gov"'),
        ("data_zone", "eu", '"us"'),
        ("billed_to", "", '"user_profile"'),
    ],
)
def test_a_wrong_word_is_refused_with_the_right_ones(keyword, word, right):
    """A misspelled keyword of `price` raises, naming it, what was given and what it takes."""
    with pytest.raises(ClaudetraceError) as refusal:
        price({"model": "claude-opus-5-5", "usage": THOUSAND}, **{keyword: word})

    assert str(refusal.value) == f"{keyword} cannot be {word!r}: it is {right}, or left out"
