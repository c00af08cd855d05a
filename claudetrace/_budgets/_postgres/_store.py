"""`PostgresStore`: the verbs of a budgets' store on a PostgreSQL server, one call of a function a group."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from claudetrace._alerts._alert import Outgoing, alert_from, alert_text
from claudetrace._budgets._postgres._session import Session
from claudetrace._budgets._postgres._steps import Asked, Step, correcting, reserving, settling, taking, windowed
from claudetrace._budgets._postgres._thresholds import Thresholds
from claudetrace._budgets._postgres._view import grants_of
from claudetrace._budgets._store import Denied, Sums, Totals
from claudetrace._budgets._windows import ROLLING, rolling_s
from claudetrace._clock import monotonic
from claudetrace._ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from claudetrace._alerts._alert import Alert
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._budgets._store import Claim, Grant, Later, Opening, Rest, StoreError
    from claudetrace._budgets._windows import Window
    from claudetrace._call import Row

SWEEP_S, FORGET_S, OTHERS_S = 5.0, 60.0, 5.0
"""How often this process looks for reservations of those who are gone, for what is old, for budgets of others."""
GRACE_S = 5.0
"""How long the journal of a process whose lease is over may take to say what its calls cost."""
DAY_S = 86_400
SWEEP = {"do": "sweep", "grace_s": GRACE_S, "results_s": 29 * DAY_S, "few": 200}
KEEP_S = 35 * DAY_S
FORGET = {"keep_steps_s": DAY_S, "keep_counters_s": 400 * DAY_S, "unseen_s": 7 * DAY_S, "few": 200}
LATE_TRIES = 3
DOWN_S = 5.0


class PostgresStore:
    """The budgets of one process in the database at `url`."""

    def __init__(self, url: ServerUrl, opening: Opening) -> None:
        self.name, self.down_s = str(url), DOWN_S
        self.is_lost = False
        self._opening, self._session = opening, Session(url, opening)
        self._thresholds = Thresholds()
        self._steps: list[Asked] = []
        self._patience_s = 1.0
        self._due = {"sweep": 0.0, "forget": 0.0}

    @property
    def peers(self) -> int:
        """As in `Store`: as many as there were moments ago."""
        return self._session.peers

    @contextmanager
    def group(self, patience_s: float) -> Iterator[None]:
        """As in `Store`. What has no answer of its own is sent when it ends, and then is all done or none."""
        self._steps, self._patience_s = [], max(patience_s, 0.25)
        try:
            yield
            self._send()
        finally:
            self._steps = []

    def mend(self, error: StoreError) -> bool:  # noqa: ARG002 - as in `Store`
        """Never: a connection that was closed is made anew as it is needed."""
        return False

    def _add(self, step: Step) -> Asked:
        asked = Asked(step, self._send)
        self._steps.append(asked)
        return asked

    def _now(self, step: Step, *, durable: bool = False) -> Any:
        """What a step is answered at once, after those before it."""
        self._send()
        return self._session.do([step], self._patience_s, durable=durable)[0][0]

    def _send(self) -> None:
        """Sends what waits. Whose window has closed meanwhile asks again in the next one."""
        waiting, self._steps = self._steps, []
        self._session.meet(self._patience_s)
        for _ in range(LATE_TRIES):
            if not waiting:
                return
            durable = any(each.step.said["do"] == "take" for each in waiting)
            answers, counters = self._session.do([each.step for each in waiting], self._patience_s, durable=durable)
            self._saw(counters)
            late = []
            for each, answer in zip(waiting, answers, strict=True):
                if answer is not None and "late" in answer:
                    self._session.saw_time(answer["late"])
                    each.step = each.step.at(self._session.now())
                    late.append(each)
                elif answer is not None and "denied" in answer:
                    each.said = Denied(each.step.claims[answer["denied"]], Totals(*answer["totals"]))
            waiting = late
        if waiting:
            raise self._session.link.url.fault("its clock does not stand still", answered=True)

    def _saw(self, counters: list[Any]) -> None:
        """Remembers counters, and tells of the thresholds that they have passed."""
        due = []
        for budget_id, key, slot, sums, totals in counters:
            budget = self._session.ids.budgets.get(budget_id)
            if budget is not None and any(budget is mine for mine in self._opening.budgets):
                self._opening.saw(str(budget.name), key, slot, Sums(*sums))
                due += self._thresholds.due(budget, key, slot, Totals(*totals), self._session.now())
        for alert, mark, silent in due:
            alert_id = self._raise(alert, mark, silent=silent)
            self._thresholds.told(alert.budget, mark)
            if alert_id is not None:
                with self._opening.guard("hand on an alert of a budget"):
                    self._opening.on_alert(alert, alert_id)

    # Charges.

    def reserve(
        self, call_id: str, claims: Sequence[Claim], picousd: int, calls: int, *, forced: bool = False
    ) -> Later:
        """As in `Store`, by the server's clock."""
        now = self._session.now()
        step = reserving(call_id, [windowed(each, now) for each in claims], picousd, calls)
        return self._add(step.again() if forced else step)

    def withdraw(self, call_id: str) -> None:
        self._now(Step({"do": "withdraw", "call": call_id}))
        self._session.open.pop(call_id, None)

    def charge(self, call_id: str, picousd: int | None, calls: int | None, rests: Sequence[Rest] = ()) -> None:
        here = (each.step for each in self._steps if each.step.said["do"] == "reserve" and each.step.call == call_id)
        reserved = next(here, None) or self._session.open.get(call_id)
        self._add(settling(call_id, picousd, calls, rests, reserved))

    def hold_batch(self, call_id: str, batch_id: str) -> None:
        self._add(Step({"do": "hold_batch", "call": call_id, "batch": batch_id}))

    def offer(self, rows: Iterable[Row]) -> None:
        budgets = self._budgets()
        for row in rows:
            if row.get("error_type") == "BudgetExceeded":
                continue
            with self._opening.guard("count a row of the ledger in a budget"):
                self._add(taking(row, budgets))

    def correct(self, changes: Iterable[tuple[str, int, Row]]) -> None:
        budgets = self._budgets()
        for mark, picousd, row in changes:
            self._add(correcting(mark, picousd, row, budgets))

    def _budgets(self) -> list[Budget]:
        """Those of this process and of others."""
        self._session.meet(self._patience_s)
        if self._session.saw_others_s > OTHERS_S:
            self._session.see_others()
        return list(self._session.ids.budgets.values())

    def totals(self, budget: Budget, key: str, window: Window) -> Totals:
        return Totals(*self._look("totals", budget, key, window))

    def grants(self, budget: Budget, key: str, window: Window) -> list[Grant]:
        return grants_of(self._look("grants", budget, key, window))

    def _look(self, what: str, budget: Budget, key: str, window: Window) -> Any:
        self._send()
        return self._session.look(what, budget, key=key, since=window.since, until=window.until)

    def block(self, claim: Claim, calls: int) -> int:
        return self._now(Step({"do": "block", "calls": calls}, [windowed(claim, self._session.now())]))  # type: ignore[no-any-return]  # a count

    def use(self, budgets: tuple[Budget, ...]) -> None:
        self._opening = self._opening._replace(budgets=budgets)
        self._session.use(self._opening)

    # Housekeeping.

    def keep_house(self) -> bool:
        """As in `Store`; also says that this process is there, and looks for thresholds that nobody has told of."""
        now, more = monotonic(), False
        if now >= self._due["sweep"]:
            self._due["sweep"] = now + SWEEP_S
            more = bool(self._now(Step(SWEEP)))
            self._session.peers = self._now(Step({"do": "peers"}))
        if now >= self._due["forget"]:
            self._due["forget"] = now + FORGET_S
            self._session.refresh()
            rolling = [
                rolling_s(each.per) for each in self._session.ids.budgets.values() if each.per.startswith(ROLLING)
            ]
            more |= bool(self._now(Step({"do": "forget", "keep_s": max([KEEP_S, *rolling]), **FORGET})))
            self._add(Step({"do": "look"}, self._session.windows()))
            self._send()
        if more:
            self._due = dict.fromkeys(self._due, 0.0)
        return more

    def checkpoint(self) -> None:
        """Nothing: the server sees to it."""

    # The alerts' outbox.

    def raise_alert(self, alert: Alert, mark: str) -> str | None:
        self._send()
        return self._raise(alert, mark)

    def _raise(self, alert: Alert, mark: str, *, silent: bool = False) -> str | None:
        said: dict[str, Any] = {
            "do": "raise",
            "budget": alert.budget or "",
            "mark": mark,
            "forget_at": _forget_at(alert, self._session.now()),
            "id": uuid7(time.time_ns()),
            "alert": alert_text(alert),
            **({"silent": True} if silent else {}),
        }
        return self._session.do([Step(said)], self._patience_s, durable=True)[0][0]  # type: ignore[no-any-return]  # the id

    def open_channel(self, channel: str) -> None:
        self._session.channels[channel] = None
        self._now(Step({"do": "see", "channels": [channel]}), durable=True)

    def claim(self, channel: str, lease_s: float, max_age_s: float) -> Outgoing | None:
        if channel not in self._session.channels:
            self.open_channel(channel)
        lease = {"lease_ms": int(lease_s * 1000), "max_age_ms": int(max_age_s * 1000)}
        found = self._now(Step({"do": "claim", "channel": channel, **lease}))
        return None if found is None else Outgoing(found[0], alert_from(found[1]), found[2])

    def mark_delivered(self, alert_id: str, channel: str) -> None:
        self._now(Step({"do": "delivered", "id": alert_id, "channel": channel}), durable=True)

    def mark_failed(self, alert_id: str, channel: str, wait_s: float, reason: str) -> None:
        said = {"do": "failed", "id": alert_id, "channel": channel, "wait_ms": int(wait_s * 1000), "reason": reason}
        self._now(Step(said))

    # The process.

    def pause(self, timeout_s: float) -> bool:  # noqa: ARG002 - as in `Store`
        """As in `Store`: a child leaves the connection to its parent."""
        return True

    def resume(self) -> None:
        """Nothing was paused."""

    def inherited(self, *, paused: bool, in_use: bool) -> None:  # noqa: ARG002 - as in `Store`
        self._session.inherited()
        self._steps = []

    def close(self) -> None:
        self._session.leave()


def _forget_at(alert: Alert, now: float) -> int | None:
    """When what was told is forgotten; a threshold of a window without an end never is."""
    if alert.window_end is None:
        return None if alert.kind == "threshold" else int(now) + KEEP_S
    return int(max(now, alert.window_end.timestamp())) + KEEP_S
