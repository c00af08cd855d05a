"""`Rules`: raises all alerts but those of thresholds, which the store raises with the sum that reaches them."""

from __future__ import annotations

import time
from collections import Counter, deque
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from claudetrace._alerts import _sentences
from claudetrace._alerts._alert import Alert, alert_of, here
from claudetrace._alerts._patterns import Forecasts, Latest, Loops, Spikes, forecast
from claudetrace._budgets._match import ALL, matching, untagged
from claudetrace._budgets._windows import Window, period_of
from claudetrace._call import Row, exact_usd, spend_of
from claudetrace._operations import BATCHES_RESULT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._records import Claim
    from claudetrace._budgets._totals import Totals
    from claudetrace._guard import Guard

FORECAST_S = 10.0
"""The shortest time between two forecasts of a budget, for each of its keys."""
MOST_FORECASTS = 50
"""Each reads the store: of a hundred thousand users some are looked at now, others with later rows."""
DAY_S = 86_400
MOST_KEPT = 20_000


class Rules:
    """Looks at new rows, on the loader's thread, and raises an alert where one is due: a forecast, an unbounded call
    or unpriced calls once in a window, blocked calls at the first, tenth and hundredth and so on in it, a spike once a
    day, a loop once for its session, lost rows once an hour.

    `raise_alert` gets an alert and the mark that it fires, each mark once in this process; where there is a store, it
    sees to it that the mark fires once in all of them. `totals` gives what a budget has spent in a window; without it
    there is no forecast. `block` counts calls that a budget has stopped, and gives how many it has in the window.
    """

    def __init__(
        self,
        budgets: Sequence[Budget],
        raise_alert: Callable[[Alert, str], None],
        totals: Callable[[Budget, str, Window], Totals] | None = None,
        block: Callable[[Claim, int], int] | None = None,
        *,
        guard: Guard,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.budgets = tuple(budgets)
        self._raise_alert, self._guard, self._clock = raise_alert, guard, clock
        self._totals, self._block = totals, block
        self._forecasts, self._spikes, self._loops = Forecasts(), Spikes(), Loops()
        self._next = Latest[tuple[str, str], float](MOST_KEPT)
        self._known = Latest[tuple[str | None, str], None](MOST_KEPT)
        self._noted: deque[tuple[Budget, str, str]] = deque(maxlen=1000)
        self._blocked: deque[tuple[Claim, str]] = deque()
        self._uncounted: dict[tuple[str, str, int], tuple[Claim, str, int]] = {}
        """Blocked calls that the store has not counted yet: why the last of them was, and how many."""
        self._untagged = Counter[str]()
        """How many calls of this process lack the tag of a budget."""
        self._lost = 0

    def note_unbounded(self, budget: Budget, key: str, why: str) -> None:
        """Remembers that a blocking budget let a call through without a bound; `why` is no text of the request's.
        On the caller's thread: it only notes it."""
        self._noted.append((budget, key, why))

    def note_blocked(self, claim: Claim, why: str) -> None:
        """Remembers that a budget has stopped a call. On the caller's thread: it only notes it."""
        self._blocked.append((claim, why))

    def rows(self, rows: Sequence[Row]) -> None:
        """Looks at rows that are new in the ledger. Never raises."""
        touched: dict[tuple[str, str], Budget] = {}
        for row in rows:
            with self._guard("look for what to alert of"):
                self._look(row, touched)
        for (_, key), budget in islice(touched.items(), MOST_FORECASTS):
            with self._guard("make the forecast of a budget"):
                self._look_ahead(budget, key)
        for budget in [each for each in self.budgets if self._untagged[str(each.name)]]:
            with self._guard("alert of calls without a budget's tag"):
                self._raise_for(budget, ALL, "untagged", _sentences.untagged(budget, self._untagged[str(budget.name)]))
        self.tick()

    def tick(self, lost: int | None = None) -> None:
        """Raises the noted alerts, and one if this process has `lost` more rows. Never raises."""
        with self._guard("alert of calls without a bound"):
            while self._noted:
                budget, key, why = self._noted.popleft()
                self._raise_for(budget, key, "unbounded", _sentences.unbounded(budget, key, why), each_key=False)
        with self._guard("count the calls that budgets have stopped"):
            self._count_blocked()
        if lost is not None and lost > self._lost:
            self._lost = lost
            with self._guard("alert of lost calls"):
                self._raise("lost", _sentences.lost(lost), f"lost {int(self._clock()) // 3600}")

    def _count_blocked(self) -> None:
        """Counts them in the store, those of one budget and key at once: a loop may be stopped thousands of times a
        second."""
        while self._blocked:
            claim, why = self._blocked.popleft()
            place = *claim.place, claim.window.slot
            self._uncounted[place] = claim, why, self._uncounted.get(place, (claim, why, 0))[2] + 1
        for place, (claim, why, calls) in list(self._uncounted.items()):
            try:
                counted = calls if self._block is None else self._block(claim, calls)
                del self._uncounted[place]
            except Exception as error:  # noqa: BLE001 - what cannot be counted now is told all the same
                self._guard.caught("count in the budgets' store the calls that were stopped", error)
                counted = calls
            budget, key, window = claim
            step = 10 ** (len(str(counted)) - 1)
            message = _sentences.blocked(budget, key, counted, why, here[0].grant(budget, key))
            self._raise_for(budget, key, f"blocked {step}", message, window=window)

    def _look(self, row: Row, touched: dict[tuple[str, str], Budget]) -> None:
        if (found := self._loops.add(row)) is not None:
            mark, said = f"loop {found.kind} {found.name}", _sentences.loop(found)
            self._raise("loop", said, mark, key=found.name, spent_picousd=found.picousd)
        unpriced = row.get("outcome") == "ok" and row.get("cost_picousd") is None
        for budget in untagged(self.budgets, row) if unpriced or spend_of(row) else ():
            if budget.untagged == "alert":
                self._untagged[str(budget.name)] += 1
        if unpriced and not self.budgets:
            message = _sentences.unpriced(None, None, row.get("model"))
            self._raise("unpriced", message, f"unpriced {row.get('model')}")
        for budget, key in matching(self.budgets, row):
            touched[str(budget.name), key] = budget
            if unpriced and budget.unpriced != "ignore":
                message = _sentences.unpriced(budget, key, row.get("model"))
                self._raise_for(budget, key, "unpriced", message, each_key=False)
            elif (spend := spend_of(row)) and row.get("operation") != BATCHES_RESULT.name:
                self._look_at_spend(budget, key, row, spend)

    def _look_at_spend(self, budget: Budget, key: str, row: Row, picousd: int) -> None:
        if budget.spike is None:
            return
        at = datetime.fromisoformat(row["started_at"]).timestamp() + (row.get("duration_ms") or 0.0) / 1000
        found = self._spikes.add(budget, key, at, picousd)
        if found is not None:
            mark, said = f"spike {int(at) // DAY_S} {key}", _sentences.spike(budget, key, found)
            self._raise("spike", said, mark, budget=budget, key=key, spent_picousd=found.picousd)

    def _look_ahead(self, budget: Budget, key: str) -> None:
        """Raises an alert if the budget is on course to exceed its limit."""
        now = self._clock()
        if self._totals is None or not budget.forecast or now < self._next.get((str(budget.name), key), 0.0):
            return
        self._next.put((str(budget.name), key), now + FORECAST_S)
        window = budget.window(now)
        if window.end_at is None:
            return
        found = self._totals(budget, key, window)
        budget, spent = budget.raised(found), (found.picousd, found.calls)
        mark = mark_of(budget, "forecast", window.slot, key, of_limit=True)
        if (budget.name, mark) in self._known:
            return
        if not self._forecasts.passes(budget, key, window, now, spent):
            return
        expected = (forecast(budget, spent[0], window, now) or 0, forecast(budget, spent[1], window, now) or 0)
        message = _sentences.forecast(budget, key, spent=spent, expected=expected, end=window.end_at)
        self._raise_for(budget, key, "forecast", message, spent_picousd=spent[0])

    def _raise_for(
        self,
        budget: Budget,
        key: str,
        kind: str,
        message: str,
        *,
        spent_picousd: int | None = None,
        each_key: bool = True,
        window: Window | None = None,
    ) -> None:
        """Raises an alert of a budget, once in its window, which is that of now; with `each_key` once for each of its
        keys. Of a `kind` like "blocked 10" only the first word is the alert's."""
        window = window or budget.window(self._clock())
        mark = mark_of(budget, kind, window.slot, key if each_key else "", of_limit=kind == "forecast")
        if (budget.name, mark) in self._known:
            return
        if spent_picousd is None and self._totals is not None:
            with self._guard("read what a budget has spent"):
                spent_picousd = self._totals(budget, key, window).picousd
        kind = kind.partition(" ")[0]
        self._raise(kind, message, mark, budget=budget, key=key, spent_picousd=spent_picousd, window=window)

    def _raise(self, kind: str, message: str, mark: str, *, budget: Budget | None = None, **more: Any) -> None:
        known = None if budget is None else budget.name, mark
        if known not in self._known:
            self._known.put(known, None)
            self._raise_alert(alert_of(kind, message, self._clock(), budget=budget, **more), mark)


def threshold_alert(
    budget: Budget, key: str, window: Window, threshold: float, spent: tuple[int, int], now: float
) -> Alert:
    """The alert of a threshold that the spend, in picodollars and calls, has reached."""
    end = None if window.rolls else window.end_at
    message = _sentences.threshold(budget, key, share=threshold, spent_usd=exact_usd(spent[0]), calls=spent[1], end=end)
    return alert_of(
        "threshold", message, now, budget=budget, key=key, spent_picousd=spent[0], window=window, threshold=threshold
    )


def mark_of(budget: Budget, kind: str, slot: int, key: str = "", *, of_limit: bool = False) -> str:
    """What says that a thing was told of the budget: once in its window, and once of each limit where it is
    `of_limit`, so that a limit that is raised is told of again."""
    limit = f" of {budget.limit_picousd}/{budget.max_calls}" if of_limit else ""
    return f"{kind}{limit} {period_of(budget.per, slot)} {key}"
