"""The rules beyond tokens × rate, each by one response."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from claudetrace._call import Call, Cost, CostPart
from claudetrace._pricing._bill import Priced
from claudetrace._pricing._engine import price_response
from claudetrace._pricing._price import price
from claudetrace._pricing._rates import book
from claudetrace._pricing._terms import Terms
from claudetrace._usage import usage_columns

DAY = "2026-11-20"
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
THOUSAND = {"input_tokens": 1000, "output_tokens": 1000}


def priced(usage: dict[str, Any] | None = None, model: str | None = "claude-opus-5-5", **how: Any) -> Priced:
    usage = THOUSAND if usage is None else usage
    terms = Terms(**how.pop("terms", {}))
    return price_response(usage, usage_columns(usage), **{"model": model, "day": DAY, "terms": terms, **how})


def dollars(found: Priced) -> tuple[Decimal | None, tuple[str, ...]]:
    return found.cost().usd, found.flags


def test_a_price_shows_its_parts():
    """A cost names each class with its model, quantity, rate and amount, and which rates they are."""
    usage = {
        **THOUSAND,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_1h_input_tokens": 10},
        "cache_read_input_tokens": 5,
        "server_tool_use": {"web_search_requests": 2},
    }

    opus = "claude-opus-5-5"
    assert priced(usage, "claude-opus-5-5-20260922").cost() == Cost(
        usd=Decimal("0.044181000000"),
        parts=(
            CostPart(name="input_tokens", model=opus, quantity=1000, rate_picousd=4 * 10**6, picousd=4 * 10**9),
            CostPart(name="cache_read_tokens", model=opus, quantity=5, rate_picousd=200_000, picousd=10**6),
            CostPart(name="cache_write_5m_tokens", model=opus, quantity=20, rate_picousd=5 * 10**6, picousd=10**8),
            CostPart(name="cache_write_1h_tokens", model=opus, quantity=10, rate_picousd=8 * 10**6, picousd=8 * 10**7),
            CostPart(name="output_tokens", model=opus, quantity=1000, rate_picousd=2 * 10**7, picousd=2 * 10**10),
            CostPart(name="web_search_requests", model=None, quantity=2, rate_picousd=10**10, picousd=2 * 10**10),
        ),
        rates_version=book().version,
    )


def test_a_row_carries_the_parts_and_gives_them_back():
    """The JSON of a price is what a `Call` reads."""
    found = priced({"input_tokens": 7, "output_tokens": 1})
    row = {
        "id": "a",
        "call_id": "a",
        "started_at": "2026-11-20T00:00:00.000Z",
        "source": "anthropic",
        "operation": "messages.create",
        "platform": "anthropic",
        "server_address": "h",
        "streamed": 0,
        "outcome": "ok",
        "usage_is_final": 1,
        "cost_picousd": found.picousd,
        "cost_parts": found.parts_json(),
        "cost_flags": found.flags_json(),
    }

    call = Call.from_row(row)

    assert (call.cost_usd, call.cost_parts, call.cost_flags) == (
        found.cost().usd,
        found.cost().parts,
        found.flags,
    )


@pytest.mark.parametrize(
    ("usage", "how", "expected"),
    [
        (None, {"model": None, "model_requested": "claude-opus-5-5"}, ("0.024", ())),
        (None, {"model": "claude-opus-5-6", "model_requested": "claude-opus-5-5"}, (None, ("unknown_model",))),
        (None, {"final": False}, ("0.024", ("partial_usage",))),
        (None, {"extra_flags": ("retried_after_timeout",)}, ("0.024", ("retried_after_timeout",))),
        (None, {"day": "2026-09-21"}, (None, ("unknown_model",))),
        (None, {"terms": {"billed_to": "user_profile"}}, ("0.024", ("billed_to_user_profile",))),
        (None, {"terms": {"code_execution": True}}, ("0.024", ("unpriced_component",))),
        ({**THOUSAND, "service_tier": "flex"}, {}, ("0.024", ("unpriced_component",))),
        ({**THOUSAND, "server_tool_use": {"code_execution_requests": 1}}, {}, ("0.024", ("unpriced_component",))),
        ({"output_tokens": 1000}, {}, ("0.02", ("unpriced_component",))),
        ({}, {}, (None, ("no_usage",))),
        ({**THOUSAND, "speed": "fast", "service_tier": "batch"}, {}, (None, ("unknown_model",))),
        ({**THOUSAND, "speed": "fast"}, {"model": "claude-sonnet-5-5"}, (None, ("unknown_model",))),
        ({**THOUSAND, "speed": "fast"}, {"model": "claude-opus-4-8", "day": "2026-11-30"}, (None, ("unknown_model",))),
        ({**THOUSAND, "inference_geo": "mars"}, {}, ("0.024", ("endpoint_scope_unknown",))),
        ({**THOUSAND, "inference_geo": "us"}, {"model": "claude-haiku-4-5"}, ("0.006", ())),
        ({**THOUSAND, "inference_geo": "us"}, {"terms": {"platform": "aws"}}, ("0.0264", ())),
    ],
)
def test_a_rule_of_one_response(usage, how, expected):
    """What a response says, and what it does not say, decides its price and its flags."""
    amount, flags = expected

    assert dollars(priced(usage, **how)) == (None if amount is None else Decimal(amount), flags)


def test_no_usage_is_no_price():
    """A response without usage has no cost, no parts, and the reason."""
    found = price_response(None, {}, model="claude-opus-5-5", day=DAY, terms=Terms(), final=False)

    assert (found.picousd, found.parts_json(), found.flags_json()) == (None, None, '["no_usage"]')


@pytest.mark.parametrize(
    ("asked", "served", "terms", "expected"),
    [
        ("us.anthropic.claude-opus-5-5", "claude-opus-5-5", {"platform": "bedrock"}, ("0.0264", ())),
        ("global.anthropic.claude-opus-5-5", "claude-opus-5-5", {"platform": "bedrock"}, ("0.024", ())),
        (
            "anthropic.claude-opus-5-5",
            "claude-opus-5-5",
            {"platform": "bedrock"},
            ("0.024", ("endpoint_scope_unknown",)),
        ),
        ("anthropic.claude-opus-5-5", None, {"platform": "bedrock", "endpoint_scope": "regional"}, ("0.0264", ())),
        (
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/x",
            "claude-opus-5-5",
            {"platform": "bedrock"},
            ("0.024", ("endpoint_scope_unknown",)),
        ),
        (
            "us.anthropic.claude-3-haiku-20240307-v1:0",
            "claude-3-haiku-20240307",
            {"platform": "bedrock"},
            ("0.0015", ()),
        ),
        (
            "anthropic.claude-3-haiku-20240307-v1:0",
            "claude-3-haiku-48k-20240307",
            {"platform": "bedrock"},
            ("0.0015", ()),
        ),
        ("claude-opus-5-5", "claude-opus-5-5", {"platform": "vertex"}, ("0.024", ("endpoint_scope_unknown",))),
        ("claude-opus-5-5", "claude-opus-5-5", {"platform": "vertex", "endpoint_scope": "regional"}, ("0.0264", ())),
        ("claude-opus-5-5", "claude-opus-5-5", {"platform": "google_cloud", "endpoint_scope": "global"}, ("0.024", ())),
        ("claude-sonnet-4@20250514", "claude-sonnet-4", {"platform": "vertex"}, ("0.018", ())),
        ("my-claude", "claude-opus-5-5", {"platform": "foundry"}, ("0.024", ())),
        ("my-claude", "claude-opus-5-5", {"platform": "foundry", "data_zone": "us"}, ("0.0264", ())),
        ("claude-opus-5-5", None, {"platform": "foundry"}, (None, ("unknown_model",))),
        ("claude-opus-5-5", "claude-opus-5-5", {"platform": "vertx"}, ("0.024", ("endpoint_scope_unknown",))),
    ],
)
def test_a_platform_and_its_endpoint_decide_the_rate(asked, served, terms, expected):
    """Regional endpoints cost a tenth more; where the response does not tell, the base rate is flagged."""
    found = priced(model=served, model_requested=asked, terms=terms)

    assert dollars(found) == (None if expected[0] is None else Decimal(expected[0]), expected[1])


def test_another_organizations_geography_multiplies_no_search():
    """The US premium applies to tokens alone."""
    usage = {**THOUSAND, "inference_geo": "us", "server_tool_use": {"web_search_requests": 1}}

    assert priced(usage).cost().usd == Decimal("0.0364")


def legs(*entries: dict[str, Any], **usage: Any) -> dict[str, Any]:
    return {**THOUSAND, **usage, "iterations": list(entries)}


def entry(kind: str, input_tokens: int = 1000, output_tokens: int = 1000, **more: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": input_tokens, "output_tokens": output_tokens, **more}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (legs(entry("message", model="claude-opus-5-5"), entry("message")), ("0.024", ())),
        (legs(entry("advisor_message", model="claude-opus-6")), ("0.024", ("unknown_model", "unpriced_component"))),
        (legs(entry("advisor_message")), ("0.024", ("unpriced_component",))),
        (legs(entry("dream", 5, 5)), ("0.024", ("unpriced_component",))),
        (legs({"type": "dream"}, "?", None), ("0.024", ())),
        (legs(entry("compaction"), speed="fast"), ("0.096", ())),
        (legs(entry("advisor_message", model="claude-opus-5"), speed="fast"), ("0.078", ())),
        (
            legs(entry("compaction"), entry("advisor_message", model="claude-sonnet-5"), inference_geo="us"),
            ("0.066", ()),
        ),
        (
            legs(
                entry("message", model="claude-fable-5"),
                entry("message", model="claude-opus-5-5"),
                entry("fallback_message", model="claude-opus-5-5"),
            ),
            ("0.084", ()),
        ),
        (
            legs(
                entry("compaction"),
                entry("message", 9, 0, model="claude-fable-5"),
                entry("fallback_message", model="claude-opus-5-5"),
            ),
            ("0.084", ("unbilled_declined_hop",)),
        ),
    ],
)
def test_iterations_add_what_the_top_level_leaves_out(usage, expected):
    """Compactions, advisors and declined hops with output are added at their models' rates, once."""
    assert dollars(priced(usage)) == (Decimal(expected[0]), expected[1])


def test_parts_of_iterations_stand_in_their_order():
    """The parts say which leg they are of, in the order in which the legs ran."""
    usage = legs(entry("compaction", 2, 0), entry("message"), entry("advisor_message", 3, 0, model="claude-opus-5"))

    assert [(part.name, part.model, part.quantity) for part in priced(usage).cost().parts[2:]] == [
        ("compaction.input_tokens", "claude-opus-5-5", 2),
        ("advisor.input_tokens", "claude-opus-5", 3),
    ]


def test_a_long_prompt_made_of_short_turns_is_flagged():
    """Whether the sum or each turn meets the threshold is not published: the sum is taken, and said."""
    turns = [entry("message", 60_000, 500), entry("message", 60_000, 500)]
    summed = {"input_tokens": 120_000, "output_tokens": 1000, "iterations": turns}
    single = {"input_tokens": 120_000, "output_tokens": 1000, "iterations": [entry("message", 120_000, 1000)]}

    assert dollars(priced(summed, "claude-haiku-5-5")) == (Decimal("0.0625"), ("unpriced_component",))
    assert dollars(priced(single, "claude-haiku-5-5")) == (Decimal("0.0625"), ())


@pytest.mark.parametrize(
    ("day", "empty", "usage", "expected"),
    [
        ("2026-06-02", True, THOUSAND, ("0", ("unbilled_refusal",))),
        ("2026-06-01", True, THOUSAND, ("0.03", ())),
        ("2026-06-02", False, THOUSAND, ("0.03", ())),
        (
            "2026-08-01",
            True,
            legs(entry("message", model="claude-fable-5"), entry("fallback_message", 1, 0, model="claude-opus-4-8")),
            ("0.06", ("unbilled_refusal",)),
        ),
    ],
)
def test_a_refusal_before_any_output_is_free(day, empty, usage, expected):
    """From its day on a refusal without content costs nothing, but a hop that had produced output does."""
    found = priced(usage, "claude-opus-4-8", day=day, stop_reason="refusal", terms={"content_empty": empty})

    assert dollars(found) == (Decimal(expected[0]), expected[1])


def test_cache_savings_are_against_plain_input():
    """Reads save, writes cost extra, at the rates of the response, all legs together."""
    usage = {
        **THOUSAND,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 300,
        "cache_creation": {"ephemeral_1h_input_tokens": 100},
        "iterations": [entry("compaction", cache_read_input_tokens=10)],
    }

    # Millionths: 1010 × (4 - 0.20) - 200 × (5 - 4) - 100 × (8 - 4).
    assert priced(usage).cache_saved_picousd == 3238 * 10**6
    assert priced(usage, "claude-opus-6").cache_saved_picousd is None


def test_fifty_million_dollars_are_exact():
    """A sum of any size keeps its last picodollar, and a row never carries one that it cannot hold."""
    tokens = 12_500_000_000_001
    usage = {"input_tokens": tokens, "output_tokens": 0}

    assert price({"model": "claude-opus-5-5", "usage": usage, "content": None}, at=AT).usd == Decimal("50000000.000004")
    assert dollars(priced(usage)) == (None, ("unpriced_component",))
    assert sum(priced(THOUSAND).picousd for _ in range(1000)) == 24 * 10**12


def test_terms_survive_their_json():
    """A row's terms say only what differs from the defaults, and are read back the same; junk is the defaults."""
    terms = Terms(platform="vertex", batch=True, endpoint_scope="regional", content_empty=True)

    assert terms.text == '{"platform":"vertex","batch":true,"endpoint_scope":"regional","content_empty":true}'
    assert Terms.from_json(terms.text) == terms
    assert Terms().text == '{"platform":"anthropic"}'
    assert {Terms.from_json(text) for text in (None, "", "[]", "{", '{"platform":7,"batch":1}')} == {Terms()}
