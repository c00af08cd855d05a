"""Streams whose events say different things of what was used."""

from __future__ import annotations

import pytest

import claudetrace
from claudetrace._demo import _wire

from ._asked import ASK, told
from ._ledgers import run

OPUS = {"input": 4_000_000, "read": 200_000, "5m": 5_000_000, "1h": 8_000_000, "output": 20_000_000}
"""Picodollars a token of claude-opus-5-5."""
SEARCH = 10**10
FLAGGED = ("contradictory_usage",)
WRITTEN_5M = _wire.usage(10, 1, write_5m=20_000)
WRITTEN_1H = _wire.usage(10, 1, write_1h=20_000)
PLAIN = _wire.usage(3_602, 1)
FAST = {**PLAIN, "speed": "fast"}
GROWING = _wire.usage(10, 1, write_1h=500)


def picousd(**tokens: int) -> int:
    """What so many tokens of each class cost."""
    return sum(OPUS[name.removeprefix("w")] * count for name, count in tokens.items())


def events(start, *deltas):
    """A stream whose events tell these usages."""
    first, *rest = _wire.stream_events(_wire.message("Hello.", start, model=ASK["model"]))
    last = rest[-2]
    begun = {**first, "message": {**first["message"], "usage": start}}
    return [begun, *rest[:-2], *({**last, "usage": delta} for delta in deltas), rest[-1]]


def counts(read=None, written=None, input_tokens=10, **more):
    """A usage as `message_delta` tells it."""
    named = {"input_tokens": input_tokens, "cache_read_input_tokens": read, "cache_creation_input_tokens": written}
    return {**named, "output_tokens": 37, **more}


@pytest.fixture(autouse=True)
def meter(start):
    return start()


MOVED = picousd(input=10, read=20_000, output=37)
KEPT_5M = picousd(input=10, w5m=20_000, output=37)
KEPT_1H = picousd(input=10, w1h=20_000, output=37)


@pytest.mark.parametrize(
    ("first", "deltas", "cost", "flags"),
    [
        # The tokens were read after all: the split goes with its total.
        (WRITTEN_5M, [counts(20_000, 0)], MOVED, FLAGGED),
        (WRITTEN_1H, [counts(20_000, 0)], MOVED, FLAGGED),
        (WRITTEN_1H, [counts(20_000, 0, cache_creation={"ephemeral_5m_input_tokens": 0})], MOVED, FLAGGED),
        (WRITTEN_1H, [counts(20_000, 0), counts(20_000, 0)], MOVED, FLAGGED),
        (WRITTEN_1H, [counts(20_000, None)], MOVED, FLAGGED),
        (WRITTEN_5M, [counts(19_990, 0, 12)], picousd(input=12, read=19_990, output=37), FLAGGED),
        (WRITTEN_1H, [counts(15_000, 5_000)], picousd(input=10, read=15_000, w5m=5_000, output=37), FLAGGED),
        (WRITTEN_5M, [counts(0, 0, 20_010)], picousd(input=20_010, output=37), FLAGGED),
        (_wire.usage(10, 1, cache_read=20_000), [counts(0, 20_000)], KEPT_5M, FLAGGED),
        # A later split that tells only where the tokens went.
        (WRITTEN_5M, [counts(0, 20_000, cache_creation={"ephemeral_1h_input_tokens": 20_000})], KEPT_1H, FLAGGED),
        # A lone zero says nothing.
        (PLAIN, [counts(0, 0, 0)], picousd(input=3_602, output=37), FLAGGED),
        (WRITTEN_1H, [counts(0, 0)], KEPT_1H, FLAGGED),
        (WRITTEN_1H, [counts(0, 0, 11)], KEPT_1H + OPUS["input"], FLAGGED),
        (WRITTEN_1H, [counts(cache_creation={"ephemeral_1h_input_tokens": 0})], KEPT_1H, FLAGGED),
        (_wire.usage(10, 1, cache_read=20_000), [counts(0, 0)], MOVED, FLAGGED),
        (_wire.usage(10, 37), [counts(output_tokens=0)], picousd(input=10, output=37), FLAGGED),
        (WRITTEN_5M, [counts(0, 0, 0), counts(0, 20_000)], KEPT_5M, FLAGGED),
        # Nor does what cannot be read.
        (PLAIN, [counts(0, 0, -1)], picousd(input=3_602, output=37), FLAGGED),
        (PLAIN, [counts(0, 0, "many")], picousd(input=3_602, output=37), FLAGGED),
        # Sums that grow, and the split that comes with the start alone, are the API's way.
        (GROWING, [counts(700, 900, 60)], picousd(input=60, read=700, w5m=400, w1h=500, output=37), ()),
        (_wire.usage(0, 0), [counts(0, 0, 3_602)], picousd(input=3_602, output=37), ()),
        (WRITTEN_1H, [{"output_tokens": 20}, {"output_tokens": 37}], KEPT_1H, ()),
        (WRITTEN_1H, [counts(None, None, None)], KEPT_1H, ()),
        # Words, too, can contradict each other.
        (FAST, [counts(speed="standard", input_tokens=3_602)], picousd(input=3_602, output=37), FLAGGED),
    ],
)  # fmt: skip
def test_no_token_of_a_stream_is_billed_twice_or_lost(client, server, ledger, first, deltas, cost, flags):
    """Whatever the events of a stream say, each token is billed once, and what contradicts itself is flagged."""
    told(client, server, events(first, *deltas))
    (call,) = ledger()

    assert (call.cost_picousd, call.cost_flags) == (cost, flags)


ADVISOR = {"type": "advisor_message", "model": "claude-opus-5", "input_tokens": 1_000, "output_tokens": 10}
LONGER = {**ADVISOR, "output_tokens": 30}
COMPACTION = {"type": "compaction", "input_tokens": 500, "output_tokens": 20, "cache_read_input_tokens": 9_000}
ANSWER = {"type": "message", "input_tokens": 10, "output_tokens": 37}
SEARCHED = {**PLAIN, "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0}}
ADVISED = {**PLAIN, "iterations": [ADVISOR]}
ADVICE = 1_000 * 5_000_000 + 10 * 25_000_000
ASKED = picousd(input=3_602, output=37)


@pytest.mark.parametrize(
    ("first", "delta", "cost", "flags"),
    [
        (SEARCHED, counts(0, 0, 3_602, server_tool_use=None), ASKED + 2 * SEARCH, ()),
        (SEARCHED, counts(0, 0, 3_602, server_tool_use={}), ASKED + 2 * SEARCH, ()),
        (SEARCHED, counts(0, 0, 3_602, server_tool_use={"web_fetch_requests": 1}), ASKED + 2 * SEARCH, ()),
        (SEARCHED, counts(0, 0, 3_602, server_tool_use={"web_search_requests": 0}), ASKED + 2 * SEARCH, FLAGGED),
        (SEARCHED, counts(0, 0, 3_602, server_tool_use={"web_search_requests": 3}), ASKED + 3 * SEARCH, ()),
        (ADVISED, counts(0, 0, 3_602, iterations=None), ASKED + ADVICE, ()),
        (ADVISED, counts(0, 0, 3_602, iterations=[]), ASKED + ADVICE, ()),
        (ADVISED, counts(0, 0, 3_602, iterations=[ANSWER]), ASKED + ADVICE, ()),
        (ADVISED, counts(0, 0, 3_602, iterations=[{**ADVISOR, "output_tokens": None}, ANSWER]), ASKED + ADVICE, ()),
        (ADVISED, counts(0, 0, 3_602, iterations=[LONGER]), ASKED + ADVICE + 20 * 25_000_000, ()),
        (ADVISED, counts(0, 0, 3_602, iterations=[ADVISOR, ADVISOR]), ASKED + 2 * ADVICE, ()),
    ],
)  # fmt: skip
def test_what_an_earlier_event_said_in_an_object_stays(client, server, ledger, first, delta, cost, flags):
    """Searches and iterations that a later event leaves out, or tells in part, are billed, each once."""
    told(client, server, events(first, delta))
    (call,) = ledger()

    assert (call.cost_picousd, call.cost_flags) == (cost, flags)


def test_the_counts_after_a_compaction_are_those_of_the_answer(client, server, ledger):
    """A stream that begins with a compaction tells that prompt first: no contradiction, and each is billed once."""
    first = _wire.usage(500, 1, cache_read=9_000)
    told(client, server, events(first, counts(0, 0, iterations=[COMPACTION, ANSWER])))
    (call,) = ledger()

    assert (call.cost_picousd, call.cost_flags) == (
        picousd(input=10, output=37) + picousd(input=500, read=9_000, output=20),
        (),
    )


@pytest.mark.parametrize("split", ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"])
def test_price_of_the_message_is_what_the_ledger_has(client, server, ledger, split):
    """The SDK's sum keeps the split of the start beside a total of zero: `price()` bills its tokens once as well."""
    first = {**counts(0, 20_000), "cache_creation": {split: 20_000}}
    message = told(client, server, events(first, counts(20_000, 0)))
    (call,) = ledger()
    cost = claudetrace.price(message)

    assert (int(cost.usd.scaleb(12)), cost.flags) == (call.cost_picousd, call.cost_flags) == (MOVED, FLAGGED)


def test_within_one_object_the_split_is_believed(client, server, ledger):
    """A total of zero beside a split of other tokens is the total's fault: the split is billed, and flagged."""
    usage = {**counts(700, 0), "cache_creation": {"ephemeral_1h_input_tokens": 20_000}}
    told(client, server, events(usage, counts(700, 0)))
    (call,) = ledger()

    assert (call.cost_picousd, call.cost_flags) == (picousd(input=10, read=700, w1h=20_000, output=37), FLAGGED)


def test_a_contradiction_outlives_a_repricing(client, server, ledger, db):
    """Span, row and repriced row agree: the row's own terms keep that its stream contradicted itself."""
    told(client, server, events(PLAIN, counts(0, 0, 0)))
    before = ledger()
    run("reprice", "--all", "--yes", "--db", db)

    assert before[0].pricing_terms == {"platform": "anthropic", "contradictory": True}
    assert [(call.cost_picousd, call.cost_flags) for call in ledger()] == [(ASKED, FLAGGED)]
