"""The rates are well formed, dated, never altered, and quick to load."""

from __future__ import annotations

import subprocess
import sys
from time import process_time

import pytest

from claudetrace._pricing._ids import ModelId, read_id
from claudetrace._pricing._list_check import alterations, digests, problems
from claudetrace._pricing._rates import RATES_FILE, book

from .rate_data import published, rates


def test_the_rates_are_well_formed():
    """Every rate is a decimal, every class is there, days neither overlap nor leave gaps, ids are unique."""
    assert list(problems(rates())) == []


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda model: model["periods"][0].pop("cache_read"), "cache_read is None"),
        (lambda model: model["periods"][0].update(input="-1"), "input is '-1'"),
        (lambda model: model["periods"][0].update(output=15), "output is 15"),
        (lambda model: model["periods"][0]["batch"].update(input="1e3"), "batch: input is '1e3'"),
        (lambda model: model["periods"][0].update(to="2020-01-01"), "ends before it begins"),
        (lambda model: model["periods"].append(model["periods"][0]), "overlap"),
        (lambda model: model["periods"][0].update(discount="1"), "the key discount is not known"),
        (lambda model: model["aliases"].append("claude-opus-5-5"), "claude-opus-5-5 names both"),
        (lambda model: model["sources"].append("a friend"), "a friend is not among"),
    ],
)
def test_a_malformed_rate_is_found(spoil, complaint):
    """What a hurried edit does to the rates is told in a sentence."""
    data = rates()
    spoil(data["models"][0])

    assert any(complaint in problem for problem in problems(data))


def test_published_periods_stay_as_they_are():
    """A row is priced the same today and in a year: every period ever published has its prices and its end."""
    now = digests(rates())

    assert list(alterations(published(), now)) == []
    assert sorted(now.keys() - published().keys()) == [], "run python tests/pricing/rate_data.py"


def test_an_altered_period_is_found():
    """An edited price, a moved end and a removed period are told; a first end and a remark are fine."""
    data = rates()
    models = {model["id"]: model for model in data["models"]}
    models["claude-opus-5-5"]["periods"][0]["to"] = "2027-01-01"
    models["claude-opus-5-5"]["periods"][0]["note"] = "ended"
    assert list(alterations(published(), digests(data))) == []

    models["claude-opus-5"]["periods"][0]["input"] = "4"
    models["claude-sonnet-4-6"]["periods"][0]["tiers"][0]["batch"]["output"] = "1"
    models["claude-opus-4-8"]["fast"][0]["to"] = "2026-12-30"
    del models["claude-fable-5-2"]["periods"][0]

    assert {text.split(" ")[0] for text in alterations(published(), digests(data))} == {
        "claude-opus-5",
        "claude-sonnet-4-6",
        "claude-opus-4-8",
        "claude-fable-5-2",
    }


def test_the_version_names_the_content():
    """The version of the rates begins with their day and follows every byte of them."""
    assert book().version.startswith(rates()["as_of"] + "-")
    assert len(book().version) == len("2026-11-21-12345678")


def test_loading_takes_at_most_ten_milliseconds():
    """The rates load within 10 ms of CPU."""

    def load_ms() -> float:
        book.cache_clear()
        start = process_time()
        book()
        return (process_time() - start) * 1e3

    assert min(load_ms() for _ in range(5)) < 10


def test_importing_loads_no_rates():
    """Importing the pricing room reads no rates and none of the heavy libraries."""
    code = (
        "import sys\n"
        "from claudetrace._pricing._engine import price_response\n"
        "from claudetrace._pricing._terms import Terms\n"
        "from claudetrace._pricing._rates import book\n"
        "print(book.cache_info().currsize, [name for name in ('anthropic', 'sqlite3', 'opentelemetry',"
        " 'tomllib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "0 []\n"


KNOWN = [
    ("claude-opus-5-5", ModelId(model="claude-opus-5-5")),
    ("claude-sonnet-4-5", ModelId(model="claude-sonnet-4-5-20250929")),
    ("claude-opus-4-0", ModelId(model="claude-opus-4-20250514")),
    ("claude-3-5-sonnet-latest", ModelId(model="claude-3-5-sonnet-20241022")),
    ("claude-haiku-5-5-20261007", ModelId(model="claude-haiku-5-5")),
    ("claude-3-5-sonnet-20240620", ModelId(model="claude-3-5-sonnet-20240620")),
    ("claude-3-5-sonnet@20240620", ModelId(model="claude-3-5-sonnet-20240620", platform="vertex")),
    ("claude-3-5-sonnet-v2@20241022", ModelId(model="claude-3-5-sonnet-20241022", platform="vertex")),
    ("claude-sonnet-4-5@20250929", ModelId(model="claude-sonnet-4-5-20250929", platform="vertex")),
    ("claude-opus-5-5@default", ModelId(model="claude-opus-5-5", platform="vertex")),
    (
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ModelId(model="claude-sonnet-4-5-20250929", platform="bedrock", endpoint_scope="regional"),
    ),
    (
        "global.anthropic.claude-opus-4-6-v1",
        ModelId(model="claude-opus-4-6", platform="bedrock", endpoint_scope="global"),
    ),
    ("anthropic.claude-opus-5-5", ModelId(model="claude-opus-5-5", platform="bedrock")),
    ("anthropic.claude-3-5-sonnet-20241022-v2:0", ModelId(model="claude-3-5-sonnet-20241022", platform="bedrock")),
    (
        "anthropic.claude-3-haiku-20240307-v1:0:200k",
        ModelId(model="claude-3-haiku-20240307", platform="bedrock"),
    ),
    (
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
        ModelId(model="claude-haiku-4-5-20251001", platform="bedrock", endpoint_scope="regional"),
    ),
    (
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6",
        ModelId(model="claude-sonnet-4-6", platform="bedrock"),
    ),
    (
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3",
        ModelId(platform="bedrock"),
    ),
]


@pytest.mark.parametrize(("text", "expected"), KNOWN, ids=[text for text, _ in KNOWN])
def test_an_id_is_read_exactly(text, expected):
    """Every documented spelling of an id leads to its model, its platform and its endpoint."""
    assert read_id(text, book().ids) == expected


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "claude",
        "claude-opus-5-6",
        "claude-opus-5-55",
        "claude-opus-5-5-fast",
        "claude-opus-5-5-2026",
        "claude-opus-5-5-20261399",
        "claude-opus-4-6-20260205-20260206",
        "claude-sonnet-4-5-20250929-20250929",
        "Claude-Opus-5-5",
        " claude-opus-5-5",
        "claude-opus-5-5\n",
        "claude-opus-5-6@20261101",
        "us.anthropic.claude-opus-5-6-v1:0",
        "anthropic.claude-v2:1",
        "gpt-6-sol",
        "x" * 5000,
    ],
)
def test_an_unlisted_id_has_no_model(text):
    """Nothing is matched by prefix or by likeness."""
    assert read_id(text, book().ids).model is None


def test_every_written_id_is_its_models():
    """All ids, aliases, Bedrock and Google Cloud ids of the rates lead to their model."""
    for model in rates()["models"]:
        spelled = [model["id"], *model["aliases"], model["bedrock_id"], model["vertex_id"]]
        assert {read_id(text, book().ids).model for text in spelled if text} == {model["id"]}
    assert RATES_FILE.name == "rates.json"
