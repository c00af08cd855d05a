"""Counts that are none, usage without any, and counts of what nobody knows."""

from __future__ import annotations

import pytest

import claudetrace
from claudetrace._demo import _answers, _wire

from ._asked import ASK, created, told
from ._ledgers import faults

PLAIN = {"input_tokens": 1_000, "output_tokens": 10}
COST = 1_000 * 4_000_000 + 10 * 20_000_000
UNPRICED = ("unpriced_component",)


def both(client, server, ledger, usage, **more):
    """Cost and flags as the ledger and as `price()` tell them, which agree."""
    whole = _wire.message("Hello.", usage, **{"model": ASK["model"], **more})
    created(client, server, whole)
    (call,), cost = ledger(), claudetrace.price(whole)
    assert (call.cost_usd, call.cost_flags) == (cost.usd, cost.flags)
    return call.cost_picousd, call.cost_flags


@pytest.fixture(autouse=True)
def meter(start):
    return start()


@pytest.mark.parametrize("count", [1000.0, "1000", " 1000.0", "1e3"])
def test_a_whole_count_is_read_however_it_is_written(client, server, ledger, count):
    """A float or text that is a whole number is that number, in the columns, the cost and the prompt's size."""
    assert both(client, server, ledger, {**PLAIN, "input_tokens": count}) == (COST, ())
    assert ledger()[0].input_tokens == 1_000


@pytest.mark.parametrize(
    "count", [-5, 1.5, "many", "", "NaN", True, [7], {"value": 7}, 2**63, 2**64, "1e99", "9" * 5_000]
)
@pytest.mark.parametrize(
    ("place", "known"),
    [
        (lambda count: {**PLAIN, "input_tokens": count}, COST - 1_000 * 4_000_000),
        (lambda count: {**PLAIN, "cache_read_input_tokens": count}, COST),
        (lambda count: {**PLAIN, "server_tool_use": {"web_search_requests": count}}, COST),
        (lambda count: {**PLAIN, "iterations": [{"type": "compaction", "input_tokens": count}]}, COST),
    ],
)
def test_a_count_that_is_none_is_flagged(count, place, known):
    """What is negative, broken, too large or no number adds nothing to the cost, and the cost says so."""
    cost = claudetrace.price(_wire.message("Hello.", place(count), model=ASK["model"]))

    assert (int(cost.usd.scaleb(12)), cost.flags) == (known, UNPRICED)


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"service_tier": "standard"},
        {"cache_read_input_tokens": 0, "cache_creation": {"ephemeral_5m_input_tokens": 0}},
        {"input_tokens": 0},
        {"output_tokens": None, "iterations": []},
        {"server_tool_use": {"web_search_requests": 0}},
    ],
)
def test_a_usage_without_any_count_has_no_price(client, server, ledger, usage):
    """A usage object that counts nothing is no free call: its cost is unknown, for the want of usage."""
    assert both(client, server, ledger, usage) == (None, ("no_usage",))


def test_a_usage_of_zeros_costs_nothing(client, server, ledger):
    """Where the API counts no input and no output, that is what it has counted."""
    assert both(client, server, ledger, {"input_tokens": 0, "output_tokens": 0}) == (0, ())


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"audio_input_tokens": 500}, (COST, UNPRICED)),
        ({"audio_input_tokens": "500"}, (COST, UNPRICED)),
        ({"audio": {"input_tokens": 500}}, (COST, UNPRICED)),
        ({"audio_input_tokens": 1.5}, (COST, UNPRICED)),
        ({"audio_input_tokens": 2**63}, (COST, UNPRICED)),
        ({"audio_input_tokens": "many"}, (COST, UNPRICED)),
        ({"image_generation_requests": 1}, (COST, UNPRICED)),
        ({"server_tool_use": {"image_generation": 3}}, (COST, UNPRICED)),
        ({"server_tool_use": {"image_generation": {"done": 3, "size": "large"}}}, (COST, UNPRICED)),
        ({"cache_creation": {"permanent": 9}}, (COST, UNPRICED)),
        ({"output_tokens_details": {"audio": 0.5}}, (COST, UNPRICED)),
        ({"iterations": {"type": "compaction", "input_tokens": 9}}, (COST, UNPRICED)),
        ({"server_tool_use": {"image_generation": 0, "enabled": True, "region": "eu"}}, (COST, ())),
        ({"server_tool_use": {"image_generation_requests": 3}}, (COST, UNPRICED)),
        ({"server_tool_use": {"browser": {"minutes": 3}}}, (COST, UNPRICED)),
        ({"cache_creation": {"ephemeral_24h_input_tokens": 9}}, (COST, UNPRICED)),
        ({"output_tokens_details": {"audio_tokens": 9}}, (COST, UNPRICED)),
        ({"iterations": [{"type": "advisor_message", "model": "claude-opus-5", **PLAIN, "video_tokens": 2}]},
         (COST + 1_000 * 5_000_000 + 10 * 25_000_000, UNPRICED)),
        ({"audio_input_tokens": 0, "server_tool_use": {"image_generation_requests": 0}}, (COST, ())),
        ({"server_tool_use": {"web_fetch_requests": 4}, "output_tokens_details": {"thinking_tokens": 9}}, (COST, ())),
        ({"total_tokens": 1_010, "cost": 0.2, "is_byok": True, "request_number": 7}, (COST, ())),
        ({"output_tokens_details": {"thinking_tokens": 11}}, (COST, ("contradictory_usage",))),
        ({"speed": "turbo"}, (None, ("unknown_model", "unpriced_component"))),
        ({"speed": 2}, (None, ("unknown_model", "unpriced_component"))),
        ({"service_tier": 2}, (COST, UNPRICED)),
        ({"speed": "", "service_tier": ""}, (COST, ())),
    ],
)  # fmt: skip
def test_what_nobody_knows_is_flagged(client, server, ledger, usage, expected):
    """A new class of tokens, tool of the server's or speed is told; what is known, or counts nothing, is not."""
    assert both(client, server, ledger, {**PLAIN, **usage}) == expected


@pytest.mark.parametrize("count", [10**15 + 1, 2**62, 2**63 - 1])
def test_a_count_that_no_sum_can_hold_costs_no_row(client, server, ledger, db, count):
    """A response with such a count has its row, without the count and without a price; its usage says it."""
    created(client, server, _wire.message("Hello.", {**PLAIN, "output_tokens": count}, model=ASK["model"]))
    (call,) = ledger()

    assert (call.cost_picousd, call.cost_flags, call.input_tokens, call.output_tokens) == (None, UNPRICED, 1_000, None)
    assert (call.usage["output_tokens"], faults(db)) == (count, [])


@pytest.mark.parametrize("count", [150_000, 150_000.0, "150000"])
def test_own_rates_see_the_same_counts(start, client, server, ledger, count):
    """A discount is taken off the rates of the prompt's size, however its counts are written."""
    start(rates={"discount": 0.5})
    usage = {"input_tokens": 10, "cache_read_input_tokens": count, "output_tokens": 10}
    server.add(_answers.answer(_wire.message("Hello.", usage, model="claude-haiku-5-5")))
    client.messages.create(**ASK | {"model": "claude-haiku-5-5"})
    (call,) = ledger()
    listed = claudetrace.price(_wire.message("Hello.", {**usage, "cache_read_input_tokens": 150_000}, model=call.model))
    short = claudetrace.price(_wire.message("Hello.", {**usage, "cache_read_input_tokens": 0}, model=call.model))

    assert (2 * call.cost_usd, call.cost_flags) == (listed.usd, ("custom_rates",))
    assert listed.parts[0].rate_picousd == 5 * short.parts[0].rate_picousd


@pytest.mark.parametrize(
    "usage",
    [
        {"service_tier": "standard"},
        {"cache_read_input_tokens": 0},
        {"input_tokens": -7, "output_tokens": 1},
        {"output_tokens": 1},
    ],
)
@pytest.mark.parametrize("per", ["day", "run"])
def test_a_cap_holds_where_usage_cannot_be_read(start, client, server, ledger, usage, per):
    """A call whose usage does not tell its tokens costs a blocking budget what was set aside for it."""
    server.add(_answers.answer(_wire.message("Hello.", usage, model=ASK["model"]), times=None))
    budget = claudetrace.Budget("cap", usd=0.05, per=per, on_exceeded="block")
    start(budgets=() if per == "run" else (budget,))
    stopped = 0
    if per == "run":
        with budget:
            stopped = _stopped(client)
    else:
        stopped = _stopped(client, ledger)

    assert stopped > 20


def _stopped(client, ledger=lambda: None):
    """How many of 40 calls, each of which may cost a quarter of the cap, a budget stops."""
    stopped = 0
    for _ in range(40):
        try:
            client.messages.create(**ASK | {"max_tokens": 600})
        except claudetrace.BudgetExceeded:
            stopped += 1
        else:
            ledger()
    return stopped


def test_a_stream_of_text_counts_is_merged_like_numbers(client, server, ledger):
    """Running totals in text and floats: the last one holds, and a lone zero does not."""
    first, *rest = _wire.stream_events(
        _wire.message("Hello.", {"input_tokens": "1000", "output_tokens": 1.0}, model=ASK["model"])
    )
    told(
        client,
        server,
        [first, *rest[:-2], {**rest[-2], "usage": {"input_tokens": "0", "output_tokens": "10"}}, rest[-1]],
    )
    (call,) = ledger()

    assert (call.cost_picousd, call.cost_flags) == (COST, ("contradictory_usage",))
