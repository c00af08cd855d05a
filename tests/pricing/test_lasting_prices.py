"""A row is priced the same today and in a year."""

from __future__ import annotations

import copy
from decimal import Decimal

import claudetrace
from claudetrace._demo import _answers as answers
from claudetrace._demo import _wire as wire

from ._ledgers import faults, later_rates, rows_of, run, unpriced_row, write

ASK = {"model": wire.MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello?"}]}
COUNTS = wire.usage(1000, 200, cache_read=40_000, write_5m=500, write_1h=300)
CLASSES = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")


def next_year(data) -> None:
    """Every model that is sold costs twice as much from next year on, and a new one has come out."""
    for model in data["models"]:
        last = model["periods"][-1]
        if last["to"] is not None:
            continue
        dearer = copy.deepcopy(last)
        last["to"] = dearer["from"] = "2027-11-21"
        for prices in (dearer, dearer["batch"]):
            prices |= {name: str(2 * Decimal(prices[name])) for name in CLASSES}
        model["periods"].append(dearer)
    newest = copy.deepcopy(next(model for model in data["models"] if model["id"] == "claude-opus-5-5"))
    newest |= {"id": "claude-opus-9", "aliases": [], "bedrock_id": None, "vertex_id": None}
    newest["periods"][-1]["from"] = "2026-01-01"
    del newest["periods"][:-1]
    data["models"].append(newest)


def test_the_rates_of_next_year_change_no_row_of_today(server, client, start, db, monkeypatch, tmp_path):
    """Pricing today's rows by the rates of next year's package gives every one the price it has."""
    start()
    for message in (wire.message("Hello.", COUNTS), wire.message("Hi.", wire.usage(9, 9), model="claude-opus-5-5")):
        server.add(answers.answer(message))
        client.messages.create(**ASK)
    claudetrace.uninstrument()
    before = rows_of(db)

    with later_rates(monkeypatch, tmp_path, next_year):
        result = run("reprice", "--all", "--yes", "--db", db)
        in_a_year = claudetrace.price(wire.message("Hello.", COUNTS), at=None)

    assert "no price changes" in result.output
    assert rows_of(db) == before
    assert in_a_year.usd == claudetrace.price(wire.message("Hello.", COUNTS)).usd


def test_a_model_that_was_unknown_is_priced_by_the_version_that_knows_it(db, monkeypatch, tmp_path):
    """An unpriced row gets its price, its parts and the version of the rates once the package has the model."""
    usage = {"input_tokens": 1000, "output_tokens": 500}
    write(db, [unpriced_row(usage, model="claude-opus-9", tags='{"team":"a"}')])
    run("reprice", "--yes", "--db", db)
    (unknown,) = claudetrace.Ledger(db).calls()

    with later_rates(monkeypatch, tmp_path, next_year):
        run("reprice", "--yes", "--db", db)
        version = claudetrace.price({}).rates_version

    (known,) = claudetrace.Ledger(db).calls()
    assert (unknown.cost_usd, unknown.cost_flags) == (None, ("unknown_model",))
    # Its only period is the copy that begins in 2026 at twice the price.
    assert (known.cost_usd, known.cost_flags, known.rates_version) == (Decimal("0.028"), (), version)
    assert sum(part.picousd for part in known.cost_parts) == known.cost_picousd
    assert faults(db) == []
