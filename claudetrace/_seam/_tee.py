"""The tee: the bytes of a body pass untouched, and are read on their way."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import cache
from typing import Any, Protocol


class BodyWatcher(Protocol):
    """Learns how the body of a response passes. No method but `feed` raises."""

    feed: Callable[[bytes], None]
    """Takes each chunk. May raise: then it is not called again, and `unreadable` is."""

    def unreadable(self, error: Exception) -> None: ...
    def ended(self, how: str, error: BaseException | None = None) -> None:
        """`how`: `read`, `closed`, `failed` or `dropped`. Only the first counts."""


class _Tee:
    """Stands in for a response's stream and is of the same kinds, so every check of the HTTP client holds."""

    def __init__(self, inner: Any, watcher: BodyWatcher) -> None:
        self._inner = inner
        self._watcher = watcher
        # The SDK looks for this at every event: found here, it costs nothing.
        self.stream_observer = getattr(inner, "stream_observer", None)

    def __getattr__(self, name: str) -> Any:
        # The HTTP client reads `elapsed` here. Before `__init__`, as in a copy being made, there is nothing inside.
        if name in ("_inner", "_watcher"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __del__(self) -> None:
        self._watcher.ended("dropped")


class _SyncTee(_Tee):
    def __iter__(self) -> Iterator[bytes]:
        watcher = self._watcher
        feed = watcher.feed
        try:
            for chunk in self._inner:
                try:
                    feed(chunk)
                except Exception as error:  # noqa: BLE001 - the caller's bytes pass whatever ours do
                    watcher.unreadable(error)
                    feed = _skip
                yield chunk
        except GeneratorExit:
            watcher.ended("closed")
            raise
        except BaseException as error:
            watcher.ended("failed", error)
            raise
        watcher.ended("read")

    def close(self) -> None:
        try:
            self._watcher.ended("closed")
        finally:
            self._inner.close()


class _AsyncTee(_Tee):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        watcher = self._watcher
        feed = watcher.feed
        chunks = self._inner.__aiter__()
        try:
            async for chunk in chunks:
                try:
                    feed(chunk)
                except Exception as error:  # noqa: BLE001 - the caller's bytes pass whatever ours do
                    watcher.unreadable(error)
                    feed = _skip
                yield chunk
            watcher.ended("read")
        except GeneratorExit:
            watcher.ended("closed")
            raise
        except BaseException as error:
            watcher.ended("failed", error)
            raise
        finally:
            # In the task that read it: left alone, the event loop would close it later in a task of its own.
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def aclose(self) -> None:
        try:
            self._watcher.ended("closed")
        finally:
            await self._inner.aclose()


def _skip(_chunk: bytes) -> None:
    """Takes the rest of a body that could not be read."""


def tee(http_response: Any, watcher: BodyWatcher) -> Any:
    """What to put in place of the body of `http_response`."""
    stream, module = http_response.stream, _http_module(type(http_response))
    return _kind(module, isinstance(stream, module.SyncByteStream), isinstance(stream, module.AsyncByteStream))(
        stream, watcher
    )


def _http_module(kind: type) -> Any:
    """The HTTP client whose responses are of this kind, httpx or httpx2. A transport may give a class of its own."""
    modules = (sys.modules.get(base.__module__.partition(".")[0]) for base in kind.__mro__)
    return next(module for module in modules if hasattr(module, "AsyncByteStream"))


@cache
def _kind(module: Any, is_sync: bool, is_async: bool) -> type[_Tee]:
    bases: list[type] = []
    if is_sync or not is_async:
        bases += [_SyncTee, module.SyncByteStream]
    if is_async or not is_sync:
        bases += [_AsyncTee, module.AsyncByteStream]
    # Ours come first in the order of resolution: the HTTP client's `close` does nothing.
    ours = [base for base in bases if issubclass(base, _Tee)]
    theirs = [base for base in bases if not issubclass(base, _Tee)]
    return type("Tee", (*ours, *theirs), {})
