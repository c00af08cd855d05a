"""The highest rates that a request can be billed at, where only the answer tells which rates apply."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._pricing._plan import plan_for
from claudetrace._pricing._rates import book

if TYPE_CHECKING:
    from claudetrace._pricing._plan import Leg, Plan
    from claudetrace._pricing._terms import Terms

_OLD_IMAGE_TOKENS = 1664
_IMAGE_TOKENS = 4784
"""The most tokens of an image after the API has scaled it down: up to Claude 4.6, where 784 by 1568 pixels were 1,639
by the formula, and since."""
_TOOL_PROMPT_TOKENS = 1024
"""Used where the model's own figure is not published; the largest that is published is 804."""
_LONGEST_WINDOW = 1_000_000
_MOST_OUTPUT = 128_000


class Rates(NamedTuple):
    """Whole picodollars a token, rounded up, for prompts of more than `above` tokens."""

    above: int
    input: int
    cache_write_5m: int
    cache_write_1h: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HighestRates:
    """What one model can cost at most, and the sizes that follow from the model alone."""

    tiers: tuple[Rates, ...]
    """Shortest prompts first; the rates of a tier are never below those before it."""
    window_tokens: int | None
    """Longer prompts are refused; `None` where nobody has listed it."""
    most_output_tokens: int
    image_tokens: int
    tool_prompt_tokens: int
    """What the API adds to a prompt that offers tools."""
    search_picousd: int

    def picousd(self, prompt_tokens: int, output_tokens: int, cached_for: str | None = None) -> int:
        """The most that so many tokens cost, if they are written to the cache for `cached_for`: `5m` or `1h`."""
        rates = self.tiers[0]
        for tier in self.tiers:
            if prompt_tokens > tier.above:
                rates = tier
        each = rates.input
        if cached_for is not None:
            each = max(each, rates.cache_write_5m)
            if cached_for == "1h":
                each = max(each, rates.cache_write_1h)
        return prompt_tokens * each + output_tokens * rates.output


@lru_cache(maxsize=1024)
def highest_rates(model: str | None, day: str, terms: Terms, fast: bool, worldwide: bool) -> HighestRates | None:
    """The highest rates that `model` may be billed at on `day`, or `None` where one of them is not known.

    What only the answer tells is taken as the most expensive: a workspace's default geography unless the request asks
    for `worldwide`, an endpoint that nobody named, a Foundry deployment's zone, and for `fast` also the standard speed.
    """
    if terms.platform == "foundry" and terms.data_zone is None:
        terms = replace(terms, data_zone="us")
    geo = "global" if worldwide else "us"
    plans = []
    for speed in ("standard", "fast") if fast else ("standard",):
        plan = plan_for(model, model, day, terms, speed, None, geo)
        if "endpoint_scope_unknown" in plan.flags:
            regional = replace(terms, endpoint_scope="regional")
            plan = plan_for(model, model, day, regional, speed, None, geo)
        if plan.leg is None:
            return None
        plans.append(plan)
    row = book().models.get(plans[0].model or "", {})
    old = row.get("tokenizer") == "old"
    window = row.get("context_window")
    if window is not None and any(plan.tiers for plan in plans):
        window = max(window, _LONGEST_WINDOW)
    return HighestRates(
        tiers=_tiers(plans),
        window_tokens=window,
        most_output_tokens=row.get("max_output") or _MOST_OUTPUT,
        image_tokens=_OLD_IMAGE_TOKENS if old else _IMAGE_TOKENS,
        tool_prompt_tokens=max((row.get("tool_use_system_prompt_tokens") or {"": _TOOL_PROMPT_TOKENS}).values()),
        search_picousd=ceil(plans[0].search.rate_picousd),
    )


def _tiers(plans: list[Plan]) -> tuple[Rates, ...]:
    starts = sorted({-1, *(above for plan in plans for above, _ in plan.tiers)})
    tiers: list[Rates] = []
    for start in starts:
        reached = [leg for plan in plans for above, leg in plan.tiers if above <= start]
        legs = [plan.leg for plan in plans if plan.leg is not None] + reached
        tiers.append(_most(start, legs))
    return tuple(tiers)


def _most(above: int, legs: list[Leg]) -> Rates:
    rates: dict[str, int] = {}
    for leg in legs:
        for column, line in leg.lines:
            rates[column] = max(rates.get(column, 0), ceil(line.rate_picousd))
    # What is cached may be read instead, and own prices may make that the more expensive.
    read = rates["cache_read_tokens"]
    return Rates(
        above=above,
        input=rates["input_tokens"],
        cache_write_5m=max(read, rates["cache_write_5m_tokens"]),
        cache_write_1h=max(read, rates["cache_write_1h_tokens"]),
        output=rates["output_tokens"],
    )
