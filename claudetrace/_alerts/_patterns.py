"""What spend looks like when it deserves an alert: a forecast over the limit, a spike, a runaway loop."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime
from math import isqrt
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from claudetrace._budgets._windows import CALENDAR, Window
from claudetrace._call import prompt_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._budgets._budget import Budget

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

FORECAST_CALLS = 20
FORECAST_ELAPSED_S = 300
FORECAST_SHARE = 10
"""An alert waits for the 10th part of the window."""
MOST_FORECASTS = 10_000

SLOT_S = 300
BASELINE_SLOTS = 288
"""How far back the baseline of spikes goes: a day."""
SPIKE_ACTIVE = 6
"""How many five minutes with spend make a baseline."""
SPIKE_CALLS = 3
SPIKE_PART = 50
"""A spike is at least the 50th part of the limit: less does not matter to the budget."""
MOST_SPIKES = 2_000

LOOP_CALLS = 60
LOOP_GAP_S = 10.0
"""The longest pause between two calls of a loop. Longer ones mean that something outside took part."""
LOOP_PICOUSD = 10**12
GROWING_PART = 0.9
GROWTH = 1.5
MOST_LOOPS = 5_000
MOST_SIZES = 2_000
KNOWN_STREAKS = 50


class Latest(OrderedDict[KeyT, ValueT]):
    """The values of the keys that were set last, and of no more than so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: KeyT, value: ValueT) -> ValueT | None:
        """Sets the value of a key, and gives the value that goes for it."""
        self[key] = value
        self.move_to_end(key)
        return self.popitem(last=False)[1] if len(self) > self._most else None


def forecast(budget: Budget, amount: int, window: Window, now: float) -> int | None:
    """What `amount`, in picodollars or calls, will be at the end of the window at the pace since its start. `None` for
    windows without a fixed end: `total` and rolling ones."""
    if budget.per not in CALENDAR or window.end is None or not window.start < now < window.end:
        return None
    elapsed = max(1, int(now - window.start))
    return amount * (window.end - window.start) // elapsed


class Forecasts:
    """Judges whether a budget is on course to pass its limit.

    The forecast is what is spent, and for the rest of the window the lower of two paces. One is that since the
    window's start, less twice its uncertainty: of n calls, a share of 2/√n may be chance. The other is the latest
    pace, over the last quarter or so of the time that has passed, where this process has watched that long: a burst
    that is over is not spent again. Neither is judged before a tenth of the window, five minutes and 20 calls.
    """

    def __init__(self) -> None:
        self._seen = Latest[tuple[str, str], list[tuple[float, int, int]]](MOST_FORECASTS)

    def passes(self, budget: Budget, key: str, window: Window, now: float, spent: tuple[int, int]) -> bool:
        """Whether the forecast exceeds a limit that `spent`, picodollars and calls, has not reached."""
        latest = self._latest(budget, key, window, now, spent)
        if budget.per not in CALENDAR or window.end is None or spent[1] < FORECAST_CALLS:
            return False
        elapsed, left = int(now) - window.start, window.end - int(now)
        if elapsed < max(FORECAST_ELAPSED_S, (window.end - window.start) // FORECAST_SHARE) or left <= 0:
            return False
        limits = (budget.limit_picousd, budget.max_calls)
        return any(
            limit is not None and amount < limit < amount + _cautious(amount, spent[1], elapsed, left, latest, which)
            for which, (amount, limit) in enumerate(zip(spent, limits, strict=True))
        )

    def _latest(
        self, budget: Budget, key: str, window: Window, now: float, spent: tuple[int, int]
    ) -> tuple[int, tuple[int, int]] | None:
        """The seconds that were watched lately and what was spent in them."""
        samples = self._seen.get((str(budget.name), key), [])
        self._seen.put((str(budget.name), key), samples)
        if samples and samples[0][0] < window.start:
            samples.clear()
        elapsed = now - window.start
        if not samples or now - samples[-1][0] > elapsed / 4:
            samples.append((now, *spent))
            del samples[:-2]
        since, picousd, calls = samples[0]
        if now - since < max(1.0, elapsed / 10):
            return None
        return int(now - since), (max(0, spent[0] - picousd), max(0, spent[1] - calls))


def _cautious(
    amount: int, calls: int, elapsed: int, left: int, latest: tuple[int, tuple[int, int]] | None, which: int
) -> int:
    """What the rest of the window adds at the slower of the two paces."""
    # 1 - 2/√n in thousandths, with the root rounded down.
    sure = max(0, 1000 - 2_000_000 // max(1, isqrt(calls * 1_000_000)))
    whole = amount * sure * left // (1000 * elapsed)
    return whole if latest is None else min(whole, latest[1][which] * left // latest[0])


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
        self._spend = Latest[tuple[str, str], dict[int, list[int]]](MOST_SPIKES)

    def add(self, budget: Budget, key: str, at: float, picousd: int) -> Spike | None:
        """The spike that this call begins or continues."""
        slots = self._spend.get((str(budget.name), key), {})
        self._spend.put((str(budget.name), key), slots)
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
    if calls < SPIKE_CALLS or limit is None or budget.spike is None or spent * SPIKE_PART < limit:
        return None
    before = [cost for at, (cost, _) in slots.items() if slot - BASELINE_SLOTS <= at < slot]
    if len(before) < SPIKE_ACTIVE:
        return None
    usual = sum(before) // len(before)
    return Spike(spent, usual, slot) if spent > budget.spike * usual else None


class Loop(NamedTuple):
    """A runaway session or trace: its name, its calls, and what they have cost since it began."""

    kind: str
    name: str
    calls: int
    picousd: int
    began: float


@dataclass(slots=True)
class _Streak:
    """Consecutive calls without a pause."""

    began: float
    ended: float
    calls: int = 0
    picousd: int = 0
    grew: int = 0
    messages: int = 0
    told: bool = False
    context: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_SIZES))


class Loops:
    """Says when a session, or a trace where there is no session, is a runaway loop.

    What is one: at least 60 calls, each begun within 10 seconds of the end of the one before it and not beside it;
    with nine of ten taking as many messages as the one before or more; the last quarter of them with half as much
    again to read as the first quarter; a dollar together; and twice as many calls as any streak that ended by itself
    in this process, so that an application whose agents work for long tells for itself what is normal.

    What is none: a conversation, in which a person takes longer than that; work side by side in one trace; the same
    short call for each of many things. Told once for each session.
    """

    def __init__(self) -> None:
        self._streaks = Latest[tuple[str, str], _Streak](MOST_LOOPS)
        self._ended: deque[int] = deque(maxlen=KNOWN_STREAKS)

    def add(self, row: Mapping[str, Any]) -> Loop | None:
        """The loop that the call of `row` continues."""
        kind = "session" if row.get("session_id") else "trace"
        name = row.get("session_id") or row.get("trace_id")
        if not name or row.get("outcome") == "error" or not row.get("message_count"):
            return None
        streak = self._streak((kind, name), row)
        if streak is None or streak.calls < max(LOOP_CALLS, 2 * max(self._ended, default=0)):
            return None
        if streak.picousd < LOOP_PICOUSD or streak.grew < GROWING_PART * (streak.calls - 1) or not _grows(streak):
            return None
        streak.told = True
        return Loop(kind, name, streak.calls, streak.picousd, streak.began)

    def _streak(self, name: tuple[str, str], row: Mapping[str, Any]) -> _Streak | None:
        """The streak including this call; `None` if the call overlaps another one."""
        began = datetime.fromisoformat(row["started_at"]).timestamp()
        ended = began + (row.get("duration_ms") or 0.0) / 1000
        streak = self._streaks.get(name)
        if streak is not None and began - streak.ended > LOOP_GAP_S:
            self._finish(streak)
            streak = None
        if streak is None:
            streak = _Streak(began, began)
        if (gone := self._streaks.put(name, streak)) is not None:
            self._finish(gone)
        # Milliseconds are rounded: a call that began as the last one ended is after it.
        if began < streak.ended - 0.005 and streak.calls:
            streak.ended = max(streak.ended, ended)
            return None
        streak.calls += 1
        streak.picousd += row.get("cost_picousd") or 0
        streak.grew += int(streak.calls > 1 and row["message_count"] >= streak.messages > 0)
        streak.messages = row["message_count"]
        streak.context.append(prompt_tokens(row) or 0)
        streak.ended = ended
        return streak

    def _finish(self, streak: _Streak) -> None:
        # A loop that raised an alert does not show what is normal.
        if streak.calls > LOOP_CALLS // 4 and not streak.told:
            self._ended.append(streak.calls)


def _grows(streak: _Streak) -> bool:
    sizes = list(streak.context)
    quarter = len(sizes) // 4
    return sum(sizes[-quarter:]) >= GROWTH * sum(sizes[:quarter]) > 0
