"""The meter where no code asked for it: behind `opentelemetry-instrument` and in programs of `claudetrace run`.

It waits for the SDK: a program that never imports `anthropic` loads nothing more than this.
"""

from __future__ import annotations

import sys

# As `typing` has it, which takes ten times as long to import as this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from claudetrace._instrument import Instrumentation

_SDK = "anthropic"

started: Instrumentation | None = None
"""What was started unasked, if anything: what the program's own code says replaces it."""


class _WhenImported:
    """Starts the meter when the SDK is about to be imported. Finds no module."""

    waits = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:  # noqa: ARG002 - import's signature
        if self.waits and name == _SDK:
            # It stays in `sys.meta_path`: import goes through that list right now, and would skip whoever moves up.
            self.waits = False
            _start()


_finder = _WhenImported()


def start() -> None:
    """Records from now on, as the environment and `claudetrace.toml` say. Never raises.

    What runs already stays. A setting that cannot be is logged when the SDK is imported; the program goes on without
    a meter.
    """
    if _SDK in sys.modules:
        _start()
        return
    _finder.waits = True
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def stop() -> None:
    """Ends what was started unasked, and does not start any more. What the program's own code started stays."""
    global started
    _finder.waits = False
    if started is not None:
        started.uninstrument()
        started = None


def _start() -> None:
    global started
    try:
        from claudetrace._instrument import instrument, running

        if running() is None:
            started = instrument()
            started.unasked = True
    except Exception as error:  # noqa: BLE001 - the program did not ask, and must not end of it
        import logging

        logging.getLogger("claudetrace").warning(
            "claudetrace records nothing in this process: %s; `claudetrace doctor` tells more", error
        )
