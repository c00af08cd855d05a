"""The names of a cost's parts, as in `cost_parts`. They are spelled nowhere else."""

from __future__ import annotations

from typing import NamedTuple


class TokenPart(NamedTuple):
    """A class of tokens: its name in the price list, and the name of its part and its column."""

    rate: str
    name: str
    cached: bool
    """Whether it is compared with plain input, for what the cache saved."""


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
"""The prefixes of token parts: none for the top level, else the kind of iteration."""


def parts_of(*rates: str) -> tuple[str, ...]:
    """The names of the parts billed at these rates of the price list, with every prefix."""
    return tuple(prefix + part.name for prefix in PREFIXES for part in TOKENS if part.rate in rates)


CACHE_READ_PARTS = parts_of("cache_read")
CACHE_WRITE_PARTS = parts_of("cache_write_5m", "cache_write_1h")
