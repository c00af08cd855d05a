"""How an alert gets to its channels: on threads of its own, again and again, once for each channel."""

from __future__ import annotations

import atexit
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from claudetrace._alerts._channels import DeliveryFailed
from claudetrace._alerts._channels._notice import Notice
from claudetrace._alerts._sender import Courier, Pace
from claudetrace._budgets._budget import Alert
from claudetrace._clock import monotonic
from claudetrace._errors import ClaudetraceError
from claudetrace._forks import Forks, watch
from claudetrace._ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from claudetrace._alerts._channels import Channel
    from claudetrace._alerts._sender import Outbox
    from claudetrace._budgets._budget import Budget
    from claudetrace._guard import Guard

EXIT_S = 1.0
TEST_S = 30.0
NO_PACE = Pace()


class Marks(Protocol):
    """What the store does for alerts other than thresholds."""

    def raise_alert(self, alert: Alert, *, mark: str) -> str | None:
        """The new alert's id, in the outbox from here on; `None` where this budget has fired `mark` already. The
        mark and the alert are one transaction, so that one of many processes wins."""


class Delivery(Forks):
    """Gets alerts to `channels` on threads of its own, one a channel, off the caller's and the loader's.

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
        service: str,
        outbox: Outbox | None = None,
        pace: Pace = NO_PACE,
    ) -> None:
        self._guard, self._service = guard, service
        self.couriers = tuple(
            Courier(channel, guard=guard, service=service, outbox=outbox, pace=pace) for channel in channels
        )
        self._stores = outbox is not None
        self._started = False
        # Before the loader's own, so that it runs after: what the last rows raise is still sent.
        atexit.register(self.close)
        watch(self)

    def start(self) -> None:
        """Makes the channels known to the store, which keeps for them what is raised from then on: so before the
        first call. Looks from now on for what other processes left there, and ended ones did."""
        self._started = True
        for courier in self.couriers:
            if self._stores and not courier.channel.of_process:
                courier.open()
                courier.start()

    def send(self, alert: Alert, *, stored_as: str | None) -> None:
        """Delivers `alert`, which this process raised: `stored_as` is its id in the outbox, if it is there.
        Returns at once, takes no lock, never raises."""
        notice = Notice(id=stored_as or uuid7(time.time_ns()), alert=alert, service=self._service)
        for courier in self.couriers:
            in_outbox = stored_as is not None and self._stores and not courier.channel.of_process
            courier.take(None if in_outbox else notice)

    def close(self, timeout_s: float = EXIT_S) -> None:
        """Tries what waits once more and stops, after `timeout_s` at the latest. What is in the store is sent by
        another process or the next; what waits in memory is told and gone."""
        until = monotonic() + timeout_s
        for courier in self.couriers:
            courier.close()
        for courier in self.couriers:
            courier.stopped.wait(max(0.0, until - monotonic()))
            if lost := courier.undelivered_notices():
                error = DeliveryFailed("; ".join(notice.alert.message for notice in lost)[:400])
                self._guard.caught(f"deliver {len(lost)} alerts to {courier.channel.name} before the end", error)
        atexit.unregister(self.close)

    def state(self) -> dict[str, str | None]:
        """Each channel with why its last try failed, `None` where it did not."""
        return {courier.channel.name: courier.last_error for courier in self.couriers}

    def after_fork_in_child(self) -> None:
        for courier in self.couriers:
            courier.reset()

    def begin_in_child(self) -> None:
        if not self._started:
            self.start()


class MemoryMarks:
    """`Marks` where there is no store: each fires once in this process. Nothing to wait for, nothing kept."""

    def __init__(self) -> None:
        self._fired: dict[tuple[str | None, str], None] = {}

    def raise_alert(self, alert: Alert, *, mark: str) -> str | None:
        """A new id the first time, else `None`."""
        if (alert.budget, mark) in self._fired:
            return None
        self._fired[alert.budget, mark] = None
        return uuid7(time.time_ns())


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of a test alert on one channel."""

    channel: str
    error: str | None
    """`None` where it was delivered."""


def send_test(
    name: str, budgets: Iterable[Budget], channels: Sequence[Channel], *, service: str, timeout_s: float = TEST_S
) -> list[Tried]:
    """Sends one alert that says it is a test through every channel at once, and what came of each. Blocks at most
    `timeout_s`. Raises `ClaudetraceError` where no budget has the `name`."""
    budget = next((each for each in budgets if each.name == name), None)
    if budget is None:
        raise ClaudetraceError(f"there is no budget {name!r}: name one of {_names(budgets)}")
    message = f"This is a test of budget {name!r}, which nothing was spent on; alerts of this budget arrive here."
    alert = Alert(kind="threshold", budget=name, limit_usd=budget.usd, at=datetime.now(UTC), message=message)
    notice = Notice(id=uuid7(time.time_ns()), alert=alert, service=service, test=True)
    results: dict[str, Tried] = {}

    def attempt(channel: Channel) -> None:
        try:
            channel.send(notice)
            error = None
        except Exception as failed:  # noqa: BLE001 - told to whoever asked
            error = str(failed) if isinstance(failed, DeliveryFailed) else f"{type(failed).__name__}: {failed}"
        results[channel.name] = Tried(channel=channel.name, error=error)

    threads = [threading.Thread(target=attempt, args=(channel,), daemon=True) for channel in channels]
    for thread in threads:
        thread.start()
    until = monotonic() + timeout_s
    for thread in threads:
        thread.join(max(0.0, until - monotonic()))
    silent = f"no answer within {timeout_s:g} s"
    return [results.get(each.name, Tried(channel=each.name, error=silent)) for each in channels]


def _names(budgets: Iterable[Budget]) -> str:
    return ", ".join(repr(each.name) for each in budgets) or "those that are set, of which there is none"
