"""The wrappers that replace functions of the SDK: whatever works with the function works with its wrapper.

A wrapper is pickled and copied like the function, by a name that also exists in a process without claudetrace.
"""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any, SupportsIndex

import wrapt


class Function(wrapt.FunctionWrapper):  # type: ignore[type-arg]  # generic since wrapt 2
    """A function of a module. It is pickled as the function that it wraps."""

    def __reduce__(self) -> Any:
        return copy, (self.__wrapped__,)

    def __reduce_ex__(self, _protocol: SupportsIndex) -> Any:
        return self.__reduce__()

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Any:
        return self


class _Bound(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]  # as above
    """A method bound to an object."""

    def __reduce__(self) -> Any:
        return getattr, (self.__self__, self.__name__)

    def __reduce_ex__(self, _protocol: SupportsIndex) -> Any:
        return self.__reduce__()

    def __copy__(self) -> Any:
        return getattr(self.__self__, self.__name__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return getattr(deepcopy(self.__self__, memo), self.__name__)


class Method(Function):
    """A function of a class: the class returns it as it is, and an object returns a bound method."""

    __bound_function_wrapper__ = _Bound

    def __reduce__(self) -> str:
        return str(self.__qualname__)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else super().__get__(instance, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Called through the class, as in `Client.request(client, …)`: the first argument is the object.
        return self.__get__(args[0])(*args[1:], **kwargs) if args else self.__wrapped__(**kwargs)
