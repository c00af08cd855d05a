"""Clients with middleware, which may send further requests: to another place, in another context, or later.

The SDK's own fallback asks the next model once the refusing stream has been read, long after the method returned. So
the options of such a call carry a mark, which every copy of them keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._seam._live import guarded
from claudetrace._seam._operations import operation_of
from claudetrace._seam._tee import tee

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._seam._live import LiveCall

_MARK = "_claudetrace_mark"


class _Mark:
    """Leads from a request's options to its call. Copying it returns the same mark."""

    __slots__ = ("call",)

    def __init__(self, call: LiveCall | None = None) -> None:
        self.call = call

    def __copy__(self) -> _Mark:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Mark:
        return self

    def __reduce__(self) -> Any:
        return _Mark, ()


def with_mark(call: LiveCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The arguments of `request`, with options that carry the call's mark. Never raises."""
    return _marked(call, args, kwargs) or (args, kwargs)


@guarded("mark a call")
def _marked(call: LiveCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    options = args[1] if len(args) > 1 else kwargs["options"]
    marked = options.model_copy() if hasattr(options, "model_copy") else options.copy()
    # Beside the model's fields, where pydantic keeps cached properties: it copies them and shows them to nobody.
    marked.__dict__[_MARK] = _Mark(call)
    return ((args[0], marked, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "options": marked})


def marked_call(options: Any) -> LiveCall | None:
    """The call of these options, if they carry a mark."""
    mark = getattr(options, "__dict__", {}).get(_MARK)
    return None if mark is None else mark.call


def is_of(call: LiveCall, options: Any) -> bool:
    """Whether a response to these options belongs to the call: middleware may ask a free endpoint first."""
    if not call.operation.billed or marked_call(options) is None:
        return True
    found = operation_of(options.method, options.url)
    return found is None or found[0].billed


class _Rebuilt:
    """Watches a body that a middleware built from several: the call lasts until it has ended."""

    def __init__(self, call: LiveCall) -> None:
        self._call: LiveCall | None = call
        self.feed: Callable[[bytes], None] = _skip
        self.times_s: list[float] | None = None

    def unreadable(self, error: Exception) -> None:
        """Never called: `feed` does not raise."""

    def ended(self, how: str, _error: BaseException | None = None) -> None:
        """Ends the call if all its responses have ended. Never raises."""
        call, self._call = self._call, None
        if call is not None and (how == "read" or not call.is_of_the_parent):
            _end(call)


@guarded("end a call")
def _end(call: LiveCall) -> None:
    call.response_ended()


@guarded("watch a rebuilt response")
def watch_rebuilt(call: LiveCall, result: Any) -> None:
    """Keeps the call open until the stream that it returned has ended. Never raises."""
    response = getattr(result, "response", None) or getattr(result, "http_response", None)
    if response is None or getattr(response, "is_closed", True):
        return
    watched = tee(response, _Rebuilt(call))
    call.response_begun()
    response.stream = watched


def _skip(_chunk: bytes) -> None:
    """Ignores bytes that the responses' own watchers have read."""
