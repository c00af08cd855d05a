"""Own prices: what they may say, what they change, what is refused, and their way from the settings to the row."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

import pytest

import claudetrace
from claudetrace._demo import _answers as answers
from claudetrace._demo import _wire as wire
from claudetrace._errors import ClaudetraceError
from claudetrace._pricing._engine import price_response
from claudetrace._pricing._own import load_own_rates
from claudetrace._pricing._terms import Terms
from claudetrace._usage import usage_columns

THOUSAND = {"input_tokens": 1000, "output_tokens": 1000}
PRICES = {"input": "1", "output": "2", "cache_write_5m": "3", "cache_write_1h": "4", "cache_read": "0.5"}


def dollars(
    rates: Any, model: str = "claude-opus-5-5", day: str = "2026-11-20", *, batch: bool = False, **usage: Any
) -> tuple[Decimal | None, tuple[str, ...]]:
    """The price by `rates`, as a row's terms keep them."""
    used = {**THOUSAND, **usage}
    kept = Terms.from_json(Terms(batch=batch).with_own_rates(load_own_rates(rates)).text)
    priced = price_response(used, usage_columns(used), model=model, day=day, terms=kept)
    return priced.cost().usd, priced.flags


@pytest.mark.parametrize(
    ("rates", "how", "expected"),
    [
        ({"discount": 0.15}, {}, ("0.0204", ("custom_rates",))),
        ({"discount": "0.15"}, {"server_tool_use": {"web_search_requests": 1}}, ("0.0289", ("custom_rates",))),
        ({"discount": 0.5, "from": "2026-11-21"}, {}, ("0.024", ())),
        ({"discount": 0.5, "from": "2026-11-20"}, {}, ("0.012", ("custom_rates",))),
        ({"discount": 0.5, "to": "2026-11-20"}, {}, ("0.024", ())),
        (
            {"discounts": [{"discount": 0.5, "to": "2026-11-01"}, {"discount": 0.25, "from": "2026-11-01"}]},
            {},
            ("0.018", ("custom_rates",)),
        ),
        ({"models": {"claude-opus-5-5": {"discount": 0.5}}}, {}, ("0.012", ("custom_rates",))),
        ({"models": {"claude-opus-5-5": {"discount": 0.5}}}, {"model": "claude-opus-5"}, ("0.03", ())),
        ({"discount": 0.1, "models": {"claude-opus-5-5": {"discount": 0.5}}}, {}, ("0.012", ("custom_rates",))),
        ({"models": {"claude-opus-5-5-20260922": {"discount": 0.5}}}, {}, ("0.012", ("custom_rates",))),
        ({"models": {"claude-opus-5-5": PRICES}}, {}, ("0.003", ("custom_rates",))),
        ({"models": {"claude-opus-5-5": PRICES}}, {"batch": True}, ("0.0015", ("custom_rates",))),
        (
            {"models": {"claude-opus-5-5": {**PRICES, "batch": {**PRICES, "input": 0}}}},
            {"batch": True},
            ("0.002", ("custom_rates",)),
        ),
        ({"models": {"claude-opus-5-5": PRICES}}, {"speed": "fast"}, (None, ("unknown_model", "custom_rates"))),
        ({"models": {"claude-opus-5-5": {**PRICES, "fast": PRICES}}}, {"speed": "fast"}, ("0.003", ("custom_rates",))),
        ({"models": {"our-tune": PRICES}}, {"model": "our-tune"}, ("0.003", ("custom_rates",))),
        ({"models": {"our-tune": PRICES}}, {"model": "our-tune-20261101"}, ("0.003", ("custom_rates",))),
        ({"models": {"our-tune": PRICES}}, {"model": "our-tunes"}, (None, ("unknown_model",))),
        ({"models": {"our-tune": {**PRICES, "from": "2026-12-01"}}}, {"model": "our-tune"}, (None, ("unknown_model",))),
        ({"models": {"claude-opus-5-5": PRICES}}, {"inference_geo": "us"}, ("0.0033", ("custom_rates",))),
        (
            {"discount": "0.3333333"},
            {"model": "claude-haiku-5-5", "input_tokens": 1, "output_tokens": 0},
            ("0.000000066667", ("custom_rates",)),
        ),
        ({}, {}, ("0.024", ())),
    ],
)
def test_own_prices_replace_the_list(rates, how, expected):
    """What is said of a model goes before what is said of all, from its day on, and the cost says so."""
    assert dollars(rates, **how) == (None if expected[0] is None else Decimal(expected[0]), expected[1])


def test_an_advisors_own_price_is_told():
    """Own prices of a model that only an iteration used flag the whole response."""
    advisor = {"type": "advisor_message", "model": "claude-opus-5", **THOUSAND}

    assert dollars({"models": {"claude-opus-5": PRICES}}, iterations=[advisor]) == (
        Decimal("0.027"),
        ("custom_rates",),
    )


TOML = """\
[otlp]
discount = 7

[rates]
discount = 0.1            # over everything

[[rates.models.claude-opus-5-5]]
to = 2026-10-01
discount = 0.2

[[rates.models.claude-opus-5-5]]
from = 2026-10-01
input = 3
output = 15
cache_write_5m = 3.75
cache_write_1h = 6
cache_read = 0.15

[rates.models."our.tune"]
input = 1
output = 2
cache_write_5m = 3
cache_write_1h = 4
cache_read = 0.5
batch = { input = 0.5, output = 1, cache_write_5m = 1.5, cache_write_1h = 2, cache_read = 0.25 }
"""


def test_own_prices_are_read_from_toml(tmp_path):
    """A file's table `rates` and the same mapping mean the same."""
    file = tmp_path / "claudetrace.toml"
    file.write_text(TOML)

    assert load_own_rates(file).text == load_own_rates(tomllib.loads(TOML)["rates"]).text
    assert dollars(file) == (Decimal("0.018"), ("custom_rates",))
    assert dollars(str(file), day="2026-09-30") == (Decimal("0.0192"), ("custom_rates",))
    assert dollars(file, model="claude-opus-5") == (Decimal("0.027"), ("custom_rates",))
    assert dollars(file, model="our.tune", batch=True) == (Decimal("0.0015"), ("custom_rates",))


@pytest.mark.parametrize(
    ("was", "becomes", "line", "complaint"),
    [
        ("discount = 0.1 ", "discount = -0.1 ", 5, "rates.discount: -0.1 is not a share"),
        ("discount = 0.1 ", "discount = 15 ", 5, "rates.discount: 15 is not a share"),
        ("discount = 0.1 ", "discont = 0.1 ", 5, "rates.discont: is not known; known are discount"),
        ("discount = 0.2", 'discount = "much"', 9, "rates.models.claude-opus-5-5.0.discount: 'much' is not a number"),
        ("discount = 0.2", "discount = 0.2\ninput = 3", 9, "discount: cannot stand beside `input`"),
        ("to = 2026-10-01", "to = 2026-11-01", 7, "the prices from 2026-10-01 overlap those from the beginning until"),
        ("to = 2026-10-01", "to = 2026-13-01", None, "are not TOML"),
        ("to = 2026-10-01", 'to = "soon"', 8, "to: 'soon' is not a day"),
        ("from = 2026-10-01", "from = 2026-10-01\nto = 2026-10-01", 13, "to: 2026-10-01 is not after"),
        ("input = 3\n", "input = -3\n", 13, "claude-opus-5-5.1.input: -3 is not a price"),
        ("input = 3\n", "input = nan\n", 13, "is not a number"),
        ("input = 3\n", "input = true\n", 13, "True is not a number"),
        ("cache_read = 0.15\n", "", 11, "has no `cache_read`"),
        ("cache_read = 0.25 }", "cache_reads = 0.25 }", 25, "batch.cache_reads: is not known"),
        (", cache_read = 0.25 }", " }", 25, "rates.models.our.tune.batch: has no `cache_read`"),
        ('"our.tune"', "claude-opus-5-5-20260922", 19, "claude-opus-5-5 has own prices under two names"),
    ],
)
def test_impossible_prices_are_refused_with_their_line(tmp_path, was, becomes, line, complaint):
    """The error names the file, the line, the key and the way out."""
    file = tmp_path / "claudetrace.toml"
    file.write_text(TOML.replace(was, becomes, 1))

    with pytest.raises(ClaudetraceError) as refused:
        load_own_rates(file)

    assert complaint in str(refused.value)
    assert str(file) in str(refused.value)
    if line is not None:
        assert f"{file}, line {line}, " in str(refused.value)


@pytest.mark.parametrize(
    ("rates", "complaint"),
    [
        ({"discount": 2}, "rates.discount: 2 is not a share of the price; give 0 to 1, as 0.15 for 15 % off"),
        ({"models": []}, "rates.models: must be a table"),
        ({"models": {"m": 3}}, "rates.models.m: must be a table, not 3"),
        ({"models": {"m": {}}}, "rates.models.m: has no `input`"),
        ({"discounts": {"discount": 1}}, "rates.discounts: must be a list"),
        ({"discounts": [{"from": "2026-01-01"}]}, "rates.discounts.0: has no `discount`"),
        ({"from": "2026-01-01"}, "rates: a day without a `discount`"),
        ({"discount": 0.1, "discounts": [{"discount": 0.1}]}, "overlap"),
    ],
)
def test_impossible_mappings_are_refused(rates, complaint):
    """Without a file the error names the key."""
    with pytest.raises(ClaudetraceError) as refused:
        load_own_rates(rates)

    assert complaint in str(refused.value)


def test_a_missing_file_is_an_error(tmp_path):
    """A path that cannot be read is named."""
    with pytest.raises(ClaudetraceError, match=r"none\.toml cannot be read: No such file"):
        load_own_rates(tmp_path / "none.toml")


SETTINGS = """
tags = { team = "a" }

[rates]
discount = 0.10

[rates.models.claude-opus-5-5]
discount = 0.2

[[rates.models.our-model]]
input = 3
output = 15
cache_write_5m = 3.75
cache_write_1h = 6
cache_read = 0.30
"""


def test_the_settings_file_sets_prices(server, client, start, db, tmp_path):
    """Discounts and a model of one's own price rows, which are flagged."""
    config = tmp_path / "claudetrace.toml"
    config.write_text(SETTINGS)
    start(config=config)
    for model in ("claude-sonnet-5-5", "claude-opus-5-5", "our-model"):
        server.add(answers.answer(wire.message("Hello.", wire.usage(1_000_000, 0), model=model)))
        client.messages.create(model=model, max_tokens=1, messages=[])
    claudetrace.flush()

    calls = claudetrace.Ledger(db).calls()[::-1]
    assert [call.cost_usd for call in calls] == [Decimal("1.8"), Decimal("3.2"), Decimal(3)]
    assert {call.cost_flags for call in calls} == {("custom_rates",)}


@pytest.mark.parametrize(
    ("was", "becomes", "line"),
    [
        ("discount = 0.2", "discount = -0.2", 8),
        ("cache_read = 0.30", "", 10),
        ("discount = 0.10", "rebate = 0.10", 5),
    ],
    ids=["negative", "a missing class", "an unknown key"],
)
def test_an_impossible_price_is_refused_with_its_line(start, tmp_path, was, becomes, line):
    """`instrument()` raises and names the file and the line of the settings that cannot be."""
    config = tmp_path / "claudetrace.toml"
    config.write_text(SETTINGS.replace(was, becomes))

    with pytest.raises(claudetrace.ClaudetraceError, match=rf"claudetrace\.toml, line {line}, rates"):
        start(config=config)


def test_prices_in_code_go_before_the_file(start, tmp_path):
    """A refusal of prices that were given in code does not blame the settings file."""
    config = tmp_path / "claudetrace.toml"
    config.write_text(SETTINGS)

    with pytest.raises(claudetrace.ClaudetraceError, match=r"^rates\.discount: -1 "):
        start(config=config, rates={"discount": -1})
