"""Clients with middleware: it may ask again, elsewhere, in another context, or while the stream is being read.

The SDK's own fallback asks the next model when the refusing stream has been read, long after the method returned. So
the options of such a call bear its mark, which every copy of them keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._seam._operations import operation_of
from claudetrace._seam._tee import tee

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._seam._live import LiveCall

_MARK = "_claudetrace_mark"


class _Mark:
    """Leads from a request's options to its call. Copies of it are itself."""

    __slots__ = ("call",)

    def __init__(self, call: LiveCall | None = None) -> None:
        self.call = call

    def __copy__(self) -> _Mark:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Mark:
        return self

    def __reduce__(self) -> Any:
        return _Mark, ()


def with_mark(call: LiveCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The arguments of `request` with a copy of the options that bears the call's mark. Never raises."""
    try:
        options = args[1] if len(args) > 1 else kwargs["options"]
        marked = options.model_copy() if hasattr(options, "model_copy") else options.copy()
        # Beside the model's fields, where pydantic keeps cached properties: it copies them and shows them to nobody.
        marked.__dict__[_MARK] = _Mark(call)
    except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
        call.recorder.guard.caught("mark a call", error)
        return args, kwargs
    if len(args) > 1:
        return (args[0], marked, *args[2:]), kwargs
    return args, {**kwargs, "options": marked}


def marked_call(options: Any) -> LiveCall | None:
    """The call that these options are of, where they bear a mark."""
    mark = getattr(options, "__dict__", {}).get(_MARK)
    return None if mark is None else mark.call


def is_of(call: LiveCall, options: Any) -> bool:
    """Whether a response to these options is one of the call's: middleware may send them to a free endpoint first."""
    if not call.operation.billed or marked_call(options) is None:
        return True
    found = operation_of(options.method, options.url)
    return found is None or found[0].billed


class _Rebuilt:
    """Watches the body that a middleware made out of several: the call lasts as long as it."""

    def __init__(self, call: LiveCall) -> None:
        self._call: LiveCall | None = call
        self.feed: Callable[[bytes], None] = _skip

    def unreadable(self, error: Exception) -> None:
        """Does not come: `feed` does not raise."""

    def ended(self, how: str, _error: BaseException | None = None) -> None:
        """Ends the call if all its responses have ended. Never raises."""
        call, self._call = self._call, None
        if call is not None and (how == "read" or not call.is_of_the_parent):
            try:
                call.response_ended()
            except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
                call.recorder.guard.caught("end a call", error)


def watch_rebuilt(call: LiveCall, result: Any) -> None:
    """Keeps the call open until the stream that it returned has ended. Never raises."""
    try:
        response = getattr(result, "response", None) or getattr(result, "http_response", None)
        if response is None or getattr(response, "is_closed", True):
            return
        watched = tee(response, _Rebuilt(call))
        call.response_begun()
        response.stream = watched
    except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
        call.recorder.guard.caught("watch a rebuilt response", error)


def _skip(_chunk: bytes) -> None:
    """Takes what the responses' own watchers have read."""
