"""What changed between two periods, split into causes: volume, tokens per call, price and cache."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from claudetrace._call import exact_usd
from claudetrace._ledger._spend import total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from claudetrace._ledger._spend import Spend, Spends

OUTPUT_WEIGHT = 5
"""An output token costs as much as this many input tokens, at each of Anthropic's models except for long prompts."""
CAUSES = ("volume", "tokens", "price", "cache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the calls with the same dimensions cost now and before. The causes add up to the change, exactly.

    `volume` is more or fewer calls, `tokens` longer or shorter ones, `cache` what caching saved more or less, and
    `price` the rest: another model, tier or rate.
    """

    dimensions: Mapping[str, str | None]
    now: Spend
    before: Spend
    causes: Mapping[str, int]
    """The picodollars of each of `CAUSES`."""
    rest: int = 0
    """How many rows beyond `top` this one sums up."""

    @property
    def others(self) -> bool:
        """Whether it is of the values of a tag beyond a day's first 1,000."""
        return self.now.others or self.before.others

    @property
    def change_picousd(self) -> int:
        """How much more it costs now."""
        return self.now.spend_picousd - self.before.spend_picousd

    @property
    def percent(self) -> float | None:
        """The change as a percentage of what it cost before; `None` where it cost nothing."""
        return 100 * self.change_picousd / self.before.spend_picousd if self.before.spend_picousd else None

    def usd(self, name: str) -> Decimal:
        """`change` or one of the causes in dollars, exact."""
        return exact_usd(self.change_picousd if name == "change" else self.causes[name])

    def plain(self) -> dict[str, Any]:
        """Its fields for JSON."""
        calls = {"calls": self.now.calls, "calls_before": self.before.calls}
        costs = {"cost_usd": f"{self.now.cost_usd:f}", "before_usd": f"{self.before.cost_usd:f}"}
        dollars = {f"{name}_usd": f"{self.usd(name):f}" for name in ("change", *CAUSES)}
        return {**self.dimensions, **calls, **costs, **dollars, "percent": self.percent, "rest": self.rest}


def changes(now: Spends, before: Spends, top: int | None = None) -> tuple[list[Change], Change]:
    """The change of each row of either period, the largest first, and the change of the total. With `top`, all rows
    beyond that many become one."""
    nothing = total([])
    ones, twos = ({(*row.dimensions.values(), row.others): row for row in rows} for rows in (now, before))
    pairs = [(ones.get(key, nothing), twos.get(key, nothing)) for key in twos | ones]
    found = [
        Change(dimensions=one.dimensions or two.dimensions, now=one, before=two, causes=_causes(one, two))
        for one, two in pairs
    ]
    found.sort(key=lambda row: (-abs(row.change_picousd), str(row.dimensions)))
    whole = _sum(found)
    if top is not None and len(found) > top + 1:
        found = [*found[:top], _sum(found[top:], dict.fromkeys(found[0].dimensions), len(found) - top)]
    return found, whole


def _sum(rows: Sequence[Change], dimensions: Mapping[str, str | None] | None = None, rest: int = 0) -> Change:
    causes = {name: sum(row.causes[name] for row in rows) for name in CAUSES}
    now, before = total([row.now for row in rows]), total([row.before for row in rows])
    return Change(dimensions=dimensions or {}, now=now, before=before, causes=causes, rest=rest)


def _causes(now: Spend, before: Spend) -> dict[str, int]:
    """First what the change in calls costs, then that in tokens per call at the earlier price, then that in savings."""
    change = now.spend_picousd - before.spend_picousd
    if not (now.calls and before.calls):
        return dict.fromkeys(CAUSES, 0) | {"volume": change}
    volume = round(Fraction((now.calls - before.calls) * before.spend_picousd, before.calls))
    tokens = cache = 0
    # What it would cost without caching; less the savings, that is what was paid.
    uncached, uncached_before = (each.spend_picousd + each.cache_saved_picousd for each in (now, before))
    weight, weight_before = _weight(now), _weight(before)
    if min(uncached, uncached_before, weight, weight_before) > 0:
        paid = Fraction(before.spend_picousd, uncached_before)
        longer = Fraction(weight) - Fraction(now.calls * weight_before, before.calls)
        tokens = round(longer * Fraction(uncached_before, weight_before) * paid)
        cache = round(now.spend_picousd - uncached * paid)
    return {"volume": volume, "tokens": tokens, "price": change - volume - tokens - cache, "cache": cache}


def _weight(row: Spend) -> int:
    return row.tokens + (OUTPUT_WEIGHT - 1) * row.output_tokens
