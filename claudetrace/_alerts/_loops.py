"""Detects runaway loops: a session that calls again and again, each time with a longer prompt."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._call import prompt_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_CALLS = 60
LONGEST_GAP_S = 10.0
"""The longest pause between two calls of a loop. Longer ones mean that something outside took part."""
LEAST_PICOUSD = 10**12
GROWING_PART = 0.9
GROWTH = 1.5
MOST_KEPT = 5_000
MOST_CALLS = 2_000
KNOWN_STREAKS = 50


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
    context: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_CALLS))


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
        self._streaks: OrderedDict[tuple[str, str], _Streak] = OrderedDict()
        self._ended: deque[int] = deque(maxlen=KNOWN_STREAKS)

    def add(self, row: Mapping[str, Any]) -> Loop | None:
        """The loop that the call of `row` continues."""
        kind = "session" if row.get("session_id") else "trace"
        name = row.get("session_id") or row.get("trace_id")
        if not name or row.get("outcome") == "error" or not row.get("message_count"):
            return None
        streak = self._streak((kind, name), row)
        if streak is None or streak.calls < max(LEAST_CALLS, 2 * max(self._ended, default=0)):
            return None
        if streak.picousd < LEAST_PICOUSD or streak.grew < GROWING_PART * (streak.calls - 1) or not _grows(streak):
            return None
        streak.told = True
        return Loop(kind, name, streak.calls, streak.picousd, streak.began)

    def _streak(self, name: tuple[str, str], row: Mapping[str, Any]) -> _Streak | None:
        """The streak including this call; `None` if the call overlaps another one."""
        began = datetime.fromisoformat(row["started_at"]).timestamp()
        ended = began + (row.get("duration_ms") or 0.0) / 1000
        streak = self._streaks.get(name)
        if streak is not None and began - streak.ended > LONGEST_GAP_S:
            self._finish(streak)
            streak = None
        if streak is None:
            streak = self._streaks[name] = _Streak(began, began)
            if len(self._streaks) > MOST_KEPT:
                self._finish(self._streaks.popitem(last=False)[1])
        self._streaks.move_to_end(name)
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
        if streak.calls > LEAST_CALLS // 4 and not streak.told:
            self._ended.append(streak.calls)


def _grows(streak: _Streak) -> bool:
    sizes = list(streak.context)
    quarter = len(sizes) // 4
    return sum(sizes[-quarter:]) >= GROWTH * sum(sizes[:quarter]) > 0
