"""Checks a price list: its form, and that it does not change prices of the past."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from claudetrace._pricing._rates import CLASSES, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PRICE = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
"""Dollars for a million tokens: six decimals are a picodollar a token."""
MODEL_KEYS = (
    *("id", "name", "status", "released", "retired_on", "aliases", "bedrock_id", "vertex_id", "context_window"),
    *("tokenizer", "supports_inference_geo", "cloud_regional_premium_1_1", "periods", "fast", "sources"),
    *("note", "disagreement", "verification"),
)
"""What every model has to say."""
REMARKS = {"note", "status", "condition", "to"}
KEYS = {"from", "to", "batch", "tiers", "note", "status", *CLASSES}
TIER_KEYS = {"prompt_tokens_above", "threshold_counts", "comparison", "scope", "condition", "batch", *CLASSES}
FORM = {"schema": 1, "currency": "USD", "unit": "USD per 1,000,000 tokens, decimal strings"}
RULES = (
    "batch_multiplier",
    "inference_geo_us_multiplier",
    "cloud_regional_multiplier",
    "web_search_usd_per_request",
    "managed_agents_usd_per_session_hour",
    "refusal_before_output_unbilled_from",
)
THRESHOLD = {
    "threshold_counts": ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"],
    "comparison": "strictly greater",
    "scope": "every token of the request, output included",
}
"""The tiers that the engine can price."""


def problems(data: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the rates, a sentence for each problem."""
    yield from form_problems(data)
    named: dict[str, str] = {}
    for model in data["models"]:
        name = {key: model[key] for key in MODEL_KEYS}["id"]
        for spelling in sorted(names_of(model)):
            if named.setdefault(spelling, name) != name:
                yield f"{spelling} names both {named[spelling]} and {name}"
        for source in model["sources"]:
            if source not in data["sources"]:
                yield f"{name}: the source {source} is not among the sources"
        if not model["sources"]:
            yield f"{name} has no source"
        if not model["periods"] or model["periods"][-1]["to"] is not None:
            yield f"{name} has no period that lasts"
        for kind in ("periods", "fast"):
            yield from period_problems(f"{name}, {kind}", model[kind], gaps=kind == "fast")


def form_problems(data: Mapping[str, Any]) -> Iterator[str]:
    for key, expected in FORM.items():
        if data[key] != expected:
            yield f"its {key} is {data[key]!r}, not {expected!r}"
    if not is_day(data["as_of"]):
        yield f"its day, as_of, is {data['as_of']!r}, not one as 2026-11-21"


def period_problems(place: str, periods: list[Mapping[str, Any]], *, gaps: bool) -> Iterator[str]:
    for period in periods:
        here = f"{place} from {period.get('from')}"
        yield from rate_problems(here, period, KEYS)
        for day in (period["from"], period["to"]):
            if day is not None and not is_day(day):
                yield f"{here}: {day} is not a day"
        if period["to"] is not None and period["to"] <= period["from"]:
            yield f"{here} ends before it begins"
        for tier in period.get("tiers", ()):
            yield from rate_problems(f"{here}, tier", tier, TIER_KEYS)
            if type(tier["prompt_tokens_above"]) is not int or {k: tier[k] for k in THRESHOLD} != THRESHOLD:
                yield f"{here}: the engine does not know such a tier"
    for earlier, later in pairwise(periods):
        if earlier["to"] is None or earlier["to"] > later["from"]:
            yield f"{place}: the periods from {earlier['from']} and {later['from']} overlap"
        elif earlier["to"] != later["from"] and not gaps:
            yield f"{place}: no price between {earlier['to']} and {later['from']}"


def is_day(day: str) -> bool:
    """Whether `day` is written as 2026-11-21."""
    return date.fromisoformat(day).isoformat() == day


def rate_problems(place: str, rates: Mapping[str, Any], keys: set[str]) -> Iterator[str]:
    for key in sorted(rates.keys() - keys):
        yield f"{place}: the key {key} is not known"
    for name in CLASSES:
        if not isinstance(rates.get(name), str) or not PRICE.fullmatch(rates[name]):
            yield f'{place}: {name} is {rates.get(name)!r}, not a price as "3.75"'
    if "batch" in keys and rates.get("batch") is not None:
        yield from rate_problems(f"{place}, batch", rates["batch"], set(CLASSES))


def digests(data: Mapping[str, Any]) -> dict[str, dict[str, str | None]]:
    """The last day of every period, and the digest of its prices."""
    return {
        f"{model['id']} {kind} {period['from']}": {"to": period["to"], "sha256": digest(period)}
        for model in data["models"]
        for kind in ("periods", "fast")
        for period in model[kind]
    }


def digest(period: Mapping[str, Any]) -> str:
    prices = {key: value for key, value in period.items() if key not in REMARKS}
    tiers = [{k: v for k, v in tier.items() if k not in REMARKS} for tier in prices.pop("tiers", ())]
    text = json.dumps([prices, tiers], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def alterations(published: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The published periods that have changed. Only an end may be added where there was none."""
    for name, was in published.items():
        if name not in now:
            yield f"{name} is gone"
        elif now[name]["sha256"] != was["sha256"]:
            yield f"{name} has other prices than those that rows were priced with; add a period"
        elif was["to"] is not None and now[name]["to"] != was["to"]:
            yield f"{name} ended {was['to']}, now {now[name]['to']}"


def other_rules(known: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The rules for all models that differ. They have no dates, so a change would alter past prices too."""
    for name in RULES:
        if now[name] != known[name]:
            yield f"its {name} is {now[name]!r} and was {known[name]!r}: that takes a newer version of claudetrace"
