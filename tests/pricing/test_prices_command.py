"""`claudetrace prices`: the rates with their history and sources, and second opinions of them."""

from __future__ import annotations

import json
import sys

import pytest

from claudetrace._pricing import _second_opinion
from claudetrace._pricing._ids import listed_models

from ._ledgers import later_rates, run

NAMES = {
    "alias": "claude-sonnet-4-5",
    "own id": "claude-sonnet-4-5-20250929",
    "another date": "claude-sonnet-5-5-20260928",
    "Bedrock": "us.anthropic.claude-sonnet-5-5-v1:0",
    "Bedrock ARN": "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-5-5",
    "Google Cloud": "claude-sonnet-5-5@default",
}
FILE = "model_prices_and_context_window_backup.json"


def test_without_a_model_it_lists_all():
    """Every model has a line with the rates of today, and retired ones are marked."""
    lines = run("prices").output.splitlines()

    for model in listed_models():
        (line,) = [line for line in lines if line.split()[:1] == [model["id"]]]
        assert ("(retired)" in line) == (model["status"] == "retired")
    (opus,) = [line.split() for line in lines if line.startswith("claude-opus-5-5 ")]
    assert opus == ["claude-opus-5-5", "4", "0.2", "5", "8", "20", "yes"]
    assert any("> 100,000: 0.5 / 2.5" in line for line in lines)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_model_is_found_by_any_name(name):
    """An id as users write it leads to its model."""
    result = run("prices", name)

    assert result.exit_code == 0
    assert "(claude-sonnet-5-5)" in result.output or "(claude-sonnet-4-5-20250929)" in result.output


def test_a_model_has_its_history_and_sources():
    """Each period stands with its days, its batch rates and its prompt sizes, and each source with what it is."""
    output = run("prices", "claude-sonnet-5-5").output
    words = [line.split() for line in output.splitlines()]

    assert ["2026-09-28", "2026-10-07", "2", "0.2", "2.5", "4", "10"] in words
    assert ["2026-10-07", "2", "0.1", "2.5", "4", "10"] in words
    assert ["2026-10-07", "batch", "1", "0.05", "1.25", "2", "5"] in words
    assert "Sources:" in output
    assert "A-price-2026-10: pricing page" in output
    tiers = [line.split() for line in run("prices", "claude-haiku-5-5").output.splitlines()]
    assert ["2026-10-07", "batch", ">", "100,000", "0.25", "0.025", "0.3125", "0.5", "1.25"] in tiers
    fast = [line.split() for line in run("prices", "claude-opus-5-5").output.splitlines()]
    assert ["2026-09-22", "fast", "8", "0.4", "10", "16", "40"] in fast


def test_json_has_the_same():
    """--json gives the periods, the rates of today and the sources."""
    told = json.loads(run("prices", "claude-opus-4-6", "--json").output)
    everything = json.loads(run("prices", "--json").output)

    assert [period["from"] for period in told["periods"]] == ["2026-02-05", "2026-03-13"]
    assert told["current"]["input"] == "5"
    assert told["current_fast"] is None
    assert set(told["sources"]) == {"A-price-2026-08-22", "A-hist", "A-relnotes", "GP", "LL"}
    assert len(everything["models"]) == len(listed_models())


@pytest.mark.parametrize("name", ["claude-opus-5-6", "haiku", "gpt-5", ""])
def test_an_unknown_name_is_a_finding(name):
    """A name without rates ends with 1 and names its nearest."""
    result = run("prices", name)

    assert result.exit_code == 1
    assert f"no rates are known for {name!r}" in result.output
    if name == "claude-opus-5-6":
        assert "nearest known names are claude-opus-5-5" in result.output


@pytest.fixture
def litellm(tmp_path, monkeypatch):
    """A litellm with these rows, which must not be imported."""

    def installed(**rows):
        folder = tmp_path / "site" / "litellm"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('imported')")
        named = {name.replace("_", "-"): {"litellm_provider": "anthropic", **row} for name, row in rows.items()}
        (folder / FILE).write_text(json.dumps(named))
        monkeypatch.syspath_prepend(str(folder.parent))

    assert "litellm" not in sys.modules
    return installed


OPUS = {
    "input_cost_per_token": 4e-06,
    "output_cost_per_token": 2e-05,
    "cache_read_input_token_cost": 2e-07,
    "cache_creation_input_token_cost": 5e-06,
    "cache_creation_input_token_cost_above_1hr": 8e-06,
    "input_cost_per_token_batches": 2e-06,
    "output_cost_per_token_batches": 1e-05,
    "cache_read_input_token_cost_batches": 1e-07,
    "cache_creation_input_token_cost_batches": 2.5e-06,
    "provider_specific_entry": {"fast": 2},
}


def test_equal_prices_are_no_finding(litellm):
    """Where every price is the same the check says so and ends with 0."""
    litellm(claude_opus_5_5=OPUS)

    result = run("prices", "claude-opus-5-5", "--check")

    assert result.exit_code == 0, result.output
    assert "1 models compared, no difference" in result.output
    assert "genai-prices 0" in result.output


def test_each_difference_is_listed(litellm):
    """Another price, a missing one and one too many are told with both figures, and end with 1."""
    wrong = {**OPUS, "output_cost_per_token": 2.5e-05, "input_cost_per_token_above_200k_tokens": 8e-06}
    del wrong["cache_read_input_token_cost_batches"]
    litellm(claude_opus_5_5=wrong)

    result = run("prices", "claude-opus-5-5", "--check", "--json")

    told = json.loads(result.output)["opinions"][1]["differences"]
    assert result.exit_code == 1
    assert {(each["what"], each["ours"], each["theirs"]) for each in told} == {
        ("output", "20", "25"),
        ("fast output", "40", "50"),
        ("batch cache_read", "0.1", "no price"),
        ("input above 200000", "no price", "8"),
    }


def test_models_that_one_side_lacks_are_listed(litellm):
    """A new model there, and one that is sold and missing there, are differences; a retired one is none."""
    litellm(claude_opus_9=OPUS)

    output = run("prices", "--check").output.split("\nlitellm ")[-1]

    words = [line.split() for line in output.splitlines()]
    assert ["claude-opus-9", "now", "model", "not", "listed", "listed"] in words
    assert ["claude-opus-5-5", "now", "model", "listed", "not", "listed"] in words
    assert not any(line[:1] == ["claude-3-opus-20240229"] for line in words)


def test_a_wrong_rate_of_ours_is_found(monkeypatch, tmp_path):
    """A rate mistyped in the package differs from genai-prices, in its period."""
    pytest.importorskip("genai_prices")

    def mistype(data):
        (model,) = [model for model in data["models"] if model["id"] == "claude-opus-5-5"]
        model["periods"][0]["output"] = "21"

    with later_rates(monkeypatch, tmp_path, mistype):
        result = run("prices", "claude-opus-5-5", "--check", "--json")

    told = json.loads(result.output)["opinions"][0]["differences"]
    assert [(each["what"], each["ours"], each["theirs"]) for each in told] == [("output", "21", "20")]


def test_it_says_what_is_not_installed(monkeypatch):
    """Without the two packages nothing is compared, which is said of each, and is no finding."""
    monkeypatch.setattr(_second_opinion, "find_spec", lambda _: None)

    result = run("prices", "--check")

    assert result.exit_code == 0
    assert "genai-prices is not installed: nothing was compared with it" in result.output
    assert "litellm is not installed: nothing was compared with it" in result.output
