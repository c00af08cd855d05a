"""The dated rates of the price list: loaded when first used, chosen by model, day, speed and batch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, TypeAlias

import orjson

from claudetrace._call import PICOUSD_PER_USD

RATES_FILE = files(__package__).joinpath("rates.json")


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
CLASSES = tuple(part.rate for part in TOKENS)
"""The classes of tokens, each with a rate of its own."""
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


CACHE_WRITE_PARTS = parts_of("cache_write_5m", "cache_write_1h")

ClassRates: TypeAlias = Mapping[str, Fraction]
"""Picodollars a token, by class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSet:
    """The rates in force for one model, day, speed and batch."""

    rates: ClassRates
    tiers: tuple[tuple[int, ClassRates], ...] = ()
    """Longest first: prompts of more tokens than the number have these rates for every token."""

    def times(self, factor: Fraction) -> RateSet:
        """These rates multiplied by `factor`, exactly."""
        if factor == 1:
            return self
        return RateSet(
            rates=_times(self.rates, factor),
            tiers=tuple((above, _times(rates, factor)) for above, rates in self.tiers),
        )


def class_rates(prices: Mapping[str, Any]) -> ClassRates:
    """The five rates that `prices` gives as decimal strings: dollars for a million tokens."""
    return {name: Fraction(prices[name]) * 10**6 for name in CLASSES}


def _times(rates: ClassRates, factor: Fraction) -> ClassRates:
    return {name: rate * factor for name, rate in rates.items()}


class RateBook:
    """A price list: the rates of every model with their dates, and the rules for all models."""

    def __init__(self, data: Mapping[str, Any], digest: str) -> None:
        self.rules: Mapping[str, Any] = data["global"]
        """The rules for all models, as in the data."""
        self.sources: Mapping[str, str] = data["sources"]
        rules = self.rules
        self.data = data
        self.as_of: str = data["as_of"]
        self.version = f"{self.as_of}-{digest}"
        self.models: dict[str, Mapping[str, Any]] = {model["id"]: model for model in data["models"]}
        self.ids = {name: model["id"] for model in data["models"] for name in names_of(model)}
        """Every id in the data, with the model's own id."""
        self.batch_factor = Fraction(rules["batch_multiplier"])
        self.geo_factor = Fraction(rules["inference_geo_us_multiplier"])
        self.regional_factor = Fraction(rules["cloud_regional_multiplier"])
        # Older lists do not have it.
        self.govcloud_factor = Fraction(rules.get("aws_govcloud_multiplier", "1.2"))
        self.search_picousd = Fraction(rules["web_search_usd_per_request"]) * PICOUSD_PER_USD
        self.running_hour_picousd = Fraction(rules["managed_agents_usd_per_session_hour"]) * PICOUSD_PER_USD
        self.free_refusals_from: str = rules["refusal_before_output_unbilled_from"]

    def find(self, model: str, day: str, *, fast: bool, batch: bool) -> RateSet | None:
        """The rates of `model` on `day`, or `None` where the price list has none."""
        row = self.models.get(model)
        if row is None:
            return None
        period = in_force(row["fast" if fast else "periods"], day)
        if period is None or (batch and period.get("batch") is None):
            return None
        tiers = sorted(period.get("tiers", ()), key=lambda tier: -int(tier["prompt_tokens_above"]))
        return RateSet(
            rates=class_rates(period["batch"] if batch else period),
            tiers=tuple(
                (int(tier["prompt_tokens_above"]), class_rates(tier["batch"] if batch else tier)) for tier in tiers
            ),
        )


def in_force(periods: Any, day: str) -> Mapping[str, Any] | None:
    """The one of `periods` that holds `day`: from its first day on, before its last."""
    for period in periods:
        if (period.get("from") or "") <= day and (period.get("to") is None or day < period["to"]):
            found: Mapping[str, Any] = period
            return found
    return None


def names_of(model: Mapping[str, Any]) -> list[str]:
    """Every id of `model`, its own first."""
    names = [model["id"], *model["aliases"], model["bedrock_id"], model["vertex_id"]]
    return [name for name in dict.fromkeys(names) if name]


updated: RateBook | None = None
"""The list that this process has taken from beside its ledger."""


@cache
def book() -> RateBook:
    """The rates in force in this process."""
    return updated or packaged()


def packaged() -> RateBook:
    """The rates of this package."""
    content = RATES_FILE.read_bytes()
    return RateBook(orjson.loads(content), hashlib.sha256(content).hexdigest()[:8])
