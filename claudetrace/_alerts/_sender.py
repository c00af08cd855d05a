"""`Sender`: sends each alert through each channel, again and again until it arrives, once for each channel."""

from __future__ import annotations

import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from claudetrace._alerts._alert import Alert, Outgoing
from claudetrace._alerts._channel import Channel, DeliveryFailed, Notice
from claudetrace._clock import monotonic
from claudetrace._forks import Forks, watch
from claudetrace._ids import uuid7
from claudetrace._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claudetrace._budgets._writer import Writer
    from claudetrace._guard import Guard

T = TypeVar("T")

EXIT_S = 1.0
MOST_WAITING = 1000
"""Alerts that a channel keeps in memory, the newest ones."""
MOST_TRIES_OF_PROCESS = 8
"""A callable that raises may have done half of its work: it is not called for days."""
LEASE_S = 120.0
"""Longer than any try takes, so that no two processes send at once."""
FIRST_S, LONGEST_S, GIVE_UP_S = 1.0, 300.0, 3 * 86_400.0
"""An alert is tried again after 1, 2, 4 … seconds, at most every 5 minutes, for 3 days."""
LONGEST_PAUSE_S = 60.0
"""How long a channel that fails is left alone, whatever else waits for it."""
POLL_S = 5.0
"""How often a channel's thread looks for what other processes raised."""


class MemoryOutbox:
    """The alerts that wait in this process for one channel: all that a callable or the log gets, and what no store has.
    It has the verbs of a store's outbox.

    `add` may be called on any thread and takes no lock; the rest is called on the channel's thread.
    """

    def __init__(self, guard: Guard, channel: Channel) -> None:
        self._guard, self._channel = guard, channel
        self._waiting: deque[Outgoing] = deque()
        self._claimed: Outgoing | None = None

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def add(self, outgoing: Outgoing) -> None:
        """Due at once; where too many wait, the oldest is given up."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self._guard.caught(f"keep an alert for {self._channel.name}", DeliveryFailed("too many wait"))
        now = monotonic()
        self._waiting.append(outgoing._replace(since=now, due=now))

    def do(self, act: Callable[[Any], T]) -> T:
        """As `Writer.do`, at once."""
        return act(self)

    def claim(self, *_asked: object) -> Outgoing | None:
        """The next alert that is due, which no longer waits."""
        waiting = self._waiting
        for _ in range(len(waiting)):
            each = waiting.popleft()
            if each.due <= monotonic():
                self._claimed = each
                return each
            waiting.append(each)
        return None

    def mark_delivered(self, *_alert: str) -> None:
        """Gone."""
        self._claimed = None

    def mark_failed(self, _id: str, _channel: str, wait_s: float, _reason: str) -> None:
        """Due again after `wait_s`, unless there were enough tries."""
        each, self._claimed = self._claimed, None
        if each is None:
            return
        tries, now = each.tries + 1, monotonic()
        if now - each.since > GIVE_UP_S or (self._channel.of_process and tries >= MOST_TRIES_OF_PROCESS):
            error = DeliveryFailed(f"given up after {tries} tries: {each.alert.message}")
            self._guard.caught(f"deliver an alert to {self._channel.name}", error)
        else:
            self._waiting.append(each._replace(tries=tries, due=now + wait_s))

    def take_all(self) -> list[Alert]:
        """The alerts that no try has delivered, which no longer wait. On any thread."""
        waiting, self._waiting = self._waiting, deque()
        claimed, self._claimed = self._claimed, None
        return [each.alert for each in ([] if claimed is None else [claimed]) + list(waiting)]


class Sender(Forks):
    """Sends alerts on threads of its own, one a channel, off the caller's and the loader's.

    Through a channel on the wire goes what any process raised in the store, before or after this one started, once
    for each channel; where a process dies after sending and before it could say so, twice with one id. A callable
    and the log get what this process raises, from memory: what they had not got when it ended, they do not get
    later. What is raised without a store goes to every channel from memory.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        guard: Guard,
        writer: Writer | None = None,
    ) -> None:
        self._guard, self._writer = guard, writer
        self.threads = tuple(ChannelThread(channel, guard=guard, writer=writer) for channel in channels)
        self._started = False
        watch(self)

    def start(self) -> None:
        """Makes the channels known to the store, which keeps for them what is raised from then on: so before the
        first call. Looks from now on for what other processes left there, and ended ones did."""
        self._started = True
        for thread in self.threads:
            thread.begin()

    def raise_alert(self, alert: Alert, mark: str) -> None:
        """Sends `alert`, unless its budget has fired `mark` in a process of the store already. Never raises."""
        stored_as = None
        if self._writer is not None:
            try:
                stored_as = self._writer.do(lambda store: store.raise_alert(alert, mark))
            except Exception as error:  # noqa: BLE001 - better told by each process than by none
                self._guard.caught("put an alert into the budgets' store", error)
            else:
                if stored_as is None:
                    return
        self.send(alert, stored_as)

    def send(self, alert: Alert, stored_as: str | None = None) -> None:
        """Sends `alert`, which this process raised: `stored_as` is its id in the store, if it is there. Returns at
        once, takes no lock, never raises."""
        outgoing = Outgoing(stored_as or uuid7(time.time_ns()), alert)
        for thread in self.threads:
            if stored_as is None or thread.stored is None:
                thread.memory.add(outgoing)
            thread.wake()

    def close(self, timeout_s: float = EXIT_S) -> None:
        """Tries what waits once more and stops, after `timeout_s` at the latest. What is in the store is sent by
        another process or the next; what waits in memory is logged and gone."""
        until = monotonic() + timeout_s
        for thread in self.threads:
            thread.end(0.0)
        for thread in self.threads:
            thread.end(until - monotonic())
            if lost := thread.memory.take_all():
                error = DeliveryFailed("; ".join(alert.message for alert in lost)[:400])
                self._guard.caught(f"deliver {len(lost)} alerts to {thread.channel.name} before the end", error)

    def begin_in_child(self) -> None:
        if not self._started:
            self.start()


class ChannelThread(Worker):
    """Sends to one channel, in its own time, so that no channel holds up another. No method raises."""

    def __init__(self, channel: Channel, *, guard: Guard, writer: Writer | None) -> None:
        self.channel = channel
        self.stored = None if channel.of_process else writer
        """What asks the store, whose outbox has what any process raised."""
        super().__init__(self._deliver, guard, "deliver alerts")
        self._reset()

    def after_fork_in_child(self) -> None:
        # What waits is the parent's to send.
        super().after_fork_in_child()
        self._reset()

    def _reset(self) -> None:
        self.memory = MemoryOutbox(self._guard, self.channel)
        self._unmarked: set[str] = set()
        self._failures = 0
        self._paused_until = 0.0

    def begin(self) -> None:
        """Makes the channel known to the store, and looks into its outbox from now on."""
        if self.stored is not None:
            with self._guard("make a channel known to the budgets' store"):
                self.stored.do(lambda store: store.open_channel(self.channel.name))
            self.wake()

    # On the channel's thread.

    def _deliver(self) -> float | None:
        """Sends what is due, and says when something may be due again."""
        self._send_due()
        nap_s = None if self.stored is None else _about(POLL_S)
        if not self.memory.is_empty:
            nap_s = min(FIRST_S, nap_s or FIRST_S)
        return None if nap_s is None else max(nap_s, self._paused_until - monotonic())

    def _send_due(self) -> None:
        """Sends what is due, memory's and the store's by turns, until nothing is or the channel fails."""
        sent = True
        while sent:
            sent = False
            for outbox in (self.memory, self.stored):
                if outbox is not None and (found := self._claim(outbox)) is not None:
                    self._send(outbox, found)
                    sent = True

    def _claim(self, outbox: MemoryOutbox | Writer) -> Outgoing | None:
        if monotonic() >= self._paused_until:
            with self._guard("read the alerts that wait in the budgets' store"):
                return outbox.do(lambda store: store.claim(self.channel.name, LEASE_S, GIVE_UP_S))  # type: ignore[no-any-return]  # what that gives
        return None

    def _send(self, outbox: MemoryOutbox | Writer, found: Outgoing) -> None:
        try:
            if found.id not in self._unmarked:
                self.channel.send(Notice(id=found.id, alert=found.alert))
        except Exception as error:  # noqa: BLE001 - a channel may be the user's code
            self._failed(outbox, found, error)
            return
        self._failures = 0
        # Sent, whatever happens now: where it cannot be marked, it is not sent again by this process.
        self._unmarked.add(found.id)
        with self._guard("mark an alert as delivered"):
            outbox.do(lambda store: store.mark_delivered(found.id, self.channel.name))
            self._unmarked.discard(found.id)

    def _failed(self, outbox: MemoryOutbox | Writer, found: Outgoing, error: Exception) -> None:
        self._failures += 1
        said = error
        if isinstance(error, DeliveryFailed):
            # Made anew: the frames that it came through held a URL.
            said = DeliveryFailed(str(error))
        self._guard.caught(f"deliver alerts to {self.channel.name}; it is tried again", said)
        at_least_s = getattr(error, "retry_after_s", None) or 0.0
        pause_s = min(_after(self._failures), LONGEST_PAUSE_S)
        self._paused_until = monotonic() + max(pause_s, at_least_s)
        wait_s = max(_after(found.tries + 1), at_least_s)
        reason = str(error)[:200] if isinstance(error, DeliveryFailed) else type(error).__name__
        with self._guard("put off an alert in the budgets' store"):
            outbox.do(lambda store: store.mark_failed(found.id, self.channel.name, wait_s, reason))


def _after(tries: int) -> float:
    """How long to wait after so many failures."""
    return _about(min(FIRST_S * 2.0 ** min(tries - 1, 30), LONGEST_S))


def _about(seconds: float) -> float:
    """A little less, not the same for all processes, so that they do not come together."""
    return seconds * random.uniform(0.75, 1.0)  # noqa: S311 - no secret
