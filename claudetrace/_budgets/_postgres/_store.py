"""`PostgresStore`: the budgets' store on a PostgreSQL server. The steps of a group are one call of a function.

The server is told again what it may have lost in a crash.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._budget import Budget, definition_of, shape_of
from claudetrace._budgets._match import ALL
from claudetrace._budgets._postgres._link import Link
from claudetrace._budgets._postgres._url import ServerError, ServerUrl
from claudetrace._budgets._records import Claim, Denied, Opening
from claudetrace._budgets._steps import Asked, Step, settling
from claudetrace._budgets._store import KEEP_COUNTERS_S, KEEP_S, KEEP_STEPS_S, RESULTS_S, SOME, UNSEEN_S, Store
from claudetrace._budgets._totals import Totals
from claudetrace._budgets._windows import ROLLING, rolling_s
from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


DOWN_S = 5.0
LEASE_S = 60.0
"""How long reservations are this process's without a word from it."""
ANSWER_S = 1.0
"""How long a server may take to answer, beside what it waits for locks."""
AGAIN_S = 60.0
"""How long what was settled is kept: a server that crashes loses less than a second of what is not durable, and one
that takes its place perhaps more."""
MOST_AGAIN, MOST_KEYS = 50_000, 100
AT_ONCE = 200
TRIES = 4
RETRIED = ("40001", "40P01")
"""Deadlocks, which one order of locks rules out, and counters that were forgotten just then."""
LATE_TRIES = 3
SKEW_S = 1.0
"""How far this host's clock may be from the server's before theirs is taken."""
SWEEP_S, FORGET_S, OTHERS_S = 5.0, 60.0, 5.0
"""How often this process looks for reservations of those who are gone, for what is old, for budgets of others."""
GRACE_S = 5.0
"""How long the journal of a process whose lease is over may take to say what its calls cost."""
SWEEP = {"do": "sweep", "grace_s": GRACE_S, "results_s": RESULTS_S, "few": SOME}
KEEP = {"keep_steps_s": KEEP_STEPS_S, "keep_counters_s": KEEP_COUNTERS_S, "unseen_s": UNSEEN_S}
FORGET = {"do": "forget", **KEEP, "few": SOME}


class PostgresStore(Store):
    """The budgets of one process in the database at `url`."""

    def __init__(self, url: ServerUrl, opening: Opening) -> None:
        super().__init__(opening)
        self.name, self.down_s = str(url), DOWN_S
        self.link = Link(url)
        self._peers, self._skew_s, self._patience_s = 1, 0.0, 1.0
        self._due = {"sweep": 0.0, "forget": 0.0}
        self._begin()

    def _begin(self) -> None:
        """As a new process: also in a forked child."""
        self._owner = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._life: str | None = None
        """The server as this process knows it: `None` before it does, empty where it has to ask."""
        self._steps: list[Asked] = []
        """What waits for the end of the group."""
        self.open: dict[str, Step] = {}
        """The reservations of calls that run."""
        self._ended: deque[tuple[float, Step]] = deque(maxlen=MOST_AGAIN)
        self._doubtful: list[Step] = []
        """What undoes reservations that the server may have made without our knowing."""

    @property
    def peers(self) -> int:
        """As in `Store`: as many as there were moments ago."""
        return self._peers

    @contextmanager
    def group(self, patience_s: float) -> Iterator[None]:
        """As in `Store`. What has no answer of its own is sent when it ends, and then is all done or none."""
        self._steps, self._patience_s = [], max(patience_s, 0.25)
        try:
            yield
            self._send()
        finally:
            self._steps = []

    def _add(self, step: Step) -> Asked:
        asked = Asked(step, self._send)
        self._steps.append(asked)
        return asked

    def _now(self, step: Step, *, durable: bool = False) -> Any:
        self._send()
        return self.do([step], durable=durable)[0][0]

    def _look(self, what: str, **said: Any) -> Any:
        self._send()
        return self.link.call("look_v1", {"what": what, **said}, ANSWER_S)

    def _send(self) -> None:
        """Sends what waits. Whose window has closed meanwhile asks again in the next one."""
        waiting, self._steps = self._steps, []
        if not self._life:
            self._ask(())
        for _ in range(LATE_TRIES):
            if not waiting:
                return
            durable = any(each.step.said["do"] == "take" for each in waiting)
            answers, counters = self.do([each.step for each in waiting], durable=durable)
            self._saw([(*each, Totals(*counter), Totals(*found)) for *each, counter, found in counters])
            self._committed()
            waiting = [each for each, answer in zip(waiting, answers, strict=True) if self._is_late(each, answer)]
        if waiting:
            raise self.link.url.fault("its clock does not stand still", answered=True)

    def _is_late(self, asked: Asked, answer: Any) -> bool:
        if answer is not None and "late" in answer:
            self._saw_time(answer["late"])
            asked.step = asked.step.at(self.now())
            return True
        if answer is not None and "denied" in answer:
            asked.said = Denied(asked.step.claims[answer["denied"]], Totals(*answer["totals"]))
        return False

    # What `Store` leaves to it.

    def now(self) -> float:
        """The server's time."""
        return super().now() + self._skew_s

    def _saw_time(self, server_s: float) -> None:
        self._skew_s = server_s - super().now()

    def _in_time(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        now = self.now()
        return [each.at(now) for each in claims]

    def _reserved(self, call_id: str) -> Step | None:
        here = (each.step for each in self._steps if each.step.said["do"] == "reserve" and each.step.call == call_id)
        return next(here, None) or self.open.get(call_id)

    def _budgets(self, fresh_s: float = 0.0) -> list[Budget]:
        return super()._budgets(fresh_s or OTHERS_S)

    def withdraw(self, call_id: str) -> None:
        super().withdraw(call_id)
        self.open.pop(call_id, None)

    def use(self, budgets: tuple[Budget, ...]) -> None:
        """As in `Store`: they are registered with the next question."""
        self._opening, self._life = self._opening._replace(budgets=budgets), ""

    def keep_house(self) -> bool:
        """As in `Store`; also says that this process is there, and looks for thresholds that nobody has told of."""
        now, more = monotonic(), False
        if now >= self._due["sweep"]:
            self._due["sweep"] = now + SWEEP_S
            more = bool(self._now(Step(SWEEP)))
            self._peers = self._now(Step({"do": "peers"}))
        if now >= self._due["forget"]:
            self._due["forget"] = now + FORGET_S
            self.do(
                [Step({"do": "use", "ids": list(self._mine)}), Step({"do": "see", "channels": list(self._channels)})]
            )
            rolling = [rolling_s(each.per) for each in self._budgets() if each.per.startswith(ROLLING)]
            more |= bool(self._now(Step({**FORGET, "keep_s": max([KEEP_S, *rolling])})))
            self._add(Step({"do": "look"}, self._windows()))
            self._send()
        if more:
            self._due = dict.fromkeys(self._due, 0.0)
        return more

    def _windows(self) -> list[Claim]:
        """This process's budgets in their windows of now; of one for each value of a tag those that spent most."""
        found = []
        for budget_id, budget in self._mine.items():
            window = budget.window(self.now())
            said = {"id": budget_id, "since": window.since, "until": window.until, "limit": MOST_KEYS}
            keys = [ALL] if budget.each_tag is None else self._look("keys", **said) or []
            found += [Claim(budget, key, window) for key in keys]
        return found

    def inherited(self, *, paused: bool, in_use: bool) -> None:  # noqa: ARG002 - as in `Store`
        """As in `Store`: nothing of this is the child's."""
        self.link.abandon()
        self._begin()

    def close(self) -> None:
        """As in `Store`: the process is no more, and others settle what it has open."""
        with suppress(ServerError):
            if self.link.is_open and self._life:
                self._call([{"do": "leave"}])
        self.link.drop()

    # How it is asked.

    def do(self, steps: Sequence[Step], *, durable: bool = False) -> tuple[list[Any], list[Any]]:
        """What each step is answered, and the counters after it. All steps are done or none. Raises `ServerError`."""
        if self._doubtful:
            self._ask(self._doubtful)
            self._doubtful = []
        try:
            answered = self._ask(steps, durable=durable)
        except Exception as fault:
            if not getattr(fault, "answered", True):
                self._doubtful += [_undoing(each) for each in steps if each.said["do"] == "reserve"]
            raise
        for step, answer in zip(steps, answered["answers"] or [], strict=True):
            if answer is None and step.call is not None:
                self._remember(step.call, step)
        return answered["answers"] or [], answered["counters"] or []

    def _remember(self, call: str, step: Step) -> None:
        if step.said["do"] == "reserve":
            self.open[call] = step
            return
        now, reserved = monotonic(), self.open.pop(call, None)
        while self._ended and now - self._ended[0][0] > AGAIN_S:
            self._ended.popleft()
        if reserved is not None and step.said["do"] == "hold_batch":
            self._ended.append((now, reserved.again()))
        if reserved is not None or step.claims:
            self._ended.append((now, step))

    def _ask(self, steps: Sequence[Step], *, durable: bool = False) -> Any:
        """As the server answers, once it knows this process and has had what it may have lost."""
        for _ in range(TRIES):
            answered = self._call([each.to_send(self._ids) for each in steps] if self._life else [], durable=durable)
            if "answers" in answered:
                return answered
            self._meet(answered)
        raise self.link.url.fault("it is another server each time", answered=True)

    def _call(self, said: list[Any], *, durable: bool = False) -> Any:
        asked = {"life": self._life, "owner": self._owner, "lease_s": LEASE_S, "steps": said}
        asked["patience_ms"] = int(self._patience_s * 1000)
        if durable:
            asked["durable"] = True
        tries, was_open = 0, self.link.is_open
        while True:
            try:
                return self.link.call("exchange_v1", asked, self._patience_s + ANSWER_S)
            except Exception as error:
                tries += 1
                state, closed = getattr(error, "state", ""), getattr(error, "closed", False)
                # Each step counts once, however often it is sent.
                if tries >= TRIES or not (state in RETRIED or (closed and was_open and tries == 1)):
                    raise

    def _meet(self, answered: Any) -> None:
        """The server is new to this process, or has a new life: registers there, and tells it what it may have lost
        before anything new."""
        if abs(answered["now"] - self.now()) > SKEW_S:
            self._saw_time(answered["now"])
        again = [step.again() for step in self.open.values()] + [step for _, step in self._ended] + self._doubtful
        is_first, self._life = self._life is None, answered["life"]
        try:
            self._register()
            for begin in range(0, 0 if is_first else len(again), AT_ONCE):
                self._tell([each.to_send(self._ids) for each in again[begin : begin + AT_ONCE]])
        except BaseException:
            self._life = ""
            raise

    def _register(self) -> None:
        budgets = self._opening.budgets
        said = [{"name": each.name, "shape": shape_of(each), "definition": definition_of(each)} for each in budgets]
        see = {"do": "see", "channels": list(self._channels)}
        found, _, self._peers = self._tell([{"do": "register", "budgets": said}, see, {"do": "peers"}])
        rows = dict(found or [])
        self._registered([(budget, rows[budget.name]) for budget in budgets])
        self._budgets()

    def _tell(self, said: list[Any]) -> list[Any]:
        """What steps are answered by a server whose life is known."""
        answered = self._call(said, durable=True)
        if "answers" not in answered:
            raise self.link.url.fault("it has another life again", answered=True)
        return answered["answers"] or []


def _undoing(reserve: Step) -> Step:
    """Where the call was let through, it is charged at its estimate until its row says more; else nothing."""
    refused = any(each.budget.on_store_error == "closed" for each in reserve.claims)
    call, of = str(reserve.said["call"]), reserve
    return settling(call, 0, 0, (), of) if refused else settling(call, None, None, (), of)
