"""Detects spikes: five minutes that cost many times the average."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from claudetrace._budgets._budget import Budget

SLOT_S = 300
BASELINE_SLOTS = 288
"""How far back the baseline goes: a day."""
LEAST_ACTIVE = 6
"""How many five minutes with spend make a baseline."""
LEAST_CALLS = 3
FLOOR_PART = 50
"""A spike is at least the 50th part of the limit: less does not matter to the budget."""
MOST_KEPT = 2_000


class Spike(NamedTuple):
    """What the five minutes cost, and what five minutes cost on average before."""

    picousd: int
    usual_picousd: int
    slot: int


class Spikes:
    """Adds up spend by five minutes and says when one of them is a spike.

    `Budget.spike=5` is for five minutes that cost over five times the mean of the five minutes with any spend in the
    day before; idle ones are left out, so that the first work of a morning is compared with work. It needs half an
    hour of such spend, at least 3 calls in the five minutes, and a 50th of the limit: so neither a start nor one dear
    call nor cents are a spike. It sees the rows that this process loads, its own and those of dead ones.
    Results of message batches are left out: they come at once and were meant to.
    """

    def __init__(self) -> None:
        self._spend: OrderedDict[tuple[str, str], dict[int, list[int]]] = OrderedDict()

    def add(self, budget: Budget, key: str, at: float, picousd: int) -> Spike | None:
        """The spike that this call begins or continues."""
        if budget.spike is None:
            return None
        slots = self._spend.setdefault((str(budget.name), key), {})
        self._spend.move_to_end((str(budget.name), key))
        if len(self._spend) > MOST_KEPT:
            self._spend.popitem(last=False)
        slot = int(at) // SLOT_S
        now = slots.setdefault(slot, [0, 0])
        now[0] += picousd
        now[1] += 1
        if len(slots) > BASELINE_SLOTS + 12:
            for old in [each for each in slots if each < slot - BASELINE_SLOTS]:
                del slots[old]
        return _judge(budget, slots, slot, now)


def _judge(budget: Budget, slots: dict[int, list[int]], slot: int, now: list[int]) -> Spike | None:
    spent, calls = now
    limit = budget.limit_picousd
    if calls < LEAST_CALLS or limit is None or budget.spike is None or spent * FLOOR_PART < limit:
        return None
    before = [cost for at, (cost, _) in slots.items() if slot - BASELINE_SLOTS <= at < slot]
    if len(before) < LEAST_ACTIVE:
        return None
    usual = sum(before) // len(before)
    return Spike(spent, usual, slot) if spent > budget.spike * usual else None
