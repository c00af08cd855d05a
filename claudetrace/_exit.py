"""The end of the process: how long claudetrace may delay it, in sum; and an end by Ctrl-C as Python would have it."""

from __future__ import annotations

import atexit
import sys
from contextlib import suppress

from claudetrace._clock import monotonic

EXIT_S = 1.5
"""The rest of two seconds is for what cannot be stopped at once."""

LEAST_S = 0.05

OTHERS_S = 0.5
"""What records leave of it to spans and metrics: records that are not sent wait in the ledger, those nowhere."""

_until: float | None = None


def exit_left_s() -> float:
    """How much of that time is left. It begins with the first call. Never 0, so that what is ready is still sent."""
    global _until
    now = monotonic()
    if _until is None:
        _until = now + EXIT_S
    return max(LEAST_S, _until - now)


def _end_as_interrupted() -> None:
    """Has a process that an uncaught interrupt ends be ended by SIGINT, as a shell's loop has to see.

    Python forgets that it is to do so when any source is run meanwhile, as by the first import of a module of ours
    that makes a dataclass.
    """
    traceback = getattr(sys, "last_traceback", None)
    if traceback is None or sys.last_type is not KeyboardInterrupt or hasattr(sys, "ps1") or sys.flags.interactive:
        return
    # One that a notebook or a debugger has shown began further in.
    if traceback.tb_frame.f_back is None:
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 - what reminds Python


# At import, so before whatever of ours has something to do at the end, which comes first then.
atexit.register(_end_as_interrupted)
