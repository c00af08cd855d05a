"""Where alerts wait for their channels: in the budgets' store, in the transaction that raises them, or in memory."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from claudetrace._alerts._channels import DeliveryFailed
from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from claudetrace._alerts._alert import Alert, Outgoing
    from claudetrace._alerts._channels import Channel
    from claudetrace._budgets._writer import Writer
    from claudetrace._guard import Guard

MOST_WAITING = 1000
"""Alerts that a channel keeps in memory, the newest ones."""
MOST_TRIES_OF_PROCESS = 8
"""A callable that raises may have done half of its work: it is not called for days."""
LEASE_S = 120.0
"""Longer than any try takes, so that no two processes send at once."""
GIVE_UP_S = 3 * 86_400.0
"""How long an alert is tried."""


class MemoryOutbox:
    """The alerts that wait in this process for one channel: all that a callable or the log gets, and what no store has.

    `add` may be called on any thread and takes no lock; the rest is called on the channel's thread.
    """

    def __init__(self, guard: Guard, channel: Channel, give_up_s: float) -> None:
        self._guard, self._channel, self._give_up_s = guard, channel, give_up_s
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

    def claim(self, channel: str, *, max_age_s: float) -> Outgoing | None:  # noqa: ARG002 - as of a store
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

    def mark_failed(self, *_alert: str, wait_s: float, reason: str) -> None:  # noqa: ARG002 - of interest to a store alone
        """Due again after `wait_s`, unless there were enough tries."""
        each, self._claimed = self._claimed, None
        if each is None:
            return
        tries, now = each.tries + 1, monotonic()
        if now - each.since > self._give_up_s or (self._channel.of_process and tries >= MOST_TRIES_OF_PROCESS):
            error = DeliveryFailed(f"given up after {tries} tries: {each.alert.message}")
            self._guard.caught(f"deliver an alert to {self._channel.name}", error)
        else:
            self._waiting.append(each._replace(tries=tries, due=now + wait_s))

    def take_all(self) -> list[Alert]:
        """The alerts that no try has delivered, which no longer wait. On any thread."""
        waiting, self._waiting = self._waiting, deque()
        claimed, self._claimed = self._claimed, None
        return [each.alert for each in ([] if claimed is None else [claimed]) + list(waiting)]


class StoreOutbox:
    """The alerts in the budgets' store that wait for the channels on the wire, whichever process raised them.

    A channel is known to the store by its public name, which holds no secret and is the same in all processes. Every
    process sends through the channels that it has: so an alert outlives the process that raised it.
    """

    def __init__(self, writer: Writer) -> None:
        self._do = writer.do

    def raise_alert(self, alert: Alert, *, mark: str) -> str | None:
        """As `Store.raise_alert`."""
        return self._do(lambda store: store.raise_alert(alert, mark))  # type: ignore[no-any-return]  # what that gives

    def open_channel(self, channel: str) -> None:
        """As `Store.open_channel`."""
        self._do(lambda store: store.open_channel(channel))

    def claim(self, channel: str, *, lease_s: float = LEASE_S, max_age_s: float = GIVE_UP_S) -> Outgoing | None:
        """As `Store.claim`."""
        return self._do(lambda store: store.claim(channel, lease_s, max_age_s))  # type: ignore[no-any-return]  # what that gives

    def mark_delivered(self, alert_id: str, channel: str) -> None:
        """As `Store.mark_delivered`."""
        self._do(lambda store: store.mark_delivered(alert_id, channel))

    def mark_failed(self, alert_id: str, channel: str, *, wait_s: float, reason: str) -> None:
        """As `Store.mark_failed`; `reason` holds no secret and is for `claudetrace budgets`."""
        self._do(lambda store: store.mark_failed(alert_id, channel, wait_s, reason))
