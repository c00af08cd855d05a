"""The names of the parts of a price, as `cost_parts` has them: nowhere else are they spelled."""

from __future__ import annotations

from typing import NamedTuple


class TokenPart(NamedTuple):
    """A class of tokens: its name in the price list, and that of its part, which is its column's too."""

    rate: str
    name: str
    cached: bool
    """Whether it stands against plain input."""


TOKENS = (
    TokenPart("input", "input_tokens", cached=False),
    TokenPart("cache_read", "cache_read_tokens", cached=True),
    TokenPart("cache_write_5m", "cache_write_5m_tokens", cached=True),
    TokenPart("cache_write_1h", "cache_write_1h_tokens", cached=True),
    TokenPart("output", "output_tokens", cached=False),
)
SEARCHES = "web_search_requests"
RUNNING = "running_ns"
LIST_COST = "list_cost_cents"

COMPACTION = "compaction."
ADVISOR = "advisor."
DECLINED = "declined."
PREFIXES = ("", COMPACTION, ADVISOR, DECLINED)
"""What a token part's name begins with: nothing for the top level, else the kind of iteration."""


def parts_of(*rates: str) -> tuple[str, ...]:
    """The names of the parts at these rates of the price list, with and without each prefix."""
    return tuple(prefix + part.name for prefix in PREFIXES for part in TOKENS if part.rate in rates)


CACHE_READ_PARTS = parts_of("cache_read")
CACHE_WRITE_PARTS = parts_of("cache_write_5m", "cache_write_1h")
