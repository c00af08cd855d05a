"""The price of a usage object worked out a second time: straight from `rates.json`, with `Fraction` alone."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

DATA = json.loads((Path(__file__).parents[2] / "claudetrace/_pricing/rates.json").read_text())
MODELS = {model["id"]: model for model in DATA["models"]}


def count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 2**63 else 0


def classes(usage: dict[str, Any]) -> dict[str, int]:
    split = usage.get("cache_creation") or {}
    total = usage.get("cache_creation_input_tokens")
    hour = count(split.get("ephemeral_1h_input_tokens"))
    short = count(split.get("ephemeral_5m_input_tokens"))
    read = count(usage.get("cache_read_input_tokens"))
    if total is not None and hour + short - count(total) == read > 0:
        # Read, then, and not written.
        hour, short = 0, count(total)
    return {
        "input": count(usage.get("input_tokens")),
        "output": count(usage.get("output_tokens")),
        "cache_read": count(usage.get("cache_read_input_tokens")),
        "cache_write_1h": hour,
        "cache_write_5m": short if total is None else max(short, count(total) - hour),
    }


def price_list(model: str, day: str, counts: dict[str, int], *, fast: bool, batch: bool) -> dict[str, Any] | None:
    for period in MODELS[model]["fast" if fast else "periods"]:
        if period["from"] <= day and (period["to"] is None or day < period["to"]):
            prompt = sum(counts.values()) - counts["output"]
            for tier in period.get("tiers", []):
                if prompt > tier["prompt_tokens_above"]:
                    period = tier
            found: dict[str, Any] | None = period["batch"] if batch else period
            return found
    return None


def leg(usage: dict[str, Any], model: str, day: str, *, fast: bool, batch: bool, factor: Fraction) -> list[int] | None:
    counts = classes(usage)
    prices = price_list(model, day, counts, fast=fast, batch=batch)
    if prices is None:
        return None
    return [round(n * Fraction(prices[name]) * 10**6 * factor) for name, n in counts.items() if n]


def picousd(usage: dict[str, Any], model: str, day: str, *, batch: bool) -> int | None:
    """The cost on the Claude API of a response of the listed id `model`, without fallbacks."""
    fast, batch = usage.get("speed") == "fast", batch or usage.get("service_tier") == "batch"

    def factor(name: str) -> Fraction:
        here = usage.get("inference_geo") == "us" and MODELS[name]["supports_inference_geo"]
        return Fraction(DATA["global"]["inference_geo_us_multiplier"]) if here else Fraction(1)

    parts = leg(usage, model, day, fast=fast, batch=batch, factor=factor(model))
    if parts is None:
        return None
    searches = count((usage.get("server_tool_use") or {}).get("web_search_requests"))
    parts.append(round(searches * Fraction(DATA["global"]["web_search_usd_per_request"]) * 10**12))
    for entry in usage.get("iterations") or []:
        if entry["type"] == "compaction":
            parts += leg(entry, model, day, fast=fast, batch=batch, factor=factor(model)) or []
        if entry["type"] == "advisor_message":
            advisor = entry["model"]
            parts += leg(entry, advisor, day, fast=False, batch=batch, factor=factor(advisor)) or []
    return sum(parts)
