"""`claudetrace report --at-model`, `--batch` and `--no-cache`: what calls cost, and would have cost."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

import claudetrace
from claudetrace._demo import _answers as answers
from claudetrace._demo import _wire as wire

from ._ledgers import run, unpriced_row, write

ASK = {"model": wire.MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello?"}]}
COUNTS = wire.usage(1000, 200, cache_read=40_000, write_5m=500, write_1h=300)
PLAIN = wire.message("Hello.", COUNTS)
UNCACHED = wire.message("Hello.", wire.usage(41_800, 200))
TURN = {"type": "message", "input_tokens": 500, "output_tokens": 100}
LONG = wire.message(
    "Hello.",
    wire.usage(
        1000,
        200,
        iterations=[
            {"type": "compaction", "input_tokens": 9000, "output_tokens": 700},
            {**TURN, "model": wire.MODEL},
            {**TURN, "model": wire.MODEL},
            {"type": "advisor_message", "model": "claude-fable-5-2", "input_tokens": 40, "output_tokens": 9},
        ],
    ),
)


@pytest.fixture
def call(server, client, start):
    """Makes a call for each answer, tagged with a feature."""

    def made(*messages, **options):
        start(**options)
        for number, message in enumerate(messages):
            server.add(answers.answer(message))
            with claudetrace.tag(feature=f"f{number}", team="a"):
                client.messages.create(**ASK)
        claudetrace.uninstrument()

    return made


def what_if(db, *words) -> dict:
    result = run("report", "--json", "--since", "all", "--db", db, *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def figures(told) -> tuple[Decimal, Decimal]:
    return Decimal(told["total"]["cost_usd"]), Decimal(told["total"]["otherwise_usd"])


def usd(message, **terms) -> Decimal:
    return claudetrace.price(message, **terms).usd


def test_at_another_model(call, db):
    """The same usage at another model costs exactly what that model's answer would have, beside what it cost."""
    call(PLAIN)

    told = what_if(db, "--at-model", "claude-opus-5-5")

    assert figures(told) == (usd(PLAIN), usd({**PLAIN, "model": "claude-opus-5-5"}))
    assert Decimal(told["total"]["difference_usd"]) == usd({**PLAIN, "model": "claude-opus-5-5"}) - usd(PLAIN)
    assert told["estimate"] is True


def test_in_a_batch(call, db):
    """The same usage in a batch costs exactly what a batch's result does."""
    call(PLAIN)

    assert figures(what_if(db, "--batch")) == (usd(PLAIN), usd(PLAIN, batch=True))


def test_without_the_cache(call, db):
    """The same usage without caching costs what its whole prompt does as plain input."""
    call(PLAIN)

    assert figures(what_if(db, "--no-cache")) == (usd(PLAIN), usd(UNCACHED))


def test_all_at_once(call, db):
    """The three go together, and a cloud's regional id has its premium."""
    call(PLAIN)
    model = "us.anthropic.claude-haiku-5-5-v1:0"

    told = what_if(db, "--no-cache", "--batch", "--at-model", model)

    assert figures(told)[1] == usd({**UNCACHED, "model": model}, batch=True)


def test_iterations_are_not_counted_twice(call, db):
    """Compactions and turns go to the other model, an advisor stays with its own."""
    call(LONG)
    iterations = LONG["usage"]["iterations"]
    other = [
        {**entry, "model": "claude-opus-5-5"} if entry.get("model") == wire.MODEL else entry for entry in iterations
    ]
    expected = {**LONG, "model": "claude-opus-5-5", "usage": {**LONG["usage"], "iterations": other}}

    assert figures(what_if(db, "--at-model", "claude-opus-5-5")) == (usd(LONG), usd(expected))


@pytest.mark.parametrize("words", [["--batch"], ["--at-model", wire.MODEL]], ids=["batch", "a model without it"])
def test_what_is_never_fast_is_priced_at_standard_speed(call, db, words):
    """A fast call in a batch, or at a model without fast rates, has the standard rates."""
    fast = wire.message("Hello.", wire.usage(100, 20, speed="fast"), model="claude-opus-5-5")
    call(fast)

    model = wire.MODEL if "--at-model" in words else "claude-opus-5-5"
    standard = wire.message("Hello.", wire.usage(100, 20), model=model)
    assert figures(what_if(db, *words)) == (usd(fast), usd(standard, batch="--batch" in words))


def test_own_discounts_hold_otherwise_too(call, db):
    """A row with own prices is priced otherwise by the same own prices."""
    call(PLAIN, rates={"discount": "0.5"})

    at_list = usd({**PLAIN, "model": "claude-opus-5-5"})
    assert figures(what_if(db, "--at-model", "claude-opus-5-5")) == (usd(PLAIN) / 2, at_list / 2)


def test_unpriced_rows_are_counted_and_not_compared(call, db):
    """A row without a known cost is in neither side of the difference, and is told."""
    call(PLAIN, {**PLAIN, "model": "claude-unheard-of-9"})

    told = what_if(db, "--batch")
    text = run("report", "--batch", "--since", "all", "--db", db).output

    assert figures(told) == (usd(PLAIN), usd(PLAIN, batch=True))
    assert told["total"]["unpriced_responses"] == 1
    assert "1 of 2 responses have no known cost" in text
    assert "An estimate" in text


def test_by_any_tag_it_adds_up_to_the_report(call, db):
    """Each row of --by has the cost that the report has."""
    call(PLAIN, LONG, PLAIN)

    for by in ("model", "day", "feature", "tag:team", "operation", "stop_reason"):
        costs = {row["key"]: row["cost_usd"] for row in what_if(db, "--by", by, "--no-cache")["rows"]}
        assert costs == {row["key"]: row["cost_usd"] for row in what_if(db, "--by", by)["rows"]}


def test_what_usage_does_not_price_stays(server, client, start, db):
    """An error and a count cost nothing otherwise either."""
    start()
    server.add(answers.failure(400, "invalid_request_error"))
    with pytest.raises(Exception, match="invalid_request_error"):
        client.messages.create(**ASK)
    server.add(answers.answer({"input_tokens": 77}, path="/v1/messages/count_tokens"))
    client.messages.count_tokens(model=wire.MODEL, messages=ASK["messages"])
    claudetrace.uninstrument()

    told = what_if(db, "--at-model", "claude-opus-5-5")

    assert figures(told) == (0, 0)
    assert told["total"]["unpriced_responses"] == 0


def test_prompts_that_would_not_fit_are_told(db):
    """A prompt that is longer than the other model takes is counted."""
    write(db, [unpriced_row({"input_tokens": 300_000, "output_tokens": 1})])
    run("reprice", "--yes", "--db", db)

    result = run("report", "--at-model", "claude-haiku-4-5", "--since", "all", "--db", db)

    assert "1 prompts are longer than claude-haiku-4-5 takes" in result.output


def test_a_model_without_rates_is_wrong_usage(call, db):
    """An unknown model ends with 2 and names the nearest."""
    call(PLAIN)

    result = run("report", "--at-model", "claude-opus-5-6", "--db", db)

    assert result.exit_code == 2
    assert "claude-opus-5-5" in result.output
