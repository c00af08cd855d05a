"""How an alert gets to its channels: on threads of its own, again and again, once for each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from claudetrace._budgets._budget import Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """An alert on its way to one channel."""

    id: str
    """The same over all tries, channels and processes: a receiver knows doubles by it."""
    alert: Alert
    tries: int = 0
    """How many failed so far."""


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


class Marks(Protocol):
    """What the store does for alerts other than thresholds."""

    def raise_alert(self, alert: Alert, *, mark: str) -> str | None:
        """The new alert's id, in the outbox from here on; `None` where this budget has fired `mark` already. The
        mark and the alert are one transaction, so that one of many processes wins."""
