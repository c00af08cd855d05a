"""What is done to the ledger beside loading it, by the thread that loads: limits kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._clock import monotonic
from claudetrace._ledger._prune import Limits

if TYPE_CHECKING:
    import threading

    from claudetrace._clock import WallClock
    from claudetrace._guard import Guard
    from claudetrace._ledger._store import Store

HOUSEKEEPING_S = 60.0
LOOK_S = 1.0
"""How often an idle process looks whether its ledger is still there: a log that is left behind waits for that."""
AT_ONCE_S = 0.2


class Upkeep:
    """Keeps the ledger of `store` in order, a small step at a time, each under the lock `gate`."""

    def __init__(
        self,
        store: Store,
        gate: threading.Lock,
        guard: Guard,
        wall_clock: WallClock,
        *,
        limits: tuple[float | None, float | None],
    ) -> None:
        self.pruned = 0
        self._wall_clock = wall_clock
        self._store, self._gate, self._guard = store, gate, guard
        self._limits = limits
        self._next_at = self._look_at = 0.0

    def step(self) -> None:
        """Does what is due. Raises what the file raises."""
        if monotonic() >= self._look_at:
            self._look_at = monotonic() + LOOK_S
            with self._gate:
                self._store.look()
        if any(self._limits) and monotonic() >= self._next_at:
            self._next_at = monotonic() + HOUSEKEEPING_S
            self._keep_limits()

    def _keep_limits(self) -> None:
        """Removes calls beyond the limits, in chunks so small that nobody who writes is held up."""
        retention_days, max_db_mb = self._limits
        if retention_days is not None and not self._wall_clock.may_delete():
            retention_days = None
        limits = Limits(retention_days, max_db_mb)
        more = limits.enforce_for(AT_ONCE_S, self._store.connection, self._gate)
        self.pruned += limits.pruned_calls
        if limits.lost_records:
            words = f"{limits.lost_records} were not sent yet when retention= or max_db_mb= removed their calls"
            self._guard.caught("send every record", ValueError(words))
        if more:
            self._next_at = 0.0
