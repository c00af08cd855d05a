"""Every priced case of `golden.json`, to the last picodollar."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import pytest

from claudetrace._pricing._engine import price_response
from claudetrace._pricing._price import price
from claudetrace._pricing._terms import Terms
from claudetrace._usage import usage_columns

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("golden.json").read_text())["cases"]
PICOUSD = Decimal("0.000000000001")
OF_PRICE = ("batch", "platform", "endpoint_scope")


def keywords_of(request: dict[str, Any]) -> dict[str, Any]:
    """The keywords of `price` that stand for what a case says of its request."""
    keywords = {name: request[name] for name in OF_PRICE if name in request}
    if request.get("deployment") == "us_data_zone":
        keywords["data_zone"] = "us"
    if "bill_to" in request:
        keywords["billed_to"] = request["bill_to"]
    return keywords


def subject_of(case: dict[str, Any]) -> dict[str, Any]:
    """The object that a case prices, as the API would give it."""
    if case["kind"] == "count_tokens":
        return dict(case["usage"])
    if case["kind"] == "managed_agents_session":
        return {"type": "session", "model": case["model"], "usage": case["usage"], **case["request"]}
    content = [] if case["content_empty"] else [{"type": "text", "text": ""}]
    return {
        "type": "message",
        "role": "assistant",
        "content": content,
        **{name: case[name] for name in ("model", "stop_reason", "usage")},
    }


def picousd_of(usd: Decimal | str | None) -> Decimal | None:
    return None if usd is None else Decimal(usd).quantize(PICOUSD, rounding=ROUND_HALF_EVEN)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_golden_case_costs_what_it_says(case):
    """The price is exact, its parts add up to it, and the flags that a case names are the flags it has."""
    cost = price(subject_of(case), at=datetime.fromisoformat(case["timestamp"]), **keywords_of(case["request"]))

    assert picousd_of(cost.usd) == picousd_of(case["expected_usd"])
    if cost.usd is not None:
        assert sum(part.picousd for part in cost.parts) == cost.usd.scaleb(12)
    if case["expected_flags"] is not None:
        assert cost.flags == tuple(case["expected_flags"])


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["kind"] == "message" and case["usage"]], ids=lambda case: case["id"]
)
def test_the_callers_thread_prices_as_price_does(case):
    """`price_response` with the terms of a row gives the cost that `price` gives for the message."""
    keywords = keywords_of(case["request"])
    at = datetime.fromisoformat(case["timestamp"])
    terms = Terms(content_empty=case["content_empty"], **keywords)

    priced = price_response(
        case["usage"],
        usage_columns(case["usage"]),
        model=case["model"],
        stop_reason=case["stop_reason"],
        day=at.date().isoformat(),
        terms=Terms.from_json(terms.text),
    )

    assert priced.cost() == price(subject_of(case), at=at, **keywords)
