"""`Courier`: the thread that takes alerts to one channel, in its own time, so that no channel holds up another."""

from __future__ import annotations

import random
import threading
from _thread import start_new_thread
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from claudetrace._alerts._channels._kinds import DeliveryFailed
from claudetrace._alerts._channels._notice import Notice
from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from claudetrace._alerts._channels import Channel
    from claudetrace._alerts._outbox import Outgoing
    from claudetrace._guard import Guard

MOST_WAITING = 1000
"""Alerts that a channel keeps in memory, the newest ones."""
MOST_TRIES_OF_PROCESS = 8
"""A callable that raises may have done half of its work: it is not called for days."""
LEASE_S = 120.0
"""Longer than any try takes, so that no two processes send at once."""


class Outbox(Protocol):
    """The alerts of a store that wait for their channels; called on the threads of the delivery, one a channel.

    A channel is known to the store by its public name, which holds no secret and is the same in all processes.
    Every process delivers, through the channels that it has, what any process has raised: so an alert outlives
    the process that raised it. Callables and the log are not in here: they belong to one process.
    """

    def open_channel(self, channel: str) -> None:
        """Remembers since when there is this channel, the first time: it gets what is raised from then on."""

    def claim(self, channel: str, *, lease_s: float, max_age_s: float) -> Outgoing | None:
        """The oldest alert that `channel` has not had, that is due, not too old and nobody's at the moment; it is
        this process's for `lease_s`. One atomic statement."""

    def mark_delivered(self, alert_id: str, channel: str) -> None:
        """Never again through this channel."""

    def mark_failed(self, alert_id: str, channel: str, *, again_at: datetime, reason: str) -> None:
        """Due again from `again_at`, counted as a try; `reason` holds no secret and is for `claudetrace budgets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When an alert is tried again: after 1, 2, 4 … seconds, at most every 5 minutes, for 3 days."""

    first_s: float = 1.0
    longest_s: float = 300.0
    longest_pause_s: float = 60.0
    """How long a channel that fails is left alone, whatever else waits for it."""
    poll_s: float = 5.0
    """How often a courier looks for what other processes left."""
    give_up_s: float = 3 * 86_400.0

    def after(self, tries: int, *, at_least_s: float = 0.0) -> float:
        """How long to wait after so many failures; not the same for all, so that they do not come together."""
        wait = min(self.first_s * 2.0 ** min(tries - 1, 30), self.longest_s)
        return max(wait * random.uniform(0.75, 1.0), at_least_s)  # noqa: S311 - no secret


@dataclass(slots=True)
class Waiting:
    """A notice for one channel: `due` and `since` by the monotonic clock."""

    notice: Notice
    since: float
    due: float
    tries: int = 0
    stored: bool = False


class Courier:
    """Takes notices on any thread and sends them on its own. No method raises."""

    def __init__(self, channel: Channel, *, guard: Guard, service: str, outbox: Outbox | None, pace: Pace) -> None:
        self.channel = channel
        self.delivered = 0
        self.last_error: str | None = None
        """Why the last try failed; `None` once one went through."""
        self._guard, self._service, self._pace = guard, service, pace
        self._outbox = None if channel.of_process else outbox
        self._known = False
        self.reset()

    def reset(self) -> None:
        """As new: in a forked child, what waits is the parent's to send."""
        # Neither of the two takes a lock that a garbage collection could find held by its own thread.
        self._inbox: SimpleQueue[Notice | None] = SimpleQueue()
        self._starter: deque[None] = deque([None])
        self._waiting: deque[Waiting] = deque(maxlen=MOST_WAITING)
        self._sending: Waiting | None = None
        self._unmarked: set[str] = set()
        self._failures = 0
        self._paused_until = 0.0
        self._closing = False
        self.stopped = threading.Event()
        self.stopped.set()

    def take(self, notice: Notice | None) -> None:
        """Sends `notice` soon, and what the outbox has; `None` only for the latter. Takes no lock."""
        self._inbox.put(notice)
        self.start()

    def open(self) -> None:
        """Makes the channel known to the store; where it cannot be now, the thread will."""
        if self._outbox is not None and not self._known:
            with self._guard("make a channel known to the budgets' store"):
                self._outbox.open_channel(self.channel.name)
                self._known = True

    def start(self) -> None:
        """Starts the thread if it does not run."""
        try:
            self._starter.pop()
        except IndexError:
            return
        try:
            self.stopped.clear()
            start_new_thread(self._run, ())
        except Exception as error:  # noqa: BLE001 - the next alert tries again; the outbox keeps this one
            self.stopped.set()
            self._starter.append(None)
            self._guard.caught("start the thread that delivers alerts", error)

    def close(self) -> None:
        """Ends the thread after one more try of what waits; `stopped` tells when."""
        self._closing = True
        self._inbox.put(None)

    def undelivered_notices(self) -> list[Notice]:
        """What waits in memory, and would be gone with the process; and is, once it was asked."""
        notices = [each.notice for each in (self._sending, *self._waiting) if each is not None and not each.stored]
        self._sending = None
        self._waiting.clear()
        while not self._inbox.empty():
            if (notice := self._inbox.get()) is not None:
                notices.append(notice)
        return notices

    # On the courier's thread.

    def _run(self) -> None:
        inbox, starter, stopped = self._inbox, self._starter, self.stopped
        try:
            with self._guard("run the thread that delivers alerts"):
                while not (self._closing and inbox.empty() and not self._may_go_on()):
                    self._receive(0.0 if self._may_go_on() else self._nap_s())
                    self._step()
        finally:
            starter.append(None)
            stopped.set()
            if not inbox.empty():
                self.start()

    def _may_go_on(self) -> bool:
        """Whether something in memory is due and the channel is not left alone."""
        now = monotonic()
        return now >= self._paused_until and any(each.due <= now for each in self._waiting)

    def _nap_s(self) -> float | None:
        now = monotonic()
        moments = [max(each.due, self._paused_until) for each in self._waiting]
        if self._outbox is not None:
            moments.append(max(now + self._pace.poll_s * random.uniform(0.75, 1.0), self._paused_until))  # noqa: S311
        return max(0.0, min(moments) - now) if moments else None

    def _receive(self, timeout_s: float | None) -> None:
        try:
            notice = self._inbox.get() if timeout_s is None else self._inbox.get(timeout=timeout_s or 1e-6)
            while True:
                if notice is not None:
                    now = monotonic()
                    self._waiting.append(Waiting(notice, since=now, due=now))
                notice = self._inbox.get_nowait()
        except Empty:
            return

    def _step(self) -> None:
        """Sends what is due, the outbox's and memory's by turns, until nothing is or the channel fails."""
        sent = True
        while sent and monotonic() >= self._paused_until:
            sent = False
            for pick in (self._due, self._claimed):
                if (waiting := pick()) is not None and monotonic() >= self._paused_until:
                    self._send(waiting)
                    sent = True

    def _due(self) -> Waiting | None:
        now = monotonic()
        found = None if now < self._paused_until else next((each for each in self._waiting if each.due <= now), None)
        if found is not None:
            self._waiting.remove(found)
        return found

    def _claimed(self) -> Waiting | None:
        if self._outbox is None or monotonic() < self._paused_until:
            return None
        try:
            self.open()
            found = self._outbox.claim(self.channel.name, lease_s=LEASE_S, max_age_s=self._pace.give_up_s)
        except Exception as error:  # noqa: BLE001 - asked again soon
            self._guard.caught("read the alerts that wait in the budgets' store", error)
            return None
        if found is None:
            return None
        now = monotonic()
        notice = Notice(id=found.id, alert=found.alert, service=self._service)
        return Waiting(notice, since=now, due=now, tries=found.tries, stored=True)

    def _send(self, waiting: Waiting) -> None:
        self._sending = waiting
        try:
            if waiting.notice.id not in self._unmarked:
                self.channel.send(waiting.notice)
        except Exception as error:  # noqa: BLE001 - a channel may be the user's code
            self._sending = None
            self._failed(waiting, error)
            return
        self._sending = None
        self._failures, self.last_error = 0, None
        self.delivered += 1
        if waiting.stored and self._outbox is not None:
            # Sent, whatever happens now: where it cannot be marked, it is not sent again by this process.
            self._unmarked.add(waiting.notice.id)
            try:
                self._outbox.mark_delivered(waiting.notice.id, self.channel.name)
                self._unmarked.discard(waiting.notice.id)
            except Exception as error:  # noqa: BLE001 - marked when its lease is over
                self._guard.caught("mark an alert as delivered", error)

    def _failed(self, waiting: Waiting, error: Exception) -> None:
        self._failures += 1
        self.last_error = str(error)[:200] if isinstance(error, DeliveryFailed) else type(error).__name__
        self._guard.caught(f"deliver alerts to {self.channel.name}; it is tried again", told(error))
        at_least_s = getattr(error, "retry_after_s", None) or 0.0
        now, wait_s = monotonic(), self._pace.after(waiting.tries + 1, at_least_s=at_least_s)
        pause_s = min(self._pace.after(self._failures), self._pace.longest_pause_s)
        self._paused_until = now + max(pause_s, at_least_s)
        if not waiting.stored:
            self._keep(waiting, now, wait_s)
        elif self._outbox is not None:
            again_at = datetime.now(UTC) + timedelta(seconds=wait_s)
            with self._guard("put off an alert in the budgets' store"):
                self._outbox.mark_failed(
                    waiting.notice.id, self.channel.name, again_at=again_at, reason=self.last_error
                )

    def _keep(self, waiting: Waiting, now: float, wait_s: float) -> None:
        """Keeps a notice for its next try, unless there were enough."""
        waiting.tries += 1
        waiting.due = now + wait_s
        too_often = self.channel.of_process and waiting.tries >= MOST_TRIES_OF_PROCESS
        if too_often or now - waiting.since > self._pace.give_up_s:
            error = DeliveryFailed(f"given up after {waiting.tries} tries: {waiting.notice.alert.message}")
            self._guard.caught(f"deliver an alert to {self.channel.name}", error)
        else:
            self._waiting.append(waiting)


def told(error: Exception) -> Exception:
    """`error` for a log. One of a channel on the wire is made anew: the frames that it came through held a URL."""
    return DeliveryFailed(str(error)) if isinstance(error, DeliveryFailed) else error
