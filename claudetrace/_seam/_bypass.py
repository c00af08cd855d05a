"""Finds clients on which another tool replaced a method before us: its replacement bypasses our wrapper."""

from __future__ import annotations

import gc
from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import wrapt

from claudetrace._seam._wrappers import Function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST = 100
"""How many functions behind a client's method are searched."""

_FUNCTIONS = (FunctionType, MethodType, partial, wrapt.ObjectProxy)


class OnClient(Function):
    """Our wrapper around the method that another tool set on one client."""


def subclasses(owner: Any) -> Iterator[Any]:
    """All classes that derive from `owner`."""
    for each in owner.__subclasses__():
        yield each
        yield from subclasses(each)


def clients(base: Any) -> list[Any]:
    """The clients that exist: instances of classes that derive from the SDK's `base`."""
    # While the SDK is being imported there are none, and the search takes as long as a garbage collection.
    classes = [each for each in subclasses(base) if each.__module__ != base.__module__]
    known = set(map(id, classes))
    return [each for each in gc.get_referrers(*classes) if id(type(each)) in known] if classes else []


def passes_by(present: Any, original: Any, ours: Any) -> bool:
    """Whether a client's method leads to the SDK's `original` but not to `ours`: it was set before we came."""
    waiting = [] if present is None else [present]
    holds_original = False
    for each in waiting:
        if each is ours or type(each) is OnClient or getattr(each, "_self_parent", None) is ours:
            return False
        holds_original = holds_original or any(read is original for read in (each, *_globals(each)))
        waiting.extend(held for held in _held(each) if len(waiting) < MOST and not any(held is one for one in waiting))
    return holds_original


def stands_behind(present: Any, ours: Any) -> bool:
    """Whether `ours` is among the functions that `present` says it wraps."""
    while present is not None:
        if present is ours:
            return True
        present = getattr(present, "__wrapped__", None)
    return False


def is_foreign(function: Any) -> bool:
    """Whether another tool defined this function, not the SDK."""
    return not str(getattr(function, "__globals__", {}).get("__name__")).startswith("anthropic.")


def wrap_client(client: Any, name: str, wrapper: Callable[..., Any], enabled: Callable[[], bool]) -> None:
    """Puts `wrapper` around the method set on the client, which takes no `self`."""

    def for_client(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapper(wrapped, client, args, kwargs)

    vars(client)[name] = OnClient(vars(client)[name], for_client, enabled=enabled)


def unwrap_client(client: Any, name: str) -> None:
    """Removes our wrapper from a client that still exists, unless another wrapper was set around it."""
    present = None if client is None else vars(client).get(name)
    if type(present) is OnClient:
        vars(client)[name] = present.__wrapped__


def _held(function: Any) -> Iterator[Any]:
    """The functions that a function holds: what it says it wraps, its closure and its attributes."""
    candidates = [getattr(function, name, None) for name in ("__wrapped__", "__func__")]
    if isinstance(function, partial):
        candidates += [function.func, *function.args]
    candidates += getattr(function, "__dict__", {}).values()
    for cell in getattr(function, "__closure__", None) or ():
        try:
            candidates.append(cell.cell_contents)
        except ValueError:
            # A name of the enclosing function that has no value yet.
            continue
    # Checked by type alone: `isinstance` would run code of a proxy.
    return (
        each for each in candidates if issubclass(type(each), (FunctionType, MethodType, partial, wrapt.ObjectProxy))
    )


def _globals(function: Any) -> Iterator[Any]:
    """The globals that a plain function reads; for methods, their functions."""
    names = function.__code__.co_names if type(function) is FunctionType else ()
    for name in names:
        read = function.__globals__.get(name)
        yield read.__func__ if type(read) is MethodType else read
