"""The names of a cost's parts."""

from __future__ import annotations

import re
from pathlib import Path

from claudetrace._pricing._price import price
from claudetrace._pricing._rates import CACHE_WRITE_PARTS, parts_of

DOCS = Path(__file__).parents[2] / "docs" / "pricing.md"
COUNTS = {
    "input_tokens": 1,
    "cache_read_input_tokens": 2,
    "cache_creation_input_tokens": 7,
    "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
    "output_tokens": 5,
}
ITERATIONS = [
    {"type": "message", "model": "claude-haiku-5-5", **COUNTS},
    {"type": "compaction", **COUNTS},
    {"type": "advisor_message", "model": "claude-sonnet-5-5", **COUNTS},
    {"type": "fallback_message", "model": "claude-opus-5-5", **COUNTS},
]
MESSAGE = {
    "model": "claude-opus-5-5",
    "usage": {**COUNTS, "server_tool_use": {"web_search_requests": 6}, "iterations": ITERATIONS},
}
SESSION = {"type": "session", "model": "claude-opus-5-5", "usage": {**COUNTS, "active_seconds": 8}}
LISTED_SESSION = {**SESSION, "usage": {"list_cost": {"amount": "9", "currency": "USD"}}}


def test_a_price_has_the_part_names_that_the_docs_list():
    """Over every kind of response, the names of the parts are exactly those that docs/pricing.md lists."""
    section = DOCS.read_text(encoding="utf-8").split("## The names of the parts")[1].split("\n## ")[0]
    table, prose = section.rsplit("|", 1)
    plain = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row)}
    prefixes = re.findall(r"`(\w+\.)`", prose)
    listed = plain | {prefix + name for prefix in prefixes for name in plain if name.endswith("_tokens")}

    seen = {part.name for each in (MESSAGE, SESSION, LISTED_SESSION) for part in price(each).parts}

    assert seen == listed


def test_what_the_cache_cost_is_found_by_name():
    """The names for cache writes and cache reads hold the parts of both, iterations included."""
    quantities = {part.name: part.quantity for part in price(MESSAGE).parts}

    assert [quantities[name] for name in CACHE_WRITE_PARTS] == [3, 4] * 4
    assert [quantities[name] for name in parts_of("cache_read")] == [2] * 4
