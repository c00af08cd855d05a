"""`Session`: this process at a server: what it is known as there, and what the server may have to be told again."""

from __future__ import annotations

import os
import secrets
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._definition import budget_from, definition_of, shape_of
from claudetrace._budgets._match import ALL
from claudetrace._budgets._postgres._link import Link
from claudetrace._budgets._postgres._steps import Ids, Step, settling
from claudetrace._budgets._postgres._url import ServerError
from claudetrace._budgets._store import Claim
from claudetrace._budgets._windows import window_of
from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._postgres._url import ServerUrl
    from claudetrace._budgets._store import Opening

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
OTHERS_S = 35 * 86_400
"""How long after its last program a budget still counts what others spend."""
SKEW_S = 1.0
"""How far this host's clock may be from the server's before theirs is taken."""


class Session:
    """One thread at a time may use it."""

    def __init__(self, url: ServerUrl, opening: Opening) -> None:
        self.link, self._opening = Link(url), opening
        self.ids = Ids(())
        self._mine: list[tuple[Budget, int]] = []
        self._others: dict[str, Budget] = {}
        """By their definitions, so that each stays the same object."""
        self._saw_others = 0.0
        self.channels: dict[str, None] = {}
        """Those that this process has."""
        self._skew_s, self.peers = 0.0, 1
        self.begin()

    def begin(self) -> None:
        """As a new process: also in a forked child."""
        self._owner = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._life: str | None = None
        self.open: dict[str, Step] = {}
        """The reservations of calls that run."""
        self._ended: deque[tuple[float, Step]] = deque(maxlen=MOST_AGAIN)
        self._doubtful: list[Step] = []
        """What undoes reservations that the server may have made without our knowing."""

    def use(self, opening: Opening) -> None:
        """Registers these budgets with the next question."""
        self._opening, self._life = opening, ""

    def now(self) -> float:
        """The server's time."""
        return self._opening.clock() + self._skew_s

    def saw_time(self, server_s: float) -> None:
        self._skew_s = server_s - self._opening.clock()

    def do(self, steps: Sequence[Step], patience_s: float, *, durable: bool = False) -> tuple[list[Any], list[Any]]:
        """What each step is answered, and the counters after it. All steps are done or none. Raises `ServerError`."""
        if self._doubtful:
            self._ask(self._doubtful, patience_s)
            self._doubtful = []
        try:
            answered = self._ask(steps, patience_s, durable=durable)
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

    def meet(self, patience_s: float) -> None:
        """Makes sure that the server knows this process."""
        if not self._life:
            self._ask((), patience_s)

    def _ask(self, steps: Sequence[Step], patience_s: float, *, durable: bool = False) -> Any:
        """As the server answers, once it knows this process and has had what it may have lost."""
        for _ in range(TRIES):
            said = [each.to_send(self.ids) for each in steps] if self._life else []
            answered = self._call(said, patience_s, durable=durable)
            if "answers" in answered:
                return answered
            self._meet(answered, patience_s)
        raise self._fault("it is another server each time")

    def _call(self, said: list[Any], patience_s: float, *, durable: bool) -> Any:
        known = {"life": self._life, "owner": self._owner, "lease_s": LEASE_S, "patience_ms": int(patience_s * 1000)}
        if durable:
            known["durable"] = True
        tries, was_open = 0, self.link.is_open
        while True:
            try:
                return self.link.call("exchange_v1", {**known, "steps": said}, patience_s + ANSWER_S)
            except Exception as error:
                tries += 1
                state, closed = getattr(error, "state", ""), getattr(error, "closed", False)
                # Each step counts once, however often it is sent.
                if tries >= TRIES or not (state in RETRIED or (closed and was_open and tries == 1)):
                    raise

    def _meet(self, answered: Any, patience_s: float) -> None:
        """The server is new to this process, or has a new life: registers there, and tells it what it may have lost
        before anything new."""
        if abs(answered["now"] - self.now()) > SKEW_S:
            self.saw_time(answered["now"])
        again = [step.again() for step in self.open.values()] + [step for _, step in self._ended] + self._doubtful
        is_first, self._life = self._life is None, answered["life"]
        try:
            self._register(patience_s)
            if not is_first:
                for begin in range(0, len(again), AT_ONCE):
                    some = [each.to_send(self.ids) for each in again[begin : begin + AT_ONCE]]
                    self._expect_answers(self._call(some, patience_s, durable=True))
        except BaseException:
            self._life = ""
            raise

    def _register(self, patience_s: float) -> None:
        each = [
            {"name": budget.name, "shape": shape_of(budget), "definition": definition_of(budget)}
            for budget in self._opening.budgets
        ]
        steps = [{"do": "register", "budgets": each}, {"do": "see", "channels": list(self.channels)}, {"do": "peers"}]
        answered = self._call(steps, patience_s, durable=True)
        self.peers = answered["answers"][2]
        found = dict(answered["answers"][0] or [])
        self._mine = [(budget, found[budget.name]) for budget in self._opening.budgets]
        self.see_others()

    def see_others(self) -> None:
        """Looks which budgets other programs have here, as of a release that is being rolled out: what this process
        spends counts in them as well."""
        said = {"what": "budgets", "used_after": int(self.now() - OTHERS_S)}
        mine, others = {budget_id for _, budget_id in self._mine}, []
        for budget_id, name, definition, *_ in self.link.call("look_v1", said, ANSWER_S) or []:
            if budget_id in mine:
                continue
            with self._opening.guard(f"count calls in the budget {name!r} of another program"):
                if definition not in self._others:
                    self._others[definition] = budget_from(definition)
                others.append((self._others[definition], budget_id))
        self.ids = Ids([*self._mine, *others])
        self._saw_others = monotonic()

    def refresh(self) -> None:
        """Says that there still are this process's budgets and channels."""
        steps = [{"do": "use", "ids": [budget_id for _, budget_id in self._mine]}]
        self._call([*steps, {"do": "see", "channels": list(self.channels)}], ANSWER_S, durable=False)

    def windows(self) -> list[Claim]:
        """This process's budgets in their windows of now; of one for each value of a tag those that spent most."""
        found = []
        for budget, _ in self._mine:
            window = window_of(budget.per, budget.timezone, self.now())
            said = {"since": window.since, "until": window.until, "limit": MOST_KEYS}
            keys = [ALL] if budget.each_tag is None else self.look("keys", budget, **said) or []
            found += [Claim(budget, key, window) for key in keys]
        return found

    def look(self, what: str, budget: Budget, **said: Any) -> Any:
        """What `look_v1` says of one of this process's budgets."""
        return self.link.call("look_v1", {"what": what, "id": self.ids[id(budget)], **said}, ANSWER_S)

    @property
    def saw_others_s(self) -> float:
        """How long ago that was."""
        return monotonic() - self._saw_others

    def _expect_answers(self, answered: Any) -> None:
        if "answers" not in answered:
            raise self._fault("it has another life again")

    def _fault(self, told: str) -> ServerError:
        return self.link.url.fault(told, answered=True)

    def leave(self) -> None:
        """The process is no more: others settle what it has open."""
        with suppress(ServerError):
            if self.link.is_open and self._life:
                self._call([{"do": "leave"}], ANSWER_S, durable=False)
        self.link.drop()

    def inherited(self) -> None:
        """In a forked child: nothing of this is its own."""
        self.link.abandon()
        self.begin()


def _undoing(reserve: Step) -> Step:
    """Where the call was let through, it is charged at its estimate until its row says more; else nothing."""
    refused = any(each.budget.on_store_error == "closed" for each in reserve.claims)
    call, of = str(reserve.said["call"]), reserve
    return settling(call, 0, 0, (), of) if refused else settling(call, None, None, (), of)
