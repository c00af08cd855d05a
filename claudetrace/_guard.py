"""`Guard`: where every failure of ours ends. It is counted, logged once for each reason, and never raised.

What a signal handler of the host raises while our code runs is no failure of ours: it goes on to the host.
"""

from __future__ import annotations

import gc
import logging
import signal
import threading
from _thread import start_new_thread
from collections import Counter
from contextlib import contextmanager
from inspect import CO_VARARGS
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

log = logging.getLogger("claudetrace")


def pass_on(error: BaseException) -> None:
    """Raises what a signal handler of the host raised, where `error` is that or was made of it; else does nothing.

    For what catches `Exception` and does not end at `Guard.caught`, which does the same.
    """
    if (raised := _of_the_host(error)) is not None:
        raise raised


def _of_the_host(error: BaseException) -> BaseException | None:
    seen: set[FrameType] = set()
    raised: BaseException | None = error
    registered = _registered()
    while raised is not None:
        frames = _frames(raised)
        for interrupted, frame in pairwise(frames):
            # A handler that no longer has its arguments is known while it is registered.
            if frame.f_code in registered or _is_given(frame, interrupted):
                return raised
        seen.update(frames)
        raised = raised.__cause__ or raised.__context__
        # What the host was handling when it called us came to an end outside of these frames.
        if raised is None or raised.__traceback__ is None or raised.__traceback__.tb_frame not in seen:
            break
    return None


def _frames(error: BaseException) -> list[FrameType]:
    frames, traceback = [], error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return frames


def _is_given(frame: FrameType, interrupted: FrameType) -> bool:
    """Whether the frame before it is among the arguments of `frame`, as a signal handler's are."""
    code, found = frame.f_code, frame.f_locals
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & CO_VARARGS)
    given = [found.get(name) for name in code.co_varnames[:count]]
    return any(
        value is interrupted or (type(value) is tuple and any(each is interrupted for each in value)) for value in given
    )


def _registered() -> set[CodeType]:
    codes: set[CodeType] = set()
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        handler = getattr(handler, "func", handler)
        for each in (handler, vars(type(handler)).get("__call__")):
            if (code := getattr(each, "__code__", None)) is not None:
                codes.add(code)
    return codes


def _tell(doing: str, error: Exception) -> None:
    try:
        log.warning("claudetrace could not %s: %s: %s", doing, type(error).__name__, error)
        log.debug("claudetrace could not %s", doing, exc_info=error)
    except Exception as failure:  # noqa: BLE001 - a log's filters are the user's code; it is counted
        pass_on(failure)


class Guard:
    """Counts the failures of one `instrument()` and remembers the last. No method takes a lock, or raises anything but
    what a signal handler of the host raised."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.last_error: str | None = None
        self.collecting: Callable[[], bool] = lambda: False
        """Whether this thread runs inside a garbage collection, where a log's locks may be held already."""

    def caught(self, doing: str, error: Exception) -> None:
        """Counts `error`, and logs it the first time that it happens while `doing` this. Raises the host's own."""
        pass_on(error)
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
        except Exception as failure:  # noqa: BLE001 - it is counted
            pass_on(failure)

    @contextmanager
    def __call__(self, doing: str) -> Iterator[None]:
        """Ends an `Exception` of the block here. A cancellation or an interrupt passes."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the edge where every failure of ours ends
            self.caught(doing, error)


class Collection:
    """Knows whether this code runs inside a garbage collection."""

    def __init__(self) -> None:
        self._thread: int | None = None
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        self._thread = threading.get_ident() if phase == "start" else None

    def runs_here(self) -> bool:
        """Whether this thread is collecting."""
        return self._thread == threading.get_ident()

    def close(self) -> None:
        """Stops watching."""
        if self._note in gc.callbacks:
            gc.callbacks.remove(self._note)
