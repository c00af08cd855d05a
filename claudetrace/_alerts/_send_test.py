"""`send_now` sends an alert through every channel at once and returns the results; `send_test` sends a test alert."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from claudetrace._alerts._alert import Alert
from claudetrace._alerts._channels import DeliveryFailed
from claudetrace._alerts._channels._notice import Notice
from claudetrace._clock import monotonic
from claudetrace._errors import ClaudetraceError
from claudetrace._ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from claudetrace._alerts._channels import Channel
    from claudetrace._budgets._budget import Budget

TEST_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The result of an alert on one channel."""

    channel: str
    error: str | None
    """`None` where it was delivered."""


def send_test(
    name: str, budgets: Iterable[Budget], channels: Sequence[Channel], *, service: str, timeout_s: float = TEST_S
) -> list[Tried]:
    """Sends one alert, marked as a test, through every channel at once and returns the results. Blocks at most
    `timeout_s`. Raises `ClaudetraceError` if no budget has the `name`."""
    budget = next((each for each in budgets if each.name == name), None)
    if budget is None:
        raise ClaudetraceError(f"there is no budget {name!r}: name one of {_names(budgets)}")
    message = f"This is a test of budget {name!r}, which nothing was spent on; alerts of this budget arrive here."
    alert = Alert(kind="threshold", budget=name, limit_usd=budget.usd, at=datetime.now(UTC), message=message)
    return send_now(alert, channels, service=service, timeout_s=timeout_s, test=True)


def send_now(
    alert: Alert, channels: Sequence[Channel], *, service: str, timeout_s: float = TEST_S, test: bool = False
) -> list[Tried]:
    """Sends `alert` through every channel at once and returns the results. Blocks at most `timeout_s`."""
    notice = Notice(id=uuid7(time.time_ns()), alert=alert, service=service, test=test)
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
