"""Whether calls are watched in this process: by the kill switch, and since something was started."""

from __future__ import annotations

import logging
import os

from claudetrace._errors import ClaudetraceError

log = logging.getLogger("claudetrace")

WORDS = {
    **dict.fromkeys(("", "true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


class Watching:
    """What `instrument()` has set."""

    on = False
    told = False
    """Whether it was said that a run limits nothing."""


watching = Watching()


def enabled() -> bool:
    """Whether the kill switch, `CLAUDETRACE_ENABLED=false`, is off. Raises `ClaudetraceError` for another word."""
    word = os.environ.get("CLAUDETRACE_ENABLED", "").strip().lower()
    if word not in WORDS:
        # Not taken for on: somebody wanted something, and it was not what they would get.
        raise ClaudetraceError(f"CLAUDETRACE_ENABLED={word!r:.200} cannot be used: it is true or false")
    return WORDS[word]


def check_watching(what: str) -> None:
    """Raises `ClaudetraceError` where `what` would limit nothing, since no call is seen; where the kill switch says so,
    that is told once."""
    if watching.on:
        return
    if enabled():
        raise ClaudetraceError(
            f"{what} limits nothing yet, because nothing watches the calls of this process: "
            "call claudetrace.instrument() before it, or start the program with `claudetrace run`"
        )
    if not watching.told:
        watching.told = True
        log.warning("%s limits nothing, because CLAUDETRACE_ENABLED=false switches claudetrace off", what)
