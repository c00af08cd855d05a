"""The one place where a failure of ours ends: counted, logged once for each reason, never raised."""

from __future__ import annotations

import logging
from _thread import start_new_thread
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("claudetrace")


def _never() -> bool:
    return False


def _tell(doing: str, error: Exception) -> None:
    try:
        log.warning("claudetrace could not %s: %s: %s", doing, type(error).__name__, error)
        log.debug("claudetrace could not %s", doing, exc_info=error)
    except Exception:  # noqa: BLE001 - a log's filters are the user's code; it is counted
        return


class Guard:
    """Counts the failures of one `instrument()` and remembers the last. No method raises or takes a lock."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.last_error: str | None = None
        self.collecting: Callable[[], bool] = _never
        """Whether this thread runs inside a garbage collection, where a log's locks may be held already."""

    def caught(self, doing: str, error: Exception) -> None:
        """Counts `error`, and logs it the first time that it happens while `doing` this."""
        reason = f"{doing}: {type(error).__name__}"
        self.failures[reason] += 1
        self.last_error = reason
        try:
            # The words of an error are the user's code: they may raise.
            self.last_error = f"{reason}: {error}"[:500]
            if self.failures[reason] == 1:
                if self.collecting():
                    start_new_thread(_tell, (doing, error))
                else:
                    _tell(doing, error)
        except Exception:  # noqa: BLE001 - it is counted
            return

    @contextmanager
    def __call__(self, doing: str) -> Iterator[None]:
        """Ends an `Exception` of the block here. A cancellation or an interrupt passes."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the edge where every failure of ours ends
            self.caught(doing, error)
