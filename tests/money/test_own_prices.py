"""Own prices of `claudetrace.toml`, from the setting to the row."""

from __future__ import annotations

from decimal import Decimal

import pytest

import claudetrace
from claudetrace._demo import _answers as answers
from claudetrace._demo import _wire as wire

RATES = """
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
    config.write_text(RATES)
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
    config.write_text(RATES.replace(was, becomes))

    with pytest.raises(claudetrace.ClaudetraceError, match=rf"claudetrace\.toml, line {line}, rates"):
        start(config=config)


def test_prices_in_code_go_before_the_file(start, tmp_path):
    """A refusal of prices that were given in code does not blame the settings file."""
    config = tmp_path / "claudetrace.toml"
    config.write_text(RATES)

    with pytest.raises(claudetrace.ClaudetraceError, match=r"^rates\.discount: -1 "):
        start(config=config, rates={"discount": -1})
