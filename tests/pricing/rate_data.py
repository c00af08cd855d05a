"""Checks `rates.json`, and keeps the digest of every period that was once published.

After adding a model or a period, run `python tests/pricing/rate_data.py`: it refuses malformed rates and
changed ones, and writes down the new.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claudetrace._pricing._rates import CLASSES, RATES_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLISHED_FILE = Path(__file__).with_name("published.json")
PRICE = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
"""Dollars for a million tokens: six decimals are a picodollar a token."""
REMARKS = {"note", "status", "condition", "to"}
KEYS = {"from", "to", "batch", "tiers", "note", "status", *CLASSES}
TIER_KEYS = {"prompt_tokens_above", "threshold_counts", "comparison", "scope", "condition", "batch", *CLASSES}
THRESHOLD = {
    "threshold_counts": ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"],
    "comparison": "strictly greater",
    "scope": "every token of the request, output included",
}
"""What the engine does; a tier that says otherwise needs an engine that does otherwise."""


def problems(data: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the rates, one sentence each."""
    named: dict[str, str] = {}
    for model in data["models"]:
        name = model["id"]
        spelled = {model["id"], *model["aliases"], model["bedrock_id"], model["vertex_id"]} - {None}
        for spelling in sorted(spelled):
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


def period_problems(place: str, periods: list[dict[str, Any]], *, gaps: bool) -> Iterator[str]:
    for period in periods:
        here = f"{place} from {period.get('from')}"
        yield from rate_problems(here, period, KEYS)
        for day in (period["from"], period["to"]):
            if day is not None and date.fromisoformat(day).isoformat() != day:
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


def rate_problems(place: str, rates: dict[str, Any], keys: set[str]) -> Iterator[str]:
    for key in sorted(rates.keys() - keys):
        yield f"{place}: the key {key} is not known"
    for name in CLASSES:
        if not isinstance(rates.get(name), str) or not PRICE.fullmatch(rates[name]):
            yield f'{place}: {name} is {rates.get(name)!r}, not a price as "3.75"'
    if "batch" in keys and rates.get("batch") is not None:
        yield from rate_problems(f"{place}, batch", rates["batch"], set(CLASSES))


def digests(data: dict[str, Any]) -> dict[str, dict[str, str | None]]:
    """Of every period its last day, and the digest of its prices."""
    return {
        f"{model['id']} {kind} {period['from']}": {"to": period["to"], "sha256": digest(period)}
        for model in data["models"]
        for kind in ("periods", "fast")
        for period in model[kind]
    }


def digest(period: dict[str, Any]) -> str:
    prices = {key: value for key, value in period.items() if key not in REMARKS}
    tiers = [{k: v for k, v in tier.items() if k not in REMARKS} for tier in prices.pop("tiers", ())]
    text = json.dumps([prices, tiers], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def alterations(published: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Which published periods are no longer what they were. A period without an end may get one."""
    for name, was in published.items():
        if name not in now:
            yield f"{name} is gone"
        elif now[name]["sha256"] != was["sha256"]:
            yield f"{name} has other prices than those that rows were priced with; add a period"
        elif was["to"] is not None and now[name]["to"] != was["to"]:
            yield f"{name} ended {was['to']}, now {now[name]['to']}"


def rates() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RATES_FILE.read_text())
    return found


def published() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PUBLISHED_FILE.read_text()) if PUBLISHED_FILE.exists() else {}
    return found


def main() -> int:
    data = rates()
    now = digests(data)
    if wrong := [*problems(data), *alterations(published(), now)]:
        print("\n".join(wrong))
        return 1
    PUBLISHED_FILE.write_text(json.dumps(now, indent=1) + "\n")
    print(f"{len(now)} periods are published")
    return 0


if __name__ == "__main__":
    sys.exit(main())
