"""What changed between two times, and by what: calls, tokens a call, their price, and the cache."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from claudetrace._call import exact_usd
from claudetrace._ledger._spend import total

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from claudetrace._ledger._spend import Spend, Spends

OUTPUT_WEIGHT = 5
"""What a token of an answer costs against one of a prompt, at each model of Anthropic's but for long prompts."""
CAUSES = ("volume", "tokens", "price", "cache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the calls of the same dimensions cost now and before. The causes add up to the change, exactly.

    `volume` is more or fewer calls, `tokens` longer or shorter ones, `cache` what more or less of it saved. `price` is
    all else: another model, tier or rate.
    """

    dimensions: Mapping[str, str | None]
    now: Spend | None
    before: Spend | None
    rest: int = 0
    """Of how many further rows it is the sum."""
    volume_picousd: int
    tokens_picousd: int
    price_picousd: int
    cache_picousd: int

    @property
    def change_picousd(self) -> int:
        """How much more it costs now."""
        return _spent(self.now) - _spent(self.before)

    @property
    def percent(self) -> float | None:
        """The same against what it was; `None` where that was nothing."""
        return 100 * self.change_picousd / _spent(self.before) if _spent(self.before) else None

    def usd(self, name: str) -> Decimal:
        """`change` or one of the causes in dollars, exact."""
        return exact_usd(getattr(self, f"{name}_picousd"))

    def plain(self) -> dict[str, Any]:
        """Its fields as JSON has them."""
        dollars = {f"{name}_usd": f"{self.usd(name):f}" for name in ("change", *CAUSES)}
        costs = {"cost_usd": f"{exact_usd(_spent(self.now)):f}", "before_usd": f"{exact_usd(_spent(self.before)):f}"}
        calls = {"calls": _calls(self.now), "calls_before": _calls(self.before)}
        return {**self.dimensions, **calls, **costs, **dollars, "percent": self.percent, "rest": self.rest}


def changes(now: Spends, before: Spends, top: int | None = None) -> tuple[list[Change], Change]:
    """The change of each row of either, the largest first, and of all; with `top`, those beyond so many are one."""
    rows: dict[tuple[Any, ...], list[Spend | None]] = {}
    for place, spends in enumerate((now, before)):
        for row in spends:
            rows.setdefault((*row.dimensions.values(), row.others), [None, None])[place] = row
    found = [_change(one, two) for one, two in rows.values()]
    found.sort(key=lambda row: (-abs(row.change_picousd), str(row.dimensions)))
    whole = _sum(found)
    if top is not None and len(found) > top + 1:
        found = [*found[:top], _sum(found[top:], dict.fromkeys(found[0].dimensions), len(found) - top)]
    return found, whole


def _sum(rows: list[Change], dimensions: Mapping[str, str | None] | None = None, rest: int = 0) -> Change:
    causes = {f"{name}_picousd": sum(getattr(row, f"{name}_picousd") for row in rows) for name in CAUSES}
    now = total([row.now for row in rows if row.now is not None])
    before = total([row.before for row in rows if row.before is not None])
    return Change(dimensions=dimensions or {}, now=now, before=before, rest=rest, **causes)


def _change(now: Spend | None, before: Spend | None) -> Change:
    dimensions = (now or before).dimensions  # type: ignore[union-attr]  # one of them is there
    change = _spent(now) - _spent(before)
    volume, tokens, cache = _causes(now, before) if now and before and now.calls and before.calls else (change, 0, 0)
    return Change(
        dimensions=dimensions,
        now=now,
        before=before,
        volume_picousd=volume,
        tokens_picousd=tokens,
        cache_picousd=cache,
        price_picousd=change - volume - tokens - cache,
    )


def _causes(now: Spend, before: Spend) -> tuple[int, int, int]:
    """What more calls make, then more tokens a call at what they cost before, and then what the cache saved less."""
    volume = Fraction((now.calls - before.calls) * before.spend_picousd, before.calls)
    # As if nothing had been cached: what is left of it is what was paid.
    uncached, uncached_before = (each.spend_picousd + each.cache_saved_picousd for each in (now, before))
    weight, weight_before = _weight(now), _weight(before)
    if min(uncached, uncached_before, weight, weight_before) <= 0:
        return round(volume), 0, 0
    paid = Fraction(before.spend_picousd, uncached_before)
    longer = Fraction(weight) - Fraction(now.calls * weight_before, before.calls)
    tokens = longer * Fraction(uncached_before, weight_before) * paid
    return round(volume), round(tokens), round(now.spend_picousd - uncached * paid)


def _weight(row: Spend) -> int:
    return row.tokens + (OUTPUT_WEIGHT - 1) * row.output_tokens


def _spent(row: Spend | None) -> int:
    return 0 if row is None else row.spend_picousd


def _calls(row: Spend | None) -> int:
    return 0 if row is None else row.calls
