"""`Bill` adds up the parts of a price; `Priced` is the result, with its flags."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from claudetrace._call import PROMPT_TOKENS, Cost, CostPart, prompt_tokens, usd
from claudetrace._pricing._rates import book

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._call import Row
    from claudetrace._pricing._plan import Leg, Line, Plan

FLAGS = (
    "unknown_model",
    "no_usage",
    "partial_usage",
    "contradictory_usage",
    "unbilled_refusal",
    "unbilled_declined_hop",
    "priority_commitment",
    "billed_to_user_profile",
    "endpoint_scope_unknown",
    "unpriced_component",
    "retried_after_timeout",
    "rounded_list_cost",
    "custom_rates",
    "assumed_rates",
    "free_host",
    "replayed",
    "agent_mismatch",
)
"""Every flag, in the order in which they are shown."""

PRICE_COLUMNS = (
    *("cost_picousd", "cost_parts", "cost_flags", "cache_saved_picousd", "cache_lost_picousd"),
    *("rates_version", "pricing_terms"),
)
"""The columns that a price fills."""


class Priced:
    """A price as the caller's thread needs it. JSON and the public `Cost` are made when asked for."""

    __slots__ = ("_leg", "_parts", "cache_saved_picousd", "flags", "picousd", "rates_version")

    def __init__(
        self,
        picousd: int | None,
        flags: tuple[str, ...],
        cache_saved_picousd: int | None = None,
        parts: list[tuple[Line, int, int]] | None = None,
        leg: Leg | None = None,
    ) -> None:
        self.picousd = picousd
        self.flags = flags
        self.cache_saved_picousd = cache_saved_picousd
        self.rates_version: str | None = book().version
        self._parts = parts
        self._leg = leg

    def parts_json(self) -> str | None:
        """The column `cost_parts`, or `None` where there is no price."""
        if self._parts is None:
            return None
        parts = [
            f"{line.json_prefix}{quantity}{line.json_suffix}{picousd}}}" for line, quantity, picousd in self._parts
        ]
        return "[" + ",".join(parts) + "]"

    def flags_json(self) -> str:
        """The column `cost_flags`."""
        return "[" + ",".join([f'"{flag}"' for flag in self.flags]) + "]" if self.flags else "[]"

    def columns(self, terms: str, missed_tokens: int | None = None) -> Row:
        """`PRICE_COLUMNS`, with the JSON of the terms; `missed_tokens`: those that the API says missed the cache."""
        return {
            "cost_picousd": self.picousd,
            "cost_parts": self.parts_json(),
            "cost_flags": self.flags_json(),
            "cache_saved_picousd": self.cache_saved_picousd,
            "cache_lost_picousd": self._lost_picousd(missed_tokens) if missed_tokens else None,
            "rates_version": self.rates_version,
            "pricing_terms": terms,
        }

    def _lost_picousd(self, missed_tokens: int) -> int | None:
        """What `missed_tokens` cost, at the mean rate of the prompt's tokens that were not read from the cache, more
        than if they had been read."""
        if self._leg is None:
            return None
        lines = {line.name: line for name, line in self._leg.lines if name in PROMPT_TOKENS}
        read = lines.pop("cache_read_tokens").rate_picousd
        paid = [(quantity, picousd) for line, quantity, picousd in self._parts or () if line.name in lines]
        tokens, picousd = (sum(each) for each in zip(*paid, strict=True)) if paid else (0, 0)
        missed = min(missed_tokens, tokens)
        return round(Fraction(missed * picousd, tokens) - missed * read) if tokens else None

    def cost(self) -> Cost:
        """The price as the public object."""
        parts = tuple(
            CostPart(name=each.name, model=each.model, quantity=count, rate_picousd=each.rate_picousd, picousd=picousd)
            for each, count, picousd in self._parts or ()
        )
        return Cost(usd=usd(self.picousd), parts=parts, flags=self.flags, rates_version=self.rates_version)


class Bill:
    """The parts of a price while they are added up."""

    __slots__ = ("flags", "leg", "parts", "picousd", "saved_picousd")

    def __init__(self, flags: tuple[str, ...]) -> None:
        self.parts: list[tuple[Line, int, int]] = []
        self.picousd = 0
        self.saved_picousd: int | Fraction = 0
        self.flags = flags
        self.leg: Leg | None = None
        """That of the top level."""

    def add(self, line: Line, quantity: int) -> None:
        """Adds `quantity` of `line`, rounded half-even to a picodollar."""
        picousd = quantity * line.rate_picousd
        if type(picousd) is not int:
            picousd = round(picousd)
        self.picousd += picousd
        self.parts.append((line, quantity, picousd))

    def add_leg(self, leg: Leg, columns: Mapping[str, Any]) -> None:
        """Adds the tokens of `columns` at the rates of `leg`."""
        for column, line in leg.lines:
            if quantity := columns.get(column):
                # Like `add`, but inlined: nearly every price passes here.
                picousd = quantity * line.rate_picousd
                if type(picousd) is not int:
                    picousd = round(picousd)
                self.picousd += picousd
                self.parts.append((line, quantity, picousd))
                if line.saves_picousd:
                    self.saved_picousd += quantity * line.saves_picousd

    def priced(self, extra_flags: tuple[str, ...] = ()) -> Priced:
        """The sum."""
        saved = self.saved_picousd if type(self.saved_picousd) is int else round(self.saved_picousd)
        flags = self.flags + extra_flags
        return Priced(self.picousd, in_order(flags) if flags else flags, saved, self.parts, self.leg)


def in_order(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Each of `flags` once, in their order."""
    if len(flags) < 2:
        return flags
    known = [flag for flag in FLAGS if flag in flags]
    return (*known, *[flag for flag in dict.fromkeys(flags) if flag not in FLAGS])


def leg_for(plan: Plan, columns: Mapping[str, Any]) -> Leg | None:
    """The leg for a prompt of the length that `columns` has."""
    if plan.tiers:
        length = prompt_tokens(columns) or 0
        for above, leg in plan.tiers:
            if length > above:
                return leg
    return plan.leg
