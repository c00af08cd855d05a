"""How long claudetrace may hold up the end of the process: one limit for all that it still has to do."""

from __future__ import annotations

from claudetrace._clock import monotonic

EXIT_S = 1.5
"""The rest of two seconds is for what cannot be stopped at once."""

LEAST_S = 0.05

OTHERS_S = 0.5
"""What records leave of it, which wait in the ledger, to spans and metrics, which wait nowhere."""

_until: float | None = None


def exit_left_s() -> float:
    """How much of that time is left; it begins when this is asked first. Never 0: what is ready now may go."""
    global _until
    now = monotonic()
    if _until is None:
        _until = now + EXIT_S
    return max(LEAST_S, _until - now)
