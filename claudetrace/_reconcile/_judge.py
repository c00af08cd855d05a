"""Explains each difference between the ledger and Anthropic's figures."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from claudetrace._reconcile._figures import REQUESTS, TOKEN_KINDS, Cell, Figure, Figures
from claudetrace._reconcile._ours import COUNTS, Sum

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CAUSES = ("unseen", "unpriced", "misrated", "own_prices", "only_theirs", "priority")
"""The causes of a difference in dollars. Each is a column of the table `bill`, with `_picousd` added."""
SAME_PICOUSD = 10**6
"""A ten-thousandth of a cent: amounts that differ by no more are equal."""
SAME_DISCOUNT = Fraction(1, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A cell of both sides. Except for rounding, the causes add up to Anthropic's list price less our cost."""

    cell: Cell
    our_quantity: int = 0
    their_quantity: int | None = None
    our_picousd: int = 0
    list_picousd: int | None = None
    """`None` if no report of cost was read."""
    billed_picousd: int | None = None
    unseen_picousd: int = 0
    """Calls that are not in the ledger; below 0: calls that are only there."""
    unpriced_picousd: int = 0
    """Calls whose cost the ledger does not know."""
    misrated_picousd: int = 0
    """The same tokens at another rate."""
    own_prices_picousd: int = 0
    """The same, where the ledger has the user's own prices instead of list prices."""
    only_theirs_picousd: int = 0
    """What no response tells: code execution, session time."""
    priority_picousd: int = 0
    """The priority tier, which no report of cost includes."""
    unbilled_quantity: int = 0
    """Tokens that were used and not billed: of refusals and blocked requests."""
    our_rate: Fraction | None = None
    their_rate: Fraction | None = None
    """Both rates in picodollars a unit, where they differ."""
    judged: bool = True
    """False if its day is too recent."""

    @property
    def is_shared(self) -> bool:
        """Whether both sides can know its cost."""
        return self.cell.kind in COUNTS and not _is_priority(self.cell)


def compare(figures: Figures, ours: Mapping[Cell, Sum], judged: tuple[str, str]) -> list[Compared]:
    """Each cell of either side, in order. Days outside the span `judged` are not judged."""
    found = [
        _compared(cell, figures.cells.get(cell, Figure()), ours.get(cell, Sum()), figures)
        for cell in sorted({*figures.cells, *ours})
    ]
    found = _with_common_rates(found, figures, ours)
    return [replace(each, judged=judged[0] <= each.cell.day < judged[1]) for each in found]


def _is_priority(cell: Cell) -> bool:
    return cell.service_tier.startswith("priority")


def _compared(cell: Cell, figure: Figure, ours: Sum, figures: Figures) -> Compared:
    tells_quantity = figures.tells_requests if cell.kind == REQUESTS else figures.has_usage
    told = Compared(
        cell=cell,
        our_quantity=ours.seen,
        their_quantity=(figure.quantity or 0) if tells_quantity else None,
        our_picousd=ours.picousd,
        list_picousd=(figure.list_picousd or 0) if figures.has_cost else None,
        billed_picousd=(figure.billed_picousd or 0) if figures.has_cost else None,
    )
    if cell.kind == REQUESTS:
        return replace(told, list_picousd=0 if figures.has_cost else None)
    if _is_priority(cell):
        return replace(told, priority_picousd=(told.list_picousd or 0) - ours.picousd)
    if cell.kind not in COUNTS:
        return replace(told, their_quantity=None, only_theirs_picousd=told.list_picousd or 0)
    more = None if told.their_quantity is None else told.their_quantity - ours.quantity
    if told.list_picousd is None:
        return told
    left, step = told.list_picousd - ours.picousd, figure.step_picousd + SAME_PICOUSD
    if more == 0 and abs(left) <= step:
        return told
    if more is None or not ours.rates or _fits(left, more - ours.free, ours.rates, step):
        return _explained(told, ours, left, more)
    return _misrated(told, ours)


def _fits(left: int, more: int, rates: set[Fraction], step: int) -> bool:
    """Whether our rates can be right: the difference in amount pays for the difference in tokens, at our rates or,
    since some tokens are not billed, at less."""
    ends = (0, max(rates) * more) if more >= 0 else (max(rates) * more, min(rates) * more)
    return ends[0] - step <= left <= ends[1] + step


def _misrated(told: Compared, ours: Sum) -> Compared:
    theirs, tokens = told.list_picousd or 0, (told.their_quantity or 0) - ours.free
    if tokens <= 0 or not ours.quantity:
        return _explained(told, ours, theirs - ours.picousd, None)
    rate = Fraction(theirs, tokens)
    differs = round(rate * ours.quantity) - ours.picousd
    told = _explained(told, ours, theirs - ours.picousd - differs, tokens - ours.quantity)
    if ours.own_rates:
        return replace(told, own_prices_picousd=differs, unbilled_quantity=0)
    our_rate = Fraction(ours.picousd, ours.quantity)
    return replace(told, misrated_picousd=differs, unbilled_quantity=0, our_rate=our_rate, their_rate=rate)


def _explained(told: Compared, ours: Sum, left: int, more: int | None) -> Compared:
    """`told`, with the difference that is `left` put down to calls. `more`: how many tokens more Anthropic has."""
    unpriced = round(Fraction(left * min(ours.unpriced, more), more)) if more and more > 0 else 0
    unbilled = 0
    if more and more > 0 and len(ours.rates) == 1 and told.list_picousd is not None:
        (rate,) = ours.rates
        unbilled = max(0, more - round(left / rate)) if rate else 0
    return replace(told, unseen_picousd=left - unpriced, unpriced_picousd=unpriced, unbilled_quantity=unbilled)


def _with_common_rates(found: list[Compared], figures: Figures, ours: Mapping[Cell, Sum]) -> list[Compared]:
    """`found`, with amounts put down to another rate, not to unbilled tokens, where several cells show the same lower
    rate: unbilled tokens are never that regular."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, each in enumerate(found):
        if each.unbilled_quantity > ours.get(each.cell, Sum()).free and each.list_picousd:
            alike[each.cell._replace(day="", workspace_id="")].append(number)
    found = list(found)
    for numbers in alike.values():
        largest = max((found[number] for number in numbers), key=lambda each: each.their_quantity or 0)
        rate = Fraction(largest.list_picousd or 0, largest.their_quantity or 1)
        if len(numbers) > 1 and all(
            abs((found[n].list_picousd or 0) - rate * (found[n].their_quantity or 0))
            <= 2 * figures.cells[found[n].cell].step_picousd + SAME_PICOUSD
            for n in numbers
        ):
            for number in numbers:
                found[number] = _misrated(found[number], ours[found[number].cell])
    return found


def with_list(figures: Figures, ours: Mapping[Cell, Sum], discount: Fraction | None) -> Fraction | None:
    """Fills in list prices where a report has only billed amounts, and returns the discount used: `discount`, or else
    the one that most of the amount has in common. `None` if the report has both."""
    told = [figure for figure in figures.cells.values() if figure.billed_picousd is not None]
    if not told or any(figure.list_picousd is not None for figure in told):
        return None
    paid = 1 - (_common_discount(figures, ours) if discount is None else discount)
    for figure in told:
        figure.list_picousd = round((figure.billed_picousd or 0) / paid)
        figure.step_picousd = round(figure.step_picousd / paid)
    return 1 - paid


def _common_discount(figures: Figures, ours: Mapping[Cell, Sum]) -> Fraction:
    shares: list[tuple[Fraction, int]] = []
    for cell, figure in figures.cells.items():
        rates = ours[cell].rates if cell in ours else set()
        if figure.billed_picousd and figure.quantity and len(rates) == 1 and (rate := next(iter(rates))):
            shares.append((figure.billed_picousd / (rate * figure.quantity), figure.billed_picousd))
    shares.sort()
    whole, passed = sum(amount for _, amount in shares), 0
    for share, amount in shares:
        passed += amount
        if 2 * passed >= whole:
            alike = sum(amount for other, amount in shares if abs(other - share) <= SAME_DISCOUNT)
            return 1 - share if 2 * alike >= whole and share <= 1 else Fraction(0)
    return Fraction(0)


def groups(cells: Iterable[Compared]) -> dict[Cell, int]:
    """The unseen cost by model and terms, over all days: a call that the two sides count on other days is no gap."""
    sums: dict[Cell, int] = defaultdict(int)
    for each in cells:
        sums[each.cell._replace(day="", kind="")] += each.unseen_picousd
    return sums


def capture_ratio(cells: Iterable[Compared]) -> Fraction | None:
    """The share of Anthropic's list price for calls in the ledger, of what both sides can know, on judged days. Without
    a report of cost, the share of tokens."""
    shared = [each for each in cells if each.judged and each.is_shared]
    if all(each.list_picousd is None for each in shared):
        pairs = [(each.our_quantity, each.their_quantity or 0) for each in shared if each.cell.kind in TOKEN_KINDS]
        theirs, unseen = sum(their for _, their in pairs), sum(max(0, their - our) for our, their in pairs)
    else:
        theirs = sum(each.list_picousd or 0 for each in shared)
        unseen = sum(amount for amount in groups(shared).values() if amount > 0)
    return 1 - Fraction(unseen, theirs) if theirs > 0 else None


def total(cells: Iterable[Compared], name: str) -> int:
    """The sum of the field `name`, where it is known."""
    return sum(getattr(each, name) or 0 for each in cells)
