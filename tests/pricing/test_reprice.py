"""`claudetrace reprice`: rows are priced again from themselves, and the rollups with them."""

from __future__ import annotations

import json
from decimal import Decimal

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers as answers
from claudetrace._demo import _wire as wire

from ._ledgers import as_an_older_version_wrote, faults, prices_of, rows_of, run, unpriced_row, write

ASK = {"model": wire.MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello?"}]}
USAGE = {"input_tokens": 1000, "output_tokens": 500}
USAGE_PICOUSD = 1000 * 4_000_000 + 500 * 20_000_000
FALLEN_BACK = wire.usage(
    1000,
    50,
    iterations=[
        {"type": "message", "model": "claude-opus-5-5", "input_tokens": 1000, "output_tokens": 7},
        {"type": "fallback_message", "model": wire.MODEL, "input_tokens": 1000, "output_tokens": 50},
        {"type": "compaction", "input_tokens": 5000, "output_tokens": 300},
        {"type": "advisor_message", "model": "claude-fable-5-2", "input_tokens": 40, "output_tokens": 9},
    ],
)


def call_in_many_ways(server, client) -> None:
    """Calls that are priced by each kind of rule, and some that are not priced by usage at all."""
    cached = wire.usage(10, 20, cache_read=4000, write_5m=300, write_1h=200, inference_geo="us")
    searched = wire.usage(10, 20, server_tool_use={"web_search_requests": 2})
    for counts in (cached, searched, FALLEN_BACK, wire.usage(3, 4, service_tier="priority")):
        server.add(answers.answer(wire.message("Hello.", counts)))
        client.messages.create(**ASK)
    server.add(answers.answer(wire.message([], wire.usage(9, 0), stop_reason="refusal")))
    client.messages.create(**ASK)
    server.add(answers.stream(wire.message("Hello, and a long way round.", wire.usage(30, 40)), pieces=20))
    with client.messages.create(**ASK, stream=True) as cut:
        next(iter(cut))
    server.add(answers.failure(400, "invalid_request_error"))
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**ASK)
    server.add(answers.answer({"input_tokens": 77}, path="/v1/messages/count_tokens"))
    client.messages.count_tokens(model=wire.MODEL, messages=ASK["messages"])
    server.add(answers.answer(wire.message("Hi.", wire.usage(5, 5), model="claude-unheard-of-9")))
    client.messages.create(**ASK)


def test_a_row_repriced_is_the_row_as_it_was_recorded(server, client, start, db, tmp_path):
    """Rows that lost their price get it back to the last column, by their own rates, and no other row changes."""
    start(rates={"discount": "0.1", "models": {"claude-opus-5-5": {"discount": "0.25"}}}, tags={"team": "a"})
    with claudetrace.tag(feature="f", user="u"):
        call_in_many_ways(server, client)
    claudetrace.uninstrument()
    older = as_an_older_version_wrote(db, tmp_path / "older.db")

    result = run("reprice", "--yes", "--db", older)

    assert result.exit_code == 0, result.output
    assert _without_version(older) == _without_version(db)
    assert faults(older) == []


def _without_version(db):
    rows = rows_of(db)
    # A model that nobody knows stays unpriced, so its row keeps the version of the rates that said so.
    return [{**row, "rates_version": row["rates_version"] if row["cost_picousd"] is not None else None} for row in rows]


def test_prices_as_recorded_do_not_change(server, client, start, db):
    """Pricing all rows again right after they were recorded changes none of them."""
    start()
    call_in_many_ways(server, client)
    claudetrace.uninstrument()
    before = rows_of(db)

    result = run("reprice", "--all", "--yes", "--db", db)

    assert "no price changes" in result.output
    assert rows_of(db) == before


def test_a_flag_of_the_call_stays(server, client, start, db, tmp_path):
    """That an abandoned attempt may be billed too is told after repricing as well."""
    start()
    server.add(answers.answer(delay_s=0.8), answers.answer())
    client.with_options(timeout=0.2, max_retries=1).messages.create(**ASK)
    claudetrace.uninstrument()
    older = as_an_older_version_wrote(db, tmp_path / "older.db")

    run("reprice", "--yes", "--db", older)

    (recorded,) = prices_of(db)
    assert recorded[1] == '["retried_after_timeout"]'
    assert prices_of(older) == [recorded]


def test_only_unpriced_rows_are_priced_unless_all_are_asked_for(db):
    """A wrong price stays without --all, and is put right with it."""
    wrong = {"cost_picousd": 1, "cost_parts": None, "cost_flags": "[]"}
    write(db, [unpriced_row(USAGE), unpriced_row(USAGE, **wrong)])

    run("reprice", "--yes", "--db", db)
    assert prices_of(db) == [(USAGE_PICOUSD, "[]"), (1, "[]")]

    run("reprice", "--yes", "--all", "--db", db)
    assert prices_of(db) == [(USAGE_PICOUSD, "[]")] * 2
    assert faults(db) == []


def test_a_price_that_lacks_a_part_counts_as_unpriced(db):
    """A row whose advisor's model was not known gets that part without --all."""
    usage = {**USAGE, "iterations": [{"type": "advisor_message", "model": "claude-fable-5-2", "output_tokens": 10}]}
    part = {"name": "x", "model": None, "quantity": 1, "rate_picousd": 5, "picousd": 5}
    known = {"cost_picousd": 5, "cost_parts": json.dumps([part])}
    write(db, [unpriced_row(usage, **known, cost_flags='["unknown_model","unpriced_component"]')])

    run("reprice", "--yes", "--db", db)

    assert prices_of(db) == [(USAGE_PICOUSD + 10 * 40_000_000, "[]")]


def test_since_leaves_older_rows(db):
    """Rows from before --since stay as they are."""
    write(db, [unpriced_row(USAGE, started_at="2026-11-01T00:00:00.000Z"), unpriced_row(USAGE)])

    run("reprice", "--yes", "--since", "2026-11-10", "--db", db)

    assert [cost for cost, _ in prices_of(db)] == [None, USAGE_PICOUSD]


def test_it_shows_what_would_change_and_changes_nothing(db):
    """--dry-run tells rows, old and new totals by model, and leaves the ledger as it is."""
    write(db, [unpriced_row(USAGE), unpriced_row(USAGE), unpriced_row(USAGE, model="claude-unheard-of-9")])
    before = rows_of(db)

    result = run("reprice", "--dry-run", "--db", db)

    assert result.exit_code == 0
    words = [line.split() for line in result.output.splitlines()]
    assert ["claude-opus-5-5", "2", "2", "2", "0", "$0.0000", "$0.0280", "$0.0280"] in words
    assert ["total", "3", "2", "3", "1", "$0.0000", "$0.0280", "$0.0280"] in words
    assert "1 call would still have no known price" in result.output
    assert rows_of(db) == before


def test_where_nobody_can_be_asked_it_needs_yes(db):
    """Without a terminal and without --yes it shows the plan, changes nothing and ends with 2."""
    write(db, [unpriced_row(USAGE)])

    result = run("reprice", "--db", db)

    assert result.exit_code == 2
    assert "--yes" in result.output
    assert "claude-opus-5-5" in result.output
    assert prices_of(db) == [(None, '["unknown_model"]')]


def test_a_result_is_priced_by_the_day_of_its_batch(db):
    """A batch's result has the rates of the day when the batch was created, also once that row is pruned."""
    model = {"model": "claude-sonnet-5-5", "model_requested": None, "batch_id": "b1"}
    created = unpriced_row(
        {}, **{**model, "model": None}, operation="messages.batches.create", started_at="2026-10-06T23:00:00.000Z"
    )
    created |= {"cost_picousd": 0, "cost_parts": "[]", "cost_flags": "[]"}
    del created["usage"]
    result = unpriced_row(
        {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 1_000_000},
        **model,
        operation="messages.batches.result",
        custom_id="c",
        started_at="2026-10-08T01:00:00.000Z",
        pricing_terms='{"platform":"anthropic","batch":true}',
    )
    write(db, [created, result])
    old_read_picousd = 100_000_000_000

    run("reprice", "--yes", "--db", db)
    assert prices_of(db)[1] == (old_read_picousd, "[]")

    run("prune", "--yes", "--before", "2026-10-08", "--db", db)
    run("reprice", "--all", "--yes", "--db", db)
    assert prices_of(db) == [(old_read_picousd, "[]")]
    assert faults(db) == []


def test_values_beyond_the_limit_stay_among_the_others(db):
    """Rollups equal the calls where a day has more than 1,000 values of a tag, and no value is counted anew."""
    write(db, [unpriced_row(USAGE, user_id=f"u{number}", tags='{"team":"a"}') for number in range(1_010)])
    named = claudetrace.Ledger(db).spend(by="user", since=None)

    run("reprice", "--yes", "--db", db)

    priced = claudetrace.Ledger(db).spend(by="user", since=None)
    assert faults(db) == []
    assert {row.key for row in priced} == {row.key for row in named}
    (others,) = [row for row in priced if row.key == "(other)"]
    assert (others.responses, others.spend_picousd, others.unpriced_calls) == (10, 10 * USAGE_PICOUSD, 0)


def test_fifty_million_dollars_are_exact(db):
    """Rows of 400,000 dollars each, more than 64 bits of picodollars in sum, come out to the picodollar."""
    usage = {"input_tokens": 1, "output_tokens": 20_000_000_000}
    write(db, [unpriced_row(usage, tags='{"team":"a"}') for _ in range(130)])

    result = run("reprice", "--yes", "--db", db)

    assert "$52,000,000.00" in result.output
    (total,) = claudetrace.Ledger(db).spend(by=None, since=None)
    assert total.cost_usd == 130 * (Decimal(400000) + Decimal("0.000004"))
    assert faults(db) == []


def test_another_organizations_bill_stays_out_of_the_totals(db):
    """A row that another organization pays gets its cost, and adds nothing to the spend."""
    terms = '{"platform":"anthropic","billed_to":"user_profile"}'
    write(db, [unpriced_row(USAGE, pricing_terms=terms)])

    run("reprice", "--yes", "--db", db)

    (total,) = claudetrace.Ledger(db).spend(by=None, since=None)
    assert prices_of(db) == [(USAGE_PICOUSD, '["billed_to_user_profile"]')]
    assert (total.spend_picousd, total.unpriced_calls) == (0, 0)
    assert faults(db) == []


def test_a_ledger_that_is_not_there_is_wrong_usage(tmp_path):
    """A path without a ledger ends with 2 and makes no file."""
    result = run("reprice", "--db", tmp_path / "none.db")

    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []
